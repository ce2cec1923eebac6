"""What a peer sends that need not keep to any rule, and what is known of it afterwards."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator

from fastapi import FastAPI, WebSocket

from kit import Server
from kit.connection import Connection
from kit.timeline import Entry
from tests.apps import app as echo_app

LIMIT_BYTES = 100_000
TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9

app = FastAPI()
app.include_router(echo_app.router)


@app.websocket("/json")
async def echo_json(websocket: WebSocket) -> None:
    await websocket.accept()
    async for value in websocket.iter_json():
        await websocket.send_text(repr(value))


def request(method: str = "GET", target: str = "/ws", version: str = "HTTP/1.1", *, without: str = "", more: str = "", **changed: str) -> bytes:
    """A handshake, or what is wrong with one."""
    headers = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if name != without]
    return f"{method} {target} {version}\r\n{''.join(lines)}{more}\r\n".encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True, length: int | None = None) -> bytes:
    """A frame as a client sends it (RFC 6455 §5.2), masked with zeros, or what is wrong with one."""
    length = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, length)
    else:
        head += struct.pack("!BQ", mask_bit | 127, length)
    return head + (bytes(4) if masked else b"") + payload


class Peer:
    """A socket that says what it is told to, and hears what comes back until the server hangs up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the server need not listen to the end
            self.writer.write(data)
            async with asyncio.timeout(20.0):
                await self.writer.drain()

    async def head(self) -> bytes:
        async with asyncio.timeout(20.0):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        heard = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20.0):
                while data := await self.reader.read(65_536):
                    heard += data
        return heard


@contextlib.asynccontextmanager
async def stranger(server: Server, path: str | None = None, *, receive_buffer_bytes: int | None = None) -> AsyncIterator[Peer]:
    """A peer of no library; with a path it has shaken hands there."""
    sock = socket.socket()
    if receive_buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    peer = Peer(*await asyncio.open_connection(sock=sock))
    try:
        if path is not None:
            await peer.say(request(target=path))
            assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        yield peer
    finally:
        peer.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await peer.writer.wait_closed()


def over(connection: Connection) -> bool:
    return not connection.open and bool(connection.handler_error or connection.handler_returned)


def said(server: Server, words: str, since: int = 0) -> list[Entry]:
    """The Entries of the ServerPanel's log that say so."""
    return [entry for entry in server.timeline.entries(since=since) if entry.kind in ("notice", "log", "error") and words in entry.text]


# Messages and frames that nobody may send.

START = frame(TEXT, b"a", fin=False)
BAD_FRAMES = {
    "an unmasked frame": (frame(TEXT, b"hi", masked=False), 1002, "incorrect masking"),
    "reserved bit 1": (frame(TEXT, b"hi", reserved=0x40), 1002, "reserved bits must be 0"),
    "reserved bit 2": (frame(TEXT, b"hi", reserved=0x20), 1002, "reserved bits must be 0"),
    "reserved bit 3": (frame(TEXT, b"hi", reserved=0x10), 1002, "reserved bits must be 0"),
    "a reserved opcode": (frame(0x3, b"hi"), 1002, "invalid opcode"),
    "a reserved control opcode": (frame(0xF), 1002, "invalid opcode"),
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002, "fragmented control frame"),
    "a fragmented Close": (frame(CLOSE, fin=False), 1002, "fragmented control frame"),
    "a ping over 125 bytes": (frame(PING, bytes(126)), 1002, "control frame too long"),
    "a Close over 125 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002, "control frame too long"),
    "a continuation of nothing": (frame(0x0, b"x"), 1002, "unexpected continuation frame"),
    "a message inside a message": (START + frame(TEXT, b"b"), 1002, "expected a continuation frame"),
    "a length of 2**63 - 1": (frame(TEXT, b"x", length=2**63 - 1), 1009, "9223372036854775807 bytes"),
    "a length of 2**63": (frame(TEXT, b"x", length=2**63), 1009, "9223372036854775808 bytes"),
    "a length just over the limit": (frame(BINARY, length=LIMIT_BYTES + 1), 1009, f"exceeds limit of {LIMIT_BYTES} bytes"),
    "a message over the limit": (frame(BINARY, bytes(LIMIT_BYTES + 1)), 1009, "`max_message_bytes`"),
    "fragments over the limit": (frame(BINARY, bytes(60_000), fin=False) + frame(0x0, bytes(60_000)), 1009, "`max_message_bytes`"),
    "text that is no UTF-8": (frame(TEXT, b"\xff\xfe"), 1007, "not valid UTF-8"),
    "text with half a surrogate pair": (frame(TEXT, b"\xed\xa0\x80"), 1007, "not valid UTF-8"),
    "text that ends inside a character": (frame(TEXT, b"\xe2\x82", fin=False) + frame(0x0, b"x"), 1007, "not valid UTF-8"),
    "a close reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff\xff"), 1007, "invalid start byte"),
    "a Close of one byte": (frame(CLOSE, b"\x03"), 1002, "close frame too short"),
    **{
        f"close code {code}": (frame(CLOSE, struct.pack("!H", code)), 1002, "invalid status code")
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535)
    },
    "binary garbage": (random.Random(6455).randbytes(5_000), 1002, "protocol"),
}
