"""HubPanel in a real JupyterLab: rooms, members and queues live, chosen by mouse, keyboard and method, readable in both themes and narrow."""

from __future__ import annotations

import itertools

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

APP = """from fastapi import FastAPI, WebSocket
from kit import Hub, HubPanel, connect, serve
app, hub = FastAPI(), Hub("memory://", queue=40)

@app.websocket("/ws/{room}/{name}")
async def chat(websocket: WebSocket, room: str, name: str):
    await websocket.accept()
    async with hub.join(websocket, room, name=name, policy="block" if name == "Ben" else "disconnect"):
        async for text in websocket.iter_text():
            await hub.publish(room, text)

await hub.open()
server = await serve(app, port=0, name="rooms")"""
SHOW = "panel = HubPanel(hub)\npanel"
JOIN = """ana = await connect(server, "/ws/lobby/Ana", name="Ana")
ben = await connect(server, "/ws/lobby/Ben", name="Ben")
fay = await connect(server, "/ws/garden/Fay", name="Fay")
await ana.send_text("hello")
await ben.receive_text()"""
LONG_NAMES = """long = await connect(server, "/ws/lobby-of-the-old-hotel/sleeper-of-the-third-row", name="long")
sleeper = await hub.subscribe("lobby-of-the-old-hotel", policy="drop_oldest").__aenter__()"""
CUT = """(panel) => [...panel.querySelectorAll('tbody :is(th, td, button)')]
  .filter((cell) => cell.scrollWidth > cell.clientWidth + 1)
  .map((cell) => cell.textContent)"""
# Who left is shown for three seconds only: notes whether a row has ever said it.
WATCH_FAY = """(panel) => {
  const left = () => [...panel.querySelectorAll("tr")].some(({ textContent }) => textContent.includes("Fay") && textContent.includes("left"));
  new MutationObserver(() => (window.fayLeft ||= left())).observe(panel, { subtree: true, childList: true, characterData: true });
}"""
SLOW = """archive = await hub.subscribe("lobby", policy="drop_oldest", queue=20).__aenter__()
slow = await hub.subscribe("lobby").__aenter__()
full = await hub.subscribe("lobby").__aenter__()
for number in range(41):
    await hub.publish("lobby", f"news {number}")
for number in range(35):
    await slow.unsubscribe() if number == 9 else await hub.publish("lobby", "x" * 300)"""


def panel_of(notebook: Notebook) -> Locator:
    return notebook.page.get_by_role("region", name="Hub memory://", exact=True)


def row_of(panel: Locator, table: str, name: str) -> Locator:
    """The row of a table that has this name."""
    return panel.get_by_role("table", name=table).get_by_role("row").filter(has=panel.page.get_by_role("rowheader", name=name, exact=True))


async def test_rooms_queues_and_endings_are_shown_live_and_chosen_by_mouse_keyboard_and_method(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SHOW) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await expect(panel.get_by_role("status", name="broker")).to_have_text("connected")
        await expect(panel).to_contain_text('async with hub.join(websocket, "lobby", name="Ana"):')
        await notebook.execute(JOIN)
        await expect(row_of(panel, "Rooms", "lobby").get_by_role("cell")).to_have_text(["2", "0", "0", "1", "1", "0", "0", "1"])
        await expect(row_of(panel, "Members", "Ben")).to_contain_text("nothing waits")
        await expect(row_of(panel, "Members", "Ben")).to_contain_text("block")
        await notebook.execute(SLOW)
        await expect(panel.get_by_role("meter", name="20 of at most 20 messages wait for subscriber")).to_be_visible()
        await expect(panel.get_by_role("table", name="Members")).to_contain_text("too slow: 40 messages (310 B) were waiting")

        garden = panel.get_by_role("button", name="garden")
        await garden.click()
        await expect(panel.get_by_role("region", name="The chosen room")).to_contain_text("Who is in garden")
        await expect(row_of(panel, "Members", "Fay")).to_contain_text("keeps up")
        await expect(garden).to_have_attribute("aria-pressed", "true")
        await garden.press("ArrowUp")
        await expect(panel.get_by_role("button", name="lobby")).to_have_attribute("aria-pressed", "true")
        await expect(panel.get_by_role("button", name="lobby")).to_be_focused()
        await notebook.execute("panel.choose('garden')")
        await expect(garden).to_have_attribute("aria-pressed", "true")
        await panel.evaluate(WATCH_FAY)
        await notebook.execute("await fay.close()")
        await notebook.page.wait_for_function("window.fayLeft")
        await expect(panel).to_contain_text("Nobody of this hub is in “garden” now.")
        assert notebook.page_errors == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_it_is_readable_in_both_themes_and_fits_a_narrow_window(open_notebook: OpenNotebook, dark: bool) -> None:
    async with open_notebook(APP, SHOW, dark=dark) as notebook:
        await notebook.run_all()
        await expect(panel_of(notebook)).to_contain_text("Nobody is in a room yet.")
        assert await faint_texts(notebook.page, least=4.5) == []
        await notebook.execute(JOIN)
        await notebook.execute(SLOW)
        await expect(panel_of(notebook)).to_contain_text("too slow: 40 messages")
        await notebook.execute(LONG_NAMES)
        for width, room in itertools.product((1000, 820, 700, 520), ("lobby", "lobby-of-the-old-hotel")):
            await notebook.page.set_viewport_size({"width": width, "height": 1000})
            await panel_of(notebook).get_by_role("button", name=room, exact=True).click()
            await expect(panel_of(notebook).get_by_role("region", name="The chosen room")).to_contain_text(f"Who is in {room}")
            assert await panel_of(notebook).evaluate(CUT) == [], f"nothing is cut at {width} px"
            assert await faint_texts(notebook.page) == []
            assert await panels_that_overflow(notebook.page) == []
        await notebook.page.set_viewport_size({"width": 1000, "height": 1000})
