"""Frames that a client seldom sends: one message in fragments, and frames that break the protocol's rules."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from websockets.frames import Frame, Opcode

from kit import loops
from kit.client import Client
from kit.faults.checks import check_client, check_connected

__all__ = ["INVALID_FRAMES", "InvalidFrame", "send_in_fragments", "send_invalid_frame"]

_FRAGMENTS_LIMIT = 1_000


async def send_in_fragments(client: Client, message: str | bytes, sizes: int | Iterable[int], *, ping_between: bool = False) -> None:
    """Send one message in several frames (RFC 6455 §5.4): the handler gets it whole, once the last has come.

    Args:
        message: text or bytes; text may be cut within a character, as only the whole has to be UTF-8.
        sizes: bytes in each fragment, or the sizes of the first ones; the rest of the message is the last.
        ping_between: send a ping behind each fragment but the last, as only control frames may come in between.

    Raises:
        ValueError: a size below 1, or more than 1,000 fragments.
        Disconnected: the connection has ended.
    """
    check_client(client, "send_in_fragments")
    if not isinstance(message, (str, bytes)):
        raise TypeError(f"send_in_fragments expects str or bytes, but got {type(message).__name__}.")
    parts = _cut(message.encode() if isinstance(message, str) else message, sizes)
    frames, opcode = [], Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
    for number, part in enumerate(parts, 1):
        frames.append(Frame(opcode, part, fin=number == len(parts)).serialize(mask=True))
        if ping_between and number < len(parts):
            frames.append(Frame(Opcode.PING, b"between").serialize(mask=True))
        opcode = Opcode.CONT
    await _write(client, b"".join(frames), f"sends one message in {len(parts)} fragment{'s' if len(parts) > 1 else ''}", "fragments")


class InvalidFrame(NamedTuple):
    """A frame that breaks a rule of RFC 6455.

    Attributes:
        frame: its bytes.
        says: the rule and how it is broken, said after the sender's name.
        code: the close code that the rule prescribes for the answer.
    """

    frame: bytes
    says: str
    code: int


def _frame(first_byte: int, payload: bytes, *, masked: bool = True) -> bytes:
    """A short frame, masked with a key of zeros, which leaves the payload readable."""
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload))
    return bytes([first_byte, length[0] | (128 if masked else 0)]) + length[1:] + (bytes(4) if masked else b"") + payload


INVALID_FRAMES: Mapping[str, InvalidFrame] = {
    "unmasked": InvalidFrame(_frame(0x81, b"hello", masked=False), "sends a frame without a mask, which a client must use (§5.1)", 1002),
    "reserved-bit": InvalidFrame(_frame(0xA1, b"hello"), "sends a frame with a reserved bit set that no extension gave a meaning (§5.2)", 1002),
    "bad-utf8": InvalidFrame(_frame(0x81, b"caf\xe9"), "sends text that is Latin-1 and not UTF-8 (§8.1)", 1007),
    "unknown-opcode": InvalidFrame(_frame(0x83, b"hello"), "sends a frame with opcode 3, which is reserved (§5.2)", 1002),
    "lonely-continuation": InvalidFrame(_frame(0x80, b"hello"), "sends a continuation of a message that never began (§5.4)", 1002),
    "long-ping": InvalidFrame(_frame(0x89, b"x" * 126), "sends a ping of 126 bytes, where a control frame has at most 125 (§5.5)", 1002),
    "bad-close-code": InvalidFrame(_frame(0x88, struct.pack("!H", 999)), "sends a Close frame with 999, which is no close code (§7.4.2)", 1002),
}
"""Every way to break the protocol's rules that `send_invalid_frame` knows, by its name."""


async def send_invalid_frame(client: Client, kind: str) -> None:
    """Send a frame that breaks a rule of RFC 6455; ``kind`` is one of `INVALID_FRAMES`. Returns once it is written.

    A server has to fail the connection (§7.1.7): it answers with the Close frame of ``INVALID_FRAMES[kind].code``.

    Raises:
        ValueError: not a kind.
        Disconnected: the connection has ended.
    """
    check_client(client, "send_invalid_frame")
    if kind not in INVALID_FRAMES:
        raise ValueError(f"kind expects one of {', '.join(map(repr, INVALID_FRAMES))}, but got {kind!r}.")
    await _write(client, INVALID_FRAMES[kind].frame, INVALID_FRAMES[kind].says, f"invalid-frame {kind}")


async def _write(client: Client, frames: bytes, says: str, what: str) -> None:
    wire = client._wire

    async def writing() -> None:
        check_connected(client)
        client.note_fault(f"{client.name} {says}", what, "once")
        await wire.write_frames(frames)

    await loops.run_on(wire.loop, writing())


def _cut(payload: bytes, sizes: int | Iterable[int]) -> list[bytes]:
    """``payload`` in pieces; when sizes run out, the last piece is whatever is left."""
    wanted = itertools.repeat(sizes) if isinstance(sizes, int) else iter(sizes)
    parts, rest = [], payload
    for size in wanted:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"sizes expects how many bytes a fragment has, at least 1, but got {size!r}. Write: send_in_fragments(client, 'hello', sizes=2)")
        if size >= len(rest):
            break
        parts.append(rest[:size])
        rest = rest[size:]
        if len(parts) >= _FRAGMENTS_LIMIT:
            raise ValueError(f"a message is sent in at most {_FRAGMENTS_LIMIT:,} fragments, but these would be more. Make them larger.")
    return [*parts, rest]
