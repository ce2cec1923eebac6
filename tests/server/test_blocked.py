"""A server whose loop is blocked says where, and nobody else's work is called blocked."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import threading
import time
from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket

from kit import Client, Server, connect, serve
from kit.watch import Blocked
from tests.apps import app
from tests.server.apps import BLOCKS, STUBBORN, stopping_app


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_blocked_loop_is_noticed_with_its_place_and_connection(eventually: Callable) -> None:
    pausing, go_on = FastAPI(), threading.Event()

    @pausing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            go_on.wait(20)  # the line that blocks
            await websocket.send_text("awake")

    async with serve(pausing, port=0) as server, connect(server, "/ws"), connect(server, "/ws") as client:
        await eventually(lambda: server.blocked is None and server.statistics().blocked_seconds == 0)
        await client.send_text("block")
        found = await eventually(lambda: blocked_in(server, 2))
        assert found.place.function == "handler"
        assert found.place.code.startswith("go_on.wait(20)  # the line that blocks")
        assert found.since_seconds > 0
        assert server.statistics().blocked_seconds > 0
        (notice,) = await eventually(lambda: [e for e in server.timeline.entries() if e.details.get("what") == "blocked" and e.details["number"] == 2])
        go_on.set()
        assert await client.receive_text(timeout=5.0) == "awake"
        await eventually(lambda: server.blocked is None)
        await eventually(lambda: any(e.details.get("what") == "unblocked" for e in server.timeline.entries()))
        assert "the line that blocks" in notice.text


def blocked_in(server: Server, connection: int) -> Blocked | None:
    """Where the loop is stuck in the handler of a connection, and not because the machine is busy."""
    found = server.blocked
    return found if found is not None and found.connection == connection else None


async def test_a_loop_that_is_only_busy_is_not_called_blocked() -> None:
    """It works hard for a second, but lets others have their turn in between."""
    busy = FastAPI()

    @busy.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        for _ in range(20):
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0)
        await websocket.send_text("done")

    async with serve(busy, port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=10.0) == "done"
        assert [e.text for e in server.timeline.entries() if e.details.get("what") == "blocked"] == []


async def test_a_process_that_is_held_up_as_a_whole_is_not_called_blocked() -> None:
    """As by a call into C that lets no other thread run: the server's loop is late, and so is whoever looks at it."""
    async with serve(FastAPI(), port=0) as server:
        for _ in range(2):
            ctypes.PyDLL(None).usleep(600_000)
            await asyncio.sleep(0.1)  # all threads go on
        assert [entry.text for entry in server.timeline.entries() if entry.details.get("what") == "blocked"] == []


@pytest.mark.needs_a_thread(STUBBORN)
async def test_a_handler_that_refuses_to_end_writes_nothing_into_a_passing_cell(capfd: pytest.CaptureFixture[str]) -> None:
    """It is destroyed with its loop; uvicorn calls that an exception in the application, and nobody has asked."""
    server = await serve(stopping_app(), port=0)
    client = await connect(server, "/stubborn")
    await server.stop()
    await client.close()
    gc.collect()
    assert capfd.readouterr().err == ""


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_cell_that_blocks_does_not_delay_an_echo() -> None:
    """Another client, in a thread of its own, gets its echoes while this loop stands still."""
    async with serve(app, port=0) as server:

        async def echo(client: Client) -> str:
            await client.send_text("x")
            return await client.receive_text(timeout=5.0)

        async def echoes() -> list[str]:
            async with connect(server, "/ws") as client:
                return [await echo(client) for _ in range(50)]

        echoed: list[str] = []
        thread = threading.Thread(target=lambda: echoed.extend(asyncio.run(echoes())))
        thread.start()
        thread.join(30.0)  # the cell blocks its own loop
        assert echoed == ["x"] * 50
