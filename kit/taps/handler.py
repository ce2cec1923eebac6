"""HandlerTap: the ASGI messages that one handler receives and sends, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from kit import source
from kit.connection import Connection
from kit.loops import Mailbox, run_on
from kit.outlet import Outlet
from kit.payload import size_bytes
from kit.taps.described import Message, besides_payload, describe_asgi, describe_end
from kit.taps.long_messages import LONG_BYTES, keep_once
from kit.timeline import Timeline

__all__ = ["HandlerTap", "Receive", "Send"]

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


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
        self._record = timeline.recorder(connection, "server", describe_asgi) if timeline.recording else None
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
        self._timeline.recorder(self._connection, "server", describe_end)("the handler returned", "handler")

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
            payload = keep_once(self._timeline, self._connection, (way, ordinal), payload)
        # What describes the message later; the message itself would keep a payload for as long as its Entry lives.
        rest = None if kind in ("websocket.receive", "websocket.send") else besides_payload(message)
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


def _named(error: BaseException) -> str:
    """An exception with what it says; a WebSocketDisconnect keeps its code where ``str`` does not always show it."""
    name = type(error).__name__
    if name == "WebSocketDisconnect":
        code, reason = getattr(error, "code", None), getattr(error, "reason", "")
        return f"{name}({code}, {reason!r})" if reason else f"{name}({code})"
    return f"{name}: {error}" if str(error) else name
