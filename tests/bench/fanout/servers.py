"""The servers that are compared, each in a process of its own: how a message gets to everybody is all that differs.

Commands are lines of JSON on standard input, each answered with one on standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import json
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

DOCUMENTATION, OURS = "the documentation's", "ours"
ROOM = "room"
PATH, PATH_SOCKETIO = "/ws", "/socket.io/?EIO=4&transport=websocket"

Work = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


@dataclass
class Variant:
    """A running server: its port, how to tell everybody something, how many are connected, and how to run something on its loop."""

    port: int
    publish: Callable[[str], Awaitable[None]]
    connected: Callable[[], int]
    path: str = PATH
    greeting: str = ""
    run: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]] = lambda coroutine: coroutine


class ConnectionManager:
    """The documentation's."""

    def __init__(self) -> None:
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str) -> None:
        for connection in self.active_connections:
            await connection.send_text(message)


class GatheringManager(ConnectionManager):
    """What is often put in its place."""

    async def broadcast(self, message: str) -> None:
        await asyncio.gather(*(connection.send_text(message) for connection in self.active_connections))


def managed(manager: ConnectionManager) -> FastAPI:
    app = FastAPI()

    @app.websocket(PATH)
    async def endpoint(websocket: WebSocket) -> None:
        await manager.connect(websocket)
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            manager.disconnect(websocket)

    return app


@contextlib.asynccontextmanager
async def by_uvicorn(app: Any) -> AsyncIterator[tuple[int, Callable[[], int]]]:
    """``app`` as plain uvicorn serves it, on this loop; its port, and how many are connected."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws_ping_interval=None, lifespan="off"))
    server_task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:  # noqa: ASYNC110, uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield listening.getsockname()[1], lambda: len(server.server_state.connections)
    server_task.cancel()


@contextlib.asynccontextmanager
async def documentation() -> AsyncIterator[Variant]:
    manager = ConnectionManager()
    async with by_uvicorn(managed(manager)) as (port, connected):
        yield Variant(port, manager.broadcast, connected)


@contextlib.asynccontextmanager
async def gathered() -> AsyncIterator[Variant]:
    manager = GatheringManager()
    async with by_uvicorn(managed(manager)) as (port, connected):
        yield Variant(port, manager.broadcast, connected)


@contextlib.asynccontextmanager
async def websockets_broadcast() -> AsyncIterator[Variant]:
    from websockets.asyncio.server import ServerConnection, broadcast
    from websockets.asyncio.server import serve as websockets_serve

    connections: set[ServerConnection] = set()

    async def handler(connection: ServerConnection) -> None:
        connections.add(connection)
        await connection.wait_closed()
        connections.discard(connection)

    async def publish(message: str) -> None:
        broadcast(connections, message)

    async with websockets_serve(handler, "127.0.0.1", 0, ping_interval=None, backlog=2048) as server:
        yield Variant(next(iter(server.sockets)).getsockname()[1], publish, lambda: len(connections))


@contextlib.asynccontextmanager
async def broadcaster_memory() -> AsyncIterator[Variant]:
    from broadcaster import Broadcast

    app, broadcast = FastAPI(), Broadcast("memory://")

    @app.websocket(PATH)
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async with broadcast.subscribe(ROOM) as subscriber:
            async for event in subscriber:
                await websocket.send_text(event.message)

    async with broadcast, by_uvicorn(app) as (port, connected):
        yield Variant(port, lambda message: broadcast.publish(ROOM, message), connected)


@contextlib.asynccontextmanager
async def socketio() -> AsyncIterator[Variant]:
    import socketio

    server = socketio.AsyncServer(async_mode="asgi", ping_interval=10_000)
    async with by_uvicorn(socketio.ASGIApp(server)) as (port, connected):
        yield Variant(port, lambda message: server.emit("message", message), connected, PATH_SOCKETIO, "40")


@contextlib.asynccontextmanager
async def ours(url: str = "memory://") -> AsyncIterator[Variant]:
    """The kit's hub on the kit's server, recording, nothing displayed."""
    from kit import Hub, serve

    hub = Hub(url)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with hub:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.websocket(PATH)
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        async with hub.join(websocket, ROOM):
            try:
                while True:
                    await websocket.receive_text()
            except WebSocketDisconnect:
                pass

    async def publish(message: str) -> None:
        await hub.publish(ROOM, message)

    async with serve(app, port=0, max_connections=5_000, ping_interval_seconds=None) as server:
        yield Variant(server.port, publish, lambda: sum(room.members for room in hub.statistics().rooms), run=server.run)


VARIANTS: dict[str, Callable[..., contextlib.AbstractAsyncContextManager[Variant]]] = {
    DOCUMENTATION: documentation,
    "asyncio.gather": gathered,
    "websockets.broadcast": websockets_broadcast,
    "broadcaster, memory": broadcaster_memory,
    "python-socketio": socketio,
    OURS: ours,
}
_NEEDS = {"broadcaster, memory": "broadcaster", "python-socketio": "socketio"}


def missing(name: str) -> str | None:
    """The package that this variant needs and that is not installed."""
    needed = _NEEDS.get(name)
    return needed if needed and importlib.util.find_spec(needed) is None else None


async def burst(publish: Callable[[str], Awaitable[None]], size: int, bursts: int, messages: int) -> dict[str, Any]:
    """So many messages in a row, then the loop's turn, again and again."""
    message = "x" * size
    began = time.monotonic_ns()
    for _ in range(bursts):
        for _ in range(messages):
            await publish(message)
        await asyncio.sleep(0)
    return {"began": began}


async def pace(publish: Callable[[str], Awaitable[None]], size: int, messages: int, a_second: float) -> dict[str, Any]:
    """One message after the other at an even pace; when each was published."""
    message, began, published = "x" * size, time.monotonic(), []
    for number in range(messages):
        await asyncio.sleep(max(0.0, began + number / a_second - time.monotonic()))
        published.append(time.time_ns())
        await publish(message)
    return {"published": published}


async def within(seconds: float, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError:
        return {"stuck": True}


async def until_at_most(connected: Callable[[], int], count: int, seconds: float) -> dict[str, Any]:
    """After how many seconds no more than ``count`` are connected; None when more still are in the end."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if connected() <= count:
            return {"after": time.monotonic() - began}
        await asyncio.sleep(0.02)
    return {"after": None}


def memory_bytes() -> int:
    """What this process holds in memory, without what nobody refers to any more."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


USAGE: dict[str, Callable[[], float]] = {"cpu_seconds": time.process_time, "memory_bytes": memory_bytes}


async def usage(what: str) -> dict[str, Any]:
    return {what: USAGE[what]()}


async def answer(commands: Mapping[str, Callable[..., Awaitable[dict[str, Any]]]], **about: Any) -> None:
    """Say what there is to know, then do what each line of standard input says, until it ends."""
    print(json.dumps(about), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, *arguments = json.loads(line)
        print(json.dumps(await commands[name](*arguments)), flush=True)


async def main(name: str, *arguments: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    async with VARIANTS[name](*arguments) as variant:

        async def on_its_loop(work: Work, seconds: float, *details: Any) -> dict[str, Any]:
            return await variant.run(within(seconds, work(variant.publish, *details)))

        commands = {"usage": usage, "burst": partial(on_its_loop, burst), "pace": partial(on_its_loop, pace)}
        commands["until_at_most"] = partial(until_at_most, variant.connected)
        await answer(commands, port=variant.port, path=variant.path, greeting=variant.greeting)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
