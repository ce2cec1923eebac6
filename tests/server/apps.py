"""Readers' apps that hold up a stop, or block their loop, and the reasons why a test needs its server in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable

from fastapi import FastAPI, WebSocket
from fastapi.concurrency import run_in_threadpool
from starlette.websockets import WebSocketState

from kit import Server, connect

BLOCKS = "something blocks here; on the caller's own loop that stops the caller too, and nobody may interrupt the reader's thread"
STUBBORN = "a handler that will not be cancelled ends with its loop, and the caller's own loop goes on"


async def endpoint(websocket: WebSocket) -> None:
    """What a reader passes who mistakes the endpoint for the app."""


def stopping_app() -> FastAPI:
    """Handlers that are suspended at an await in every way that is known to hold up a stop."""
    stopping = FastAPI()

    @stopping.websocket("/receive")
    async def receive(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    @stopping.websocket("/sleep")
    async def sleep(websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(3600)

    @stopping.websocket("/before-accept")
    async def before_accept(websocket: WebSocket) -> None:
        await asyncio.sleep(3600)

    @stopping.websocket("/loop")
    async def loop(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:  # noqa: ASYNC110 - it is meant to spin
            await asyncio.sleep(0)

    @stopping.websocket("/flood")
    async def flood(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_bytes(bytes(64 * 1024))

    @stopping.websocket("/stubborn")
    async def stubborn(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.sleep(3600)

    @stopping.websocket("/thread-pool")
    async def thread_pool(websocket: WebSocket) -> None:
        await websocket.accept()
        await run_in_threadpool(time.sleep, 2.0)

    @stopping.websocket("/slow-cleanup")
    async def slow_cleanup(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(3600)

    return stopping


def blocking_app(how: str, held: threading.Lock | None = None) -> FastAPI:
    """Handlers that block the server's loop once a message comes: in Python's bytecode, or inside a call to C, until ``held`` is let go."""
    blocking = FastAPI()

    @blocking.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive()
        if how == "loop":
            while True:
                pass  # blocks in Python
        elif how == "naps":
            while True:
                time.sleep(0.01)  # blocks in naps  # noqa: ASYNC251
        else:
            held.acquire(timeout=20)  # blocks in C

    return blocking


async def blocked(server: Server, eventually: Callable) -> None:
    """A client has made the handler block, and the server knows."""
    client = await connect(server, "/ws")
    await client.send_text("block")
    await eventually(lambda: server.blocked)
    assert client.state is WebSocketState.CONNECTED
