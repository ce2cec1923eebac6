"""hub.subscribe(): a stream of one room's messages, for any coroutine, with a bounded queue of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kit.hub.backlog import TOO_SLOW_CODE, Backlog
from kit.hub.catch_up import HELD_MESSAGES, caught_up, is_known
from kit.hub.delivery import Delivery
from kit.hub.errors import HubError, SubscriberDisconnected
from kit.hub.message import Message, Notice, Position
from kit.hub.notes import note

if TYPE_CHECKING:
    from kit.hub.hub import Hub

__all__ = ["Subscriber"]


class Subscriber:
    """``async with hub.subscribe("room") as subscriber: async for message in subscriber``.

    It yields `Message`s, a `Gap` where some are missing, and with ``presence=True`` also `Joined` and `Left`. Entered
    and iterated on any loop. It ends when the hub is closed. Leaving the block twice is safe.

    Attributes:
        room: what it is subscribed to.
        id: unique among all subscribers and members of all hubs.
        policy: what happens when it does not take its messages fast enough.
        capacity: messages that may wait for it.
        since: the position it was asked to catch up from, or None.
        missed: how many messages were caught up at the beginning; None when it is not known how many were missed.
        recovered: whether everything after ``since`` was there: all of it comes first then, or none of it.
        position: of the last message that was taken; ``since=`` for the next time.
    """

    def __init__(self, hub: Hub, room: str, backlog: Backlog, *, since: Position | None, presence: bool) -> None:
        self.room = room
        self.id = hub._next_id()
        self.since = since
        self.missed: int | None = 0
        self.recovered = False
        self.position: Position | None = since
        self.wants_presence = presence
        self.policy = backlog.policy
        self.capacity = backlog.limits.messages
        self._backlog = backlog
        self.disconnected: str | None = None
        self._hub = hub
        self._known: Position | None = None  # while the history was ahead of what the broker delivers
        self._held: list[Delivery] | None = []  # what comes while the history is being fetched
        self._entered = False
        self._subscribed = False

    @property
    def dropped(self) -> int:
        """Messages that made room for newer ones, under the policy ``"drop_oldest"``."""
        return self._backlog.dropped

    @property
    def waiting(self) -> int:
        """Messages that wait to be taken."""
        return len(self._backlog)

    @property
    def waiting_bytes(self) -> int:
        """And their bytes."""
        return self._backlog.waiting_bytes

    @property
    def full(self) -> bool:
        """Whether as much waits as may wait."""
        return self._backlog.full

    async def __aenter__(self) -> Subscriber:
        if self._entered:
            raise HubError("this subscriber was entered before; call hub.subscribe(…) again for another one.")
        self._entered = True
        try:
            await self._hub._enter_subscriber(self)
        except BaseException:
            await self.unsubscribe()
            raise
        self._subscribed = True
        note("subscribe", self.room)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.unsubscribe()

    async def unsubscribe(self) -> None:
        """Get nothing more; what waits is thrown away. Safe to call twice, from any loop."""
        if self._subscribed:
            self._subscribed = False
            note("unsubscribe", self.room)
        self._backlog.close()
        self._backlog.clear()
        await self._hub._leave(self)

    def __aiter__(self) -> Subscriber:
        if not self._entered:
            raise HubError(f"nobody subscribed yet. Write: async with hub.subscribe({self.room!r}) as subscriber: async for message in subscriber: …")
        return self

    async def __anext__(self) -> Message | Notice:
        try:
            return await self._take()
        except EOFError:
            raise StopAsyncIteration from None

    async def get(self, *, timeout: float | None = None) -> Message | Notice:
        """The next message or notice; a cancelled or timed-out call loses none.

        Raises:
            TimeoutError: nothing came within ``timeout`` seconds.
            SubscriberDisconnected: it was too slow for its policy.
            HubError: the subscription or the hub has ended.
        """
        self.__aiter__()
        try:
            async with asyncio.timeout(timeout):
                return await self._take()
        except TimeoutError:
            raise TimeoutError(f"no message came to {self.room!r} within {timeout:g} s. One that comes later is kept for the next get().") from None
        except EOFError:
            raise HubError(f"the subscription to {self.room!r} has ended: it was left, or the hub was closed.") from None

    # What the room calls, on the hub's loop.

    def deliver(self, delivery: Delivery) -> None:
        """Queue a delivery, or disconnect as the policy says."""
        if self.disconnected is not None or (self._known is not None and self._is_known(delivery)):
            return
        if self._held is not None:
            self._held.append(delivery)
            if len(self._held) > max(self._backlog.limits.messages, HELD_MESSAGES):
                self.disconnect("too slow: the history took too long to come")
        elif not self._backlog.put(delivery):
            self.disconnect(self._backlog.in_words())

    def begin(self, missed: list[Delivery] | None, position: Position) -> None:
        """Queue what was caught up, then what came meanwhile; ``missed`` is None when something of it is gone."""
        if self.disconnected is not None:
            return
        held, self._held = self._held, None
        if self.since is None:
            self.position = position
        else:
            self.recovered = missed is not None
            self.missed = None if missed is None else len(missed)
        first, then, last = caught_up(self.room, self.since, missed, held, position)
        self._known = last if self.recovered else None
        self._backlog.begin_with(first)
        for delivery in then:
            self.deliver(delivery)

    def disconnect(self, reason: str) -> None:
        """Throw away what waits; whoever iterates gets `SubscriberDisconnected`."""
        if self.disconnected is None:
            self.disconnected = reason
            self._held = None
            self._backlog.close()
            self._backlog.clear()
            self._hub._count("disconnected")

    def finish(self) -> None:
        """Say that nothing more will come, because the hub was closed; what waits can still be taken."""
        self._backlog.close()

    async def space(self) -> None:
        """Wait until its queue has room."""
        await self._backlog.space()

    def _is_known(self, delivery: Delivery) -> bool:
        known = is_known(delivery.position, self._known)
        if delivery.position is not None and not known:
            self._known = None
        return known

    async def _take(self) -> Message | Notice:
        try:
            delivery = await self._backlog.get()
        except EOFError:
            self._raise_if_disconnected()
            raise
        self.position = delivery.position or self.position
        if delivery.payload is not None:
            note("receive", self.room, delivery.payload)
        return delivery.item

    def _raise_if_disconnected(self) -> None:
        if self.disconnected is not None:
            advice = "Take messages faster, choose another policy=, or catch up: hub.subscribe(room, since=subscriber.position)."
            text = f"the subscriber of {self.room!r} was disconnected: {self.disconnected}. {advice}"
            raise SubscriberDisconnected(text, code=TOO_SLOW_CODE, reason=self.disconnected)
