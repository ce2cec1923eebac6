"""A served app whose endpoints join a hub, and a client that never reads."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, WebSocket

from kit import Server
from kit.hub import Hub, Member

__all__ = ["joining_app", "never_reading"]


def joining_app(hub: Hub, *, opens_hub: bool) -> FastAPI:
    """``/join/{room}`` joins with what the query says, sends ``ready``, and stays until its client leaves.

    ``app.state.members`` collects the members, ``app.state.left`` those whose handler has ended. With ``plain=1`` the
    socket is served as on any other server, without the extensions of ours.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with hub if opens_hub else contextlib.nullcontext():
            yield

    app = FastAPI(lifespan=lifespan)
    app.state.members, app.state.left = [], []

    @app.websocket("/join/{room}")
    async def join(websocket: WebSocket, room: str, plain: bool = False, name: str = "", envelope: bool = False, policy: Any = "disconnect") -> None:
        if plain:
            websocket.scope["extensions"].pop("kit.outlet", None)
        await websocket.accept()
        presence = envelope and "presence" in websocket.query_params
        since = websocket.query_params.get("since")
        position = None if since is None else [since.partition(":")[0], int(since.partition(":")[2])]
        async with hub.join(websocket, room, name=name, envelope=envelope, policy=policy, presence=presence, since=position) as member:
            await _stay(websocket, member)
        app.state.left.append(member)

    async def _stay(websocket: WebSocket, member: Member) -> None:
        app.state.members.append(member)
        await websocket.send_text("ready")
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if message.get("text"):
                await hub.publish(member.room, message["text"])

    return app


@contextlib.asynccontextmanager
async def never_reading(server: Server, path: str) -> AsyncIterator[socket.socket]:
    """A WebSocket client that reads the answer to its handshake, and nothing after that."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Upgrade: websocket", "Connection: Upgrade"]
        await loop.sock_sendall(raw, "\r\n".join([*lines, "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += await loop.sock_recv(raw, 1)
        assert answer.startswith(b"HTTP/1.1 101")
        yield raw
