"""What is found of a client's handler, once it is there."""

from __future__ import annotations

import asyncio
import linecache
import time
from collections.abc import Callable

from kit import Client, Server
from kit.loops import thread_frames
from kit.suspension import Line, Suspension, suspensions_of, tasks_by_connection
from tests.suspension.handlers import Eventually


def said(line: Line) -> str:
    """The comment at a line's end, which names it in this file."""
    return linecache.getline(line.code.co_filename, line.number).strip().rpartition("#")[2].strip()


def look(client: Client, server: Server) -> list[Suspension]:
    """Where the handler of a client is now, and where its other tasks are; nothing while it has none."""
    task = client.connection.handler_task
    if task is None:
        return []
    tasks = tasks_by_connection(task.get_loop()).get(client.connection, [])
    return suspensions_of(task, tasks, connection=client.connection, running=server.frame, threads=thread_frames)


async def settled(client: Client, server: Server, eventually: Eventually, line: str, *, running: bool = False) -> list[Suspension]:
    """Where it is, once its innermost line is the one that says so, and it waits there or, if asked for, runs."""

    def there() -> list[Suspension] | None:
        found = look(client, server)
        at_line = found and found[0].lines and said(found[0].lines[-1]) == line
        return found if at_line and (found[0].wait.kind == "runs") == running else None

    return await eventually(there)


async def comes_to(expected: object, now: Callable[[], object]) -> None:
    """Wait until it is as expected, for a bounded time; what it is instead fails the test."""
    deadline = time.monotonic() + 20.0
    while now() != expected and time.monotonic() < deadline:  # noqa: ASYNC110, a suspended task tells nobody
        await asyncio.sleep(0.005)
    assert now() == expected
