"""hub.join(): a WebSocket as a member of a room, written to by the hub, and let go when it does not read."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket

from kit.hub.audience import Audience
from kit.hub.backlog import TOO_SLOW_CODE, Backlog, Policy
from kit.hub.catch_up import HELD_MESSAGES, caught_up, is_known
from kit.hub.delivery import Delivery
from kit.hub.errors import HubError
from kit.hub.member_socket import CLOSED, MemberSocket
from kit.hub.message import Joined, Position
from kit.hub.notes import note
from kit.hub.presence import Present
from kit.loops import run_on

if TYPE_CHECKING:
    from kit.hub.hub import Hub

__all__ = ["Member"]


class Member:
    """``async with hub.join(websocket, "room") as member``: inside the block the hub writes the room's messages to it.

    Entered by the handler, after ``accept``. The handler goes on receiving and sending as it likes. A socket that takes
    nothing for ``stuck_seconds`` while something waits for it is aborted, under every policy; the handler then gets its
    disconnect. The hub writes through the outlet of `kit.outlet` where the server has one, else through Starlette's
    ``send_text`` and ``send_bytes``; there a stuck socket is no longer written to, but only the server can abort it.

    Attributes:
        room: what it is a member of.
        id: unique among all members of all hubs.
        name: for people to read.
        metadata: what others see of it.
        policy: what happens when it does not take its messages fast enough.
        capacity: messages that may wait for it.
        enveloped: whether it gets JSON with room and position instead of the payload unchanged.
        missed, recovered: what ``since=`` brought, as in `Subscriber`.
        socket_id: the same for all members of one WebSocket.
        position: where the room was when it joined, or ``since`` until then.
        ended: why the hub no longer writes to it, in words; None while it does.
        outlet: see `MemberSocket`.
        entered_at: when the room let it in, in the time of the hub's loop.
    """

    def __init__(
        self,
        hub: Hub,
        websocket: WebSocket,
        room: str,
        new_backlog: Callable[[], Backlog],
        *,
        policy: Policy,
        since: Position | None,
        name: str,
        metadata: Mapping[str, Any],
        envelope: bool,
        presence: bool,
        capacity: int,
    ) -> None:
        self.room = room
        self.id = hub._next_id()
        self.name = name or f"member {self.id.rpartition('-')[2]}"
        self.metadata = metadata
        self.enveloped = envelope
        self.wants_presence = presence
        self.policy = policy
        self.capacity = capacity
        self.since = since
        self.missed: int | None = 0
        self.recovered = False
        self.position: Position | None = None
        self.ended: str | None = None
        self.entered_at = 0.0
        self._hub = hub
        self._socket = MemberSocket(websocket, hub._limits.stuck_seconds)
        self.outlet = self._socket.outlet
        self.socket_id = self._socket.id
        self._known: Position | None = None  # while the history was ahead of what the broker delivers
        self._held: list[Delivery] | None = []
        self._new_backlog = new_backlog
        self._backlog: Backlog | None = None  # only while something waits: of a thousand members, few have any
        self._dropped_before = 0
        self._joined = False
        self._audience: Audience | None = None
        self._writer_task: asyncio.Task[None] | None = None
        self._closing_task: asyncio.Task[None] | None = None

    @property
    def present(self) -> Present:
        """What others see of it."""
        return Present(self.id, self.name, self.metadata)

    @property
    def dropped(self) -> int:
        """Messages that made room for newer ones, under the policy ``"drop_oldest"``."""
        backlog = self._backlog
        return self._dropped_before + (0 if backlog is None else backlog.dropped)

    @property
    def waiting(self) -> int:
        """Messages that wait because the socket takes no more."""
        backlog = self._backlog
        return 0 if backlog is None else len(backlog)

    @property
    def waiting_bytes(self) -> int:
        """And their bytes."""
        backlog = self._backlog
        return 0 if backlog is None else backlog.waiting_bytes

    @property
    def full(self) -> bool:
        """Whether as much waits as may wait."""
        backlog = self._backlog
        return backlog is not None and backlog.full

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of its WebSocket."""
        return self._loop

    async def __aenter__(self) -> Member:
        self._check_may_join()
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        try:
            self._audience = await self._hub._admit(self)
            self._audience.add(self)
            missed, self.position = await self._hub._join(self)
        except BaseException:
            await self.leave()
            raise
        self._joined = True
        note("join", self.room)
        self._begin(missed)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._closing_task is not None:
                await asyncio.wait([self._closing_task])  # so that cancelling the handler cancels this wait, and not only the closing
        finally:
            await self.leave()

    async def leave(self) -> None:
        """Leave the room; what waits is thrown away. Safe to call twice, on the WebSocket's loop."""
        if self._joined:
            self._joined = False
            note("leave", self.room)
        self._end("it left")
        for task in (self._writer_task, self._closing_task):
            if task is not None:
                task.cancel()
        await self._hub._leave(self)

    # What the audience and the hub call, on the WebSocket's loop.

    def queue(self, delivery: Delivery) -> None:
        """Put ``delivery`` into the backlog, and see that it is written; or disconnect as the policy says."""
        if self.ended is not None or delivery.data(self.enveloped) is None or (self._known is not None and self._is_known(delivery)):
            return
        if self._held is not None:
            self._hold(delivery)
        elif self._opened_backlog().put(delivery):
            self._write_soon()
        else:
            self.disconnect(self._backlog.in_words())

    def disconnect(self, reason: str) -> None:
        """Write nothing more, throw away what waits, and close with 1013 and ``reason``; or abort, when the socket takes not even that."""
        if self.ended is None:
            self._end(reason)
            if self._writer_task is not None:
                self._writer_task.cancel()
            self._hub._count("disconnected")
            self._closing_task = self._start(self._close(reason))

    def finish(self) -> None:
        """Write nothing more, because the hub was closed; the WebSocket stays open."""
        self._end("the hub was closed")
        if self._writer_task is not None:
            self._writer_task.cancel()

    async def space(self) -> None:
        """Wait, on any loop, until its backlog has room; what is on the way to its loop counts too."""
        await run_on(self._loop, self._space())

    def _check_may_join(self) -> None:
        if self._audience is not None:
            raise HubError("this member was entered before; call hub.join(…) again for another one.")
        if not self._socket.accepted:
            raise HubError("hub.join expects a WebSocket that has been accepted and not closed. Write `await websocket.accept()` before it.")

    def _begin(self, missed: list[Delivery] | None) -> None:
        if self.ended is not None:
            return
        held, self._held = self._held, None
        if self.since is not None:
            self.recovered = missed is not None
            self.missed = None if missed is None else len(missed)
        first, then, last = caught_up(self.room, self.since, missed, held, self.position)
        self._known = last if self.recovered else None
        if first:
            self._opened_backlog().begin_with(first)
        for delivery in then:
            if not (isinstance(delivery.item, Joined) and delivery.item.id == self.id):
                self.queue(delivery)
        self._write_soon()

    def _is_known(self, delivery: Delivery) -> bool:
        known = is_known(delivery.position, self._known)
        if delivery.position is not None and not known:
            self._known = None
        return known

    def _opened_backlog(self) -> Backlog:
        if self._backlog is None:
            self._backlog = self._new_backlog()
        return self._backlog

    def _drop_backlog(self) -> None:
        backlog, dropped = self._backlog, self.dropped
        self._backlog, self._dropped_before = None, dropped
        if backlog is not None:
            backlog.close()
            backlog.clear()

    async def _space(self) -> None:
        if self._backlog is not None:
            await self._backlog.space()

    def _hold(self, delivery: Delivery) -> None:
        self._held.append(delivery)
        if len(self._held) > max(self._hub._limits.messages, HELD_MESSAGES):
            self.disconnect("too slow: the history took too long to come")

    def _write_soon(self) -> None:
        """See that what waits is written; who has nothing waiting is served in the lane of those that keep up."""
        if not self.waiting:
            self._keep_up()
        elif self._writer_task is None:
            self._writer_task = self._start(self._write_backlog())

    def _start(self, coroutine: Any) -> asyncio.Task[None]:
        """A task in the handler's context, not the publisher's: what is recorded in it belongs to this connection."""
        return self._loop.create_task(coroutine, context=self._context)

    async def _write_backlog(self) -> None:
        try:
            while self.waiting and self.ended is None:
                await self._socket.write_some(self._backlog, self.enveloped)
        except TimeoutError:
            self._abort(f"stuck: it took nothing for {self._socket.stuck_seconds:g} s")
        except CLOSED:
            self._end("its WebSocket is closed")
        self._writer_task = None
        self._keep_up()

    def _keep_up(self) -> None:
        if self.ended is None:
            self._drop_backlog()
            if self.outlet is not None and self._known is None:
                self._audience.keeps_up(self)

    async def _close(self, reason: str) -> None:
        try:
            await self._socket.close(TOO_SLOW_CODE, reason)
        except (TimeoutError, asyncio.CancelledError):
            self._abort(reason)
        except CLOSED:  # by somebody else meanwhile
            return

    def _abort(self, reason: str) -> None:
        self._end(reason)
        if self._socket.abort():
            self._hub._count("aborted")

    def _end(self, reason: str) -> None:
        if self.ended is None:
            self.ended = reason
            self._held = None
            self._drop_backlog()
            if self._audience is not None:
                self._audience.remove(self)
