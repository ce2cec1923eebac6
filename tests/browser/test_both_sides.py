"""BothSides in a real JupyterLab: its views come and go by mouse and keyboard, and it fits at every width."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

APP = """\
from fastapi import FastAPI, WebSocket
from kit import BothSides, serve

app = FastAPI()

@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "leave":
            return
        await websocket.send_text(f"You wrote: {text}")

server = await serve(app, port=0, name="chat")
both = BothSides(server, "/ws", clients=["Ana", "Ben", "Cleo"])
both"""
TALK = """\
for name in ("Ana", "Ben", "Cleo"):
    await both[name].connect()
    await both[name].send("hello")
await both["Cleo"].send("leave")
await both["Ben"].begin_fault("reading-stalled")"""


def bar_button(notebook: Notebook, name: str) -> Locator:
    return notebook.page.get_by_role("group", name="Views").get_by_role("button", name=name, exact=True)


def region(notebook: Notebook, name: str) -> Locator:
    return notebook.page.get_by_role("region", name=name, exact=True)


async def test_a_view_comes_and_goes_by_click_and_by_key_and_shows_what_happened_meanwhile(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP) as notebook:
        await notebook.run_all()
        rows, sequence = notebook.conversation("chat"), region(notebook, "Sequence of server chat")
        await expect(sequence).to_contain_text("Connect a client and say something")
        await notebook.execute(TALK)
        button = bar_button(notebook, "Rows")
        await expect(button).to_have_attribute("aria-pressed", "false")
        await button.click()
        await expect(rows).to_contain_text("You wrote: hello")
        await button.press("Enter")
        await expect(rows).to_have_count(0)
        await expect(button).to_have_attribute("aria-pressed", "false")
        await expect(button).to_be_focused()  # drawn anew, it keeps the focus
        await bar_button(notebook, "Sequence").press(" ")
        await expect(sequence).to_have_count(0)
        await notebook.execute("both.show('sequence')")
        await expect(sequence).to_contain_text("dropped")
        assert notebook.page_errors == []


async def test_what_ended_is_explained_from_its_first_word(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP) as notebook:
        await notebook.page.set_viewport_size({"width": 1000, "height": 1300})  # the whole of it is on the page, so only the chat itself scrolls
        await notebook.run_all()
        await notebook.execute(TALK)
        await expect(notebook.chat("Cleo").get_by_text("1006, no Close frame.")).to_be_in_viewport(ratio=1)
        assert notebook.page_errors == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_it_is_readable_and_nothing_sticks_out_at_any_width(open_notebook: OpenNotebook, dark: bool) -> None:
    async with open_notebook(APP, dark=dark) as notebook:
        await notebook.run_all()
        await notebook.execute(TALK)
        await expect(notebook.chat("Ben")).to_contain_text("not reading")
        await notebook.page.get_by_role("button", name="closed 1006: how connection 3 ended").click()
        await expect(region(notebook, "Server chat")).to_contain_text("Closed first")
        assert await faint_texts(notebook.page) == []
        for width in (1000, 620, 360):
            await notebook.page.evaluate("(width) => { document.querySelector('.kit-both-sides').style.width = `${width}px`; }", width - 170)
            assert await panels_that_overflow(notebook.page) == []
            for name in ("Sequence of server chat", "Handlers of server chat") if width == 1000 else ():
                header = region(notebook, name).locator("header")
                assert (await header.bounding_box())["height"] <= 41, f"the header of {name} has more than one row"
