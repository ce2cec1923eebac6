"""A hub's rooms: what its broker delivers to, and where joining, leaving and catching up happen. Lives on the hub's loop."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any

from kit.hub.broker import Broker
from kit.hub.catch_up import is_known
from kit.hub.delivery import Delivery
from kit.hub.member import Member
from kit.hub.message import Gap, Position, Stored
from kit.hub.room import Room, queue_of
from kit.hub.statistics import BrokerState, QueueStatistics
from kit.hub.subscriber import Subscriber

__all__ = ["Rooms"]

_LEFT_SHOWN = 100


class Rooms:
    """Implements `Deliver` for the hub's broker.

    Attributes:
        broker_state, detail: what the broker said last of its connection.
        counts: what has happened, by the names of `HubStatistics`.
        dropped_before: messages dropped in rooms that are gone.
        left: who was let go last, as in `HubStatistics`.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker_state: BrokerState = "connected"
        self.detail = ""
        self.counts: Counter[str] = Counter()
        self.dropped_before = 0
        self.left = deque[tuple[str, QueueStatistics]](maxlen=_LEFT_SHOWN)
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, Room] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, name: str) -> Room | None:
        """The room of that name, if somebody of this hub is in it."""
        return self._rooms.get(name)

    def all(self) -> list[Room]:
        """Every room that somebody of this hub is in; from any loop."""
        return list(self._rooms.values())

    def open_room(self, name: str) -> Room:
        """The room of that name; who asks for it adds somebody at once."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(name, self._loop)
        return room

    async def join(self, room: Room, since: Position | None) -> tuple[list[Delivery] | None, Position]:
        """See that the broker delivers ``room``; then what is to be caught up, and where the room is.

        Raises:
            HubError: the broker cannot.
        """
        position = room.position
        async with room.lock:
            if not room.joined:
                room.begun = await self._broker.join(room.name)
                room.joined = True
                if is_known(room.position, room.begun):
                    room.position = None  # what came before is older
        missed = None if since is None else await self._broker.history(room.name, since)
        return (None if missed is None else self._decoded(room.name, missed)), position or room.begun

    def leave(self, leaving: Subscriber | Member) -> None:
        """Take ``leaving`` out of its room; safe to call twice."""
        room = self._rooms.get(leaving.room)
        if room is not None:
            if room.remove(leaving):
                self.left.append((room.name, queue_of(leaving)))
            self._close_if_empty(room)

    def _close_if_empty(self, room: Room) -> None:
        """Let the broker leave a room that nobody is in."""
        if room.empty:
            self._start(self._close(room))

    async def end(self) -> None:
        """End every room and every task of theirs."""
        for room in self.all():
            room.end()
        self._rooms.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the broker calls.

    def message(self, room: str, epoch: str, offset: int, payload: bytes) -> None:
        """Deliver a message to everybody in ``room``."""
        here = self._rooms.get(room)
        if here is None or here.knows(Position(epoch, offset)):
            return
        try:
            delivery = Delivery.of(room, Stored(epoch, offset, payload))
        except ValueError as error:
            self.poison(room, str(error))
            return
        self.counts["received"] += 1
        here.receive(delivery)

    def gap(self, room: str | None, reason: str) -> None:
        """Tell everybody in ``room``, or in all rooms, that messages are missing."""
        self.counts["gaps"] += 1
        for here in self.all():
            if room in (None, here.name):
                here.gaps += 1
                here.deliver(Delivery(Gap(here.name, reason)))

    def poison(self, room: str | None, why: str) -> None:
        """Count what no hub wrote."""
        self.counts["poison"] += 1
        self.detail = f"skipped something in {room!r}: {why}" if room else f"skipped something: {why}"

    def state(self, name: BrokerState, detail: str) -> None:
        """Note how the broker's connection is."""
        self.counts["reconnects"] += name == "connected" and self.broker_state in ("reconnecting", "failed")
        self.broker_state, self.detail = name, detail

    def _decoded(self, name: str, history: list[Stored]) -> list[Delivery]:
        deliveries = []
        for stored in history:
            try:
                deliveries.append(Delivery.of(name, stored))
            except ValueError as error:
                self.poison(name, str(error))
        return deliveries

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, room: Room) -> None:
        async with room.lock:
            if room.empty and room.joined:
                await self._broker.leave(room.name)
                room.joined = False
                room.position = None
            if room.empty and self._rooms.get(room.name) is room:  # somebody may have come meanwhile, and joins it next
                self.dropped_before += room.statistics().dropped
                del self._rooms[room.name]
