"""What crosses the wire, cut into the handshake and frames (RFC 6455 §5.2) and put into words. Pure."""

from __future__ import annotations

import struct
from typing import Any, NewType

from kit.payload import PREVIEW_CHARACTERS, Payload, SamePayload

__all__ = [
    "CLOSE",
    "FrameCutter",
    "Pieces",
    "PreparedFrame",
    "close_payload",
    "describe_frame",
    "describe_request",
    "describe_response",
    "frame_bytes",
    "message_bytes",
    "payload_length",
    "prepared",
]

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
OPCODE_NAMES = {CONT: "CONT", TEXT: "TEXT", BINARY: "BINARY", CLOSE: "CLOSE", PING: "PING", PONG: "PONG"}

HEADER_BYTES = 14  # the longest frame header
_HEAD_LIMIT_BYTES = 1 << 20
_LONG_FRAME_BYTES = 1 << 12

PreparedFrame = NewType("PreparedFrame", bytes)


class Pieces:
    """The bytes of a long frame in the chunks in which they came: joined only when somebody looks."""

    __slots__ = ("_chunks", "_length")

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks
        self._length = sum(map(len, chunks))

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return b"".join(self._chunks)

    def __getitem__(self, part: slice) -> bytes:
        first = self._chunks[0]
        return first[part] if part.stop is not None and part.stop <= len(first) else bytes(self)[part]


class FrameCutter:
    """Cuts one direction of one connection into its handshake and then its frames, whatever the chunks.

    Attributes:
        at_boundary: whether the next byte begins a frame: then a chunk of exactly one frame needs no cutting.
    """

    __slots__ = ("_chunks", "_kept", "_missing", "at_boundary", "in_handshake")

    def __init__(self) -> None:
        self.in_handshake = True
        self.at_boundary = False
        self._kept = b""  # the beginning of a head or of a short frame
        self._chunks: list[bytes] | None = None  # the beginning of a long frame,
        self._missing = 0  # which needs so many bytes more

    def cut_head(self, data: bytes) -> bytes | None:
        """The whole HTTP head once its blank line has come; what follows it belongs to ``cut``."""
        self._kept += data
        head, blank_line, rest = self._kept.partition(b"\r\n\r\n")
        if not blank_line and len(self._kept) < _HEAD_LIMIT_BYTES:
            return None
        self._kept, self.in_handshake, self.at_boundary = rest, False, not rest
        return head

    def rest(self) -> bytes:
        """Take what has come but was not cut: the body after a refusal's head."""
        rest, self._kept = self._kept, b""
        return rest

    def cut(self, data: bytes) -> list[bytes | Pieces]:
        """The frames that ``data`` completes, each with its header."""
        frames: list[bytes | Pieces] = []
        if self._missing:
            taken = data[: self._missing]
            self._chunks.append(taken)
            self._missing -= len(taken)
            if self._missing:
                return frames
            frames.append(Pieces(self._chunks))
            self._chunks = None
            data = data[len(taken) :]
        data = self._kept + data if self._kept else data
        start = 0
        while (length := frame_bytes(data, start)) is not None and start + length <= len(data):
            frames.append(data[start : start + length])
            start += length
        self._kept = data[start:]
        if length is not None and self._kept and length > _LONG_FRAME_BYTES:
            self._chunks, self._missing, self._kept = [self._kept], length - len(self._kept), b""
        self.at_boundary = not self._kept and not self._missing
        return frames


def frame_bytes(data: bytes, start: int = 0) -> int | None:
    """The length of the frame that begins at ``start``, header included, or None while its header is incomplete."""
    if len(data) - start < 2:
        return None
    length, masked = data[start + 1] & 127, data[start + 1] & 128
    header = (2 if length < 126 else 4 if length == 126 else 10) + (4 if masked else 0)
    if length < 126:
        return header + length
    if len(data) - start < header:
        return None
    return header + payload_length(data, start)


def payload_length(data: bytes, start: int = 0) -> int:
    """The payload length that a complete frame header names (RFC 6455 §5.2)."""
    length = data[start + 1] & 127
    if length == 126:
        return struct.unpack_from("!H", data, start + 2)[0]
    if length == 127:
        return struct.unpack_from("!Q", data, start + 2)[0]
    return length


def unmasked_payload(frame: bytes) -> tuple[bytes, bytes]:
    """The payload of ``frame``, unmasked, and its masking key (empty when it was not masked)."""
    start = _payload_start(frame)
    if not frame[1] & 128:
        return frame[start:], b""
    key, body = frame[start - 4 : start], frame[start:]
    whole_key = (key * (len(body) // 4 + 1))[: len(body)]
    return (int.from_bytes(body) ^ int.from_bytes(whole_key)).to_bytes(len(body)), key


def _payload_start(frame: bytes) -> int:
    """The length of a frame's header, masking key included."""
    length, masked = frame[1] & 127, frame[1] & 128
    return (2 if length < 126 else 4 if length == 126 else 10) + (4 if masked else 0)


def close_payload(frame: bytes) -> tuple[int, str]:
    """The code and reason of a Close frame, 1005 when it carries none (RFC 6455 §7.1.5)."""
    payload, _ = unmasked_payload(frame)
    if len(payload) < 2:
        return 1005, ""
    return struct.unpack_from("!H", payload)[0], payload[2:].decode("utf-8", "replace")


# Describers: called later, when somebody looks at the Entry.


def describe_frame(kept: bytes | Payload | SamePayload, more: tuple[str, int | None]) -> dict[str, Any]:
    """An Entry's fields for a frame; ``more`` is its kind and its message's ordinal."""
    kind, ordinal = more
    frame = kept if isinstance(kept, bytes) else kept.header if isinstance(kept, SamePayload) else kept.visible
    payload, key = unmasked_payload(frame)
    if isinstance(kept, SamePayload):
        payload = message_bytes(kept.first)
    opcode, size = frame[0] & 15, payload_length(frame)
    details: dict[str, Any] = {
        "opcode": OPCODE_NAMES.get(opcode, f"0x{opcode:x}"),
        "fin": bool(frame[0] & 128),
        "masked": bool(key),
        "compressed": bool(frame[0] & 64),
        "header": frame[: _payload_start(frame)].hex(),
    }
    if key:
        details["mask_key"] = key.hex()
    if isinstance(kept, SamePayload):
        details["kept_once"] = True
    if opcode == CLOSE:
        details["code"], details["reason"] = close_payload(frame)
    readable = opcode == TEXT and not details["compressed"]
    whole = len(payload) == size
    return {
        "kind": kind,
        "text": _preview(payload, readable),
        "size": size,
        "payload": (_as_text(payload) if readable else payload) if whole else None,
        "ordinal": ordinal,
        "details": details,
    }


def _as_text(payload: bytes) -> str | bytes:
    """Text, or the bytes as they are: half of a fragmented message may end within a character."""
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        return payload


def message_bytes(kept: Payload) -> bytes:
    """As many bytes of a long message as are still there, from its frame or from its ASGI message."""
    if kept.is_frame:
        return unmasked_payload(kept.visible)[0]
    return kept.visible.encode("utf-8", "surrogatepass") if isinstance(kept.visible, str) else kept.visible


def describe_request(kept: bytes | Payload, more: Any) -> dict[str, Any]:
    """An Entry's fields for the handshake's HTTP request."""
    start_line, headers, size = _parse_head(kept)
    method, _, target = start_line.partition(" ")
    return {"kind": "request", "text": f"{method} {target.rpartition(' ')[0]}", "size": size, "details": {"headers": headers, "start_line": start_line}}


def describe_response(kept: bytes | Payload, body: bytes) -> dict[str, Any]:
    """An Entry's fields for the handshake's HTTP response."""
    start_line, headers, size = _parse_head(kept)
    status = start_line.split(" ", 1)[-1]
    details = {"headers": headers, "start_line": start_line, "status": int(status[:3]) if status[:3].isdigit() else None}
    return {"kind": "response", "text": status, "size": size, "payload": body or None, "details": details}


def _parse_head(kept: bytes | Payload) -> tuple[str, list[tuple[str, str]], int]:
    head = kept.visible if isinstance(kept, Payload) else kept
    size = kept.size if isinstance(kept, Payload) else len(head)
    start_line, *lines = head.decode("latin-1").split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return start_line, headers, size


def _preview(payload: bytes, readable: bool) -> str:
    if readable:
        return payload[: 4 * PREVIEW_CHARACTERS].decode("utf-8", "replace")[:PREVIEW_CHARACTERS]
    return payload[: PREVIEW_CHARACTERS // 3].hex(" ")


def prepared(data: str | bytes) -> PreparedFrame:
    """``data`` as one whole frame for any number of receivers: final, uncompressed and, as a server's, unmasked (RFC 6455 §5.1).

    Raises:
        UnicodeEncodeError: the text holds a lone surrogate, which UTF-8 cannot carry.
    """
    opcode, payload = (TEXT, data.encode()) if isinstance(data, str) else (BINARY, bytes(data))
    size = len(payload)
    if size < 126:
        header = bytes((0x80 | opcode, size))
    elif size < 1 << 16:
        header = struct.pack("!BBH", 0x80 | opcode, 126, size)
    else:
        header = struct.pack("!BBQ", 0x80 | opcode, 127, size)
    return PreparedFrame(header + payload)
