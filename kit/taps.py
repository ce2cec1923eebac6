"""The taps: what feeds the Timeline, from the raw bytes at each end and from the ASGI messages in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from websockets.protocol import Protocol

from kit import frames, source
from kit.admission import blotted
from kit.connection import Connection
from kit.loops import Mailbox, run_on
from kit.outlet import Outlet
from kit.output import serving
from kit.payload import PREVIEW_CHARACTERS, Payload, SamePayload, size_bytes
from kit.timeline import Timeline

__all__ = ["AsgiTap", "HandlerTap", "TransportTap", "WireTap", "connection_in", "note_closes"]

LONG_BYTES = 4096
_BODY_KEPT_BYTES = 4096

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class WireTap:
    """Records what one end of one connection takes from the wire (``incoming``) and puts on it (``outgoing``).

    Call it before the bytes are used: then the order of the Timeline is the order of cause and effect. Whole messages
    that are recorded elsewhere are only counted (``count_outgoing``).
    """

    __slots__ = ("_incoming", "connection", "count_outgoing", "incoming", "outgoing", "side", "timeline")

    def __init__(self, timeline: Timeline, connection: Connection, side: str) -> None:
        heads = {"in": frames.describe_request, "out": frames.describe_response}
        if side == "client":
            heads = {"in": frames.describe_response, "out": frames.describe_request}
        incoming = _Direction(timeline, connection, side, "frame-in", heads["in"])
        outgoing = _Direction(timeline, connection, side, "frame-out", heads["out"])
        self.timeline = timeline
        self.connection = connection
        self.side = side
        self._incoming = incoming
        self.incoming: Callable[[bytes], None] = incoming.passes
        self.outgoing: Callable[[bytes], None] = outgoing.passes
        self.count_outgoing: Callable[[int], None] = outgoing.count

    @property
    def between_frames(self) -> bool:
        """Whether what has come in so far ends with a whole frame."""
        return self._incoming.between_frames

    def closed_by_peer(self, code: int, reason: str) -> None:
        """Note the Close frame that came, unless the peer is of this kernel and has noted it at its own end."""
        self.connection.note_close("client" if self.side == "server" else "server", code, reason)

    def ended(self, how: str) -> None:
        """Record that this end's socket is closed; ``how`` says it in words."""
        self.timeline.recorder(self.connection, self.side, _describe_end)(how, "socket")


class _Direction:
    """One direction at one end: the handshake's head, then frames, each recorded once it is complete."""

    __slots__ = ("_connection", "_cutter", "_describe_head", "_kind", "_messages", "_record_frame", "_side", "_timeline", "_way")

    def __init__(self, timeline: Timeline, connection: Connection, side: str, kind: str, describe_head: Any) -> None:
        self._timeline = timeline
        self._connection = connection
        self._side = side
        self._kind = kind
        self._way = "up" if (side == "client") == (kind == "frame-out") else "down"
        self._describe_head = describe_head
        self._record_frame = timeline.recorder(connection, side, frames.describe_frame)
        self._cutter = frames.FrameCutter()
        self._messages = 0

    @property
    def between_frames(self) -> bool:
        return self._cutter.at_boundary

    def passes(self, data: bytes) -> None:
        """Take note of a chunk. The common case, a chunk of exactly one frame, needs no cutting."""
        cutter = self._cutter
        if cutter.at_boundary and frames.frame_bytes(data) == len(data):
            self._frame(data, data[0])
            return
        if cutter.in_handshake:
            head = cutter.cut_head(data)
            if head is None:
                return
            self._head(head)
            data = b""
        if self._connection.refused_status is None:
            for frame in cutter.cut(data):
                self._frame(frame, frame[:1][0])

    def count(self, messages: int) -> None:
        """Take note of so many messages that pass here and are recorded elsewhere."""
        self._messages += messages

    def _frame(self, frame: bytes | frames.Pieces, first_byte: int) -> None:
        opcode = first_byte & 15
        if opcode >= frames.CLOSE:
            if opcode == frames.CLOSE and self._kind == "frame-out":
                self._connection.close_frames.append((self._side, *frames.close_payload(frame)))
            self._record_frame(frame, (self._kind, None))
            return
        if opcode:  # a continuation belongs to the message that was counted at its first frame
            self._messages += 1
        if len(frame) > PREVIEW_CHARACTERS:
            frame = self._keep(frame, first_byte)
        self._record_frame(frame, (self._kind, self._messages))

    def _keep(self, frame: bytes | frames.Pieces, first_byte: int) -> Any:
        """What is recorded of a long frame; a whole, uncompressed message is kept once for all places that see it."""
        if len(frame) > LONG_BYTES and first_byte in (0x81, 0x82):
            return _keep_once(self._timeline, self._connection, (self._way, self._messages), frame, is_frame=True)
        return self._timeline.keep(frame, is_frame=True)

    def _head(self, head: bytes) -> None:
        head, body = blotted(head), b""
        if self._describe_head is frames.describe_response and not head.startswith(b"HTTP/1.1 101"):
            body = self._cutter.rest()[:_BODY_KEPT_BYTES]
            note_status(self._connection, head)
        self._timeline.recorder(self._connection, self._side, self._describe_head)(head, body)


def note_status(connection: Connection, head: bytes) -> None:
    """Note the HTTP status of a handshake that was refused; 0 when there is none to read."""
    if not head.startswith(b"HTTP/1.1 101"):
        status = head[9:12]
        connection.refused_status = int(status) if status.isdigit() else 0


def note_closes(connection: Connection, side: str, protocol: Protocol) -> None:
    """Note the Close frames that ``side`` has sent and had, in their order, where no tap has seen them on the wire."""
    peer = "client" if side == "server" else "server"
    known = [(side, protocol.close_sent), (peer, protocol.close_rcvd)]
    for sender, close in reversed(known) if protocol.close_rcvd_then_sent else known:
        if close is not None:
            connection.note_close(sender, int(close.code), close.reason)


class TransportTap:
    """An asyncio transport that shows a `WireTap` what is written, behind what is due on the outlet. All else is the transport's own, but for one thing:

    uvicorn pauses reading after every message until the handler takes it, which costs two system calls a message. Here
    a pause takes effect only when a second message waits, so a handler that keeps up is never paused.
    """

    def __init__(self, transport: asyncio.Transport, tap: WireTap | None, connection: Connection, outlet: Outlet) -> None:
        self._transport = transport
        self._tap = tap
        self._outlet = outlet
        self._connection = connection
        self._pause_asked = False
        self._paused = False
        self._write = transport.write
        if tap is None:
            self.write = self._write_head

    def write(self, data: bytes) -> None:
        if self._outlet.used:
            self._outlet.flush()
        if data:
            self._tap.outgoing(data)
        self._write(data)

    def close(self) -> None:
        self._outlet.flush()
        self._transport.close()

    def _write_head(self, data: bytes) -> None:
        """Without recording, all that is looked at is the first write: the answer to the handshake."""
        self.write = self._write_unrecorded
        note_status(self._connection, data)
        self._write(data)

    def _write_unrecorded(self, data: bytes) -> None:
        if self._outlet.used:
            self._outlet.flush()
        self._write(data)

    def pause_reading(self) -> None:
        self._pause_asked = True

    def resume_reading(self) -> None:
        self._pause_asked = False
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def pause_if_behind(self, waiting_messages: int) -> None:
        """Pause for real when more than one message waits."""
        if self._pause_asked and not self._paused and waiting_messages > 1:
            self._paused = True
            self._transport.pause_reading()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class AsgiTap:
    """An ASGI application around the reader's: every WebSocket handler gets a `HandlerTap` for its send and receive.

    Attributes:
        lifespan_error: the exception with which the app's lifespan start-up failed.
        lifespan_task: the task in which its lifespan runs.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self.lifespan_error: BaseException | None = None
        self.lifespan_task: asyncio.Task[Any] | None = None

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        """The coroutine that serves ``scope``: one less for every connection to hold."""
        serve = {"websocket": self._serve_websocket, "lifespan": self._serve_lifespan}.get(scope["type"], self.app)
        return serve(scope, receive, send)

    async def _serve_websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        here = serving.get()
        if here is None or here.connection is None:
            await self.app(scope, receive, send)
            return
        tap = HandlerTap(here.timeline, here.connection, receive, send, scope["extensions"]["kit.outlet"]["outlet"])
        here.connection.handler_task = asyncio.current_task()
        try:
            await self.app(scope, tap.receive, tap.send)
        except BaseException as error:
            tap.raised(error)
            raise
        else:
            tap.returned()
        finally:
            here.connection.handler_task = None
            here.flush()

    async def _serve_lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        self.lifespan_task = asyncio.current_task()
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            self.lifespan_error = error
            raise


def connection_in(frame: FrameType | None) -> int | None:
    """The number of the connection whose handler runs in ``frame``'s stack."""
    while frame is not None:
        if frame.f_code is AsgiTap._serve_websocket.__code__:
            return frame.f_locals["here"].connection.number
        frame = frame.f_back
    return None


class HandlerTap:
    """One handler's ``receive`` and ``send``, recorded with both states after each message.

    They may be called from any loop: from a foreign one (a notebook cell that awaits ``websocket.send_text("hi")``)
    they hop to the server's loop and record that they did. Cancelling a ``receive`` from afar loses no message.
    """

    __slots__ = (
        "_connection",
        "_fetch_task",
        "_from_afar",
        "_loop",
        "_outlet",
        "_receive",
        "_received",
        "_record",
        "_send",
        "_sent",
        "_timeline",
        "_wanted",
    )

    def __init__(self, timeline: Timeline, connection: Connection, receive: Receive, send: Send, outlet: Outlet) -> None:
        self._timeline = timeline
        self._outlet = outlet
        self._connection = connection
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._received = self._sent = 0
        self._from_afar: Mailbox[Message] | None = None
        self._fetch_task: asyncio.Task[None] | None = None
        self._wanted = 0  # receives from afar that wait now
        self._record = timeline.recorder(connection, "server", _describe_asgi) if timeline.recording else None
        connection.client_state = connection.application_state = "CONNECTING"

    async def receive(self) -> Message:
        """The next ASGI message of this connection (ASGI WebSocket specification, "receive")."""
        hopped = asyncio.get_running_loop() is not self._loop
        if hopped or self._from_afar is not None:
            message = await self._receive_by_mailbox()
        else:
            message = await self._receive()
        self._note_received(message, hopped)
        return message

    async def send(self, message: Message) -> None:
        """Send an ASGI message; returns once uvicorn has taken it, which waits while the client does not read."""
        if asyncio.get_running_loop() is not self._loop:
            await run_on(self._loop, self._send_from_afar(message))
            return
        self._note_sent(message, hopped=False)
        await self._sending(message)

    def raised(self, error: BaseException) -> None:
        """Record the exception that ended the handler, with the reader's own lines of its traceback."""
        lines = source.readers_lines(error.__traceback__)
        text = _named(error)
        self._connection.handler_error = text
        self._connection.handler_raised_at = source.innermost_line(error.__traceback__)
        where = [str(place) for place in lines]
        self._timeline.note(text, kind="error", connection=self._connection, exception=type(error).__name__, lines=where)

    def returned(self) -> None:
        """Record that the handler came to its end."""
        self._connection.handler_returned = True
        self._timeline.recorder(self._connection, "server", _describe_end)("the handler returned", "handler")

    async def _send_from_afar(self, message: Message) -> None:
        self._note_sent(message, hopped=True)
        await self._sending(message)

    def _sending(self, message: Message) -> Awaitable[None]:
        return self._send(message) if self._outlet.writable else self._send_slowly(message)

    async def _send_slowly(self, message: Message) -> None:
        """While uvicorn waits for a peer that does not read, what the outlet takes goes behind this message: it has its number."""
        with self._outlet.behind():
            await self._send(message)

    def _note_sent(self, message: Message, hopped: bool) -> None:
        connection, kind = self._connection, message["type"]
        if kind == "websocket.send":
            if self._outlet.used:
                self._outlet.flush()  # this message's number is behind what is due
            self._sent += 1
        else:
            self._note_how_it_ends(kind, message)
            connection.application_state = _application_state_after(message, connection)
            connection.accepted = connection.accepted or kind == "websocket.accept"
        if self._record is not None:
            self._note("asgi-send", kind, message, self._sent + self._outlet.messages, hopped)

    def _note_how_it_ends(self, kind: str, message: Message) -> None:
        connection = self._connection
        if kind == "websocket.close":
            connection.handler_closed = (message.get("code", 1000), str(message.get("reason") or ""))
            connection.meant = connection.meant if connection.accepted else connection.handler_closed
        elif kind == "websocket.http.response.start":
            connection.handler_answered = message["status"]

    def _note_received(self, message: Message, hopped: bool) -> None:
        kind = message["type"]
        if kind == "websocket.receive":
            self._received += 1
        else:
            self._connection.client_state = "CONNECTED" if kind == "websocket.connect" else "DISCONNECTED"
        if self._record is not None:
            self._note("asgi-receive", kind, message, self._received, hopped)

    def _note(self, entry_kind: str, kind: str, message: Message, ordinal: int, hopped: bool) -> None:
        payload = message.get("text")
        if payload is None:
            payload = message.get("bytes") or b""
        size = size_bytes(payload)
        if size > LONG_BYTES:
            way = "up" if entry_kind == "asgi-receive" else "down"
            payload = _keep_once(self._timeline, self._connection, (way, ordinal), payload)
        # What describes the message later; the message itself would keep a payload for as long as its Entry lives.
        rest = None if kind in ("websocket.receive", "websocket.send") else _rest(message)
        connection = self._connection
        self._record(payload, (entry_kind, kind, ordinal, size, connection.client_state, connection.application_state, hopped, rest))

    async def _receive_by_mailbox(self) -> Message:
        if self._from_afar is None:
            self._from_afar = Mailbox()
        self._loop.call_soon_threadsafe(self._want, 1)
        try:
            return await self._from_afar.get()
        finally:
            with contextlib.suppress(RuntimeError):  # the server has stopped meanwhile
                self._loop.call_soon_threadsafe(self._want, -1)

    def _want(self, change: int) -> None:
        """On the server's loop: one more or one less message is waited for; one task fetches them in order."""
        self._wanted = max(0, self._wanted + change)
        if self._wanted > len(self._from_afar) and (self._fetch_task is None or self._fetch_task.done()):
            self._fetch_task = self._loop.create_task(self._fetch())

    async def _fetch(self) -> None:
        while self._wanted > len(self._from_afar):
            self._from_afar.put([await self._receive()])


def _application_state_after(message: Message, connection: Connection) -> str | None:
    """Starlette's ``application_state`` once ``message`` has been sent."""
    match message["type"]:
        case "websocket.accept":
            return "CONNECTED"
        case "websocket.close":
            return "DISCONNECTED"
        case "websocket.http.response.start":
            return "RESPONSE"
        case "websocket.http.response.body":
            return "RESPONSE" if message.get("more_body") else "DISCONNECTED"
    return connection.application_state


def _keep_once(timeline: Timeline, connection: Connection, key: tuple[str, int], data: Any, *, is_frame: bool = False) -> Any:
    """What is recorded of a long message: it is kept where it is first seen, after that only its header is.

    What TCP delivers is what was sent, so both ends' frames and the ASGI message share one copy.
    """
    known = connection.long_payloads
    first = known.get(key)
    if first is not None:
        return SamePayload(data[: frames.HEADER_BYTES] if is_frame else data[:0], first)
    kept = known[key] = timeline.keep(data, is_frame=is_frame)
    if len(known) > 16:
        known.pop(next(iter(known)), None)
    return kept


def _describe_asgi(kept: Any, more: tuple[Any, ...]) -> dict[str, Any]:
    kind, message_type, ordinal, size, client_state, application_state, hopped, rest = more
    payload = _payload(kept)
    details = {"type": message_type, "client_state": client_state, "application_state": application_state}
    if hopped:
        details["hopped"] = True
    if rest:
        details |= {key: _plain(value) for key, value in rest.items()}
    is_message = message_type in ("websocket.receive", "websocket.send")
    return {
        "kind": kind,
        "text": payload[:PREVIEW_CHARACTERS] if isinstance(payload, str) else payload[: PREVIEW_CHARACTERS // 3].hex(" "),
        "size": size,
        "payload": payload if is_message and size_bytes(payload) == size else None,
        "ordinal": ordinal if is_message else None,
        "details": details,
    }


def _rest(message: Message) -> Message | None:
    """What an ASGI message of the handshake says beyond its type, without the end of a long body; None for nothing."""
    said = {key: value for key, value in message.items() if key != "type" and value not in (None, [], "")}
    return {key: value[:_BODY_KEPT_BYTES] if isinstance(value, (bytes, str)) else value for key, value in said.items()} or None


def _payload(kept: Any) -> str | bytes:
    """As much of a recorded payload as is still there."""
    if isinstance(kept, SamePayload):
        payload = frames.message_bytes(kept.first)
        return payload.decode("utf-8", "replace") if isinstance(kept.header, str) else payload
    return kept.visible if isinstance(kept, Payload) else kept


def _plain(value: Any) -> Any:
    """ASGI headers as text, other values as they are."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [tuple(_plain(part) for part in pair) if isinstance(pair, (list, tuple)) else _plain(pair) for pair in value]
    return value


def _named(error: BaseException) -> str:
    """An exception with what it says; a WebSocketDisconnect keeps its code where ``str`` does not always show it."""
    name = type(error).__name__
    if name == "WebSocketDisconnect":
        code, reason = getattr(error, "code", None), getattr(error, "reason", "")
        return f"{name}({code}, {reason!r})" if reason else f"{name}({code})"
    return f"{name}: {error}" if str(error) else name


def _describe_end(text: str, what: str) -> dict[str, Any]:
    return {"kind": "end", "text": text, "details": {"what": what}}
