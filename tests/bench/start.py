"""Starting, stopping, importing and remembering, measured: `python tests/bench/start.py`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import statistics
import subprocess
import sys
import time

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from kit import connect, loops, serve

DEPENDENCIES = "anywidget, fastapi, ipywidgets, uvicorn, websockets.client, IPython, uvloop, uvicorn.protocols.websockets.websockets_sansio_impl"

app = FastAPI()


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


@app.websocket("/flood")
async def flood(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text("x" * 65_536)


async def time_start() -> dict[str, float]:
    """Milliseconds of one life: serve, connect and echo, stop."""
    began = time.perf_counter()
    server = await serve(app, port=0)
    ready = time.perf_counter()
    client = await connect(server, "/ws")
    await client.send_text("hi")
    await client.receive_text()
    echoed = time.perf_counter()
    await server.stop()
    stopped = time.perf_counter()
    return {"serve() until ready": ready - began, "serve() until the first echo": echoed - began, "stop()": stopped - echoed}


async def time_stop_with_a_stalled_peer() -> float:
    server = await serve(app, port=0)
    client = await connect(server, "/flood")
    while len(client._wire.inbox) < 60:  # noqa: ASYNC110, from here on nobody takes a message, and the server's send waits
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    await server.stop()
    return time.perf_counter() - began


async def measure_starts(count: int) -> None:
    first = await time_start()
    warm = [await time_start() for _ in range(count)]
    print(f"{'':34}{'cold ms':>9}{'warm p50':>10}{'warm max':>10}")
    for what in first:
        times = [each[what] * 1000 for each in warm]
        print(f"{what:34}{first[what] * 1000:9.1f}{statistics.median(times):10.1f}{max(times):10.1f}")
    print(f"{'stop() with a peer that never reads':34}{await time_stop_with_a_stalled_peer() * 1000:8.1f}")


async def measure_memory(echoes: int) -> None:
    async def repeat() -> None:
        async with connect(server, "/ws") as client:
            for _ in range(echoes // 10):
                await client.send_text(text)
                await client.receive_text()

    for size in (32, 65_536):
        text = "x" * size
        async with serve(app, port=0) as server:
            peaks = []
            for _ in range(10):
                await loops.background().run(repeat())
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            print(f"{echoes:,} echoes of {size:,} B: peak memory after each tenth, MiB: {', '.join(f'{peak:.0f}' for peak in peaks)}")
            print(f"  {server.timeline.statistics()}")


def measure_imports(count: int) -> None:
    def seconds(modules: str) -> float:
        code = f"import time; began = time.perf_counter(); import {modules}; print(time.perf_counter() - began)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    pairs = [(seconds("kit"), seconds(DEPENDENCIES)) for _ in range(count)]
    kit, dependencies = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"import kit: {kit * 1000:.0f} ms, {kit / dependencies:.2f} x importing its dependencies alone ({dependencies * 1000:.0f} ms)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--echoes", type=int, default=100_000)
    arguments = parser.parse_args()
    asyncio.run(measure_starts(arguments.count))
    measure_imports(7)
    asyncio.run(measure_memory(arguments.echoes))


if __name__ == "__main__":
    main()
