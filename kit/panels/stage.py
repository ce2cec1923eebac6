"""What is behind a StatePanel: one connection whose handler is parked, so that its WebSocket can be driven from outside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState

from kit.client import Client
from kit.connection import Connection
from kit.errors import KitError, ReceiveTimeout
from kit.loops import Mailbox
from kit.opening import ClientEnd, address_of
from kit.server import Server
from kit.timeline import Entry
from kit.websocket_states import APPLICATION, CLIENT, Machine, judge_receive, judge_send
from kit.wire import ClientWire

__all__ = ["Stage", "stage_app"]

_PATH = "/ws"
_NOTICE_SECONDS = 10.0
_LEAVE_SECONDS = 0.5

Moved = tuple[str, str]

_stage_calls: ContextVar[bool] = ContextVar("stage_calls", default=False)


class Stage:
    """One connection of ``server`` with its two ends: a client, and a handler that waits to be let go.

    Attributes:
        server: whose handler is parked.
        websocket: the handler's WebSocket, once the handler has come.
        client: the client at the other end, once the handshake has made a WebSocket.
        last_move: the newest move of a state machine, as (attribute, state before, state after).
        wire: the client's socket.

    Args:
        on_change: called when the client's handshake is answered, when its socket has ended, and when a `receive` begins to wait.
        on_foreign_call: called with ``"receive"`` or ``"send"`` and the message when the WebSocket was used past this stage.
            Both are called from any loop.
    """

    def __init__(self, server: Server, on_change: Callable[[], None], on_foreign_call: Callable[[str, Mapping[str, Any]], None]) -> None:
        self.websocket: WebSocket | None = None
        self.client: Client | None = None
        self.last_move: tuple[str, str, str] | None = None
        self.wire: ClientWire | None = None
        self.server = server
        self._end: ClientEnd | None = None
        self._on_change = on_change
        self._on_foreign_call = on_foreign_call
        self._states = {CLIENT.attribute: "CONNECTING", APPLICATION.attribute: "CONNECTING"}
        self._receives: dict[asyncio.Task[Any] | None, str] = {}  # those that wait, on the server's loop, and why each was given up
        self._follow_task: asyncio.Task[None] | None = None
        self._arrived: Mailbox[WebSocket] = Mailbox()
        self._answered: Mailbox[None] = Mailbox()  # this one and the next two are closed to say that it has happened
        self._released: Mailbox[None] = Mailbox()
        self._returned: Mailbox[None] = Mailbox()

    @property
    def connection(self) -> Connection | None:
        """The connection as both ends see it; None until the client has a socket."""
        return self._end.connection if self._end is not None else None

    @property
    def address(self) -> tuple[Any, ...] | None:
        """The client's own address, by which the handler is known; it has one before the handler can."""
        return self._end.address if self._end is not None else None

    @property
    def waits(self) -> bool:
        """Whether a `receive` waits now."""
        return bool(self._receives)

    # The client's end, on the clients' loop.

    async def begin(self) -> None:
        """Dial, and wait until the handler has come; the handshake stays unanswered, for as long as it takes."""
        self._end = ClientEnd(address_of(self.server, _PATH, None), "client", self.server.timeline)
        self.wire = await self._end.dial()
        self._follow_task = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout(_NOTICE_SECONDS):
                self.websocket = await self._arrived.get()
        except TimeoutError:
            raise KitError(f"the client's handshake did not reach the handler of {self.server.ws_url}{_PATH} within {_NOTICE_SECONDS:g} s.") from None

    async def end(self, why: str) -> None:
        """1. whoever waits in `receive` gives up; 2. the client goes; 3. the handler returns."""
        if self._follow_task is None:
            return
        with contextlib.suppress(KitError):  # its server has been stopped or replaced
            await self.server.run(self.give_up(why))
        if self.client is not None:
            await self.client.close(1001, why, within_seconds=_LEAVE_SECONDS)
        else:
            self.wire.abort()
        await self._follow_task
        await _closed(self._returned, _NOTICE_SECONDS)

    async def vanish(self) -> None:
        """Drop the client's socket, and wait until the server has noticed."""
        await self.open_client()  # what the handler has answered comes before
        if not self.connection.open:
            return
        loop, news, number = asyncio.get_running_loop(), asyncio.Event(), self.connection.number
        subscription = self.server.timeline.subscribe(lambda: loop.call_soon_threadsafe(news.set))
        try:
            self.connection.vanished_side = "client"
            self.wire.abort()
            async with asyncio.timeout(_NOTICE_SECONDS):
                while not any(_is_end_of_server(entry, number) for entry in subscription.take()[0]):
                    await news.wait()
                    news.clear()
        finally:
            subscription.close()

    async def open_client(self) -> Client | None:
        """The client, if the handshake has made a WebSocket; its end hears of the answer a moment after the handler's call."""
        if self.websocket.application_state in (WebSocketState.CONNECTED, WebSocketState.DISCONNECTED):
            await _closed(self._answered, _NOTICE_SECONDS)
        return self.client

    async def _follow(self) -> None:
        """For as long as the client's socket is open; then the handler is let go."""
        wire = self.wire
        await asyncio.shield(wire.handshake)
        if wire.protocol.handshake_exc is None and wire.response is not None:
            self.client = Client(wire, self.connection, self.server.timeline, wire.protocol.uri)
        self._answered.close()
        self._on_change()
        while self.client is not None and (await self.client.receive())["type"] == "websocket.receive":
            pass  # what came is read from the Timeline
        await asyncio.shield(wire.closed)
        self._released.close()
        self._on_change()

    # The handler's end, on the server's loop.

    async def park(self, websocket: WebSocket) -> None:
        """What the handler does: it hands over its WebSocket, and waits to be let go."""
        self._arrived.put([websocket])
        try:
            await _closed(self._released)
        finally:
            self._returned.close()

    async def send(self, message: Mapping[str, Any]) -> Moved:
        """Call ``websocket.send(message)``; returns the state before and after. What an error means is added to it as a note."""
        before, token = self.websocket.application_state.name, _stage_calls.set(True)
        try:
            await self.websocket.send(message)
        except Exception as error:
            gone = isinstance(error, (WebSocketDisconnect, OSError))
            error.add_note(judge_send(before, message, client_gone=gone).meaning or "Starlette let it pass; the server below it did not.")
            raise
        finally:
            _stage_calls.reset(token)
        return before, self.websocket.application_state.name

    async def receive(self, timeout: float | None) -> tuple[dict[str, Any], Moved]:
        """Call ``websocket.receive()``; returns the message, and the state before and after."""
        task, before, token = asyncio.current_task(), self.websocket.client_state.name, _stage_calls.set(True)
        self._receives[task] = ""
        self._on_change()
        try:
            async with asyncio.timeout(timeout):
                message = await self.websocket.receive()
        except TimeoutError:
            raise ReceiveTimeout(f"no message came within {timeout:g} s. One that comes later is kept for the next receive.") from None
        except asyncio.CancelledError:
            if self._receives[task]:
                raise KitError(f"receive was given up: {self._receives[task]}. No message was taken.") from None
            raise
        except Exception as error:
            error.add_note(judge_receive(before).meaning)
            raise
        finally:
            del self._receives[task]
            _stage_calls.reset(token)
        return dict(message), (before, self.websocket.client_state.name)

    async def give_up(self, why: str) -> None:
        """End every `receive` that waits."""
        for task in list(self._receives):
            self._receives[task] = why
            task.cancel()

    def passed(self, verb: str, message: Mapping[str, Any]) -> None:
        """A message has come past Starlette's checks, whoever called; from whichever loop that was."""
        machine = CLIENT if verb == "receive" else APPLICATION
        arrow = machine.find(self._states[machine.attribute], message)
        if arrow is not None:
            self._move(machine, arrow.after)
        if not _stage_calls.get():
            self._on_foreign_call(verb, message)

    def failed(self, message: Mapping[str, Any]) -> None:
        """A message has failed below Starlette, which ends a WebSocket that was connected."""
        if message["type"] == "websocket.send":
            self._move(APPLICATION, "DISCONNECTED")

    def _move(self, machine: Machine, after: str) -> None:
        self.last_move = (machine.attribute, self._states[machine.attribute], after)
        self._states[machine.attribute] = after


def stage_app(on_stage: Callable[[], Stage | None]) -> FastAPI:
    """The app of a `StatePanel`: its only handler parks on the stage whose client has come; strangers are sent away."""
    app = FastAPI()

    def stage_of(address: Any) -> Stage | None:
        stage = on_stage()
        return stage if stage is not None and stage.address == tuple(address or ()) else None

    @app.websocket(_PATH)
    async def handler(websocket: WebSocket) -> None:
        stage = stage_of(websocket.client)
        if stage is None:
            await websocket.close(1008, "this handler belongs to a panel")
        else:
            await stage.park(websocket)

    app.add_middleware(_Witness, stage_of=stage_of)
    return app


class _Witness:
    """An ASGI middleware that tells a stage of every message that its handler receives or sends."""

    def __init__(self, app: Any, stage_of: Callable[[Any], Stage | None]) -> None:
        self._app = app
        self._stage_of = stage_of

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        stage = self._stage_of(scope.get("client")) if scope["type"] == "websocket" else None
        if stage is None:
            await self._app(scope, receive, send)
            return

        async def witnessed_receive() -> Any:
            message = await receive()
            stage.passed("receive", message)
            return message

        async def witnessed_send(message: Any) -> None:
            stage.passed("send", message)
            try:
                await send(message)
            except OSError:
                stage.failed(message)
                raise

        await self._app(scope, witnessed_receive, witnessed_send)


async def _closed(box: Mailbox[None], within_seconds: float | None = None) -> None:
    """Wait until a box is closed, which says that something has happened; at most so long."""
    with contextlib.suppress(EOFError, TimeoutError):
        async with asyncio.timeout(within_seconds):
            await box.get()


def _is_end_of_server(entry: Entry, number: int) -> bool:
    return (entry.kind, entry.side, entry.connection, entry.details.get("what")) == ("end", "server", number, "socket")
