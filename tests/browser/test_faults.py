"""Faults in a real JupyterLab: a chat that stops reading says so, the server waits for it, and then everything arrives."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenNotebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# A server that answers each message with more than the network's buffers hold, so that its send waits for whoever does not read.
SERVING = """\
from fastapi import FastAPI, WebSocket
from kit import ChatPanel, serve

app, sent = FastAPI(), []

@app.websocket("/ws")
async def pour(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        for number in range(30):
            await websocket.send_text(f"{text} {number} " + "." * 1_000_000)
            sent.append(number)

server = await serve(app, port=0)"""
CHAT = 'ana = ChatPanel(server, "/ws", name="Ana")\nana'
CONNECT = "await ana.connect()"


async def test_a_chat_that_stops_reading_makes_the_server_wait_and_then_gets_it_all(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SERVING, CHAT, CONNECT) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        status = chat.get_by_role("status")
        await expect(status).to_have_text("open")
        await chat.get_by_role("button", name="More actions").click()
        await chat.get_by_role("button", name="Stop reading").click()
        await expect(status).to_have_text("not reading")
        await expect(chat.get_by_role("log")).to_contain_text("Ana stops reading")
        await chat.get_by_label("Message").fill("pour")
        await chat.get_by_role("button", name="Send", exact=True).click()
        standstill = (
            "import asyncio\nbefore = -1\nwhile before != len(sent) or not sent:\n    before = len(sent)\n    await asyncio.sleep(0.3)\nprint(len(sent))"
        )
        assert 0 < int(await notebook.execute(standstill)) < 30
        await expect(chat.get_by_role("group", name="received: pour", exact=False)).to_have_count(0)
        await chat.get_by_role("button", name="Read again").click()
        await expect(status).to_have_text("open")
        await expect(chat.get_by_role("group", name="received: pour", exact=False)).to_have_count(30)
        assert notebook.page_errors == []


async def test_a_fault_is_begun_from_the_keyboard_and_its_settings_stay_as_they_are_meanwhile(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SERVING, CHAT, CONNECT) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await expect(chat.get_by_role("status")).to_have_text("open")  # a key pressed before that would find no button
        await chat.get_by_role("button", name="More actions").press("Enter")
        latency = chat.get_by_label("Milliseconds to the server")
        await latency.fill("40")
        await latency.press("Enter")
        await expect(chat.get_by_role("status")).to_have_text("slow network")
        await expect(latency).to_be_focused()
        await expect(latency).not_to_be_editable()
        await expect(chat.get_by_role("log")).to_contain_text("Ana has a slow network: 40 ms to the server, 300 ms back")
        await chat.get_by_role("button", name="Fast again").press("Enter")
        await expect(chat.get_by_role("status")).to_have_text("open")
        await expect(latency).to_be_editable()
        await chat.get_by_label("Which rule the frame breaks").select_option("bad-utf8")
        await chat.get_by_role("button", name="Invalid frame").click()
        await expect(chat.get_by_role("status")).to_have_text("closed 1007")
        await expect(chat.get_by_role("group", name="Faults")).to_be_hidden()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_menu_is_readable_and_fits_also_into_320_pixels(open_notebook: OpenNotebook, dark: bool) -> None:
    faults = "await ana.begin_fault('reading-stalled')\nawait ana.begin_fault('slow-network', to_server_seconds=0.3)"
    async with open_notebook(SERVING, CHAT, CONNECT, faults, dark=dark) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await chat.get_by_role("button", name="More actions").click()
        await expect(chat.get_by_role("button", name="Fast again")).to_be_visible()
        assert await faint_texts(notebook.page) == []
        for width in (None, "320px"):
            await chat.evaluate("(panel, width) => { panel.style.width = width; }", width)
            assert await panels_that_overflow(notebook.page) == []
