"""A line that somebody spoils on purpose: it stands between a client's wire and its transport while a fault is on."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["IN_FLIGHT_BYTES", "InFlight", "SpoiltLine"]

IN_FLIGHT_BYTES = 1 << 20
_END = b""  # no more bytes will come in this direction
_GONE = None  # the socket may be closed


class Wire(Protocol):
    """What a line needs of the wire at its end; `kit.wire.ClientWire` is one."""

    loop: asyncio.AbstractEventLoop

    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> Any: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class SpoiltLine(asyncio.Protocol):
    """To the wire it is the transport, to the transport it is the protocol. Lives on the clients' loop.

    While no fault is on it does not exist, and costs nothing. What is under way in it when the last fault ends still
    arrives, in order and each byte at its time.

    Attributes:
        dead: whether nothing passes any more, for ever.

    Args:
        transport: the real one.
        when_idle: called soon after nothing is under way any more; it may take the line out.
        reading: whether the wire wants to read now.
        writable: whether the transport takes more now.
    """

    def __init__(self, wire: Wire, transport: asyncio.Transport, when_idle: Callable[[], None], *, reading: bool, writable: bool) -> None:
        self.transport = transport
        self._wire = wire
        self._when_idle = when_idle
        self._wire_reads = reading
        self._writable = writable
        self.dead = False
        self._stalled = False
        self._to_server = InFlight(wire.loop, self._put_on_transport, self._regulate)
        self._to_client = InFlight(wire.loop, self._give_to_wire, self._regulate)

    # The faults.

    def stall(self, stalled: bool) -> None:
        """Stop reading, or read again: nothing is taken from the socket, so the network's buffers fill up behind it."""
        self._stalled = stalled
        self._regulate()

    def slow_down(self, to_server_seconds: float, to_client_seconds: float) -> None:
        """Have whatever is sent from now on arrive so much later."""
        self._to_server.seconds, self._to_client.seconds = to_server_seconds, to_client_seconds
        self._regulate()

    def die(self) -> None:
        """Let nothing through any more, in either direction, for ever: neither bytes nor the end of them."""
        self.dead = True
        self._regulate()

    @property
    def idle(self) -> bool:
        """Whether nothing is under way in it."""
        return not self._to_server.bytes_held and not self._to_client.bytes_held

    # What the wire calls.

    def write(self, data: bytes) -> None:
        self._to_server.put(data)

    def write_eof(self) -> None:
        self._to_server.put(_END)

    def get_write_buffer_size(self) -> int:
        """Never 0: no other thread may write past this line."""
        return max(1, self.transport.get_write_buffer_size() + self._to_server.bytes_held)

    def pause_reading(self) -> None:
        self._wire_reads = False
        self._regulate()

    def resume_reading(self) -> None:
        self._wire_reads = True
        self._regulate()

    def abort(self) -> None:
        self._to_server.forget()
        self._to_client.forget()
        self.transport.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        self._to_client.put(data)

    def eof_received(self) -> bool:
        self._to_client.put(_END)
        return self.transport.get_extra_info("sslcontext") is None  # TLS has no half-closed connections

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing holds back what had come before the end, unless the line was dead."""
        if not self.dead:
            self._to_client.hurry()
        self._wire.connection_lost(exc)
        self._to_server.forget()
        self._to_client.forget()

    def pause_writing(self) -> None:
        self._writable = False
        self._regulate()

    def resume_writing(self) -> None:
        self._writable = True
        self._regulate()

    # In between.

    def _put_on_transport(self, data: bytes | None) -> None:
        if self.transport.is_closing():
            return
        if data is _GONE:
            self.transport.close()
        elif data:
            self.transport.write(data)
        else:
            self._end_writing()

    def _end_writing(self) -> None:
        try:
            self.transport.write_eof()
        except (OSError, RuntimeError):  # uvloop: the peer has closed already
            self.transport.abort()

    def _give_to_wire(self, data: bytes | None) -> None:
        if data:
            self._wire.data_received(data)
        elif not self._wire.eof_received():
            self._to_server.put(_GONE)

    def _regulate(self) -> None:
        """Hold back and let go, as the faults, the wire and the bytes under way ask for."""
        listening = self._wire_reads and not self._stalled and not self.dead
        self._to_client.hold(not listening)
        self._to_server.hold(self.dead)
        self._read(listening and not self._to_client.full)
        if self._writable and not self._to_server.full:
            self._wire.resume_writing()
        else:
            self._wire.pause_writing()
        if self.idle:
            self._wire.loop.call_soon(self._when_idle)  # not at once: the wire may hold its lock, being in the middle of a write

    def _read(self, wanted: bool) -> None:
        if self.transport.is_closing() or self.transport.is_reading() == wanted:
            return
        if wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()


class InFlight:
    """What is under way in one direction: it arrives in order, each chunk no earlier than ``seconds`` after it was sent.

    Args:
        deliver: called with each chunk when it arrives.
        when_changed: called when something has come or gone.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[Any], None], when_changed: Callable[[], None] = lambda: None) -> None:
        self.seconds = 0.0
        self.bytes_held = 0
        self._loop = loop
        self._deliver = deliver
        self._when_changed = when_changed
        self._chunks: deque[tuple[float, bytes | None]] = deque()
        self._held = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether no more should be sent for now."""
        return self.bytes_held > IN_FLIGHT_BYTES

    def put(self, data: bytes | None) -> None:
        """Send a chunk."""
        self._chunks.append((time.perf_counter() + self.seconds, data))  # not the loop's clock, which counts milliseconds
        self.bytes_held += _weight(data)
        self._arrive()

    def hold(self, held: bool) -> None:
        """Let nothing arrive, or let it arrive again."""
        if held != self._held:
            self._held = held
            self._wait()

    def hurry(self) -> None:
        """Deliver all that is under way now."""
        while self._chunks:
            self._take_first()
        self._wait()

    def keep_newest(self, count: int) -> None:
        """Forget the oldest chunks beyond ``count``."""
        while len(self._chunks) > count:
            self.bytes_held -= _weight(self._chunks.popleft()[1])

    def forget(self) -> None:
        """Deliver nothing more."""
        self._chunks.clear()
        self.bytes_held = 0
        self._wait()

    def _arrive(self) -> None:
        while self._chunks and not self._held and self._chunks[0][0] <= time.perf_counter():
            self._take_first()
        self._wait()
        self._when_changed()

    def _take_first(self) -> None:
        _, data = self._chunks.popleft()
        self.bytes_held -= _weight(data)
        self._deliver(data)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._chunks and not self._held:
            self._timer = self._loop.call_later(max(0.0, self._chunks[0][0] - time.perf_counter()), self._arrive)


def _weight(data: bytes | None) -> int:
    """The end counts as a byte: it is under way too."""
    return len(data) if data else 1
