"""The rooms of which a hub wants to be told who is in them elsewhere: for how long, and whether it has heard already. Lives on the hub's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from kit.hub.broker import Broker
from kit.hub.roll_call import companion_of

__all__ = ["Due", "Followed", "Following"]

FOLLOWED_ROOMS = 1000  # of those that were asked for
QUESTIONS = 200  # rooms that are asked for and not answered at a time, so that others can answer soon


@dataclass(slots=True)
class Followed:
    """A room that this hub wants to be told of.

    Attributes:
        since: when that began.
        followers: subscribers and members here that want notices of it.
        until: when what was asked for last may be forgotten; 0 if nobody has asked.
        entered: whether the broker brings what others say of it.
        asked_at: when the broker had brought the question, also to this hub; None until then.
        answered: set once all others have said who of theirs is in it.
    """

    since: float
    followers: int = 0
    until: float = 0.0
    entered: bool = False
    asked_at: float | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Due:
    """What is to be said in the lobby; ``ask``, ``drop``, ``none`` and ``hello`` as in `Word`, ``want`` and ``others`` if it is to say what there is."""

    ask: dict[str, None] = field(default_factory=dict)
    drop: dict[str, None] = field(default_factory=dict)
    none: dict[str, None] = field(default_factory=dict)
    want: bool = False
    others: bool = False
    hello: bool = False

    def __bool__(self) -> bool:
        return bool(self.ask or self.drop or self.none or self.want or self.others or self.hello)

    def add(self, other: Due) -> None:
        """Say all of that too."""
        self.ask |= other.ask
        self.drop |= other.drop
        self.none |= other.none
        self.want |= other.want
        self.others |= other.others
        self.hello |= other.hello


class Following:
    """What is followed, by the rooms' names."""

    def __init__(self) -> None:
        self.rooms: dict[str, Followed] = {}
        self._left: dict[str, None] = {}
        self._asking: list[Followed] = []
        self._asking_since = 0.0
        self._loop = asyncio.get_running_loop()

    @property
    def entered(self) -> Iterable[str]:
        """The rooms of which the broker brings what others say."""
        return [room for room, followed in self.rooms.items() if followed.entered]

    @property
    def unanswered(self) -> Iterable[str]:
        """The rooms that were asked for, and not everybody has answered."""
        return [room for room, followed in self.rooms.items() if followed.asked_at is not None and not followed.answered.is_set()]

    def open(self, room: str) -> Followed:
        """Follow ``room``; who calls it notes at once for whom, or until when."""
        followed = self.rooms.get(room)
        if followed is None:
            followed = self.rooms[room] = Followed(self._loop.time())
            self._let_go_of_one()
        return followed

    def expire(self, due: Due) -> list[str]:
        """Follow no more what nobody wants to know; which rooms these are."""
        now = self._loop.time()
        expired = [room for room, followed in self.rooms.items() if not followed.followers and followed.until <= now]
        for room in expired:
            due.ask.pop(room, None)
            if self.rooms.pop(room).entered:
                self._left[room] = due.drop[room] = None
        return expired

    async def enter_and_leave(self, broker: Broker, due: Due, turn_seconds: float) -> bool:
        """Have ``broker`` bring what others say of these rooms and of no others, and ask for the new ones: so many as have no answer yet, or as
        have one or had ``turn_seconds`` for it; whether more may be left.

        Raises:
            HubError: the broker cannot; what is left to do is done the next time.
        """
        for room in list(self._left):
            await broker.leave(companion_of(room))
            del self._left[room]
        if self._loop.time() >= self._asking_since + turn_seconds:
            self._asking, self._asking_since = [], self._loop.time()
        self._asking = [followed for followed in self._asking if not followed.answered.is_set()]
        new = [(room, followed) for room, followed in self.rooms.items() if not followed.entered]
        for room, followed in new[: QUESTIONS - len(self._asking)]:
            if self.rooms.get(room) is followed:
                await broker.join(companion_of(room))
                followed.entered = True
                self._asking.append(followed)
                due.ask[room] = None
        return len(self._asking) >= QUESTIONS

    def _let_go_of_one(self) -> None:
        """So that to ask for room after room does not follow them all."""
        if len(self.rooms) > FOLLOWED_ROOMS:
            asked = [followed for followed in self.rooms.values() if followed.until and not followed.followers]
            if len(asked) >= FOLLOWED_ROOMS:
                min(asked, key=lambda followed: followed.until).until = 0.0
