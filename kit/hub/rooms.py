"""A hub's rooms: what its broker delivers to, and where publishing, joining, leaving and catching up happen. Lives on the hub's loop."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any

from kit.hub.attendance import Attendance
from kit.hub.audience import Audience
from kit.hub.broker import Broker
from kit.hub.catch_up import is_known
from kit.hub.delivery import Delivery
from kit.hub.errors import PublishFailed
from kit.hub.member import Member
from kit.hub.message import ComingOrGoing, Gap, Position, Stored
from kit.hub.presence import Arrival, Present
from kit.hub.roll_call import is_of_presence
from kit.hub.room import QUEUES_SHOWN, Room, queue_of
from kit.hub.statistics import BrokerState, QueueStatistics, RoomStatistics
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

    def __init__(self, broker: Broker, *, alone: bool, max_message_bytes: int, block_seconds: float) -> None:
        self.broker_state: BrokerState = "connected"
        self.detail = ""
        self.counts: Counter[str] = Counter()
        self.dropped_before = 0
        self.left = deque[tuple[str, QueueStatistics]](maxlen=_LEFT_SHOWN)
        self._broker = broker
        self._block_seconds = block_seconds
        self._loop = asyncio.get_running_loop()
        self._rooms: dict[str, Room] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._attendance = Attendance(None if alone else broker, self._arrivals, self._tell, max_message_bytes)

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

    async def publish(self, name: str, payload: bytes) -> Position:
        """Hand a message to the broker, once those who may block publishers have room for it.

        Raises:
            PublishFailed: the broker did not take it.
        """
        room = self._rooms.get(name)
        try:
            if room is None or not room.blocks:
                position = await self._broker.publish(name, payload)
            else:
                async with room.turn:
                    await room.space(self._block_seconds)
                    position = await self._broker.publish(name, payload)
        except PublishFailed:
            self.counts["failed"] += 1
            raise
        self.counts["published"] += 1
        if room is not None:
            room.published += 1
        return position

    def subscribe(self, subscriber: Subscriber) -> Room:
        """Let a subscriber into its room."""
        room = self.open_room(subscriber.room)
        room.add_subscriber(subscriber)
        self._attend(subscriber)
        return room

    def admit(self, member: Member) -> Audience:
        """Let a member into its room; what serves it there.

        Raises:
            HubError: its WebSocket is in that room already.
        """
        audience = self.open_room(member.room).add_member(member)
        self._attend(member)
        return audience

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
                self._attend_no_more(leaving)
            self._close_if_empty(room)

    async def present(self, name: str) -> list[Present]:
        """Who is in the room of that name: here, then elsewhere."""
        elsewhere = await self._attendance.elsewhere(name)
        room = self._rooms.get(name)
        return [*(room.present() if room else ()), *elsewhere]

    def statistics(self) -> list[RoomStatistics]:
        """A snapshot of every room that somebody is in, here or, as far as somebody here asks, elsewhere; from any loop."""
        here = {room.name: room for room in self.all()}
        empty = [Room(name, self._loop) for name in self._attendance.followed() if name not in here and self._attendance.count(name)]
        return [self._with_others(room.statistics()) for room in [*here.values(), *empty]]

    def _with_others(self, room: RoomStatistics) -> RoomStatistics:
        elsewhere = self._attendance.count(room.name)
        return room._replace(elsewhere=elsewhere, others=tuple(self._attendance.known(room.name)[:QUEUES_SHOWN]) if elsewhere else ())

    def _attend(self, coming: Subscriber | Member) -> None:
        """Tell the other hubs of a member, and ask them for their members if it wants to know."""
        if isinstance(coming, Member):
            self._attendance.came(coming.room, coming.present)
        if coming.wants_presence:
            self._attendance.follow(coming.room)

    def _attend_no_more(self, leaving: Subscriber | Member) -> None:
        if isinstance(leaving, Member):
            self._attendance.went(leaving.room, leaving.id)
        if leaving.wants_presence:
            self._attendance.unfollow(leaving.room)

    def _arrivals(self, name: str) -> list[Arrival]:
        room = self._rooms.get(name)
        return room.arrivals() if room else []

    def _tell(self, news: ComingOrGoing) -> None:
        """Pass on what another hub has said."""
        if (room := self._rooms.get(news.room)) is not None:
            room.deliver(Delivery(news))

    def _close_if_empty(self, room: Room) -> None:
        """Let the broker leave a room that nobody is in."""
        if room.empty:
            self._start(self._close(room))

    async def end(self) -> None:
        """End every room and every task of theirs."""
        for room in self.all():
            room.end()
        self._rooms.clear()  # first: who leaves from here on has nothing to tell the other hubs
        await self._attendance.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # What the broker calls.

    def message(self, room: str, epoch: str, offset: int, payload: bytes) -> None:
        """Deliver a message to everybody in ``room``."""
        if is_of_presence(room):
            self._hear(room, payload)
            return
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
        if room is None or is_of_presence(room):
            self._attendance.gap(room)
        if room is not None and is_of_presence(room):
            return
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
        self._attendance.state(name == "connected")

    def _hear(self, room: str, payload: bytes) -> None:
        try:
            self._attendance.message(room, payload)
        except ValueError as error:
            self.poison(room, str(error))

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
