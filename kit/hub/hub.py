"""Hub: one message to everybody in a room, in this process or in all that share a broker."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from starlette.websockets import WebSocket

from kit.errors import LoopStopped
from kit.hub.audience import Audience
from kit.hub.backlog import Backlog, BacklogLimits, Policy, check_policy
from kit.hub.broker import ALONE, Broker, BrokerLimits, open_url, without_password
from kit.hub.delivery import Delivery
from kit.hub.errors import HubError
from kit.hub.member import Member
from kit.hub.message import Position, as_position, check_room, encode
from kit.hub.notes import note
from kit.hub.presence import Present, check_metadata, check_name
from kit.hub.rooms import Rooms
from kit.hub.statistics import BrokerState, HubStatistics
from kit.hub.subscriber import Subscriber
from kit.hub.turn import Turn
from kit.loops import run_on

__all__ = ["Hub"]

T = TypeVar("T")


class Hub:
    """Delivers messages to rooms; what broadcaster calls a channel and Channels a group is a room here, as in Socket.IO.

    ::

        async with Hub("memory://") as hub:
            async with hub.subscribe("room") as subscriber:
                await hub.publish("room", "hello")
                async for message in subscriber:
                    print(message.data)

        @app.websocket("/ws")
        async def chat(websocket: WebSocket):
            await websocket.accept()
            async with hub.join(websocket, "room"):
                async for text in websocket.iter_text():
                    await hub.publish("room", text)

    It lives on the loop that opened it, for example in an app's lifespan. Everything else may be called from any loop.
    Every subscriber and member has a bounded queue of its own; when it is full, its ``policy`` decides:

    - ``"disconnect"`` (default): it gets nothing more; a WebSocket is closed with 1013, or aborted when it is stuck;
    - ``"drop_oldest"``: the oldest make room; they are counted, and a `Gap` stands in their place;
    - ``"block"``: this process's publishers wait for it, at most ``block_seconds``; then it is disconnected.

    Args:
        url: ``"memory://"`` for one process, or a broker's (`kit.hub.broker`): ``"redis://…"``, ``"postgresql://…"``, ``"local://…"``.
        history: messages of each room that are kept for ``since=``.
        history_bytes: and how many bytes of them.
        max_message_bytes: the longest message, encoded.
        queue: messages that may wait for one subscriber.
        queue_bytes: and how many bytes of them.
        block_seconds: how long publishers wait under the policy ``"block"``.
        stuck_seconds: after which a socket that takes nothing, while something waits for it, is aborted.
        timeout_seconds: after which opening the broker and publishing give up.

    Raises:
        HubError: no broker has such a URL.
        ValueError: a limit is not positive.
    """

    def __init__(
        self,
        url: str = "memory://",
        *,
        history: int = 256,
        history_bytes: int = 4 << 20,
        max_message_bytes: int = 1 << 20,
        queue: int = 1000,
        queue_bytes: int = 4 << 20,
        block_seconds: float = 2.0,
        stuck_seconds: float = 3.0,
        timeout_seconds: float = 5.0,
    ) -> None:
        _check_positive(max_message_bytes=max_message_bytes, queue=queue, queue_bytes=queue_bytes, block_seconds=block_seconds)
        _check_positive(stuck_seconds=stuck_seconds, timeout_seconds=timeout_seconds, history_bytes=history_bytes, history=history + 1)
        self._broker: Broker = open_url(url, BrokerLimits(history, history_bytes, max_message_bytes, timeout_seconds))
        self._url = without_password(url)
        self._alone = url.partition("://")[0] in ALONE
        self._max_message_bytes = max_message_bytes
        self._limits = BacklogLimits(queue, queue_bytes, block_seconds, stuck_seconds)
        self._id = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rooms: Rooms | None = None  # those of the last time, once the hub is closed
        self._is_open = False
        self._ending: asyncio.Task[None] | None = None  # while it is being closed

    def __repr__(self) -> str:
        return f"<Hub {self._url}, {self.state}>"

    # Its life.

    async def __aenter__(self) -> Hub:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect to the broker; the hub lives on this loop from now on. broadcaster says ``connect``.

        A hub that was closed may be opened again, on any loop. A call that fails or is cancelled leaves it closed.

        Raises:
            HubError: the broker cannot be reached within ``timeout_seconds``, or the hub is open.
        """
        if not self._is_open:
            await self.close()  # somebody may be doing so at this moment
        if self._is_open:
            raise HubError("this hub is open already. Share it, or create another: Hub(url).")
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self._turn = Turn()
        limits = {"max_message_bytes": self._max_message_bytes, "block_seconds": self._limits.block_seconds}
        self._rooms = rooms = Rooms(self._broker, alone=self._alone, **limits)
        self._id = secrets.token_hex(4)  # not before: processes that were forked have hubs that were one
        try:
            await self._broker.open(rooms)
        except BaseException:
            if self._rooms is rooms:
                await self._close()
            raise

    async def close(self) -> None:
        """Leave every room and the broker: subscribers get what waits for them, WebSockets stay open.

        Safe to call twice, from any loop; every call returns once the hub is closed. Cancelling it leaves the hub closing in the background.
        """
        if self._is_open or self._ending is not None:
            try:
                await run_on(self._loop, self._close())
            except LoopStopped:
                self._is_open, self._ending = False, None

    @property
    def state(self) -> BrokerState:
        """``"connected"``, ``"reconnecting"`` or ``"failed"``, as the broker said last; ``"closed"`` while the hub is not open."""
        return self._rooms.broker_state if self._is_open else "closed"

    # Sending.

    async def publish(self, room: str, message: Any) -> Position:
        """Send ``message``, str, bytes or what JSON can say, to everybody in ``room``; Channels says ``group_send``, Socket.IO ``emit``.

        It returns once the broker has the message, with its place in the room, and does not wait for any receiver,
        except for those with the policy ``"block"``. A cancelled call may still deliver the message.

        Raises:
            TypeError, ValueError: a name, a message or a size that cannot be sent; nothing was sent.
            PublishFailed: the broker did not take it in time.
            HubError: the hub is not open.
        """
        check_room(room)
        payload = encode(message, self._max_message_bytes)
        self._opened()  # what is refused is not recorded
        note("publish", room, payload)
        return await self._run(self._publish, room, payload)

    # Receiving.

    def subscribe(
        self, room: str, *, since: Position | None = None, policy: Policy = "disconnect", queue: int | None = None, presence: bool = False
    ) -> Subscriber:
        """A stream of what is published to ``room`` from when its block is entered: ``async with hub.subscribe("room") as subscriber``.

        What another process published shortly before, and is still on its way, may come too.

        Args:
            since: first bring what came after this place: all of it (``subscriber.recovered``), or a `Gap`.
            policy: what happens when it takes its messages too slowly; see `Hub`.
            queue: messages that may wait for it, if not as many as the hub's ``queue``.
            presence: also yield `Joined` and `Left` when WebSockets join and leave, in all processes; see `present`.

        Raises:
            TypeError, ValueError: no such room, position or policy can be.
        """
        backlog = self._backlogs(check_room(room), policy, queue)()
        return Subscriber(self, room, backlog, since=as_position(since), presence=presence)

    def join(
        self,
        websocket: WebSocket,
        room: str,
        *,
        name: str = "",
        metadata: Mapping[str, Any] | None = None,
        envelope: bool = False,
        presence: bool = False,
        since: Position | None = None,
        policy: Policy = "disconnect",
        queue: int | None = None,
    ) -> Member:
        """Write what is published to ``room`` to ``websocket``, inside the block: ``async with hub.join(websocket, "room") as member``.

        Channels says ``group_add``, Socket.IO ``enter_room``. The payload is sent unchanged: text as text, bytes as
        bytes, JSON as its text.

        Args:
            name, metadata: what others see of it in `present` and in notices; at most 4 KiB of metadata.
            envelope: send JSON instead: ``{"type": "message", "room", "epoch", "offset", "data"}``, with ``"base64"`` in the
                place of ``"data"`` for bytes; and ``{"type": "gap", "room", "reason", "count"}`` where some are missing.
            presence: with ``envelope``, also send ``{"type": "joined", "room", "id", "name", "metadata"}`` and the same with ``"left"``,
                of members in all processes; see `present`.
            since, policy, queue: as in `subscribe`.

        Raises:
            TypeError, ValueError: no such room, name, metadata, position or policy can be.
        """
        if not isinstance(websocket, WebSocket):
            raise TypeError(f"hub.join expects the handler's WebSocket, but got {type(websocket).__name__}. Outside of a handler: hub.subscribe({room!r}).")
        if presence and not envelope:
            raise ValueError("presence=True needs envelope=True: a message that is sent unchanged cannot be told from a notice.")
        backlogs = self._backlogs(check_room(room), policy, queue)
        details = {
            "name": check_name(name),
            "metadata": check_metadata(metadata),
            "envelope": envelope,
            "presence": presence,
            "capacity": queue or self._limits.messages,
        }
        return Member(self, websocket, room, backlogs, policy=policy, since=as_position(since), **details)

    # Looking.

    async def present(self, room: str) -> list[Present]:
        """Who is in ``room``: the WebSockets that joined it, in all processes that share the broker; first those of this hub, in their order.

        A person with two sockets is there twice, with two ids. Hubs tell each other by messages on the broker, and only of rooms that
        somebody asks about; so the first call for a room, and one after a minute without any, asks, and returns once all other hubs have
        answered that are there. Which these are their signs of life say; the first call of all waits half a second to hear of them. One that is
        busy is waited for, and one that was killed a moment ago until it is given up. Many rooms are asked for in turn, at least 400 a second.

        What a hub knows of the others is true a moment later (eventual consistency), and notices go by it: who comes or leaves
        elsewhere is known as soon as a message is, at the latest about a minute after one was lost. Who came a moment before
        somebody subscribed may be said to have joined all the same. When a process is killed or cut off, its members stay for up
        to 25 s while the broker can be reached, and then leave all at once, each with its `Left`. While the broker cannot be
        reached, those who were known last are there, and it heals by itself. Of each other hub, up to 10,000 members of a room are
        listed; ``statistics()`` counts all.

        Raises:
            TypeError, ValueError: no room can have such a name.
            HubError: the hub is not open, or the others could not be asked: the broker cannot be reached, or is too slow; or one
                of them is alive and has not answered within 25 s.
        """
        check_room(room)
        return await self._run(self._present, room)

    def statistics(self) -> HubStatistics:
        """What the hub has done and what waits in it, as a snapshot; from any loop, also once it is closed."""
        rooms = [] if self._rooms is None else self._rooms.statistics()
        counts: Mapping[str, int] = {} if self._rooms is None else self._rooms.counts
        names = ("published", "failed", "received", "disconnected", "aborted", "gaps", "poison", "reconnects")
        return HubStatistics(
            url=self._url,
            state=self.state,
            detail="" if self._rooms is None else self._rooms.detail,
            dropped=sum(room.dropped for room in rooms) + (0 if self._rooms is None else self._rooms.dropped_before),
            rooms=tuple(rooms),
            left=() if self._rooms is None else tuple(self._rooms.left),
            **{name: counts.get(name, 0) for name in names},
        )

    # What its subscribers and members call.

    def _next_id(self) -> str:
        return f"{self._id}-{next(self._numbers)}"

    async def _enter_subscriber(self, subscriber: Subscriber) -> None:
        await self._run(self._subscribe, subscriber)

    async def _admit(self, member: Member) -> Audience:
        return await self._run(self._admit_here, member)

    async def _join(self, member: Member) -> tuple[list[Delivery] | None, Position]:
        return await self._run(self._join_here, member)

    async def _leave(self, leaving: Subscriber | Member) -> None:
        """Take ``leaving`` out of its room; safe to call twice, and when the hub is closed. Cancelling does not stop it."""
        if self._rooms is None or self._loop is None:
            return
        if asyncio.get_running_loop() is self._loop:
            self._rooms.leave(leaving)
            return
        with contextlib.suppress(RuntimeError, LoopStopped):  # the hub's loop has ended, and the rooms with it
            self._loop.call_soon_threadsafe(self._loop.call_soon, self._rooms.leave, leaving)  # in two steps, as entering: it comes first, even if cancelled
            await run_on(self._loop, asyncio.sleep(0))

    def _count(self, what: str) -> None:
        """Count something, on the hub's loop; from any."""
        if self._rooms is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._rooms.counts.update, (what,))

    # On its loop, where nobody closes the hub between a look at it and the next wait.

    async def _publish(self, room: str, payload: bytes) -> Position:
        position = await self._opened().publish(room, payload)
        await self._turn.give_way(len(payload))
        return position

    async def _subscribe(self, subscriber: Subscriber) -> None:
        rooms = self._opened()
        room = rooms.subscribe(subscriber)
        subscriber.begin(*await rooms.join(room, subscriber.since))
        await self._turn.give_way()

    async def _admit_here(self, member: Member) -> Audience:
        return self._opened().admit(member)

    async def _join_here(self, member: Member) -> tuple[list[Delivery] | None, Position]:
        rooms = self._opened()
        await self._turn.give_way()
        return await rooms.join(rooms.open_room(member.room), member.since)

    async def _present(self, room: str) -> list[Present]:
        return await self._opened().present(room)

    async def _close(self) -> None:
        """Close it in a task of its own, which goes on when this call is cancelled."""
        if self._is_open:
            self._is_open = False
            self._ending = asyncio.create_task(self._end(), name="hub closes")
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _end(self) -> None:
        try:
            await self._rooms.end()
        finally:
            try:
                await self._broker.close()
            finally:
                self._ending = None

    # Helpers.

    def _opened(self) -> Rooms:
        if self._rooms is None or not self._is_open:
            raise HubError("this hub is not open. Write `async with Hub(url) as hub: …`, or `await hub.open()`, for example in the app's lifespan.")
        return self._rooms

    async def _run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Call one of those above on the hub's loop; the hub is open, or this says so."""
        self._opened()
        if asyncio.get_running_loop() is self._loop:
            return await function(*arguments)
        return await run_on(self._loop, function(*arguments))

    def _backlogs(self, room: str, policy: str, queue: int | None) -> Callable[[], Backlog]:
        """What makes a backlog, once it is needed; the arguments are checked now."""
        if queue is not None:
            _check_positive(queue=queue)
        limits = self._limits if queue is None else replace(self._limits, messages=queue)
        return partial(Backlog, room, check_policy(policy), limits)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}= expects a number above 0, but got {value!r}.")
