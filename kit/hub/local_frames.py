"""What crosses the sockets between `kit.hub.local` and `kit.hub.local_server`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from typing import Any

__all__ = ["frame", "hang_up", "read_frame"]

HEADER_BYTES, PAYLOAD_BYTES = 1 << 20, 1 << 30


def frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """What crosses the socket: two lengths of 4 bytes, a header in JSON, and a payload."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return len(head).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + head + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """The next frame.

    Raises:
        EOFError: the other end is gone.
        ValueError: this is no frame.
    """
    try:
        lengths = await reader.readexactly(8)
        head, size = int.from_bytes(lengths[:4], "big"), int.from_bytes(lengths[4:], "big")
        if head > HEADER_BYTES or size > PAYLOAD_BYTES:
            raise ValueError("what came is no frame of a local broker")
        header, payload = json.loads(await reader.readexactly(head)), await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError from None
    if not isinstance(header, dict):
        raise ValueError("what came is no frame of a local broker")
    return header, payload


def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, also where a forked child has it too."""
    if not writer.transport.is_closing():  # after that its number may be another file's
        own = writer.get_extra_info("socket")
        with contextlib.suppress(OSError), socket.fromfd(own.fileno(), own.family, own.type) as same:  # uvloop's own cannot do it
            same.shutdown(socket.SHUT_RDWR)
    writer.transport.abort()
