"""Nothing is written before a connection's beginning, after its end, or where another server has no outlet."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed

from kit import connect, serve
from kit.frames import prepared
from kit.outlet import Outlet
from tests.outlet.listeners import RawClient, app_of, raw_client


async def test_what_is_due_leaves_before_the_socket_closes() -> None:
    """A handler that writes and returns: no Close frame, but the message arrives."""

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        outlet.write(prepared("last words"))

    async with serve(app_of(script), port=0) as server, raw_client(server) as client:
        assert await client.read_until(b"never") == prepared("last words")


async def test_nothing_is_written_before_accept_or_after_a_close() -> None:
    answers: dict[str, bool] = {}

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        answers["before accept"] = outlet.write(prepared("early"))
        await websocket.accept()
        answers["open"] = outlet.write(prepared("in time"))
        await websocket.close()
        answers["after a close"] = outlet.write(prepared("late"))
        answers["to many"] = outlet not in outlet.turn.write([outlet], prepared("late"))

    async with serve(app_of(script), port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text() == "in time"
        with pytest.raises(WebSocketDisconnect):
            await client.receive_text()
    assert answers == {"before accept": False, "open": True, "after a close": False, "to many": False}


async def test_nothing_is_written_where_the_handshake_was_refused() -> None:
    answers: list[bool] = []

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.close()
        answers.append(outlet.write(prepared("late")))

    async with serve(app_of(script), port=0) as server:
        client = RawClient(server)
        wire = await client.read_until(b"never")
        client.socket.close()
    assert wire.startswith(b"HTTP/1.1 403")
    assert b"late" not in wire
    assert answers == [False]


@pytest.mark.parametrize("how", ["the client closes", "the client vanishes", "the app aborts", "the outlet aborts", "the server stops"])
async def test_nothing_is_written_once_the_client_is_gone(how: str) -> None:
    over = asyncio.Event()
    answers: list[bool] = []

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        assert outlet.turn.write([outlet], prepared("hello")) == []
        if how == "the app aborts":
            websocket.scope["extensions"]["kit.abort"]["abort"]()
        elif how == "the outlet aborts":
            outlet.abort()
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive_text()
        answers.extend([outlet.write(prepared("late")), outlet.turn.write([outlet], prepared("late")) == []])
        await asyncio.wait_for(outlet.drained(), 5)
        loop.call_soon_threadsafe(over.set)

    loop = asyncio.get_running_loop()
    async with serve(app_of(script), port=0) as server, raw_client(server) as client:
        if how == "the client closes":
            client.socket.send(b"\x88\x80" + bytes(4))
        elif how == "the client vanishes":
            client.socket.close()
        elif how == "the server stops":
            await server.stop()
        await asyncio.wait_for(over.wait(), 5)
    assert answers == [False, False]


async def test_another_server_has_no_outlet() -> None:
    """Plain uvicorn does not offer it: an app that would use it has to send by ASGI there."""
    extensions: dict[str, object] = {}
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        extensions.update(websocket.scope["extensions"])
        await websocket.accept()
        await websocket.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with websockets_connect(f"ws://127.0.0.1:{listening.getsockname()[1]}/ws", proxy=None) as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()
        server.should_exit = True
        await serving
    assert "websocket.http.response" in extensions
    assert "kit.outlet" not in extensions
