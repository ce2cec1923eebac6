"""connect(): a real WebSocket client in this kernel, whose methods are named like those of Starlette's WebSocket."""

from __future__ import annotations

import asyncio
import json
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

from starlette.websockets import WebSocketState
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import WebSocketURI

from kit import closing, loops
from kit.arguments import check_close, check_handshake, check_json_mode
from kit.connection import Connection
from kit.errors import Disconnected, ReceiveTimeout, WrongMessageType
from kit.incoming import Message
from kit.opening import ClientEnd, address_of, check_address, handshake_headers, open_wire, server_heard_out, timeline_of
from kit.pending import Pending
from kit.server import Server
from kit.timeline import Timeline
from kit.wire import ClientWire

__all__ = ["Client", "connect"]


class Client:
    """One WebSocket client, as `connect` returns it. Awaitable from any loop or thread; closing twice is safe.

    Received messages wait in a queue of 256 messages, or 4 Mi characters and bytes of them; while it is full the client stops
    reading from the network, so a server that sends too fast feels it. Cancelling or timing out a receive never loses a
    message, and each message is received once. A client that is dropped without `close` is closed with 1001, and warns of
    it (`ResourceWarning`).

    Attributes:
        connection: this connection as both ends see it: its number, its name, the handler's states.
        timeline: where both sides are recorded; the server's, if it runs in this kernel.
        url: the address that it is connected to.
        faults: the faults of `kit.faults` that are on now, by name.
    """

    def __init__(self, wire: ClientWire, connection: Connection, timeline: Timeline, url: WebSocketURI) -> None:
        self.connection = connection
        self.timeline = timeline
        host = f"[{url.host}]" if ":" in url.host else url.host
        self.url = f"{'wss' if url.secure else 'ws'}://{host}:{url.port}{url.resource_name}"
        self.faults: dict[str, Any] = {}
        self._wire = wire
        weakref.finalize(self, _forgotten, wire, connection.number).atexit = False

    @property
    def number(self) -> int:
        """The connection's number, the same on both ends."""
        return self.connection.number

    @property
    def name(self) -> str:
        """The name given to `connect`."""
        return self.connection.name

    @property
    def response(self) -> Response:
        """The server's answer to the handshake: ``status_code``, ``headers`` … (RFC 6455 §4.2.2)."""
        assert self._wire.response is not None
        return self._wire.response

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose among those offered, or None (RFC 6455 §1.9)."""
        return self._wire.protocol.subprotocol

    @property
    def state(self) -> WebSocketState:
        """``CONNECTED`` while messages can be sent, then ``DISCONNECTED``."""
        return WebSocketState.CONNECTED if self._wire.protocol.state is State.OPEN else WebSocketState.DISCONNECTED

    @property
    def close_code(self) -> int | None:
        """The code that the connection ended with as this side sees it (RFC 6455 §7.1.5); None while it is open."""
        code = self._wire.protocol.close_code
        return None if code is None else int(code)

    @property
    def close_reason(self) -> str | None:
        """The reason that the server closed with; None while the connection is open."""
        return self._wire.protocol.close_reason

    @property
    def ended(self) -> closing.Explanation | None:
        """Why the connection ended, in a sentence and, at the end of a cell, as a table; None while it is open."""
        return None if self.close_code is None else closing.explain(self.connection)

    async def send_text(self, data: str) -> None:
        """Send a text message (RFC 6455 §5.6); returns once its frame is written, or waits while the server does not read.

        Messages leave in the order of the calls, whichever threads those come from. Cancelling it takes nothing back: the
        message leaves all the same.

        Raises:
            TypeError: not a str.
            ValueError: a text that UTF-8 cannot hold, with a lone surrogate (RFC 3629 §3).
            Disconnected: the connection has ended.
        """
        if not isinstance(data, str):
            raise TypeError(f"send_text expects str, but got {type(data).__name__}. Use send_bytes for bytes, send_json for other values.")
        await self._send(Opcode.TEXT, data.encode())

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary message; otherwise like `send_text`."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"send_bytes expects bytes, but got {type(data).__name__}. Use send_text for str, send_json for other values.")
        await self._send(Opcode.BINARY, bytes(data))

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send ``data`` as JSON in a text message, or in a binary one with ``mode="binary"``; otherwise like `send_text`.

        Raises:
            TypeError, ValueError: no JSON can be made of it, or ``mode`` is another.
            Disconnected: the connection has ended.
        """
        check_json_mode(mode)
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        await self._send(Opcode.TEXT if mode == "text" else Opcode.BINARY, text.encode())

    async def receive_text(self, *, timeout: float | None = None) -> str:
        """The next message, which must be text; waits for it, at most ``timeout`` seconds.

        Cancelling it, or a timeout, loses no message: the next receive gets it.

        Raises:
            ReceiveTimeout: nothing came in time.
            WrongMessageType: the next message is binary; it stays first in the queue.
            Disconnected: the connection has ended and every message has been taken.
        """
        return await self._receive(str, "receive_text", timeout)

    async def receive_bytes(self, *, timeout: float | None = None) -> bytes:
        """The next message, which must be binary; otherwise like `receive_text`."""
        return await self._receive(bytes, "receive_bytes", timeout)

    async def receive_json(self, mode: str = "text", *, timeout: float | None = None) -> Any:
        """The next message's JSON, from text or, with ``mode="binary"``, from bytes; otherwise like `receive_text`.

        Raises:
            ValueError: the message is no JSON, and has been taken; or ``mode`` is another.
            ReceiveTimeout, WrongMessageType, Disconnected: as `receive_text` does.
        """
        check_json_mode(mode)
        return json.loads(await self._receive(str if mode == "text" else bytes, "receive_json", timeout))

    async def receive(self, *, timeout: float | None = None) -> dict[str, Any]:
        """The next message of either type, or the end, as the ASGI message that a handler would get (ASGI specification, "receive").

        After the end it returns ``websocket.disconnect`` each time. Otherwise like `receive_text`.

        Raises:
            ReceiveTimeout: nothing came in time.
        """
        try:
            message = await self._receive(object, "receive", timeout)
        except Disconnected as end:
            return {"type": "websocket.disconnect", "code": end.code, "reason": end.reason}
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def iter_text(self) -> AsyncIterator[str]:
        """The text messages as they come, until the connection ends; a binary one raises `WrongMessageType`. Leaving the loop loses none."""
        async for text in self._until_end(self.receive_text):
            yield text

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """The binary messages as they come, until the connection ends; otherwise like `iter_text`."""
        async for data in self._until_end(self.receive_bytes):
            yield data

    async def iter_json(self) -> AsyncIterator[Any]:
        """The text messages' JSON as they come, until the connection ends; otherwise like `iter_text`, and one that is no JSON raises ``ValueError``."""
        async for value in self._until_end(self.receive_json):
            yield value

    async def ping(self) -> float:
        """Send a ping and wait for its pong (RFC 6455 §5.5.2); returns the round trip in seconds.

        It waits for as long as the connection lives; ``async with asyncio.timeout(3):`` limits it. Cancelling it only gives up waiting.

        Raises:
            Disconnected: the connection has ended, or ends before the pong comes.
        """
        try:
            return await loops.run_on(self._wire.loop, self._wire.ping())
        except ConnectionError:
            await server_heard_out(self.connection)
            raise self.disconnected() from None

    async def close(self, code: int = 1000, reason: str = "", *, within_seconds: float = 2.0) -> None:
        """Close with a code and a reason (RFC 6455 §7.1.2), and wait for the server's answer.

        A server that does not answer within ``within_seconds`` is left with a TCP reset. Messages received before the
        close can still be taken. Does nothing once the connection is closed. Cancelling it only gives up waiting: a closing
        that has begun goes on.

        Raises:
            TypeError: the code is no number, or the reason no text.
            ValueError: a code that may not be sent (RFC 6455 §7.4), or a reason of more than 123 bytes (§5.5).
        """
        check_close(code, reason)
        await loops.run_on(self._wire.loop, self._wire.close(code, reason, within_seconds))
        await server_heard_out(self.connection)

    async def abort(self) -> None:
        """Vanish: drop the socket with a TCP reset, without a Close frame and without sending what still waits.

        That is a fault like those of `kit.faults`, and is recorded as one. Safe to call twice, and after the end.
        """
        if self.close_code is None:
            self.connection.vanished_side = "client"
            self.note_fault(f"{self.name} vanishes without a goodbye", "vanishes", "once")
        await loops.run_on(self._wire.loop, self._abort())
        await server_heard_out(self.connection)

    def note_fault(self, text: str, what: str, phase: str) -> None:
        """Record a fault that this client brings about: its ``phase`` ``"begins"``, ``"ends"``, or it happens ``"once"``. From any thread."""
        if self.timeline.recording:
            self.timeline.note(text, kind="fault", connection=self.connection, side="client", what=what, phase=phase)

    async def wait_closed(self) -> None:
        """Wait until the connection has ended, whoever ends it; at once when it has. Cancelling it changes nothing."""
        await loops.run_on(self._wire.loop, _shielded(self._wire.closed))
        await server_heard_out(self.connection)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        end = f" {self.close_code}" if self.close_code else ""
        return f"<Client {self.number} {self.name!r} {self.url} {self.state.name}{end}>"

    async def _send(self, opcode: Opcode, payload: bytes) -> None:
        wire = self._wire
        try:
            if wire.protocol.extensions:
                await loops.run_on(wire.loop, wire.send_through_protocol(opcode, payload))
            elif not wire.write_message(opcode, payload):
                await loops.run_on(wire.loop, wire.drain())
        except ConnectionError:
            await server_heard_out(self.connection)
            raise self.disconnected() from None

    async def _receive(self, kind: type, method: str, timeout: float | None) -> Any:
        try:
            if timeout is None:
                return await self._take(kind, method)
            async with asyncio.timeout(timeout):
                return await self._take(kind, method)
        except TimeoutError:
            raise ReceiveTimeout(f"no message came within {timeout:g} s. One that comes later is kept for the next receive.") from None
        except EOFError:
            await server_heard_out(self.connection)
            raise self.disconnected() from None

    async def _take(self, kind: type, method: str) -> Message:
        while True:
            message = await self._wire.arrival()
            if not isinstance(message, kind):
                self._wire.inbox.pass_on()
                raise _wrong_type(method, message)
            try:
                self._wire.take(message)
                return message
            except IndexError:  # another receive was quicker: wait for the next message
                continue

    async def _until_end(self, receive: Callable[[], Any]) -> AsyncIterator[Any]:
        try:
            while True:
                yield await receive()
        except Disconnected:
            return

    async def _abort(self) -> None:
        self._wire.abort()
        await asyncio.shield(self._wire.closed)

    def disconnected(self) -> Disconnected:
        """The error for whoever wants something of this client now that its connection has ended; it says why."""
        code = self.close_code
        text = str(closing.explain(self.connection)) if code else "The connection is being closed; nothing more can be sent."
        return Disconnected(code or 1006, self.close_reason or "", f"{self.name} is not connected. {text}")


def connect(
    target: Server | str,
    path: str = "/",
    *,
    name: str | None = None,
    subprotocols: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    query: Mapping[str, Any] | None = None,
    origin: str | None = None,
    compression: bool = False,
    max_message_bytes: int = 16 * 2**20,
    handshake_timeout_seconds: float | None = 5.0,
    timeline: Timeline | None = None,
) -> Pending[Client]:
    """Connect a WebSocket client: ``client = await connect(server, "/ws")``, or with ``async with``, which closes it at the end.

    May be awaited on any loop, in any thread; the client itself lives on the kit's own. Cancelling it leaves no connection.
    A server that has been replaced is dialled where its successor is.

    Args:
        target: a server from `serve`, or the address of any server, for example ``"ws://127.0.0.1:8001"``.
        path: where the endpoint is, for example ``"/ws"`` or ``"/items/foo/ws?token=abc"``.
        name: shown in panels and in the Timeline.
        subprotocols: offered in this order.
        headers: more headers for the handshake; a browser could not set them.
        cookies: sent in the ``Cookie`` header.
        query: added to the path, percent-encoded.
        origin: the ``Origin`` header, which a browser would set.
        compression: offer per-message compression (RFC 7692).
        max_message_bytes: a longer message closes the connection with 1009 (RFC 6455 §7.4.1).
        handshake_timeout_seconds: how long the answer to the handshake may take, the way to the server included; None waits for ever.
        timeline: where to record; by default the server's own when it runs in this kernel, else a new one.

    Raises:
        HandshakeRefused: the server answered with an HTTP status; the error carries it with headers and body.
        ConnectError: nobody answered in time, or not in the WebSocket protocol; or the server has been stopped.
        TypeError, ValueError: the arguments cannot make a request.
    """
    check_address(target, path)
    offered = subprotocols if isinstance(subprotocols, str) else [*subprotocols]
    check_handshake(
        subprotocols=offered,
        headers=headers,
        cookies=cookies,
        query=query,
        origin=origin,
        max_message_bytes=max_message_bytes,
        handshake_timeout_seconds=handshake_timeout_seconds,
    )
    extensions = [ClientPerMessageDeflateFactory()] if compression else None
    protocol_options = {"origin": origin, "subprotocols": offered or None, "max_size": max_message_bytes, "extensions": extensions}

    async def opening() -> Client:
        url = address_of(target, path, query)
        kept_in = timeline or timeline_of(target, url)
        end = ClientEnd(url, name, kept_in, handshake_headers(target, headers or {}, cookies or {}), **protocol_options)
        try:
            wire = await loops.background().run(open_wire(end, handshake_timeout_seconds))
        except asyncio.CancelledError:  # it may come when the connection has just been made, and nobody has it
            loops.background().call_soon(end.forsake)
            raise
        return Client(wire, end.connection, kept_in, url)

    return Pending(opening, Client.close, not_yet="this client is not connected yet", advice="client = await connect(server, …)")


def _wrong_type(method: str, message: Message) -> WrongMessageType:
    came, use = ("text", "receive_text") if isinstance(message, str) else ("binary", "receive_bytes")
    wanted = "text" if came == "binary" else "binary"
    return WrongMessageType(f"{method} expects a {wanted} message, but the next one is {came}: {message!r:.60}. It is kept: take it with {use}().")


def _forgotten(wire: ClientWire, number: int) -> None:
    """A Client that nobody holds any more: close its socket, and say so to whoever looks for leaks."""
    if wire.protocol.state is State.OPEN and not wire.loop.is_closed():
        wire.loop.call_soon_threadsafe(lambda: wire.loop.create_task(wire.close(1001, "", 2.0)))
        warnings.warn(f"client {number} was dropped without `await client.close()`; it is being closed.", ResourceWarning, stacklevel=2)


async def _shielded(future: asyncio.Future[None]) -> None:
    await asyncio.shield(future)
