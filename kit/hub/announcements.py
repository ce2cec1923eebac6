"""What a hub says of its own members to those that want to know: who comes and goes, and now and then everybody. Lives on the hub's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from kit.hub.peers import MEMBERS_KNOWN
from kit.hub.presence import Arrival, Present
from kit.hub.roll_call import companion_of, roll_messages

__all__ = ["Announcements"]

_ROOMS_AT_ONCE = 32


class Announcements:
    """What is due to be said in the companions of rooms.

    Args:
        hub: the id of this one.
        here: its members in a room, in the order in which they came.
        wanted: the rooms that others want to be told of; nothing is said of any other.
        publish: says payloads in a room.
        max_bytes: of one message.

    Attributes:
        announced: rooms that others know to have members here.
    """

    def __init__(
        self,
        hub: str,
        here: Callable[[str], list[Arrival]],
        wanted: dict[str, set[str]],
        publish: Callable[[str, list[bytes]], Awaitable[None]],
        max_bytes: int,
    ) -> None:
        self.announced: set[str] = set()
        self._hub = hub
        self._here = here
        self._wanted = wanted
        self._publish = publish
        self._max_bytes = max_bytes
        self._lists_due: dict[str, None] = {}
        self._changes: dict[str, dict[str, Present | None]] = {}  # by room and id; None for who has left

    def changed(self, room: str, identity: str, present: Present | None) -> bool:
        """Somebody has come, or has left if there is no ``present``; whether there is something to say."""
        if room not in self._wanted:
            return False
        self._changes.setdefault(room, {})[identity] = present
        return True

    def list_soon(self, rooms: Iterable[str]) -> list[str]:
        """Say who is in these rooms; those of which there is nothing to say, because nobody is, or was."""
        none = []
        for room in rooms:
            if room in self.announced or self._here(room):
                self._lists_due[room] = None
            else:
                none.append(room)
        return none

    async def say(self) -> None:
        """Say what is due; what could not be said stays due, or the whole list in its place.

        Raises:
            HubError: the broker did not take it.
        """
        self.announced.intersection_update(self._wanted)
        due = [room for room in {**self._lists_due, **self._changes} if room in self._wanted]
        self._lists_due = {room: None for room in self._lists_due if room in self._wanted}
        self._changes = {room: changes for room, changes in self._changes.items() if room in self._wanted}
        for first in range(0, len(due), _ROOMS_AT_ONCE):
            outcomes = await asyncio.gather(*map(self._say_of, due[first : first + _ROOMS_AT_ONCE]), return_exceptions=True)
            if failure := next(filter(None, outcomes), None):
                raise failure

    async def _say_of(self, room: str) -> None:
        """The whole list, or only what has changed."""
        whole = room in self._lists_due
        changes, members = self._changes.pop(room, {}), self._here(room)
        self._lists_due.pop(room, None)
        came = members[:MEMBERS_KNOWN] if whole else [Arrival(present, 0.0) for present in changes.values() if present is not None]
        gone = () if whole else [identity for identity, present in changes.items() if present is None]
        if members:
            self.announced.add(room)  # before it is said: once it is on its way, good-bye has to be said too
        try:
            await self._publish(companion_of(room), roll_messages(self._hub, self._max_bytes, len(members), came, gone, whole=whole))
        except BaseException:
            self._lists_due[room] = None
            raise
        if not members:
            self.announced.discard(room)
