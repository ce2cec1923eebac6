"""What it costs to look: a real JupyterLab with every view open while a client and a server exchange 1,000 messages a second.

Run it by hand: ``python tests/bench/views.py``; it needs Chromium. Within one run it prints the echo's times with no view open,
with all of them, and with none again; the panels' traffic; the kernel's memory; and how long the browser takes to answer a click.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright

from tests.browser.lab import CHROMIUM_FLAGS, Notebook, find_chromium, running_lab

SETUP = """
import asyncio, json, os, statistics, time
from fastapi import FastAPI, WebSocket
from kit import BothSides, connect, loops, serve

app = FastAPI()

@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)

server = await serve(app, port=0)
client = await connect(server, "/ws", name="load")

def resident_mib():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

async def load(seconds, echoes_a_second):
    times, began = [], time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        while len(times) < now * echoes_a_second:
            sent = time.perf_counter()
            await client.send_text("x" * 32)
            await client.receive_text()
            times.append((time.perf_counter() - sent) * 1e6)
        await asyncio.sleep(0.001)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    return {"echoes": len(times), "p50": p50, "mean": statistics.fmean(times), "p99": p99, "mib": resident_mib()}
"""
SHOW = """
both = BothSides(server, "/ws", clients=["Ana"], views=BothSides.VIEWS)
client_of_ana = await both["Ana"].connect()
both
"""

# From the press to the next paint, as the browser itself times it (Event Timing API); shorter ones than 16 ms are not told.
_WATCH_CLICKS = """() => {
  window.clicks = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (["click", "pointerup"].includes(entry.name)) window.clicks.push(entry.duration);
  }).observe({ type: "event", durationThreshold: 16 });
  window.longTasks = [];
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
}"""


class Traffic:
    """Counts what the page's web sockets bring from the kernel."""

    def __init__(self, page: Page) -> None:
        self.frames = self.sent_bytes = 0
        page.on("websocket", lambda socket: socket.on("framereceived", self._note))

    def _note(self, payload: str | bytes) -> None:
        self.frames += 1
        self.sent_bytes += len(payload)


async def loaded(notebook: Notebook, seconds: float, rate: int, clicks: Any = None) -> dict[str, float]:
    """The load's own figures; meanwhile ``clicks`` is awaited."""
    await notebook.execute(f"running = loops.background().submit(load({seconds}, {rate}))")
    if clicks is not None:
        await clicks
    while await notebook.execute("print(running.done())") != "True":  # noqa: ASYNC110, a kernel has no event for it
        await asyncio.sleep(0.5)
    return json.loads(await notebook.execute("print(json.dumps(running.result()))"))


async def click_again_and_again(page: Page, seconds: float) -> None:
    """Press a button that only the page answers, once a second."""
    for _ in range(int(seconds) - 2):
        await (
            page.locator(".kit-conversation-panel, .kit-sequence-panel")
            .first.get_by_role("button", name="Pause")
            .or_(page.locator(".kit-conversation-panel, .kit-sequence-panel").first.get_by_role("button", name="Resume"))
            .first.click()
        )
        await asyncio.sleep(1)


async def measure(seconds: float, rate: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running_lab(Path(folder)) as lab, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
            context = await browser.new_context(viewport={"width": 1400, "height": 1000})
            path = lab.write("load", SETUP, SHOW, "both.close()")
            context.on("page", lambda page: traffics.append(Traffic(page)))
            traffics: list[Traffic] = []
            async with Notebook.opened(lab, context, path) as notebook:
                await notebook.run(0)
                rows = {"no view, warming up": await loaded(notebook, 3, rate), "no view open": await loaded(notebook, seconds / 3, rate)}
                await notebook.run(1)
                await notebook.page.evaluate(_WATCH_CLICKS)
                traffic = traffics[0]
                frames, sent = traffic.frames, traffic.sent_bytes
                rows["all views open"] = await loaded(notebook, seconds, rate, click_again_and_again(notebook.page, seconds))
                frames, sent = traffic.frames - frames, traffic.sent_bytes - sent
                clicks, long_tasks = await notebook.page.evaluate("() => [window.clicks, window.longTasks]")
                await notebook.run(2)
                rows["no view again"] = await loaded(notebook, seconds / 3, rate)
            await browser.close()
    print_table(rows, "no view open")
    print(f"\nto the browser: {sent / 2**20 / seconds:.2f} MiB/s in {frames / seconds:.0f} messages/s")
    print(f"clicks that took 16 ms or more: {sorted(map(round, clicks))} ms; tasks of over 50 ms: {sorted(map(round, long_tasks))} ms")


def print_table(rows: dict[str, dict[str, float]], base: str) -> None:
    print(f"{'':22}{'echoes':>8}{'p50 µs':>9}{'mean µs':>9}{'p99 µs':>9}{'p50 ratio':>11}{'mean ratio':>12}{'kernel MiB':>12}")
    for name, row in rows.items():
        ratios = f"{row['p50'] / rows[base]['p50']:11.2f}{row['mean'] / rows[base]['mean']:12.2f}"
        print(f"{name:22}{row['echoes']:8}{row['p50']:9.0f}{row['mean']:9.0f}{row['p99']:9.0f}{ratios}{row['mib']:12.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long with all views open")
    parser.add_argument("--rate", type=int, default=500, help="echoes a second; each is two messages")
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.seconds, arguments.rate))


if __name__ == "__main__":
    main()
