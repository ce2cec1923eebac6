"""Reading a client's socket on the loop that waits for its messages, which saves two changes of threads a message."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from threading import Lock

from kit import frames
from kit.taps import WireTap

__all__ = ["AwayReader"]

_CHUNK_BYTES = 1 << 18
_WATCH_SECONDS = 0.25


class AwayReader:
    """Lends the reading of one socket to another event loop while that loop turns, and takes it back when it does not.

    Only whole, unfragmented, uncompressed messages are read away; at the first byte of anything else (a control frame, a
    fragment, the end) reading goes home together with that byte. So the protocol's state is only ever touched at home.
    At any moment exactly one loop reads: ``_lock`` covers each read and each change of place.

    Args:
        home: the loop of the socket's transport.
        deliver: takes the messages read, from either thread.
        go_home: called at home with the bytes not used; it reads on from there.
    """

    def __init__(
        self,
        home: asyncio.AbstractEventLoop,
        sock: socket.socket,
        tap: WireTap,
        max_message_bytes: int,
        deliver: Callable[[list[str | bytes]], bool],
        go_home: Callable[[bytes], None],
    ) -> None:
        self._home = home
        self._sock = sock
        self._tap = tap
        self._max_message_bytes = max_message_bytes
        self._deliver = deliver
        self._go_home = go_home
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._fd = sock.fileno()
        self._answered = True
        self._came_home: asyncio.Future[None] | None = None
        self._at_home = True  # False from lending until home has taken over again, so that two loops never read at once

    @property
    def at_home(self) -> bool:
        """Whether home reads: no other loop does, and nothing that another loop read is still on its way."""
        return self._at_home

    def lend(self, loop: asyncio.AbstractEventLoop) -> None:
        """At home, with reading paused there: let ``loop`` read from now on."""
        with self._lock:
            self._loop = loop
        self._at_home = False
        self._answered = True
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        self._watch_timer = self._home.call_later(_WATCH_SECONDS, self._watch, loop)
        try:
            loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # that loop has closed meanwhile
            self.take_back()

    def take_back(self) -> None:
        """From any thread: read at home again; does nothing when home already reads."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed, and its readers with it
                loop.call_soon_threadsafe(loop.remove_reader, self._fd)
            self._home.call_soon_threadsafe(self._arrive, b"")

    async def come_home(self) -> None:
        """At home: take the reading back and wait until no other loop reads, and what it read has come."""
        self.take_back()
        while not self._at_home:
            self._came_home = self._came_home or self._home.create_future()
            await asyncio.shield(self._came_home)

    def _arrive(self, unused: bytes) -> None:
        """At home: the last bytes from away have come."""
        self._at_home = True
        self._go_home(unused)
        came_home, self._came_home = self._came_home, None
        if came_home is not None:
            came_home.set_result(None)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._loop is not loop:
                return
            try:
                loop.add_reader(self._fd, self._readable)
                return
            except (NotImplementedError, OSError, ValueError):  # a loop without readers, or a socket that is gone
                pass
        self.take_back()

    def _readable(self) -> None:
        """On the borrowing loop: read what has come."""
        with self._lock:
            loop = self._loop
            if loop is None:
                return
            try:
                data = self._sock.recv(_CHUNK_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            messages, unused = self._whole_messages(data)
            room = self._deliver(messages)
            if data and not unused and room:
                return
            self._loop = None
        loop.remove_reader(self._fd)
        self._home.call_soon_threadsafe(self._arrive, unused)

    def _whole_messages(self, data: bytes) -> tuple[list[str | bytes], bytes]:
        """The plain messages at the beginning of ``data``, and what follows them."""
        messages: list[str | bytes] = []
        start = 0
        while start < len(data):
            first = data[start]
            length = frames.frame_bytes(data, start)
            plain = first in (0x81, 0x82) and length is not None and start + length <= len(data) and not data[start + 1] & 128
            if not plain or length > self._max_message_bytes:
                break
            frame = data[start : start + length]
            payload = frame[length - frames.payload_length(frame) :]
            try:
                messages.append(payload.decode() if first == 0x81 else payload)
            except UnicodeDecodeError:
                break
            self._tap.incoming(frame)
            start += length
        return messages, data[start:]

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """At home: take the reading back from a loop that has not turned since the last look."""
        if self._loop is not loop:
            return
        if not self._answered:
            self.take_back()
            return
        self._answered = False
        try:
            loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            self.take_back()
            return
        self._watch_timer = self._home.call_later(_WATCH_SECONDS, self._watch, loop)

    def _answer(self) -> None:
        self._answered = True
