"""memory://, the broker of a single process: the whole contract in the fewest lines, to be read before the others."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque

from kit.hub.broker import BrokerLimits, Deliver
from kit.hub.errors import HubError, PublishFailed
from kit.hub.message import Position, Stored
from kit.hub.statistics import BrokerState
from kit.printable import quoted

__all__ = ["MemoryBroker"]

ROOMS_KEPT, BYTES_KEPT = 10_000, 256 << 20


class MemoryBroker:
    """Delivers within one hub, at once: ``publish`` has called ``deliver`` when it returns.

    Rooms that nobody has joined keep their history until 10,000 of them are newer, or 256 MiB are in newer ones; a room that
    comes back after that has a new epoch, so that nobody takes its numbers for the old ones.
    """

    def __init__(self, url: str, limits: BrokerLimits) -> None:
        if url != "memory://":
            raise HubError(f'this broker\'s URL is "memory://" and nothing more, but got {quoted(url)}: each hub has a memory of its own.')
        self.state: BrokerState = "closed"
        self._limits = limits
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        self._joined: set[str] = set()
        self._idle_bytes = 0  # in the histories of rooms that nobody has joined
        self._deliver: Deliver | None = None

    async def open(self, deliver: Deliver) -> None:
        """Begin with no rooms."""
        self._deliver = deliver
        self.state = "connected"

    async def close(self) -> None:
        """Forget every room and its history."""
        self.state = "closed"
        self._deliver = None
        self._rooms.clear()
        self._joined.clear()
        self._idle_bytes = 0

    async def publish(self, room: str, payload: bytes) -> Position:
        """Keep ``payload`` in the room's history and deliver it if the room is joined."""
        if self._deliver is None:
            raise PublishFailed("the broker is closed: nothing was published.", room=room)
        here = self._room(room)
        before = here.history_bytes
        stored = here.append(payload, self._limits)
        if room in self._joined:
            self._deliver.message(room, *stored)
        else:
            self._idle_bytes += here.history_bytes - before
            self._forget_old_rooms()
        return Position(stored.epoch, stored.offset)

    async def join(self, room: str) -> Position:
        """Deliver ``room`` from now on."""
        here = self._room(room)
        if room not in self._joined:
            self._joined.add(room)
            self._idle_bytes -= here.history_bytes
        return here.position

    async def leave(self, room: str) -> None:
        """Deliver it no more; its history stays."""
        if room in self._joined:
            self._joined.discard(room)
            self._idle_bytes += self._room(room).history_bytes
            self._forget_old_rooms()

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """All messages after ``since``, or None."""
        return self._room(room).after(since)

    def _room(self, name: str) -> _Room:
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = _Room()
            self._forget_old_rooms()
        else:
            self._rooms.move_to_end(name)
        return room

    def _forget_old_rooms(self) -> None:
        bytes_kept = max(BYTES_KEPT, self._limits.history_bytes)
        while (idle := len(self._rooms) - len(self._joined)) > ROOMS_KEPT or (idle > 1 and self._idle_bytes > bytes_kept):
            oldest = next(iter(self._rooms))
            if oldest in self._joined:
                self._rooms.move_to_end(oldest)
            else:
                self._idle_bytes -= self._rooms.pop(oldest).history_bytes


class _Room:
    """One room's numbering and its last messages."""

    def __init__(self) -> None:
        self.position = Position(secrets.token_hex(4), 0)
        self._history: deque[Stored] = deque()
        self.history_bytes = 0

    def append(self, payload: bytes, limits: BrokerLimits) -> Stored:
        epoch, offset = self.position
        stored = Stored(epoch, offset + 1, payload)
        self.position = Position(epoch, offset + 1)
        self._history.append(stored)
        self.history_bytes += len(payload)
        while len(self._history) > limits.history or self.history_bytes > limits.history_bytes:
            self.history_bytes -= len(self._history.popleft().payload)
        return stored

    def after(self, since: Position) -> list[Stored] | None:
        missed = self.position.offset - since.offset
        if since.epoch != self.position.epoch or not 0 <= missed <= len(self._history):
            return None
        return list(self._history)[len(self._history) - missed :]
