"""The fast lane out of the server: a message is framed once for all its receivers, and what is due in one turn of the loop is written together.

An app that tells many connections the same thing pays, for each of them, an ASGI message, a frame and a write. Here a
message is framed once (`kit.frames.prepared`), put down for each connection (`Outlet.write`, `Turn.write`), and at the end of the
turn of the loop what is due for a connection goes to its transport in one write, joined once for all connections that
are owed the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from kit.frames import PreparedFrame, describe_frame
from kit.payload import PREVIEW_CHARACTERS, Payload
from kit.printable import human_bytes, quoted
from kit.timeline import Timeline

if TYPE_CHECKING:
    from kit.taps import WireTap

__all__ = ["Outlet", "Turn"]

DETAILED_CONNECTIONS = 16
DUE_LIMIT_BYTES = 256 * 1024


class Wire(Protocol):
    """What an outlet needs of the server's end of its connection."""

    loop: asyncio.AbstractEventLoop
    writable: asyncio.Event  # clear while the transport's buffer is above its high-water mark

    @property
    def may_send(self) -> bool: ...
    def abort(self) -> None: ...


class Turn:
    """What one server has to write when this turn of its loop ends: one Turn for all its connections. Lives on the server's loop.

    What is recorded: when a turn ends with something due for at most `DETAILED_CONNECTIONS` connections, or while a panel
    follows the Timeline, every frame is recorded on each of them, as are always the frames that another write on their
    connection flushes. Else a frame is recorded once, as a ``notice`` that says how many times it was put on the wire, and
    each connection only counts it.

    Attributes:
        loop: the server's loop; None until its first connection.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._timeline = timeline
        self._record = timeline.recorder(None, "server", _describe_fan_out) if timeline.recording else None
        self._outlets: list[Outlet] = []  # those that something became due for in this turn
        self._due_bytes = 0
        self._ending = False

    def write(self, outlets: Iterable[Outlet], frame: PreparedFrame) -> list[Outlet]:
        """`Outlet.write` on each of ``outlets``, all of this server, at a fraction of its cost; returns those that took nothing.

        Those are closed, or not ``writable``: look at them one by one. On the server's loop only.
        """
        left, begin = [], self._outlets.append
        for outlet in outlets:
            if outlet._ready or outlet._becomes_ready():
                due = outlet._due
                if not due:
                    begin(outlet)
                due.append(frame)
            else:
                left.append(outlet)
        if self._outlets:
            self._end_later()
        self._due_bytes += len(frame)
        if self._due_bytes > DUE_LIMIT_BYTES:
            self.end()
        return left

    def end(self) -> None:
        """Write all that is due now."""
        outlets, self._outlets, self._due_bytes = self._outlets, [], 0
        many = len(set(outlets[: 4 * DETAILED_CONNECTIONS])) > DETAILED_CONNECTIONS  # one may stand there again, if it was flushed meanwhile
        if self._record is not None and (not many or self._timeline.followed):
            for outlet in outlets:
                outlet.flush()
        else:
            self._write_in_groups(outlets)

    def _end_later(self) -> None:
        if not self._ending:
            self._ending = True
            self.loop.call_soon(self._ends)

    def _ends(self) -> None:
        self._ending = False
        self.end()

    def _write_in_groups(self, outlets: list[Outlet]) -> None:
        """Neighbours that are owed the same get the same bytes, which are joined once."""
        counters: dict[int, list[int]] = {}  # by the identity of a frame: how many times it has been written
        same: list[PreparedFrame] = []
        joined, written = b"", 0
        for outlet in outlets:
            due = outlet._due
            if due != same and due and outlet._may_put():
                self._count(same, written, counters)
                same, written = due.copy(), 0
                joined = b"".join(same)
                self._note(same, counters)
            written += outlet._put(joined) > 0
        self._count(same, written, counters)

    def _note(self, frames: list[PreparedFrame], counters: dict[int, list[int]]) -> None:
        """Record each frame once, before it is first written."""
        for frame in frames:
            if id(frame) not in counters:
                counter = counters[id(frame)] = [0]
                if self._record is not None:
                    kept = frame if len(frame) <= PREVIEW_CHARACTERS else self._timeline.keep(frame, is_frame=True)
                    self._record(kept, counter)

    def _count(self, frames: list[PreparedFrame], written: int, counters: dict[int, list[int]]) -> None:
        for frame in frames:
            counters[id(frame)][0] += written


class Outlet:
    """One connection's way into the fast lane; an app finds it as ``scope["extensions"]["kit.outlet"]["outlet"]``, on servers that have it.

    What is written here and what the app, the keepalive or a Close writes leave in the order of the calls: every other
    write on the connection first flushes what is due. Only behind an app's own sends that wait for a slow peer does it
    wait too. Lives on the server's loop; everything here is called there.

    Attributes:
        turn: what it shares with the other connections of its server.
        messages: how many messages have left through it.
        used: whether anything was ever written here; there is nothing to flush where it was not.
    """

    __slots__ = ("_due", "_due_bytes", "_held", "_is_closing", "_ready", "_tap", "_told", "_transport", "_wire", "_write", "messages", "turn", "used")

    def __init__(self, wire: Wire, turn: Turn, transport: asyncio.Transport, tap: WireTap | None) -> None:
        self.turn = turn
        self.turn.loop = wire.loop
        self.messages = 0
        self.used = False
        self._wire = wire
        self._tap = tap
        self._transport = transport
        self._write = transport.write
        self._is_closing = transport.is_closing
        self._due: list[PreparedFrame] = []
        self._due_bytes = 0  # of what was written here alone; the turn counts what goes to many
        self._told = 0  # how many of its messages the tap has counted: it is told when it records the next one
        self._held = 0  # the app's sends that wait for the peer
        self._ready = False  # known to be open and writable; forgotten whenever that might have changed

    @property
    def writable(self) -> bool:
        """Whether the transport's buffer is below its high-water mark."""
        return self._wire.writable.is_set()

    @property
    def pending_bytes(self) -> int:
        """What has not left yet: what is due here, and the transport's buffer."""
        return sum(map(len, self._due)) + self._transport.get_write_buffer_size()

    def write(self, frame: PreparedFrame) -> bool:
        """Put ``frame`` down to be written when this turn of the loop ends, joined with what else is due.

        Returns False, and does nothing, where nothing may be written: before accept, after a Close, when the socket is
        gone. It takes a frame also while it is not ``writable``; how much a slow peer may be owed is the caller's to limit.
        """
        if not self._ready and not self._wire.may_send:
            return False
        if not self._due:
            self.used = True
            self.turn._outlets.append(self)
            self.turn._end_later()
        self._due.append(frame)
        self._due_bytes += len(frame)
        if self._due_bytes > DUE_LIMIT_BYTES:
            self.flush()
        return True

    def flush(self) -> None:
        """Write what is due now, each frame recorded on this connection. Every other write on the connection calls it first."""
        self._ready = False
        if self._tap is not None:
            self._tap.count_outgoing(self.messages - self._told)
        if self._due and self._may_put():
            for frame in self._due if self._tap is not None else ():
                self._tap.outgoing(frame)
            self._put(b"".join(self._due))
        self._told = self.messages

    def pause(self) -> None:
        """The transport's buffer is above its high-water mark, or there is no socket any more."""
        self._ready = False

    async def drained(self) -> None:
        """Wait until it is ``writable``, or the socket gone. Safe to cancel."""
        await self._wire.writable.wait()

    def abort(self) -> None:
        """Drop the socket at once, and all that has not left: the only way to be rid of a peer that never reads."""
        self._due.clear()
        self._ready = False
        self._wire.abort()

    @contextlib.contextmanager
    def behind(self) -> Iterator[None]:
        """Meanwhile a send of the app waits for the peer: what becomes due goes behind it."""
        self._held += 1
        self._ready = False
        try:
            yield
        finally:
            self._held -= 1
            if self._wire.may_send:
                self.flush()
            elif not self._held:
                self._due.clear()

    def _becomes_ready(self) -> bool:
        self._ready = not self._held and self.writable and self._wire.may_send
        self.used = self.used or self._ready
        return self._ready

    def _may_put(self) -> bool:
        return not self._held and not self._is_closing()

    def _put(self, joined: bytes) -> int:
        """Write what is due, which is ``joined``; returns how many messages that were: none when they have to wait, or nobody is there."""
        if self._held:
            return 0
        count = len(self._due)
        self._due.clear()
        self._due_bytes = 0
        if not count or self._is_closing():
            return 0
        try:
            self._write(joined)
        except Exception as error:  # it concerns this connection alone: the others of this turn get theirs
            self._wire.loop.call_exception_handler({"message": "a transport refused what was due for it, and is dropped", "exception": error})
            self._wire.abort()
            return 0
        self.messages += count
        return count


def _describe_fan_out(kept: bytes | Payload, counter: list[int]) -> dict[str, Any]:
    frame = describe_frame(kept, ("frame-out", None))
    shown = quoted(frame["text"]) if frame["details"]["opcode"] == "TEXT" else human_bytes(frame["size"])
    details = {"what": "fan-out", "times": counter[0], "opcode": frame["details"]["opcode"]}
    return {"kind": "notice", "text": f"put on the wire {counter[0]:,} times: {shown}", "size": frame["size"], "payload": frame["payload"], "details": details}
