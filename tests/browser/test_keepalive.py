"""A client that answers no ping, in a real JupyterLab: the diagram, the chat and the server's table all say who closed, with 1011, and why."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenNotebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SERVING = """\
from kit import BothSides, serve
from kit.faults import pongs_delayed
from tests.apps import app

server = await serve(app, port=0, name="alive", ping_interval_seconds=0.2, ping_timeout_seconds=5)
both = BothSides(server, "/ws", clients=["Ana"])
both"""
TALK = "await both['Ana'].connect()\nawait both['Ana'].send('hello')"
UNANSWERED = """\
async with pongs_delayed(both["Ana"].client, seconds=None):
    await both["Ana"].client.wait_closed()"""


async def test_a_client_that_answers_no_ping_is_closed_with_1011_and_every_panel_says_why(open_notebook: OpenNotebook) -> None:
    async with open_notebook(SERVING, TALK, UNANSWERED) as notebook:
        await notebook.run_all()
        chat, server = notebook.chat("Ana"), notebook.server_panel("alive")
        await expect(chat.get_by_role("status")).to_have_text("closed 1011")
        await expect(chat.get_by_role("log")).to_contain_text("Ana answers no pings")
        await expect(chat.get_by_role("log")).to_contain_text("The server closed first, with code 1011 and the reason “keepalive ping timeout”")
        await expect(chat.get_by_role("log")).to_contain_text("a ping got no answer in time")

        diagram = notebook.page.get_by_role("region", name="Sequence of server alive", exact=True)
        closes = diagram.get_by_role("button", name="close 1011 “keepalive ping timeout”")
        await expect(closes).to_have_count(2)
        await expect(diagram.get_by_role("button", name="handler 1 began it")).to_have_count(1)
        await expect(diagram.get_by_role("button", name="Ana: Ana answers no pings")).to_have_count(1)
        await diagram.get_by_role("button", name=re.compile("pongs hidden")).click()
        await expect(diagram.get_by_role("button", name="handler 1 to Ana: ping").last).to_be_attached()
        await closes.first.dispatch_event("click")
        await expect(diagram.get_by_role("region", name="Details")).to_contain_text("keepalive ping timeout")

        await server.get_by_role("button", name="closed 1011: how connection 1 ended").click()
        await expect(server).to_contain_text("Close 1011 “keepalive ping timeout”")
        await expect(server.get_by_role("cell", name="was CONNECTED")).to_have_count(1)
        await expect(server).to_contain_text("application_state stays CONNECTED: only what the handler sends moves it")
        assert await faint_texts(notebook.page) == []
        assert await panels_that_overflow(notebook.page) == []
        assert notebook.page_errors == []
