"""One client's socket: the sans-I/O protocol of the websockets library joined to an asyncio transport."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import sys
import time
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from kit.away import AwayReader
from kit.incoming import Assembly, Inbox, Message
from kit.line import SpoiltLine
from kit.outgoing import Outgoing
from kit.taps import WireTap

__all__ = ["ClientWire"]

_PONG = bytes([0x80 | Opcode.PONG])


class ClientWire(asyncio.Protocol):
    """The I/O of one client connection. Lives on the clients' loop; ``write_message`` and ``take`` work from any thread.

    Messages wait in ``inbox``. When ``queue_messages`` wait there, or 4 Mi characters or bytes of them, the socket is not
    read until at most half as many wait: the server's sends then fill the network's buffers and wait, as they would with any slow client.

    Args:
        attach: called with the socket's own address once it is connected; returns the tap, or None to record nothing.
        on_end: called with that address once the socket is gone.
    """

    # Here and not in every instance: no wire without a fault has them, and attributes of objects with few are found faster.
    _line: SpoiltLine | None = None
    hold_pong: Callable[[bytes], None] | None = None  # takes the pongs that the protocol would send at once

    def __init__(
        self,
        protocol: ClientProtocol,
        request: Request,
        sock: socket.socket | None,
        *,
        queue_messages: int,
        attach: Callable[[tuple], WireTap | None],
        on_end: Callable[[tuple], None],
    ) -> None:
        self.protocol = protocol
        self.loop = asyncio.get_running_loop()
        self.inbox = Inbox(queue_messages)
        self.response: Response | None = None
        self.handshake: asyncio.Future[None] = self.loop.create_future()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._request = request
        self._attach = attach
        self._on_end = on_end
        self._tap: WireTap | None = None
        self._outgoing = Outgoing(protocol, sock)
        self._assembly = Assembly()
        self._reading_paused = False
        self._discarding = False
        self._pings: dict[bytes, asyncio.Future[float]] = {}
        self._close_timer: asyncio.TimerHandle | None = None
        self._away: AwayReader | None = None
        self._spoilers: set[str] = set()  # the faults that need a SpoiltLine

    # What the transport calls, on the clients' loop.

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.address = transport.get_extra_info("sockname")
        self._tap = self._attach(self.address)
        self._outgoing.open(transport, self._tap)
        self.protocol.send_request(self._request)
        self._flush_protocol()

    def data_received(self, data: bytes) -> None:
        if self._tap is not None:
            self._tap.incoming(data)
        self.protocol.receive_data(data)
        if self._tap is not None and self.protocol.close_rcvd is not None:
            self._tap.closed_by_peer(self.protocol.close_rcvd.code, self.protocol.close_rcvd.reason)
        self._flush_protocol()
        self._handle_events()
        if self.protocol.close_expected() and self._close_timer is None:
            self._close_timer = self.loop.call_later(2.0, self.abort)

    def eof_received(self) -> None:
        self.protocol.receive_eof()
        self._handle_events()
        self._flush_protocol()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._away is not None:
            self._away.take_back()
        self._outgoing.close()
        self.protocol.receive_eof()
        self._handle_events()
        if self._close_timer is not None:
            self._close_timer.cancel()
        for waiter in self._pings.values():
            if not waiter.done():
                waiter.set_exception(ConnectionError("closed"))
        if self._tap is not None:
            self._tap.ended(f"the socket closed: {exc}" if exc else "the socket closed")
        self._on_end(self.address)
        if not self.handshake.done():
            self.handshake.set_result(None)
        self.inbox.close()
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._outgoing.pause()

    def resume_writing(self) -> None:
        self._outgoing.resume()

    # What the Client calls.

    def write_message(self, opcode: Opcode, payload: bytes) -> bool:
        """Put a message on the wire, from any thread, at once while the socket takes it.

        Returns whether it was all taken; otherwise the rest is on its way and ``drain`` waits for it.

        Raises:
            ConnectionError: the connection is not open.
        """
        return self._outgoing.send(Frame(opcode, payload).serialize(mask=True))

    async def send_through_protocol(self, opcode: Opcode, payload: bytes) -> None:
        """On the clients' loop: the way of messages that an extension rewrites, such as compression."""
        self._outgoing.check_open()
        (self.protocol.send_text if opcode is Opcode.TEXT else self.protocol.send_binary)(payload)
        self._flush_protocol()
        await self.drain()

    async def drain(self) -> None:
        """On the clients' loop: wait until the socket takes more; returns at once when it is closed."""
        await self._outgoing.drain()

    async def ping(self) -> float:
        """On the clients' loop: send a ping and wait for its pong; returns the seconds it took."""
        self._outgoing.check_open()
        payload, began = os.urandom(4), time.perf_counter()
        self._pings[payload] = waiter = self.loop.create_future()
        self.protocol.send_ping(payload)
        self._flush_protocol()
        try:
            return await waiter - began
        finally:
            self._pings.pop(payload, None)

    async def close(self, code: int, reason: str, within_seconds: float) -> None:
        """On the clients' loop: the closing handshake (RFC 6455 §7.1.2), or an abort when the server takes too long.

        Messages that wait unread are kept; what arrives after this is discarded.
        """
        self._discarding = True
        if self._away is not None:
            self._away.take_back()
        if self._reading_paused:
            self._resume_reading()
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, reason)
            self._flush_protocol()
        if self._close_timer is not None:
            self._close_timer.cancel()
        if not self.closed.done():
            self._close_timer = self.loop.call_later(within_seconds, self.abort)
        await asyncio.shield(self.closed)

    async def write_frames(self, frames: bytes) -> None:
        """On the clients' loop: put ready-made frames on the wire, right or wrong, with nothing in between."""
        self._outgoing.check_open()
        self._outgoing.write(frames)
        await self.drain()

    async def spoil(self, fault: str) -> SpoiltLine:
        """On the clients' loop: have a `SpoiltLine` between this wire and its transport until ``mend``; no other loop reads meanwhile."""
        self._spoilers.add(fault)
        if self._away is not None:
            await self._away.come_home()
        if self._line is None:
            line = SpoiltLine(self, self.transport, self._straighten, reading=not self._reading_paused, writable=self._outgoing.writable)
            self._outgoing.lead_through(line, line, self.transport)
            self.transport = self._line = line
        return self._line

    def mend(self, fault: str) -> None:
        """On the clients' loop: ``fault`` no longer needs the line. It goes once nothing is under way in it."""
        self._spoilers.discard(fault)
        self._straighten()

    def write_pong(self, pong: bytes) -> None:
        """On the clients' loop: send a pong that was held, unless the connection is ending."""
        if self.protocol.state is State.OPEN:
            self._outgoing.write(pong)

    def abort(self) -> None:
        """On the clients' loop: drop the socket with a TCP reset and no Close frame."""
        if self._away is not None:
            self._away.take_back()
        if self._outgoing.sock is not None:
            self._outgoing.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def take(self, message: Message) -> None:
        """Take ``message``, the first that waits, from any thread, and read on once enough have been taken; raises ``IndexError`` when it is gone."""
        self.inbox.take(message)
        if self._reading_paused and self.inbox.roomy:
            self.loop.call_soon_threadsafe(self._resume_reading)

    async def arrival(self) -> Message:
        """Wait, on any loop, for the first message and return it without taking it; raises ``EOFError`` at the end.

        A loop that waits often gets to read the socket itself.
        """
        loop = asyncio.get_running_loop()
        if loop is not self.loop and not len(self.inbox) and not self.inbox.closed and (self._away is None or self._away.at_home):
            self.loop.call_soon_threadsafe(self._lend_reading, loop)
        return await self.inbox.first()

    # Between the protocol and the socket.

    def _straighten(self) -> None:
        line = self._line
        if line is None or self._spoilers or not line.idle or line.is_closing():
            return
        self._outgoing.lead_through(line.transport, self, line.transport)
        self.transport, self._line = line.transport, None

    def _lend_reading(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let ``loop`` read, if it can take over between two frames; the tap knows where frames end."""
        busy = not self._assembly.between_messages or self._reading_paused or self._discarding or self.protocol.extensions or self._spoilers or self._line
        if self._outgoing.sock is None or self._tap is None or busy or self.protocol.state is not State.OPEN or not self._tap.between_frames:
            return
        if self._away is None:
            limit = self.protocol.max_message_size or sys.maxsize
            self._away = AwayReader(self.loop, self._outgoing.sock, self._tap, limit, self.inbox.put, self._read_here)
        if self._away.at_home:
            self.transport.pause_reading()
            self._away.lend(loop)

    def _read_here(self, unused: bytes) -> None:
        """Read on this loop again, beginning with bytes that another loop read and could not use."""
        if self.transport.is_closing():
            return
        if unused:
            self.data_received(unused)
        self._reading_paused = True  # before looking, so that a `take` meanwhile resumes
        if self._discarding or not self.inbox.full:
            self._resume_reading()

    def _handle_events(self) -> None:
        messages: list[Message] = []
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self._handle_frame(event, messages)
            else:
                self.response = event
        if not self.handshake.done() and (self.response is not None or self.protocol.handshake_exc is not None):
            self.handshake.set_result(None)
        if messages and not self._discarding and not self.inbox.put(messages):
            self._pause_reading()

    def _handle_frame(self, frame: Frame, messages: list[Message]) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._add_to_message(frame, messages)
        elif frame.opcode is Opcode.PONG:
            waiter = self._pings.get(bytes(frame.data))
            if waiter is not None and not waiter.done():
                waiter.set_result(time.perf_counter())

    def _add_to_message(self, frame: Frame, messages: list[Message]) -> None:
        try:
            message = self._assembly.add(frame)
        except UnicodeDecodeError as error:
            self.protocol.fail(1007, f"{error.reason} at position {error.start}")
            self._flush_protocol()
        else:
            if message is not None:
                messages.append(message)

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()
            if not self.inbox.full:  # another thread took messages before it could see the pause
                self._resume_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self.transport.resume_reading()

    def _flush_protocol(self) -> None:
        for data in self.protocol.data_to_send():
            if self.hold_pong is not None and data[:1] == _PONG:
                self.hold_pong(data)
            elif data:
                self._outgoing.write(data)
            else:
                self._outgoing.write_eof()
