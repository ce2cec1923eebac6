"""What HandlerPanel costs, measured: microseconds a look at one handler, and echoes with the panel displayed and without.

Run it by hand, from the repository's root: ``python -m tests.bench.handlers``. Absolute times drift with the machine; the ratios hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator

import comm

from kit import Client, Server, connect, loops, serve
from kit.panels.handler import HandlerPanel
from kit.suspension import suspensions_of, tasks_by_connection
from tests.bench.echo import app, print_table, time_echoes
from tests.panels.conftest import FrontEnd, KeepingComm

comm.create_comm = KeepingComm


@contextlib.asynccontextmanager
async def waiting(server: Server, count: int) -> AsyncIterator[list[Client]]:
    """So many clients whose handlers wait."""
    clients = [await connect(server, "/ws", name=f"client {number}") for number in range(count)]
    for client in clients:
        while client.connection.handler_task is None or client.connection.application_state != "CONNECTED":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()


async def time_looks(count: int, rounds: int) -> None:
    """Processor time of following every task, and of finding which connection each task belongs to."""
    async with serve(app, port=0) as server, waiting(server, count) as clients:
        loop, followed, found = clients[0].connection.handler_task.get_loop(), [], []
        for _ in range(rounds):
            began = time.thread_time()
            tasks_by_connection(loop)
            found.append((time.thread_time() - began) / count * 1e6)
            began = time.thread_time()
            for client in clients:
                suspensions_of(client.connection.handler_task, connection=client.connection)
            followed.append((time.thread_time() - began) / count * 1e6)
        print(f"{count:4} handlers: {statistics.median(followed):.1f} µs to follow a task, {statistics.median(found):.1f} µs to find its connection")


async def time_panel(others: int, count: int, rounds: int) -> None:
    """Echoes of one client while ``others`` wait, with a panel displayed and without, in turn."""
    times: dict[str, list[float]] = {"no panel": [], "panel displayed": []}
    async with serve(app, port=0) as server, waiting(server, others), connect(server, "/ws") as client:

        async def once(text: str) -> str:
            await client.send_text(text)
            return await client.receive_text()

        for _ in range(rounds):
            for variant, sample in times.items():
                panel = HandlerPanel(server)
                front_end = FrontEnd(panel)
                front_end.do("hello" if variant == "panel displayed" else "bye")
                await asyncio.sleep(0.1)
                sample.extend(await loops.background().run(time_echoes(once, "x" * 32, count)))
                front_end.do("bye")
                panel.close()
    print_table(f"Echo of 32 B while {others} other handlers wait", times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="echoes in a burst")
    parser.add_argument("--rounds", type=int, default=8, help="bursts of each variant")
    arguments = parser.parse_args()
    for handlers in (1, 200):
        asyncio.run(time_looks(handlers, 200))
    for others in (0, 200):
        asyncio.run(time_panel(others, arguments.count, arguments.rounds))


if __name__ == "__main__":
    main()
