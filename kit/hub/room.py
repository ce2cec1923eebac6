"""One room of a hub: who is in it, and how a message gets to them all. Lives on the hub's loop."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Iterator

from kit.errors import LoopStopped
from kit.hub.audience import Audience
from kit.hub.catch_up import is_known
from kit.hub.delivery import Delivery
from kit.hub.errors import HubError
from kit.hub.member import Member
from kit.hub.message import ComingOrGoing, Joined, Left, Position
from kit.hub.presence import Arrival, Present
from kit.hub.statistics import QueueStatistics, RoomStatistics
from kit.hub.subscriber import Subscriber

__all__ = ["Room", "queue_of"]

QUEUES_SHOWN = 200


class Room:
    """The subscribers and members of one room in this hub.

    Attributes:
        name: the room's.
        lock: held while the broker joins or leaves the room.
        joined: whether the broker delivers it.
        begun: where it was when the broker joined it.
        position: of the last message since then.
        published: messages that this hub sent to it.
        gaps: times that the broker lost messages of it.
        turn: held by one publisher at a time while somebody here may block publishers.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        self.joined = False
        self.begun: Position | None = None
        self.position: Position | None = None
        self.published = 0
        self.gaps = 0
        self.turn = asyncio.Lock()
        self._loop = loop
        self._subscribers: dict[Subscriber, None] = {}
        self._members: dict[int, Member] = {}  # by their sockets
        self._audiences: dict[asyncio.AbstractEventLoop, Audience] = {}
        self._blocking: dict[Subscriber | Member, None] = {}
        self._received = 0
        self._dropped_before = 0

    @property
    def empty(self) -> bool:
        """Whether nobody of this hub is in it."""
        return not self._subscribers and not self._members

    @property
    def blocks(self) -> bool:
        """Whether somebody here may block publishers."""
        return bool(self._blocking)

    def add_subscriber(self, subscriber: Subscriber) -> None:
        """Deliver to ``subscriber`` from now on."""
        self._subscribers[subscriber] = None
        if subscriber.policy == "block":
            self._blocking[subscriber] = None

    def add_member(self, member: Member) -> Audience:
        """Let ``member`` in, tell the others, and return what serves it on its loop.

        Raises:
            HubError: its WebSocket is a member already.
        """
        if member.socket_id in self._members:
            raise HubError(f"this WebSocket has joined {self.name!r} already, and would get every message twice. Join each room once.")
        self.deliver(Delivery(Joined(self.name, member.id, member.name, member.metadata)))
        self._members[member.socket_id] = member
        member.entered_at = self._loop.time()
        if member.policy == "block":
            self._blocking[member] = None
        if member.loop not in self._audiences:
            self._audiences[member.loop] = Audience(self.name, member.loop, self._loop)
        return self._audiences[member.loop]

    def remove(self, leaving: Subscriber | Member) -> bool:
        """Deliver to it no more, and tell the others; False when it was not here any more."""
        self._blocking.pop(leaving, None)
        if leaving in self._subscribers:
            del self._subscribers[leaving]
        elif isinstance(leaving, Member) and self._members.get(leaving.socket_id) is leaving:
            del self._members[leaving.socket_id]
            if not any(member.loop is leaving.loop for member in self._members.values()):
                del self._audiences[leaving.loop]
            self.deliver(Delivery(Left(self.name, leaving.id, leaving.name, leaving.metadata)))
        else:
            return False
        self._dropped_before += leaving.dropped
        return True

    def knows(self, position: Position) -> bool:
        """Whether the message at ``position`` came already, or is older than the room's joining: brokers may bring one twice, or late."""
        return is_known(position, self.position) or is_known(position, self.begun)

    def receive(self, delivery: Delivery) -> None:
        """Deliver a message that the broker brought."""
        self._received += 1
        self.position = delivery.position
        self.deliver(delivery)

    def deliver(self, delivery: Delivery) -> None:
        """Pass a message or notice to everybody."""
        of_presence = isinstance(delivery.item, ComingOrGoing)
        for subscriber in list(self._subscribers):
            if subscriber.wants_presence or not of_presence:
                subscriber.deliver(delivery)
        for audience in list(self._audiences.values()):
            audience.deliver(delivery)

    def present(self) -> list[Present]:
        """Its members, in the order in which they came."""
        return [member.present for member in list(self._members.values())]

    def arrivals(self) -> list[Arrival]:
        """The same, and how long ago they came; on the hub's loop."""
        now = self._loop.time()
        return [Arrival(member.present, now - member.entered_at) for member in self._members.values()]

    async def space(self, timeout_seconds: float) -> None:
        """Wait for those who may block publishers; who is still full after the timeout is disconnected."""
        try:
            async with asyncio.timeout(timeout_seconds):
                for blocking in list(self._blocking):
                    with contextlib.suppress(LoopStopped):
                        await blocking.space()
        except TimeoutError:
            for blocking in list(self._blocking):
                if blocking.full:
                    self._disconnect(blocking, f"too slow: publishers waited {timeout_seconds:g} s for it")

    def end(self) -> None:
        """Say to everybody that nothing more will come; subscribers take what waits."""
        for subscriber in self._subscribers:
            subscriber.finish()
        for member in self._members.values():
            _call(member.loop, member.finish)

    def statistics(self) -> RoomStatistics:
        """A snapshot, from any loop."""
        queues = list(self._queues())
        fullest = heapq.nlargest(QUEUES_SHOWN, queues, key=lambda queue: (queue.waiting, queue.dropped))
        return RoomStatistics(
            name=self.name,
            position=self.position or self.begun,
            published=self.published,
            received=self._received,
            gaps=self.gaps,
            subscribers=len(self._subscribers),
            members=len(self._members),
            behind=sum(audience.count_behind for audience in list(self._audiences.values())),
            waiting=sum(queue.waiting for queue in queues),
            waiting_bytes=sum(queue.waiting_bytes for queue in queues),
            dropped=self._dropped_before + sum(queue.dropped for queue in queues),
            queues=tuple(fullest),
        )

    def _queues(self) -> Iterator[QueueStatistics]:
        yield from map(queue_of, list(self._subscribers))
        yield from map(queue_of, list(self._members.values()))

    def _disconnect(self, slow: Subscriber | Member, reason: str) -> None:
        if isinstance(slow, Member):
            _call(slow.loop, slow.disconnect, reason)
        else:
            slow.disconnect(reason)
        self._blocking.pop(slow, None)


def queue_of(each: Subscriber | Member) -> QueueStatistics:
    """A snapshot of one queue, from any loop."""
    kind, name, ended = ("member", each.name, each.ended) if isinstance(each, Member) else ("subscriber", "", each.disconnected)
    return QueueStatistics(each.id, kind, name, each.policy, each.waiting, each.waiting_bytes, each.dropped, each.capacity, ended)


def _call(loop: asyncio.AbstractEventLoop, function: object, *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and its sockets with it
        loop.call_soon_threadsafe(function, *arguments)
