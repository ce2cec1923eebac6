"""run(): a coroutine of the reader's on the server's own loop."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from fastapi import FastAPI, WebSocket

from kit import connect, serve
from kit.errors import LoopStopped
from tests.apps import app
from tests.server.probes import in_another_thread


async def test_run_uses_the_apps_own_queue_and_lock(place: str) -> None:
    thread = "kit-server-queueing" if place == "thread" else threading.current_thread().name
    queueing = FastAPI()
    queue: asyncio.Queue[str] = asyncio.Queue()
    lock = asyncio.Lock()

    @queueing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async with lock:
            await websocket.send_text("locked")
            await websocket.send_text(await queue.get())
        await websocket.receive()

    async def put_and_wait_for_the_lock(text: str) -> str:
        await queue.put(text)
        async with lock:
            return threading.current_thread().name

    async with serve(queueing, port=0, name="queueing") as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=5.0) == "locked"
        assert await asyncio.wait_for(server.run(put_and_wait_for_the_lock("from a cell")), 5.0) == thread
        assert await client.receive_text(timeout=5.0) == "from a cell"


async def test_run_forwards_exceptions_and_cancellation() -> None:
    async with serve(app, port=0) as server:
        error, started, cancelled = LookupError("from the server's loop"), threading.Event(), threading.Event()

        async def fail() -> None:
            raise error

        async def wait_for_ever() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        with pytest.raises(LookupError) as raised:
            await server.run(fail())
        assert raised.value is error
        running = asyncio.create_task(server.run(wait_for_ever()))
        assert await asyncio.to_thread(started.wait, 5.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(cancelled.wait, 5.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.run(asyncio.sleep(60)), 0.02)


async def test_run_survives_an_exit_request() -> None:
    async with serve(app, port=0) as server:

        async def leave() -> None:
            sys.exit(7)

        with pytest.raises(RuntimeError, match="SystemExit"):
            await server.run(leave())
        async with connect(server, "/ws") as client:
            await client.ping()


async def test_run_works_from_a_thread_and_from_the_servers_own_loop(place: str) -> None:
    thread = "kit-server-main" if place == "thread" else threading.current_thread().name
    async with serve(app, port=0, name="main") as server:

        async def name() -> str:
            return threading.current_thread().name

        async def nested() -> str:
            return await server.run(name())

        assert await in_another_thread(nested()) == thread
        assert await server.run(nested()) == thread


async def test_run_wants_a_coroutine() -> None:
    async with serve(app, port=0) as server:

        async def broadcast() -> None: ...

        with pytest.raises(TypeError, match=r"await server\.run\(broadcast\(…\)\)"):
            await server.run(broadcast)
        with pytest.raises(TypeError, match="expects a coroutine"):
            await server.run(None)


async def test_run_on_a_stopped_server_says_how_to_start_it() -> None:
    server = await serve(app, port=0)
    await server.stop()
    with pytest.raises(LoopStopped, match="await serve"):
        await server.run(asyncio.sleep(0))


@pytest.mark.needs_a_thread("a coroutine on the caller's own loop outlives the server")
async def test_a_run_that_is_under_way_when_the_server_stops_ends_with_an_error() -> None:
    server = await serve(app, port=0)
    started = threading.Event()

    async def wait_for_ever() -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(server.run(wait_for_ever()))
    assert await asyncio.to_thread(started.wait, 5.0)
    await server.stop()
    with pytest.raises(LoopStopped):
        await asyncio.wait_for(running, 5.0)
