"""The state panel in a real JupyterLab: pressed by hand, it shows what is legal, what moved, and the exact error."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

STAGE = "from kit.panels.state import StatePanel\nstage = StatePanel()\nstage"
TOO_EARLY = 'RuntimeError: Expected ASGI message "websocket.accept", "websocket.close" or "websocket.http.response.start", but got \'websocket.send\''


def panel_of(notebook: Notebook) -> Locator:
    return notebook.page.get_by_role("region", name="States of a WebSocket", exact=True)


async def press(panel: Locator, label: str) -> None:
    await panel.get_by_role("button", name=label).click()


async def connect(panel: Locator) -> None:
    await panel.get_by_role("button", name="Connect", exact=True).click()
    await expect(panel.locator("header")).to_contain_text("handler parked")


async def lit(panel: Locator, client: str, application: str) -> None:
    """Both machines' current states: said in the heading, and marked in the drawing."""
    for attribute, name in (("client_state", client), ("application_state", application)):
        await expect(panel.get_by_role("status", name=attribute)).to_have_text(name)
        drawing = panel.get_by_role("list", name=f"{attribute}: its states and moves")
        await expect(drawing.locator("[aria-current=true]")).to_have_attribute("aria-label", f"{name}, now")


async def test_nothing_is_connected_by_being_displayed(open_notebook: OpenNotebook) -> None:
    async with open_notebook(STAGE) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await expect(panel.get_by_role("status", name="client_state")).to_have_text("no WebSocket yet")
        await expect(panel.get_by_role("log")).to_contain_text("Press Connect, or run await stage.connect()")
        await expect(panel.locator("[aria-current]")).to_have_count(0)
        assert await notebook.execute("from kit.registry import running_server; print(running_server('state'), stage.websocket)") == "None None"
        assert notebook.page_errors == []


async def test_pressing_through_accept_text_and_close(open_notebook: OpenNotebook) -> None:
    async with open_notebook(STAGE) as notebook:
        await notebook.run_all()
        panel, log = panel_of(notebook), panel_of(notebook).get_by_role("log")
        await connect(panel)
        await lit(panel, "CONNECTING", "CONNECTING")
        await expect(panel.get_by_role("button", name="send accept legal")).to_be_visible()
        await expect(panel.get_by_role("button", name="send text illegal now")).to_be_visible()
        await press(panel, "receive legal")
        await lit(panel, "CONNECTED", "CONNECTING")
        await press(panel, "send accept")
        await lit(panel, "CONNECTED", "CONNECTED")
        await expect(panel.get_by_role("listitem", name="accept leads from CONNECTING to CONNECTED, the last move")).to_have_count(1)
        await press(panel, "Say hello")
        await press(panel, "receive legal")
        await expect(log).to_contain_text("{'type': 'websocket.receive', 'text': 'hello'}")
        await press(panel, "send text legal")
        await expect(log).to_contain_text("gets text “hello”")
        await press(panel, "send close legal")
        await lit(panel, "CONNECTED", "DISCONNECTED")
        await expect(panel.get_by_role("status", name="client", exact=True)).to_contain_text("closed 1000")
        await expect(panel.locator("header")).to_contain_text("connection ended")
        assert notebook.page_errors == []


async def test_an_illegal_press_shows_the_exact_error_and_what_it_means(open_notebook: OpenNotebook) -> None:
    async with open_notebook(STAGE) as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await connect(panel)
        await press(panel, "send text illegal now")
        await expect(panel.get_by_role("log")).to_contain_text(TOO_EARLY)
        await expect(panel.get_by_role("log")).to_contain_text("The handshake is not answered yet, so no message can be sent. Accept first")
        await lit(panel, "CONNECTING", "CONNECTING")


async def test_a_receive_that_waits_is_given_up_by_a_second_press_and_keeps_the_focus(open_notebook: OpenNotebook) -> None:
    async with open_notebook(STAGE, "await stage.connect()\nawait stage.websocket.accept()") as notebook:
        await notebook.run_all()
        panel = panel_of(notebook)
        await lit(panel, "CONNECTED", "CONNECTED")
        await press(panel, "receive legal")
        waiting = panel.get_by_role("button", name="receive waiting, press to give up")
        await expect(waiting).to_be_focused()
        await waiting.press("Enter")
        await expect(panel.get_by_role("button", name="receive legal")).to_be_focused()
        await expect(panel.get_by_role("log")).to_contain_text("No message was taken.")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1000, 700])
async def test_everything_is_readable_and_within_its_panel(open_notebook: OpenNotebook, dark: bool, width: int) -> None:
    calls = "await stage.connect()\nawait stage.receive()\nawait stage.send({'type': 'websocket.accept'})\nawait stage.client_vanishes()"
    fails = "try:\n    await stage.send({'type': 'websocket.accept'})\nexcept RuntimeError:\n    pass"
    async with open_notebook(STAGE, calls, fails, dark=dark) as notebook:
        await notebook.page.set_viewport_size({"width": width, "height": 1000})
        await notebook.run_all()
        panel = panel_of(notebook)
        await expect(panel.get_by_role("button", name="send text legal, client gone")).to_be_visible()
        await expect(panel.get_by_role("log")).to_contain_text("A handshake is answered once")
        assert await faint_texts(notebook.page) == []
        assert await panels_that_overflow(notebook.page) == []
        assert notebook.page_errors == []
