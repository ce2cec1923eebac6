"""HandlerPanel in a real JupyterLab: the reader's own cell, and on its lines who waits there, for what, and how it ended."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

APP = '''import asyncio, threading
from fastapi import FastAPI, WebSocket
from kit import connect, serve
from kit.panels.handler import HandlerPanel
app, go_on = FastAPI(), threading.Event()
members = []

async def broadcast(text):
    for member in members:
        await member.send_text(text)  # to each in turn, whether it reads or not

@app.websocket("/ws/{name}")
async def chat(websocket: WebSocket, name: str):
    """What the reader has written."""
    await websocket.accept()
    members.append(websocket)
    while True:
        text = await websocket.receive_text()
        if text == "block":
            go_on.wait(60)
        if text == "raise":
            raise ValueError("as asked")
        while text == "flood":
            await broadcast("x" * 100_000)

server = await serve(app, port=0, name="chat")'''
SHOW = "HandlerPanel(server)"
CONNECT = "ana = await connect(server, '/ws/ana', name='Ana')\nben = await connect(server, '/ws/ben', name='Ben')"
FLOOD = """async def read():
    async for _ in ana.iter_text():
        pass
reading = asyncio.ensure_future(read())
await ana.send_text("flood")"""


def panel_of(notebook: Notebook) -> Locator:
    return notebook.page.get_by_role("region", name="Handlers of server chat", exact=True)


def line_of(panel: Locator, source: str) -> Locator:
    """The line with this source, and the marks below it."""
    return panel.get_by_role("listitem").filter(has=panel.page.locator("code", has_text=source))


async def test_it_shows_the_cell_and_who_waits_where_until_the_exception_that_ends_it(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SHOW) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await expect(panel.get_by_role("button", name="chat /ws/{name} cell [1]")).to_be_visible()
        await expect(panel).to_contain_text("Nobody is connected now.")
        await notebook.execute(CONNECT)
        waiting = line_of(panel, "text = await websocket.receive_text()")
        await expect(waiting.get_by_role("note", name="connection 1, Ana: waits for a message")).to_be_visible()
        await expect(waiting.get_by_role("note", name="connection 2, Ben: waits for a message")).to_contain_text(" s")
        await expect(panel).to_contain_text("2 now")
        await notebook.execute("await ben.send_text('raise')")
        raising = line_of(panel, 'raise ValueError("as asked")')
        await expect(raising.get_by_role("note")).to_have_text("2Ben's handler raised ValueError: as asked on this line: closed 1006")
        await expect(waiting.get_by_role("note")).to_have_count(1)
        assert notebook.page_errors == []


async def test_a_stalled_send_is_kept_in_view_in_the_readers_own_function_and_what_is_folded_stays_folded(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SHOW) as notebook:
        await notebook.page.set_viewport_size({"width": 1000, "height": 1300})  # the whole panel is on the page, so only its own list scrolls
        await notebook.run_all()
        panel = panel_of(notebook)
        await notebook.execute(CONNECT)
        await notebook.execute(FLOOD)
        sending = line_of(panel, "await member.send_text(text)")
        mark = sending.get_by_role("note", name="connection 1, Ana: waits in send_text to Ben: the client does not read")
        await expect(mark).to_be_in_viewport()
        await expect(line_of(panel, 'await broadcast("x" * 100_000)').get_by_role("note")).to_contain_text("Ana's handler is in broadcast, line 10")
        follow = panel.get_by_role("button", name="Follow")
        await follow.press("Enter")
        await expect(follow).to_have_attribute("aria-pressed", "false")
        fold = panel.get_by_role("button", name="chat /ws/{name} cell [1]")
        await fold.press("Enter")
        await expect(fold).to_have_attribute("aria-expanded", "false")
        await expect(panel.get_by_role("list", name="Source of chat")).to_have_count(0)
        await notebook.execute("cleo = await connect(server, '/ws/cleo', name='Cleo')")
        await expect(panel).to_contain_text("3 now")
        await expect(panel.get_by_role("list", name="Source of chat")).to_have_count(0)


async def test_a_handler_that_blocks_is_shown_while_it_blocks(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SHOW) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await notebook.execute(CONNECT)
        await expect(panel).to_contain_text("2 now")
        await notebook.execute("await ana.send_text('block')")
        await expect(panel.get_by_role("status").filter(has_text="Nobody is served until Ana lets go of the loop.")).to_be_visible()
        blocking = line_of(panel, "go_on.wait(60)").get_by_role("note", name="connection 1, Ana: runs on this line and blocks everybody")
        await expect(blocking).to_be_visible()
        await notebook.execute("go_on.set()")
        await expect(blocking).to_have_count(0)
        await expect(panel.locator("header")).to_contain_text("serving")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everything_is_readable_and_within_its_panel(open_notebook: OpenNotebook, dark: bool) -> None:
    async with open_notebook(APP, SHOW, dark=dark) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await notebook.execute(CONNECT + "\ncleo = await connect(server, '/ws/cleo', name='Cleo')\nawait cleo.send_text('raise')")
        await expect(panel).to_contain_text("Cleo's handler raised")  # for 20 s: what comes next may take longer
        assert await faint_texts(notebook.page) == []
        await notebook.execute("members.pop()")
        await notebook.execute(FLOOD)
        await expect(panel).to_contain_text("the client does not read")
        assert await faint_texts(notebook.page) == []
        for width in (1000, 480):
            await notebook.page.set_viewport_size({"width": width, "height": 1000})
            await expect(panel).to_be_visible()
            assert await panels_that_overflow(notebook.page) == []
        await notebook.page.set_viewport_size({"width": 1000, "height": 1000})
