"""What a hub has heard of the others: who is in their rooms, what they want to be told of, and for how long they have been silent. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kit.hub.message import ComingOrGoing, Joined, Left
from kit.hub.presence import Arrival, Present
from kit.hub.roll_call import Roll, Word

__all__ = ["MEMBERS_KNOWN", "Peers"]

PEERS_KNOWN, MEMBERS_KNOWN, ROOMS_WANTED = 1000, 10_000, 100_000  # hubs; members of one room in one of them; rooms that hubs want to be told of


@dataclass(slots=True)
class _List:
    """One hub's members in one room. Attributes: ``whole`` once it has said all, also that it has none, ``coming`` while it says them, up to ``part``."""

    members: dict[str, Present] = field(default_factory=dict)
    count: int = 0
    whole: bool = False
    coming: dict[str, Arrival] = field(default_factory=dict)
    part: int = 0


@dataclass(slots=True)
class _Peer:
    silent_seconds: float = 0.0
    lists: dict[str, _List] = field(default_factory=dict)


class Peers:
    """The other hubs on a broker, as far as they have something to say to this one.

    Attributes:
        wanted: the rooms that others want to be told of, with these others' ids.
    """

    def __init__(self) -> None:
        self.wanted: dict[str, set[str]] = {}
        self._peers: dict[str, _Peer] = {}
        self._gone: dict[str, bool] = {}  # those of whom nothing more is known, and whether they may come back

    @property
    def known(self) -> list[str]:
        """The ids of those that are there, as far as is known."""
        return list(self._peers)

    def missing(self, room: str) -> int:
        """How many of them have not yet said who is in ``room``."""
        return sum((here := peer.lists.get(room)) is None or not here.whole for peer in self._peers.values())

    def present(self, room: str) -> list[Present]:
        """Who is in ``room`` elsewhere, hub by hub; from any loop."""
        lists = [peer.lists.get(room) for peer in list(self._peers.values())]
        return [present for each in lists if each is not None for present in list(each.members.values())]

    def count(self, room: str) -> int:
        """How many they are, also those who are too many to be known by name; from any loop."""
        return sum(each.count for peer in list(self._peers.values()) if (each := peer.lists.get(room)) is not None)

    # What they say.

    def heard(self, hub: str) -> bool | None:
        """Note that ``hub`` is there: True when it was given up before, None when it has said good-bye or is one too many."""
        if hub not in self._peers:
            if self._gone.get(hub) is False or len(self._peers) >= PEERS_KNOWN:
                return None
            self._peers[hub] = _Peer()
            return self._gone.pop(hub, False)
        self._peers[hub].silent_seconds = 0.0
        return False

    def heard_of(self, hub: str) -> None:
        """Another one has heard ``hub``: it is there, unless more is known of it here."""
        if hub not in self._gone and len(self._peers) < PEERS_KNOWN:
            self._peers.setdefault(hub, _Peer())

    def has_none(self, hub: str, room: str) -> None:
        """Nobody of ``hub`` was in ``room`` when it said so; who came since may have been heard of already."""
        self._peers[hub].lists.setdefault(room, _List()).whole = True

    def wants(self, word: Word) -> list[str]:
        """Note what a hub wants to be told of; the rooms whose whole list it has to get."""
        new = [room for room in word.want if word.hub not in self.wanted.get(room, ())]
        for room in [*word.ask, *new]:
            if room in self.wanted or len(self.wanted) < ROOMS_WANTED:
                self.wanted.setdefault(room, set()).add(word.hub)
        for room in word.drop:
            self._drop(room, word.hub)
        return [*word.ask, *new]

    def change(self, room: str, roll: Roll, *, news_seconds: float) -> list[ComingOrGoing]:
        """Note what a hub says of its members, and return what is news in it; in its first whole list, only who came less than so long ago."""
        here = self._peers[roll.hub].lists.setdefault(room, _List())
        here.count = roll.count
        if roll.part == 0:
            return _joined(room, here, roll.came) + _left(room, here, roll.gone)
        everybody = _put_together(here, roll)
        if everybody is None:
            return []
        if not here.whole:
            here.whole = True
            _joined(room, here, [arrival for arrival in everybody.values() if arrival.seconds >= news_seconds])
        left = _left(room, here, [identity for identity in here.members if identity not in everybody])
        return left + _joined(room, here, everybody.values())

    def age(self, seconds: float, silent_seconds: float) -> list[ComingOrGoing]:
        """Let time pass; whoever has been silent for too long is given up, and its members have left."""
        for peer in self._peers.values():
            peer.silent_seconds += seconds
        silent = [hub for hub, peer in self._peers.items() if peer.silent_seconds >= silent_seconds]
        return [left for hub in silent for left in self.forget(hub, for_ever=False)]

    def forgive(self) -> None:
        """Nobody could be heard until now: count their silence from here on."""
        for peer in self._peers.values():
            peer.silent_seconds = 0.0

    # What is known no more.

    def forget(self, hub: str, *, for_ever: bool) -> list[ComingOrGoing]:
        """Its members have left; ``for_ever`` when it said so itself."""
        peer = self._peers.pop(hub, _Peer())
        self._gone.pop(hub, None)
        self._gone[hub] = not for_ever
        if len(self._gone) > PEERS_KNOWN:
            del self._gone[next(iter(self._gone))]
        for room in list(self.wanted):
            self._drop(room, hub)
        return [left for room, here in peer.lists.items() for left in _left(room, here, list(here.members))]

    def forget_room(self, room: str) -> None:
        """Nobody of this hub wants to know any more."""
        for peer in self._peers.values():
            peer.lists.pop(room, None)

    def _drop(self, room: str, hub: str) -> None:
        wanting = self.wanted.get(room, set())
        wanting.discard(hub)
        if not wanting:
            self.wanted.pop(room, None)


def _joined(room: str, here: _List, came: Iterable[Arrival]) -> list[ComingOrGoing]:
    new = [present for present, _ in came if present.id not in here.members][: MEMBERS_KNOWN - len(here.members)]
    here.members |= {present.id: present for present in new}
    return [Joined(room, *present) for present in new]


def _left(room: str, here: _List, gone: Iterable[str]) -> list[ComingOrGoing]:
    found = [here.members.pop(identity, None) for identity in gone]
    return [Left(room, *present) for present in found if present is not None]


def _put_together(here: _List, roll: Roll) -> dict[str, Arrival] | None:
    """Everybody, once the last part of a whole list has come; a list with a part missing is passed over."""
    if roll.part == 1:
        here.coming, here.part = {}, 0
    if roll.part != here.part + 1:
        return None
    here.part = roll.part
    if len(here.coming) < MEMBERS_KNOWN:
        here.coming |= {arrival.present.id: arrival for arrival in roll.came}
    if roll.part < roll.parts:
        return None
    everybody, here.coming, here.part = here.coming, {}, 0
    return everybody
