"""Handlers that give away their outlets, and a client that reads only what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from kit import Server
from kit.frames import prepared
from kit.outlet import Outlet
from kit.timeline import Entry

Script = Callable[[WebSocket, Outlet], Awaitable[None]]
CLOSE_1000 = b"\x88\x02\x03\xe8"


def outlet_of(websocket: WebSocket) -> Outlet:
    return websocket.scope["extensions"]["kit.outlet"]["outlet"]


def app_of(script: Script) -> FastAPI:
    """An app whose one endpoint is ``script``."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await script(websocket, outlet_of(websocket))

    return app


class Listeners:
    """An app whose connections only listen, and the outlets of all of them."""

    def __init__(self) -> None:
        self.outlets: list[Outlet] = []
        self.websockets: list[WebSocket] = []
        self.app = app_of(self._listen)

    async def _listen(self, websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        self.outlets.append(outlet)
        self.websockets.append(websocket)
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive_text()

    async def tell_all(self, *texts: str) -> None:
        """On the server's loop: every message to everybody, within one turn."""
        for text in texts:
            assert self.outlets[0].turn.write(self.outlets, prepared(text)) == []


class RawClient:
    """A socket after its handshake: it sees bytes, and reads only when told to."""

    def __init__(self, server: Server, receive_bytes: int = 0) -> None:
        self._read_ahead = b""
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.setblocking(False)
        head = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        self.socket.send(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())

    async def read(self) -> bytes:
        """What one call gets; nothing at the end."""
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 1 << 20), 5)
        except ConnectionError:
            return b""

    async def read_until(self, ending: bytes) -> bytes:
        """All bytes up to ``ending`` or the end of the connection."""
        seen, self._read_ahead = self._read_ahead, b""
        while ending not in seen and (chunk := await self.read()):
            seen += chunk
        wanted, found, self._read_ahead = seen.partition(ending)
        return wanted + found


@contextlib.asynccontextmanager
async def raw_client(server: Server, receive_bytes: int = 0) -> AsyncIterator[RawClient]:
    client = RawClient(server, receive_bytes)
    try:
        head = await client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        yield client
    finally:
        client.socket.close()


def fill(outlet: Outlet) -> int:
    """Write until the transport's buffer is above its high-water mark; how many frames that took."""
    frame, count = prepared(bytes(65_536)), 0
    while outlet.writable:
        assert outlet.write(frame)
        outlet.flush()
        count += 1
        assert count < 1_000
    return count


def seen(server: Server, side: str, kind: str, connection: int | None = None) -> list[Entry]:
    return [entry for entry in server.timeline.entries(connection=connection) if (entry.side, entry.kind) == (side, kind)]
