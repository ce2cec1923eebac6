"""Echo, measured: by hand against the kit, each in a process of its own, all in turn within one run, as ratios.

Run it by hand: ``python tests/bench/echo.py``. Absolute times drift with the machine; the ratios hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect as websockets_connect

from kit import connect, loops, serve

Echo = Callable[[str], Awaitable[str]]
T = TypeVar("T")

app = FastAPI()


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


class HandMadeServer:
    """What a reader gets by hand: uvicorn in a thread."""

    def __init__(self, loop: str, *, compression: bool) -> None:
        config = uvicorn.Config(app, port=0, loop=loop, log_level="critical", ws_per_message_deflate=compression)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        deadline = time.monotonic() + 5
        while not self.server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        return f"ws://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}/ws"

    def __exit__(self, *exc_info: object) -> None:
        self.server.should_exit = True
        self.thread.join(5)


@contextlib.asynccontextmanager
async def by_websockets(url: str) -> AsyncIterator[Echo]:
    async with websockets_connect(url, proxy=None, compression=None, max_size=None) as websocket:

        async def once(text: str) -> str:
            await websocket.send(text)
            return await websocket.recv()

        yield once


@contextlib.asynccontextmanager
async def by_kit(target: object) -> AsyncIterator[Echo]:
    async with connect(target, "/ws") as client:

        async def once(text: str) -> str:
            await client.send_text(text)
            return await client.receive_text()

        yield once


class UvloopThread:
    """A loop to measure on that is neither the kit's nor this thread's."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))


async def here(coroutine: Coroutine[Any, Any, T]) -> T:
    return await coroutine


BY_HAND, BY_HAND_UVLOOP, KIT, KIT_UNRECORDED = "by hand", "by hand, uvloop server", "kit, recording", "kit, not recording"
VARIANTS = {
    "from a cell": [BY_HAND, BY_HAND_UVLOOP, KIT, KIT_UNRECORDED],
    "on the clients' loop": [BY_HAND_UVLOOP, KIT, KIT_UNRECORDED],
}


async def work(place: str, variant: str, size: int) -> None:
    """One variant in a process of its own: a burst for every line on standard input, its times on standard output."""
    in_cell = place == "from a cell"
    async with contextlib.AsyncExitStack() as stack:
        if variant in (KIT, KIT_UNRECORDED):
            server = await stack.enter_async_context(serve(app, port=0, recording=variant == KIT))
            run, opening = here if in_cell else loops.background().run, by_kit(server)
        else:
            loop = "uvloop" if variant == BY_HAND_UVLOOP else "asyncio"
            url = stack.enter_context(HandMadeServer(loop, compression=False))
            run, opening = here if in_cell else UvloopThread().run, by_websockets(url)
        once = await run(opening.__aenter__())
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await run(time_echoes(once, "x" * size, int(line)))), flush=True)
        await run(opening.__aexit__(None, None, None))


async def time_echoes(once: Echo, text: str, count: int) -> list[float]:
    """Microseconds of ``count`` round trips."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await once(text)
        times.append((time.perf_counter() - began) * 1e6)
    return times


class Worker:
    """A child process that measures one variant when asked."""

    def __init__(self, place: str, variant: str, size: int) -> None:
        command = [sys.executable, __file__, "--work", place, variant, str(size)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self.times: list[float] = []

    def burst(self, count: int) -> list[float]:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


def measure(place: str, size: int, count: int, rounds: int) -> None:
    """All variants in turn, each round in another order; fresh processes in every quarter of the rounds."""
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS[place]}
    for _ in range(4):
        workers = {variant: Worker(place, variant, size) for variant in times}
        for worker in workers.values():
            worker.burst(count)
        for _ in range(rounds // 4):
            for variant in random.sample(list(times), len(times)):
                times[variant].extend(workers[variant].burst(count))
        for worker in workers.values():
            worker.end()
    print_table(f"Echo of {size:,} B, {place}", times)


def print_table(title: str, times: dict[str, list[float]]) -> None:
    print(f"\n{title}\n{'':28}{'p50 µs':>9}{'mean µs':>9}{'p99 µs':>9}{'p50 ratio':>11}{'mean ratio':>12}")
    base = next(iter(times.values()))
    for name, sample in times.items():
        p50, mean, p99 = statistics.median(sample), statistics.fmean(sample), statistics.quantiles(sample, n=100)[98]
        print(f"{name:28}{p50:9.1f}{mean:9.1f}{p99:9.1f}{p50 / statistics.median(base):11.2f}{mean / statistics.fmean(base):12.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=250, help="echoes in a burst")
    parser.add_argument("--rounds", type=int, default=40, help="bursts of each variant")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        place, variant, size = arguments.work
        asyncio.run(work(place, variant, int(size)))
        return
    for place in VARIANTS:
        for size in (32, 65_536):
            measure(place, size, arguments.count, arguments.rounds)


if __name__ == "__main__":
    main()
