"""WireTap: the raw bytes at one end of a connection, cut into the handshake and frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from websockets.protocol import Protocol

from kit import frames
from kit.admission import blotted
from kit.connection import Connection
from kit.payload import PREVIEW_CHARACTERS
from kit.taps.described import BODY_KEPT_BYTES, describe_end
from kit.taps.long_messages import LONG_BYTES, keep_once
from kit.timeline import Timeline

__all__ = ["WireTap", "note_closes", "note_status"]


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
        self.timeline.recorder(self.connection, self.side, describe_end)(how, "socket")


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
            return keep_once(self._timeline, self._connection, (self._way, self._messages), frame, is_frame=True)
        return self._timeline.keep(frame, is_frame=True)

    def _head(self, head: bytes) -> None:
        head, body = blotted(head), b""
        if self._describe_head is frames.describe_response and not head.startswith(b"HTTP/1.1 101"):
            body = self._cutter.rest()[:BODY_KEPT_BYTES]
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
