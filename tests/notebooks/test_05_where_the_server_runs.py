"""05_where_the_server_runs: its stopwatch shows what its text says, and a kernel with a server on its loop stays a good kernel."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from kit import Client, connect
from kit.errors import Disconnected
from tests.notebooks.execution import CELL_SECONDS, ROOT, Run, execute_cell, failures, printed, read
from tests.timing import within

NOTEBOOK = ROOT / "notebooks/05_where_the_server_runs.ipynb"
SHUTDOWN_SECONDS = 3
PLACES = ("in-thread", "in-kernel")


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


# What the notebook shows.


def numbers(pattern: str, text: str) -> dict[str, float]:
    """What was measured, by the words before it."""
    return {words: float(number) for words, number in re.findall(pattern, text, re.MULTILINE)}


def test_it_has_15_to_25_cells() -> None:
    assert 15 <= len(read(NOTEBOOK).cells) <= 25


def test_asyncio_run_is_refused_in_a_cell_and_await_is_not(run: Run) -> None:
    assert printed(run.first[:1]) == "RuntimeError: asyncio.run() cannot be called from a running event loop\nawait: done\n"


def test_run_again_at_the_end_that_cell_says_why_it_works_now(run: Run) -> None:
    assert printed([run.again[0]]) == "asyncio.run: done\nA cell below has changed asyncio.run. Restart the kernel for the error.\nawait: done\n"


def test_one_server_shares_thread_and_loop_with_the_cell_and_the_other_neither(run: Run) -> None:
    where = dict(re.findall(r"^(.*): (.*)$", run.printed_by("async def here"), re.MULTILINE))
    assert where["in-kernel"] == where["this cell"]
    assert where["in-kernel"].startswith("MainThread, ")
    assert where["in-thread"].startswith("kit-server-in-thread, ")


def test_a_sleeping_cell_delays_the_server_on_its_loop_and_no_other(run: Run) -> None:
    seconds = numbers(r"^(\w+ +\S+) +([\d.]+) s$", run.printed_by("def sleep_in_asyncio"))
    seconds = {" ".join(words.split()): number for words, number in seconds.items()}
    assert seconds.pop("sleep in-kernel") > 0.95
    assert set(seconds) == {"sleep in-thread", "sleep_in_asyncio in-thread", "sleep_in_asyncio in-kernel"}
    assert max(seconds.values()) < 0.95


def test_asyncio_run_gets_an_answer_from_both_and_a_call_that_does_not_turn_the_loop_from_one(run: Run) -> None:
    said = run.printed_by("import httpx2")
    assert [f"{place} to asyncio.run: Message text was: hello\n" in said for place in PLACES] == [True, True]
    assert 'in-thread to httpx2.get:  "hello"\n' in said
    assert "in-kernel to httpx2.get:  no answer for a second\n" in said


def test_a_blocking_handler_stops_the_notebook_only_on_its_loop_and_is_named_in_both(run: Run) -> None:
    said = run.printed_by("def longest_standstill")
    stood_still = numbers(r"^(\S+): the notebook stood still for ([\d.]+) s$", said)
    assert stood_still["in-kernel"] > 0.95
    assert stood_still["in-thread"] < 0.95
    assert len(re.findall(r"is blocked; .*: cell \[\d+\], line 18, in echo: time\.sleep\(1\)$", said, re.MULTILINE)) == 2


def test_the_naive_way_takes_ctrl_c_and_ends_its_process_at_a_busy_port(run: Run) -> None:
    assert run.printed_by("naive = ") == "Ctrl-C is handled by Server.handle_exit\nThe process has ended: SystemExit: 3\n"


def test_the_kits_way_leaves_ctrl_c_alone_and_says_that_the_port_is_taken(run: Run) -> None:
    said = run.printed_by('name="too-late"')
    assert said.startswith("Ctrl-C is left alone: True\nServerStartError: port ")
    assert "is taken by this kernel's own server 'in-thread'." in said


def test_a_queue_needs_server_run_in_a_thread_and_not_on_the_kernels_loop(run: Run) -> None:
    slowest = numbers(r"^server in (\w+, put by \S+) +([\d.]+) s$", run.printed_by("def slowest_seconds"))
    assert set(slowest) == {f"{place}, put by {how}" for place in ("thread", "kernel") for how in ("cell", "server.run")}
    from_a_cell = slowest.pop("thread, put by cell")
    assert from_a_cell > 0.03
    assert max(slowest.values()) < from_a_cell / 2


def test_what_nest_asyncio_replaces_is_what_the_text_names(run: Run) -> None:
    said = run.printed_by("import nest_asyncio\n")
    assert dict(re.findall(r"^(\w+) +comes from (\S+)$", said, re.MULTILINE)) == {
        "run": "nest_asyncio",
        "run_until_complete": "nest_asyncio",
        "_run_once": "nest_asyncio",
        "Task": "asyncio.tasks",
    }


def test_nest_asyncio_refuses_uvloop(run: Run) -> None:
    if "uvloop" not in run.printed_by("async def here"):
        pytest.skip("no uvloop on this machine")
    assert "ValueError: Can't patch loop of type <class 'uvloop.Loop'>\n" in run.printed_by("import nest_asyncio\n")


def test_it_measures_a_task_without_and_with_it(run: Run) -> None:
    assert len(re.findall(r"^([\d.]+) µs", run.printed_by("tasks = "), re.MULTILINE)) == 2


def test_a_nested_call_ends_after_the_one_on_top_of_it(run: Run) -> None:
    assert float(re.search(r"took ([\d.]+) s", run.printed_by("longer_nap"))[1]) >= 1


def test_uvicorn_run_fails_in_a_cell_and_a_nested_serve_leaves_our_server_alive(run: Run) -> None:
    said = run.printed_by("uvicorn.run(app")
    assert re.match(r"uvicorn\.run: .*loop", said)
    assert "Another server ran, and was stopped.\n" in said
    assert "Ours answered after " in said


# A kernel with a server on its own loop, in the hands of a reader.

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


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    async with running_kernel(tmp_path) as kernel:
        yield kernel


async def connected(port: int) -> Client:
    return await connect(f"ws://127.0.0.1:{port}", "/ws")


async def assert_it_serves(port: int) -> None:
    async with await connected(port) as client:
        await client.send_text("hello")
        assert await client.receive_text(timeout=5) == "hello"


async def test_a_cell_can_be_interrupted_and_the_server_goes_on(kernel: Kernel) -> None:
    port = int(await kernel.ask(SETUP.format(port=0)))
    for source, error in {
        "begun()\ntime.sleep(30)": "KeyboardInterrupt",
        "begun()\nwhile True: pass": "KeyboardInterrupt",
        "begun()\nasyncio.run(asyncio.sleep(30))": "KeyboardInterrupt",
        "begun()\nawait asyncio.sleep(30)": "CancelledError",
    }.items():
        assert await kernel.interrupted(source) == [error]
        await assert_it_serves(port)


async def test_a_client_connected_before_the_interrupt_stays_connected(kernel: Kernel) -> None:
    port = int(await kernel.ask(SETUP.format(port=0)))
    async with await connected(port) as client:
        assert await kernel.interrupted("begun()\ntime.sleep(30)") == ["KeyboardInterrupt"]
        await client.send_text("still here")
        assert await client.receive_text(timeout=5) == "still here"


async def test_another_server_run_by_asyncio_run_ends_with_an_interrupt_and_ours_does_not(kernel: Kernel) -> None:
    port = int(await kernel.ask(SETUP.format(port=0)))
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


async def test_a_handler_that_blocks_cannot_be_interrupted(kernel: Kernel) -> None:
    port = int(await kernel.ask(SETUP.format(port=0)))
    async with await connected(port) as client:
        began = time.monotonic()
        await client.send_text("block")
        await kernel.until_it_runs()
        await kernel.manager.interrupt_kernel()
        assert await client.receive_text(timeout=10) == "block"
        assert time.monotonic() - began > 1.4
    await assert_it_serves(port)


async def test_a_handler_that_exits_ends_its_connection_and_not_the_kernel(kernel: Kernel) -> None:
    port = int(await kernel.ask(SETUP.format(port=0)))
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


async def test_a_coroutine_that_exits_in_server_run_does_not_end_the_kernel(kernel: Kernel) -> None:
    port = int(await kernel.ask(SETUP.format(port=0)))
    cell = await kernel.execute("async def leave(): sys.exit(2)\nawait server.run(leave())")
    assert failures([cell])[0].partition(": ")[2].startswith("RuntimeError: SystemExit(2) was raised")
    await assert_it_serves(port)


async def test_it_shuts_down_quickly_with_the_server_running_and_a_client_connected(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        kernel = await stack.enter_async_context(running_kernel(tmp_path))
        client = await connected(int(await kernel.ask(SETUP.format(port=0))))
        with within(SHUTDOWN_SECONDS):
            await stack.aclose()
    await asyncio.wait_for(client.wait_closed(), 5)


async def test_a_restart_leaves_the_port_free(kernel: Kernel) -> None:
    port = int(await kernel.ask(SETUP.format(port=0)))
    await assert_it_serves(port)
    kernel.client.kc.stop_channels()
    await kernel.manager.restart_kernel()
    with socket.socket() as refused:
        assert refused.connect_ex(("127.0.0.1", port))
    await kernel.client.async_start_new_kernel_client()
    assert int(await kernel.ask(SETUP.format(port=port))) == port
    await assert_it_serves(port)


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
