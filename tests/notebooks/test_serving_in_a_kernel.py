"""A kernel with a server on its own loop, in the hands of a reader, stays a good kernel, as notebook 06 says."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from kit import Client, connect
from kit.errors import Disconnected
from tests.notebooks.execution import CELL_SECONDS, execute_cell, failures, printed
from tests.timing import within

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHUTDOWN_SECONDS = 3


class Kernel:
    """A real kernel in a folder of its own, to which cells are given one by one."""

    def __init__(self, client: NotebookClient, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.manager = client.km

    async def execute(self, source: str) -> NotebookNode:
        """Run a cell; returns it with its outputs."""
        self.client.nb.cells.append(new_code_cell(source))
        return await execute_cell(self.client, len(self.client.nb.cells) - 1)

    async def ask(self, source: str) -> str:
        """Run a cell that must not fail; returns what it printed."""
        cell = await self.execute(source)
        assert not failures([cell])
        return printed([cell]).strip()

    async def until_it_runs(self) -> None:
        """Until code in the kernel has called ``begun()``."""
        async with asyncio.timeout(10):
            while not (self.folder / "begun").exists():  # noqa: ASYNC110, another process makes it
                await asyncio.sleep(0.01)
        (self.folder / "begun").unlink()

    async def interrupted(self, source: str) -> list[str]:
        """Run a cell that takes long, interrupt it once it has called ``begun()``, and return the names of its errors."""
        running = asyncio.create_task(self.execute(source))
        await self.until_it_runs()
        await self.manager.interrupt_kernel()
        cell = await asyncio.wait_for(running, 5)
        return [out.ename for out in cell.outputs if out.output_type == "error"]


@asynccontextmanager
async def running_kernel(folder: Path) -> AsyncIterator[Kernel]:
    client = NotebookClient(new_notebook(), timeout=CELL_SECONDS, allow_errors=True, resources={"metadata": {"path": str(folder)}})
    with (folder / "kernel.txt").open("w") as log:
        async with client.async_setup_kernel(stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(folder)}):
            yield Kernel(client, folder)


SETUP = """
import asyncio, sys, time
from pathlib import Path
from fastapi import FastAPI, WebSocket
from kit import connect, serve

app = FastAPI()


def begun():
    Path("begun").touch()


@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "exit":
            sys.exit(3)
        if text == "block":
            begun()
            time.sleep(1.5)
        await websocket.send_text(text)


server = await serve(app, name="kernel's", port={port}, runs_in="kernel")
print(server.port)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kernel]:
    """One for all that leave it as it was."""
    async with running_kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(kernel: Kernel) -> int:
    """Where its server is, as long as the kernel lives, and after a restart."""
    return int(await kernel.ask(SETUP.format(port=0)))


async def connected(port: int) -> Client:
    return await connect(f"ws://127.0.0.1:{port}", "/ws")


async def assert_it_serves(port: int) -> None:
    async with await connected(port) as client:
        await client.send_text("hello")
        assert await client.receive_text(timeout=5) == "hello"


async def test_a_cell_can_be_interrupted_and_the_server_goes_on(kernel: Kernel, port: int) -> None:
    for source, error in {
        "begun()\ntime.sleep(30)": "KeyboardInterrupt",
        "begun()\nwhile True: pass": "KeyboardInterrupt",
        "begun()\nasyncio.run(asyncio.sleep(30))": "KeyboardInterrupt",
        "begun()\nawait asyncio.sleep(30)": "CancelledError",
    }.items():
        assert await kernel.interrupted(source) == [error]
        await assert_it_serves(port)


async def test_a_client_connected_before_the_interrupt_stays_connected(kernel: Kernel, port: int) -> None:
    async with await connected(port) as client:
        assert await kernel.interrupted("begun()\ntime.sleep(30)") == ["KeyboardInterrupt"]
        await client.send_text("still here")
        assert await client.receive_text(timeout=5) == "still here"


async def test_another_server_run_by_asyncio_run_ends_with_an_interrupt_and_ours_does_not(kernel: Kernel, port: int) -> None:
    nested = """
    import uvicorn
    another = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    async def say_when_it_serves():
        while not another.started:
            await asyncio.sleep(0.01)
        begun()
    task = asyncio.create_task(say_when_it_serves())
    asyncio.run(another.serve())
    """
    assert await kernel.interrupted(nested) == ["KeyboardInterrupt"]
    await assert_it_serves(port)


async def test_a_handler_that_blocks_cannot_be_interrupted(kernel: Kernel, port: int) -> None:
    async with await connected(port) as client:
        began = time.monotonic()
        await client.send_text("block")
        await kernel.until_it_runs()
        await kernel.manager.interrupt_kernel()
        assert await client.receive_text(timeout=10) == "block"
        assert time.monotonic() - began > 1.4
    await assert_it_serves(port)


async def test_a_handler_that_exits_ends_its_connection_and_not_the_kernel(kernel: Kernel, port: int) -> None:
    client = await connected(port)
    await client.send_text("exit")
    with pytest.raises(Disconnected):
        await client.receive_text(timeout=5)
    nested = """
    async def exiting():
        async with connect(server, "/ws") as client:
            await client.send_text("exit")
            await client.wait_closed()
            return client.connection.handler_error
    print(await exiting(), asyncio.run(exiting()))
    """
    assert await kernel.ask(nested) == "SystemExit: 3 SystemExit: 3"
    await assert_it_serves(port)


async def test_a_coroutine_that_exits_in_server_run_does_not_end_the_kernel(kernel: Kernel, port: int) -> None:
    cell = await kernel.execute("async def leave(): sys.exit(2)\nawait server.run(leave())")
    assert failures([cell])[0].partition(": ")[2].startswith("RuntimeError: SystemExit(2) was raised")
    await assert_it_serves(port)


async def test_a_restart_leaves_the_port_free(kernel: Kernel, port: int) -> None:
    await assert_it_serves(port)
    kernel.client.kc.stop_channels()
    await kernel.manager.restart_kernel()
    with socket.socket() as refused:
        assert refused.connect_ex(("127.0.0.1", port))
    await kernel.client.async_start_new_kernel_client()
    assert int(await kernel.ask(SETUP.format(port=port))) == port
    await assert_it_serves(port)


async def test_it_shuts_down_quickly_with_the_server_running_and_a_client_connected(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(running_kernel(tmp_path))
        client = await connected(int(await kernel.ask(SETUP.format(port=0))))
        with within(SHUTDOWN_SECONDS):
            await stack.aclose()
    await asyncio.wait_for(client.wait_closed(), 5)


async def test_the_naive_way_at_a_busy_port_ends_the_kernel(tmp_path: Path) -> None:
    """What the notebook says of a real kernel, and shows in a child process."""
    naive = """
    import asyncio, socket, uvicorn
    async def app(scope, receive, send): ...
    taken = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, port=taken.getsockname()[1], log_level="critical")
    task = asyncio.create_task(uvicorn.Server(config).serve())
    await asyncio.sleep(20)
    """
    with suppress(DeadKernelError):  # once more on the way out, as nobody is there to be shut down
        async with running_kernel(tmp_path) as kernel:
            with pytest.raises(DeadKernelError):
                await kernel.execute(naive)
