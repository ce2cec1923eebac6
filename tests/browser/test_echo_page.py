"""The page that the echo example serves to a real browser, at its own address and behind a proxy's prefix."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files

import pytest
import pytest_asyncio
from fastapi import FastAPI, WebSocket
from fastapi.responses import HTMLResponse
from playwright.async_api import Browser, Page, expect

from kit import Server, serve
from tests.browser.lab import PATIENT

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session"), *PATIENT]

PREFIX = "/user/ana/proxy/8000"
app = FastAPI()


@app.get("/")
@app.get(PREFIX + "/")
async def page() -> HTMLResponse:
    return HTMLResponse((files("kit") / "pages" / "echo.html").read_text("utf-8"))


@app.websocket("/ws")
@app.websocket(PREFIX + "/ws")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "close":
            await websocket.close(4000, "the room is full")
        elif text == "return":
            return
        else:
            await websocket.send_text(f"Message text was: {text} at {websocket.url.path}?{websocket.url.query}")


@pytest_asyncio.fixture(loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with serve(app, name="page", port=0) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser: Browser) -> AsyncIterator[Page]:
    """A tab that fails its test when the page logs an error or opens a dialog."""
    context = await browser.new_context()
    tab = await context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    yield tab
    await context.close()
    assert not complaints


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["direct", "behind a proxy"])
async def test_it_talks_to_the_server_that_it_came_from_and_keeps_the_pages_token(server: Server, tab: Page, prefix: str) -> None:
    await tab.goto(f"{server.url}{prefix}/?token=for-the-page")
    await expect(tab.get_by_role("status")).to_contain_text("Connected")
    await tab.get_by_label("Message", exact=True).press_sequentially("hello\n")
    await expect(tab.get_by_role("log")).to_contain_text(f"Message text was: hello at {prefix}/ws?")
    await expect(tab.get_by_role("log")).not_to_contain_text("for-the-page")


async def test_what_crosses_the_wire_stays_text(server: Server, tab: Page) -> None:
    await tab.goto(server.url)
    await expect(tab.get_by_role("status")).to_contain_text("Connected")
    await tab.get_by_label("Message", exact=True).fill("<img src=x onerror=alert(1)>")
    await tab.get_by_role("button", name="Send").click()
    await expect(tab.get_by_text("Message text was: <img src=x onerror=alert(1)>")).to_be_visible()
    assert await tab.locator("img").count() == 0


@pytest.mark.parametrize(
    ("word", "state"),
    [("close", "Closed with code 4000: a code of the app's own (“the room is full”)"), ("return", "Closed with code 1006: the line went dead")],
)
async def test_an_end_is_said_in_words_and_the_page_connects_again_by_keyboard(server: Server, tab: Page, word: str, state: str) -> None:
    await tab.goto(server.url)
    await expect(tab.get_by_role("status")).to_contain_text("Connected")
    await tab.keyboard.type(f"{word}\n")
    await expect(tab.get_by_role("status")).to_contain_text(state)
    await expect(tab.get_by_role("button", name="Connect again")).to_be_focused()
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("status")).to_contain_text("Connected")
    await expect(tab.get_by_label("Message", exact=True)).to_be_focused()
