"""The sequence diagram in a real JupyterLab: read by role and text, followed, zoomed, paused, opened, and driven by keys."""

from __future__ import annotations

import itertools
import re

import pytest
from playwright.async_api import CDPSession, Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SHOWN = """
import asyncio
from kit import connect, serve
from kit.errors import HandshakeRefused
from kit.panels.sequence import SequencePanel
from tests.apps import app
server = await serve(app, port=0)
panel = SequencePanel(server)
panel
"""
ECHO = """
ana = await connect(server, "/ws", name="Ana")
await ana.send_text("hello")
await ana.receive_text()
"""
FORTY = "for number in range(20):\n    await ana.send_text(f'number {number}')\n    await ana.receive_text()"
# More than the diagram keeps, recorded by hand before anybody looks: of a flood that is looked at, only a part is shown.
FULL = SHOWN.replace(
    "panel = ",
    """
ana = server.timeline.open_connection("ana", name="Ana", path="/ws")
details = {"opcode": "TEXT", "fin": True, "masked": True, "mask_key": "00000000", "compressed": False, "header": "818b00000000"}
record = server.timeline.recorder(
    ana, "client", lambda text, number: {"kind": "frame-out", "text": text, "payload": text, "size": len(text), "ordinal": number, "details": details}
)
for number in range(6_000):
    record(f"number {number}", number)
panel = """,
)
BROADCAST = """
from fastapi import FastAPI, WebSocket
from kit import BothSides, connect, serve
app, active, room = FastAPI(), [], []

@app.websocket("/ws")
async def chat(websocket: WebSocket):
    await websocket.accept()
    active.append(websocket)
    async for text in websocket.iter_text():
        for member in active:
            await member.send_text(f"Somebody says: {text}")

server = await serve(app, port=0)
names = ["Ana", "Ben", "Cleo", "Dan", "Eva", "Fritz", "Gita", "Hugo"]
BothSides(server, "/ws", clients=["page"])
"""
HUB = """
from kit import BothSides, Hub, connect, serve
from tests.hub.rooms_app import joining_app
hub = Hub()
server = await serve(joining_app(hub, opens_hub=True), port=0)
BothSides(server, "/join/lobby", clients=["page"])
"""
SPOKEN_TO_ALL = """
room = [await connect(server, "/join/lobby", name=name) for name in ("Ana", "Ben", "Cleo", "Dan", "Eva")]
for client in room:
    await client.receive_text()
await room[0].send_text("hello to everybody in the room")
for client in room:
    await client.receive_text()
"""
JOINED = """
room += [await connect(server, "/ws", name=name) for name in names[len(room):{count}]]
await room[0].send_text("hello to everybody in the room")
for client in room:
    await client.receive_text()
"""
SIDEWAYS = """(box) => {
  box.dispatchEvent(new WheelEvent("wheel"));
  box.scrollTo(10_000, 0);
  const left = (selector) => box.querySelector(selector).getBoundingClientRect().left - box.getBoundingClientRect().left;
  return [box.scrollWidth - box.clientWidth, left(".kit-seq-times"), left(".kit-seq-corner"), box.scrollLeft];
}"""
# Where the reader's scrolling back ends, once it has.
SCROLLED = """(box) => {
  const away = () => box.scrollTop + box.clientHeight < box.scrollHeight - 8;
  window.scrolled = new Promise((resolve) => box.addEventListener("scrollend", () => { if (away()) resolve(box.scrollTop); }));
}"""
EDGES = "(cells) => cells.map((cell) => cell.getBoundingClientRect()).map(({ left, right }) => [left, right])"
SCROLL_UP = """async () => {
  const box = document.querySelector("[role=log][aria-label='Sequence of events']"), seen = [];
  box.dispatchEvent(new WheelEvent("wheel"));
  for (let y = box.scrollHeight; y > 0; y -= 2_000) {
    box.scrollTop = y;
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    seen.push(box.querySelectorAll("[role=button]").length);
  }
  return [seen, box.scrollHeight];
}"""


def panel_of(notebook: Notebook) -> Locator:
    return notebook.page.get_by_role("region", name="Sequence of server main", exact=True)


def log_of(notebook: Notebook) -> Locator:
    return panel_of(notebook).get_by_role("log", name="Sequence of events")


def lanes_of(notebook: Notebook) -> Locator:
    """The names above the lanes."""
    return panel_of(notebook).get_by_role("list", name="Lanes").get_by_role("listitem")


def event(notebook: Notebook, start: str) -> Locator:
    """The events whose words begin so."""
    return panel_of(notebook).locator(f'[role=button][aria-label^="{start}"]')


async def busy_seconds(session: CDPSession) -> float:
    """How long the page's thread has worked so far, drawing included."""
    return next(metric["value"] for metric in (await session.send("Performance.getMetrics"))["metrics"] if metric["name"] == "TaskDuration")


async def button(notebook: Notebook, name: str) -> Locator:
    return panel_of(notebook).get_by_role("button", name=name, exact=True)


async def test_an_echo_is_read_by_role_and_words(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SHOWN) as notebook:
        await notebook.run_all()
        await expect(log_of(notebook)).to_contain_text("Connect a client and say something")
        await notebook.execute(ECHO)
        await expect(event(notebook, "Ana to handler 1: GET /ws, ")).to_have_count(1)
        await expect(event(notebook, "handler 1 to Ana: 101, accept, ")).to_have_count(1)
        await expect(event(notebook, "Ana to handler 1: text “hello”, ")).to_have_count(1)
        await expect(event(notebook, "handler 1 to Ana: text “hello”, ")).to_have_count(1)
        headings = lanes_of(notebook)
        await expect(headings).to_have_text(["1Ana", "1handler 1"])
        assert notebook.page_errors == []


async def test_keys_move_open_zoom_and_close(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SHOWN) as notebook:
        await notebook.run_all()
        await notebook.execute(ECHO.replace('"hello"', """'{"a": [1, 2]}'"""))
        keyboard, down = notebook.page.keyboard, event(notebook, "handler 1 to Ana: text “{")
        await expect(down).to_have_count(1)
        await log_of(notebook).focus()
        await keyboard.press("End")
        await expect(down).to_be_focused()
        await keyboard.press("ArrowUp")
        await expect(event(notebook, "Ana to handler 1: text “{")).to_be_focused()
        await keyboard.press("Enter")
        details = panel_of(notebook).get_by_role("region", name="Details")
        await expect(details).to_contain_text("the client's end at +")
        await expect(details).to_contain_text("masked with")
        assert '"a": [\n    1,\n    2\n  ]' in await details.inner_text()
        await expect(event(notebook, "Ana to handler 1: text “{")).to_have_attribute("aria-expanded", "true")
        scale = panel_of(notebook).get_by_role("status", name="Scale of time")
        await expect(scale).to_have_text("1 ms = 20 px")
        await keyboard.press("+")
        await expect(scale).to_have_text("1 ms = 100 px")
        await keyboard.press("-")
        await keyboard.press("-")
        await expect(scale).to_have_text("100 ms = 40 px")
        await keyboard.press("0")
        await expect(scale).to_have_text("1 ms = 20 px")
        await keyboard.press("Escape")
        await expect(details).to_be_hidden()
        await expect(notebook.page.locator(".jp-Notebook")).to_have_class(re.compile("jp-mod-commandMode"))
        assert notebook.page_errors == []


async def test_scrolling_back_stops_following_and_the_end_takes_it_up_again(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SHOWN) as notebook:
        await notebook.page.set_viewport_size({"width": 1000, "height": 1300})  # the whole panel is on the page, so only the diagram scrolls
        await notebook.run_all()
        await notebook.execute(ECHO)
        await notebook.execute(FORTY)
        arrived = re.compile(r"^handler 1 to Ana: text “number 19”, [\d.]+ (ms|µs|s)\b")  # both ends are known, so the diagram is not laid out again
        await expect(event(notebook, "handler 1 to Ana: text “number 19”")).to_have_attribute("aria-label", arrived)
        await log_of(notebook).evaluate(SCROLLED)
        await log_of(notebook).hover()
        await notebook.page.mouse.wheel(0, -400)
        follow = await button(notebook, "Follow")
        await expect(follow).to_have_attribute("aria-pressed", "false")
        top = await notebook.page.evaluate("() => window.scrolled")
        await notebook.execute("await ana.send_text('last')\nawait ana.receive_text()")
        await expect(event(notebook, "Ana to handler 1: text “number 1")).not_to_have_count(0)
        assert await log_of(notebook).evaluate("(box) => box.scrollTop") == top
        await follow.click()
        await expect(event(notebook, "handler 1 to Ana: text “last”")).to_be_in_viewport()
        await expect(await button(notebook, "Follow")).to_have_attribute("aria-pressed", "true")


async def test_pause_filter_clear_and_pings(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SHOWN) as notebook:
        await notebook.run_all()
        await notebook.execute(ECHO)
        await expect(event(notebook, "handler 1 to Ana: text “hello”")).to_have_count(1)
        await (await button(notebook, "Pause")).click()
        await notebook.execute("await ana.send_text('meanwhile')\nawait ana.receive_text()\nawait ana.ping()")
        await expect(panel_of(notebook).get_by_role("button", name="Resume · ")).to_be_visible()
        await expect(event(notebook, "Ana to handler 1: text “meanwhile”")).to_have_count(0)
        await panel_of(notebook).get_by_role("button", name="Resume · ").click()
        await expect(event(notebook, "Ana to handler 1: text “meanwhile”")).to_have_count(1)
        await (await button(notebook, "2 pings/pongs hidden")).click()
        await expect(event(notebook, "Ana to handler 1: ping")).to_have_count(1)
        await panel_of(notebook).get_by_role("searchbox", name="Filter: events").fill("meanwhile")
        await expect(panel_of(notebook).locator("[role=button][data-key]")).to_have_count(2)
        await panel_of(notebook).get_by_role("searchbox", name="Filter: events").fill("")
        await notebook.execute("panel.clear()")
        await expect(panel_of(notebook).locator("[role=button][data-key]")).to_have_count(0)
        await notebook.execute("await ana.close()")
        await expect(event(notebook, "Ana to handler 1: close 1000")).to_have_count(1)
        assert notebook.page_errors == []


async def test_what_waits_says_for_how_long_and_what_ended_can_be_folded(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SHOWN) as notebook:
        await notebook.run_all()
        await notebook.execute('for name in ("Cleo", "Dan"):\n    async with connect(server, "/ws", name=name):\n        pass')
        await notebook.execute('ben = await connect(server, "/silent", name="Ben")\nawait ben.send_text("anybody?")')
        log = log_of(notebook)
        await expect(event(notebook, "Ben to handler 3: text “anybody?”")).to_have_attribute("aria-label", re.compile("not received yet$"))
        await notebook.execute('flood = await connect(server, "/flood", name="Eve")')
        await expect(log).to_contain_text("unread")
        await expect(log).to_contain_text("send waits")
        await notebook.page.keyboard.press("Escape")
        await (await button(notebook, "Hide 2 ended lanes")).click()
        await expect(lanes_of(notebook)).to_have_count(4)
        await expect(await button(notebook, "2 ended lanes hidden")).to_have_attribute("aria-pressed", "true")
        await (await button(notebook, "2 ended lanes hidden")).click()
        await expect(lanes_of(notebook)).to_have_count(8)
        await notebook.execute("await flood.abort()")
        await expect(event(notebook, "Eve to handler 4: dropped, no Close frame")).to_have_count(1)
        assert notebook.page_errors == []


async def test_a_broadcast_to_five_fits_beside_the_other_views_and_to_eight_keeps_its_times_in_sight(open_notebook: OpenNotebook) -> None:
    async with open_notebook(BROADCAST) as notebook:
        await notebook.run_all()
        await notebook.execute(JOINED.format(count=5))
        await expect(event(notebook, "handler 5 to Eva: text “Somebody says: hello")).to_have_count(1)
        assert (await panel_of(notebook).bounding_box())["width"] < 340
        assert await log_of(notebook).evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0
        clients = lanes_of(notebook).filter(has_not_text="handler")
        await expect(clients).to_have_text(["1Ana", "2Ben", "3Cleo", "4Dan", "5Eva", *"12345"])
        label = log_of(notebook).locator(".kit-seq-label").last
        assert len(await label.text_content()) > 10, "enough of a message to know it"
        await expect(event(notebook, "handler 5 to Eva: text").locator("title")).to_have_text(re.compile("hello to everybody in the room"))
        await notebook.execute(JOINED.format(count=8))
        await expect(lanes_of(notebook)).to_have_count(16)
        beyond, times, corner, scrolled = await log_of(notebook).evaluate(SIDEWAYS)
        assert 0 < beyond == scrolled
        assert (times, corner) == (0, 0)
        assert await panels_that_overflow(notebook.page) == []
        assert notebook.page_errors == []


async def test_what_is_published_goes_to_the_hub_and_from_there_to_five(open_notebook: OpenNotebook) -> None:
    async with open_notebook(HUB) as notebook:
        await notebook.run_all()
        await expect(lanes_of(notebook).filter(has_text="hub")).to_have_count(0)
        await notebook.execute(SPOKEN_TO_ALL)
        await expect(event(notebook, "handler 1 to hub: publish “hello to everybody")).to_have_count(1)
        for name in ("Ana", "Ben", "Cleo", "Dan", "Eva"):
            await expect(event(notebook, f"hub to {name}: text “hello to everybody")).to_have_count(1)
        await expect(lanes_of(notebook).filter(has_text="hub")).to_have_count(1)
        assert await log_of(notebook).evaluate("(box) => box.scrollWidth - box.clientWidth") <= 0
        await notebook.execute("await hub.publish('lobby', 'from a cell')")
        await event(notebook, "hub to Eva: text “from a cell”").locator(".kit-seq-label").click()
        await expect(panel_of(notebook).get_by_role("region", name="Details")).to_contain_text("the hub sends")
        assert await faint_texts(notebook.page) == []
        assert notebook.page_errors == []


async def test_five_thousand_events_are_in_sight_one_screen_at_a_time(open_notebook: OpenNotebook) -> None:
    async with open_notebook(FULL) as notebook:
        await notebook.run_all()
        await expect(event(notebook, "Ana to handler 1: text “number 5999”")).to_have_count(1)
        await expect(panel_of(notebook)).to_contain_text("1,001 earlier events are not kept")
        session = await notebook.page.context.new_cdp_session(notebook.page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})  # the page's own time, however busy the machine is
        before = await busy_seconds(session)
        drawn, height = await notebook.page.evaluate(SCROLL_UP)
        busy = await busy_seconds(session) - before
        assert height > 5_000 * 24
        assert min(drawn) >= 5
        assert max(drawn) < 80
        assert busy / (2 * len(drawn)) < 1 / 60, "a frame of scrolling takes longer than a frame has"
        assert notebook.page_errors == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everything_is_readable_and_within_its_panel(open_notebook: OpenNotebook, dark: bool) -> None:
    ends = """
for path in ("/refuse/http", "/refuse/policy"):
    try:
        await connect(server, path, name=path[8:])
    except HandshakeRefused:
        pass
for path in ("/end/raising", "/end/returning", "/silent"):
    await connect(server, path, name=path[1:])
server.timeline.note("Ana stops reading", kind="fault", connection=ana.connection, side="client", what="stall", phase="begins")
"""
    async with open_notebook(SHOWN, dark=dark) as notebook:
        await notebook.run_all()
        await notebook.execute(ECHO + ends)
        await expect(event(notebook, "Ana: Ana stops reading")).to_have_count(1)
        for width in (1000, 620, 360):
            await notebook.page.set_viewport_size({"width": width, "height": 1000})
            await expect(event(notebook, "Ana: Ana stops reading")).to_have_count(1)
            assert await faint_texts(notebook.page) == []
            assert await panels_that_overflow(notebook.page) == []
            names = sorted(await lanes_of(notebook).evaluate_all(EDGES))
            assert all(right <= left + 0.5 for (_, right), (left, _) in itertools.pairwise(names)), "no name runs into the next"
        await notebook.page.set_viewport_size({"width": 1000, "height": 1000})
        assert notebook.page_errors == []
