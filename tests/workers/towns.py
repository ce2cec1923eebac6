"""An app of which each handler does something to its process, and what the tests ask processes and Timelines."""

from __future__ import annotations

import contextlib
import os
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from kit import Client, Server, connect, loops, serve
from tests.apps import app

ROOT = Path(__file__).parents[2]
T = TypeVar("T")
Eventually = Callable[..., Any]

TOWN = """
    import asyncio, logging, os, re, subprocess, sys, threading, time
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    async def pid(websocket):
        await websocket.accept()
        await websocket.send_text(str(os.getpid()))
        await websocket.receive()

    async def say(websocket):
        await websocket.accept()
        print("from the handler")
        logging.getLogger("town").warning("a warning")
        threading.Thread(target=print, args=("from a thread",)).start()
        os.write(2, b"from beneath\\n")
        await websocket.receive()

    async def noise(websocket):
        await websocket.accept()
        os.write(1, b"line\\n" * 5000)
        await websocket.receive()

    async def block(websocket):
        await websocket.accept()
        await websocket.receive_text()
        time.sleep(float(websocket.query_params["seconds"]))  # nobody else is served
        await websocket.send_text("over")

    async def stick(websocket):
        await websocket.accept()
        path = await websocket.receive_text()
        open(path).close()  # nobody else is served until somebody opens the other end of this pipe
        await websocket.send_text("over")

    async def leave(websocket):
        await websocket.accept()
        await websocket.receive_text()
        os._exit(3)

    async def hold(websocket):
        await websocket.accept()
        await websocket.receive_text()
        re.match("(a*)*b", "a" * 60)  # one call that never lets another thread run, and takes years
        await websocket.send_text("over")

    async def cut(websocket):
        await websocket.accept()
        await websocket.receive_text()
        os.close(int(sys.argv[1]))  # the control channel
        await websocket.receive()

    async def child(websocket):
        await websocket.accept()
        await websocket.send_text(str(subprocess.Popen(["sleep", "60"]).pid))
        await websocket.receive()

    async def garble(websocket):
        await websocket.accept()
        os.write(int(sys.argv[2]), b'{"batch": 5}\\n')  # the pipe to the kernel
        await websocket.receive()

    app = Starlette(routes=[WebSocketRoute(f"/{handler.__name__}", handler) for handler in (pid, say, noise, block, stick, leave, hold, cut, child, garble)])
"""


async def once() -> None:
    """What the first server and the first client open for all."""
    async with serve(app, port=0) as server, connect(server, "/ws"):
        pass


def on_its_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a fixture that has no loop."""
    return loops.background().submit(coroutine).result(60)


def children() -> list[int]:
    """The processes that this one has started and not seen to their ends, those that have died included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and (fields[0] == "Z" or b"kit.workers.child" in (stat.parent / "cmdline").read_bytes()):
                found.append(int(stat.parent.name))
    return sorted(found)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def started(*arguments: Any, **options: Any) -> Server:
    return await serve(*arguments, **options)


def write(folder: Path, name: str, source: str) -> None:
    """What ``%%writefile`` does."""
    (folder / name).write_text(textwrap.dedent(source))


async def seen(server: Server, path: str = "/pid") -> tuple[Client, int]:
    """A client, and the process that it says it has come to."""
    client = await connect(server, path)
    return client, int(await client.receive_text(timeout=5))


async def come_to(server: Server, times: int) -> list[int]:
    """The processes that so many clients come to, one after the other."""
    found = []
    for _ in range(times):
        client, pid = await seen(server)
        await client.close()
        found.append(pid)
    return found


def told(server: Server, **wanted: Any) -> list[str]:
    """The texts of the Entries that have these attributes or details."""
    return [entry.text for entry in server.timeline.entries() if all(getattr(entry, k, entry.details.get(k)) == v for k, v in wanted.items())]
