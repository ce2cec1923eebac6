"""What the table of an explained close says that a browser reports, compared with what Chromium does report."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.responses import HTMLResponse
from playwright.async_api import Browser, Page

from kit import Server, connect, serve
from kit.close_codes import may_be_sent
from kit.closing import explain
from kit.connection import Connection
from kit.errors import HandshakeRefused
from kit.evidence import settled
from tests.protocol_facts.clients import over, seen_by_the_kits_client
from tests.protocol_facts.facts import FACTS, Fact
from tests.protocol_facts.handlers import app as facts

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Nothing of the page's own is needed but its origin: it opens a socket and tells what its CloseEvent says.
_OPEN = """
async ({ url, protocols, says, closes }) => {
  const socket = protocols.length ? new WebSocket(url, protocols) : new WebSocket(url);
  if (says) socket.onopen = () => socket.send(says);
  if (closes) socket.onopen = () => socket.close(...closes);
  const { code, reason, wasClean } = await new Promise((resolve) => (socket.onclose = resolve));
  return { code, reason, wasClean };
}
"""

app = FastAPI()


@app.get("/page")
async def page() -> HTMLResponse:
    return HTMLResponse('<!doctype html><title>A page</title><link rel="icon" href="data:,">')


@app.websocket("/answers/{status}")
async def answers(websocket: WebSocket, status: int) -> None:
    raise HTTPException(status)


@app.websocket("/listens")
async def listens(websocket: WebSocket) -> None:
    await websocket.accept()
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


@app.websocket("/drops")
async def drops(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.scope["extensions"]["kit.abort"]["abort"]()


app.mount("/", facts)


@dataclass
class Tab:
    """A page of the server's own origin, and what its console said."""

    page: Page
    server: Server
    console: list[str] = field(default_factory=list)

    async def opens(self, path: str, *, protocols: list[str] = (), says: str | None = None, closes: list[Any] | None = None) -> dict[str, Any]:
        """The CloseEvent of a socket."""
        self.console.clear()
        asked = {"url": f"{self.server.ws_url}{path}", "protocols": list(protocols), "says": says, "closes": closes}
        return await asyncio.wait_for(self.page.evaluate(_OPEN, asked), 10.0)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def server() -> AsyncIterator[Server]:
    async with serve(app, name="closes", port=0) as serving:
        yield serving


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def tab(browser: Browser, server: Server) -> AsyncIterator[Tab]:
    page = await browser.new_page()
    opened = Tab(page, server)
    page.on("console", lambda line: opened.console.append(line.text))
    await page.goto(f"{server.url}/page")
    yield opened
    await page.close()


def claimed(connection: Connection) -> dict[str, Any]:
    """The CloseEvent of which the table speaks."""
    said = dict(explain(connection).table)["Browser"]
    found = re.match(r"Code (\d+), (?:no reason|reason “(.*?)”)(?:, wasClean (true|false))?", said)
    return {"code": int(found[1]), "reason": found[2] or "", **({"wasClean": found[3] == "true"} if found[3] else {})}


def claimed_console(connection: Connection) -> list[str]:
    return re.findall(r"Only the console says more, Chromium's: “(.*?)”", dict(explain(connection).table)["Browser"])


@pytest.mark.parametrize("fact", [fact for fact in FACTS if not fact.handshake.get("headers") and not isinstance(fact.says, bytes)], ids=lambda f: f.handler)
async def test_each_way_to_end_is_reported_as_the_table_says(tab: Tab, fact: Fact, eventually: Callable) -> None:
    _, of_the_kits_client = await seen_by_the_kits_client(tab.server, fact)
    event = await tab.opens(fact.path, protocols=fact.handshake.get("subprotocols", ()), says=fact.says)
    own = tab.server.timeline.connections[-1]
    await eventually(lambda: over(own) and settled(of_the_kits_client))
    assert event == claimed(of_the_kits_client)
    assert fact.client.error or event == claimed(own)
    for words in claimed_console(own):
        await eventually(lambda: any(words in line for line in tab.console))  # noqa: B023 - called at once


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 407, 408, 422, 426, 429, 431, 500, 503, 599])
async def test_a_refusal_is_1006_whatever_its_status_and_only_the_console_names_it(tab: Tab, status: int, eventually: Callable) -> None:
    with pytest.raises(HandshakeRefused) as refusal:
        await connect(tab.server, f"/answers/{status}")
    event = await tab.opens(f"/answers/{status}")
    assert event == claimed(refusal.value.connection) == {"code": 1006, "reason": "", "wasClean": False}
    words = claimed_console(refusal.value.connection)
    assert words or status == 407
    await eventually(lambda: all(any(said in line for line in tab.console) for said in words))


@pytest.mark.parametrize("closes", [[], [1000], [1000, "bye"], [3000, "who?"], [4999, "bye"]], ids=str)
async def test_a_page_that_closes_gets_what_the_server_sent_back(tab: Tab, closes: list[Any], eventually: Callable) -> None:
    event = await tab.opens("/listens", closes=closes)
    own = tab.server.timeline.connections[-1]
    await eventually(lambda: over(own))
    assert own.close_frames[0][:2] == ("client", (closes or [1005])[0])
    assert event == claimed(own) == {"code": (closes or [1005])[0], "reason": (closes or [0, ""])[1:2][0] if closes[1:] else "", "wasClean": True}


@pytest.mark.parametrize("code", [1001, 1002, 1008, 1011, 1014])
async def test_a_page_cannot_close_with_the_protocols_own_codes(tab: Tab, code: int) -> None:
    assert may_be_sent(code)
    refused = await tab.page.evaluate("(code) => { try { new WebSocket('ws://127.0.0.1:9').close(code) } catch (error) { return error.name } }", code)
    assert refused == "InvalidAccessError"
    async with connect(tab.server, "/listens") as client:
        await client.close(code)
    assert "close() takes 1000 or 3000 to 4999" in dict(client.ended.table)["Browser"]


async def test_a_page_that_is_left_closes_with_1001_by_itself(tab: Tab, eventually: Callable) -> None:
    keeps = "(url) => new Promise((resolve) => { window.kept = new WebSocket(url); window.kept.onopen = resolve; })"
    await tab.page.evaluate(keeps, f"{tab.server.ws_url}/listens")
    await tab.page.goto("about:blank")
    own = tab.server.timeline.connections[-1]
    await eventually(lambda: over(own))
    await tab.page.goto(f"{tab.server.url}/page")
    assert own.close_frames[0] == ("client", 1001, "")
    assert dict(explain(own).table)["Browser"].startswith("Sends 1001 by itself when its page is left")


async def test_a_line_that_the_app_drops_is_1006_and_not_clean(tab: Tab, eventually: Callable) -> None:
    event = await tab.opens("/drops")
    own = tab.server.timeline.connections[-1]
    await eventually(lambda: over(own))
    assert event == claimed(own) == {"code": 1006, "reason": "", "wasClean": False}


@pytest.mark.parametrize("replaced", [False, True], ids=["stopped", "replaced"])
async def test_a_server_that_goes_away_is_reported_with_its_code(tab: Tab, replaced: bool, eventually: Callable) -> None:
    name = f"leaving, {replaced}"
    leaving = await serve(app, name=name, port=0, allowed_origins=[tab.server.url])
    event_task = asyncio.create_task(Tab(tab.page, leaving).opens("/listens"))
    await eventually(lambda: leaving.connections and leaving.connections[0].application_state == "CONNECTED")
    (own,) = leaving.connections
    new = await serve(app, name=name, port=0) if replaced else await leaving.stop()
    event = await event_task
    assert {"code": event["code"], "reason": event["reason"]} == claimed(own) == {"code": 1012 if replaced else 1001, "reason": ""}
    assert "wasClean is not certain" in dict(explain(own).table)["Browser"]
    if new is not None:
        await new.stop()
