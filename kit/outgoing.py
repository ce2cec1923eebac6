"""What one client writes on its socket: from any thread, in the order of the calls, and at once while the socket takes it."""

from __future__ import annotations

import asyncio
import socket
from threading import Lock

from websockets.protocol import Protocol, State

from kit.loops import current_loop
from kit.taps import WireTap

__all__ = ["Outgoing"]


class Outgoing:
    """The writing half of a `kit.wire.ClientWire`. Lives on the clients' loop; ``send`` works from any thread.

    Attributes:
        sock: the socket while it is open, for writing past the transport; None under TLS, where nobody can.
        transport: what the rest is written to: the socket's transport, or what stands before it.

    Args:
        protocol: knows whether the connection is open.
    """

    def __init__(self, protocol: Protocol, sock: socket.socket | None) -> None:
        self.sock = sock
        self.transport: asyncio.Transport | None = None
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._tap: WireTap | None = None
        self._lock = Lock()  # orders writes of this loop and of other threads, and keeps the socket from closing under them
        self._unsent: list[bytes] = []
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def writable(self) -> bool:
        """Whether the transport takes more now."""
        return self._writable.is_set()

    def open(self, transport: asyncio.Transport, tap: WireTap | None) -> None:
        """The socket is connected; ``tap`` records what is written, if anything is to be recorded."""
        self.transport = transport
        self._tap = tap

    def lead_through(self, transport: asyncio.Transport, reader: asyncio.BaseProtocol, told: asyncio.Transport) -> None:
        """From now on write to ``transport``, and have ``told``, the socket's own, tell ``reader`` what comes; no write is under way meanwhile."""
        with self._lock:
            told.set_protocol(reader)
            self.transport = transport

    def close(self) -> None:
        """The socket is gone: nobody writes on it any more, and nobody waits for room."""
        with self._lock:
            self.sock = None
        self._writable.set()

    def pause(self) -> None:
        """The transport takes no more for now."""
        self._writable.clear()

    def resume(self) -> None:
        """The transport takes more again."""
        self._writable.set()

    def check_open(self) -> None:
        """Raise ``ConnectionError`` unless messages may be sent."""
        if self._protocol.state is not State.OPEN:
            raise ConnectionError("not open")

    def send(self, frame: bytes) -> bool:
        """Write a frame, from any thread. Returns whether it was all taken; otherwise the rest is on its way and ``drain`` waits for it.

        Raises:
            ConnectionError: the connection is not open.
        """
        if current_loop() is self._loop:  # the transport writes at the end of this turn, which saves a change of threads
            self.check_open()
            self.write(frame)
            return self._writable.is_set()
        with self._lock:
            self.check_open()
            if self._tap is not None:
                self._tap.outgoing(frame)
            sent = self._send_some(frame)
            if sent == len(frame):
                return True
            self._unsent.append(frame[sent:])
        self._loop.call_soon_threadsafe(self.write, b"")
        return False

    def write(self, data: bytes) -> None:
        """On the clients' loop: write ``data`` behind whatever other threads could not write."""
        with self._lock:
            if data and self._tap is not None:
                self._tap.outgoing(data)
            waiting, self._unsent = b"".join(self._unsent), []
            if waiting or data:
                self.transport.write(waiting + data)

    async def drain(self) -> None:
        """On the clients' loop: wait until the socket takes more; returns at once when it is closed."""
        self.write(b"")
        await self._writable.wait()

    def write_eof(self) -> None:
        """On the clients' loop: close this direction (RFC 6455 §7.1.1), where that can be done."""
        if not self.transport.can_write_eof() or self.transport.is_closing():
            return
        try:
            self.transport.write_eof()
        except (OSError, RuntimeError):  # uvloop: the peer has closed already
            self.transport.abort()

    def _send_some(self, frame: bytes) -> int:
        """Write what the socket takes now, unless something already waits before it; needs the lock."""
        if self.sock is None or self._unsent or self.transport.get_write_buffer_size():
            return 0
        try:
            return self.sock.send(frame)
        except OSError:  # full, or already gone: the transport finds out which
            return 0
