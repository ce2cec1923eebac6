"""The pages in a real browser: at their own address, framed in a notebook, and through a real jupyter-server-proxy."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest
import pytest_asyncio
from fastapi import Cookie, Depends, FastAPI, Query, WebSocket, WebSocketDisconnect, WebSocketException
from fastapi.responses import HTMLResponse
from playwright.async_api import Browser, BrowserContext, FrameLocator, Page, async_playwright, expect

from kit import Server, serve
from tests.browser.conftest import PATIENCE_MILLISECONDS, OpenNotebook
from tests.browser.lab import Lab, Notebook, running_lab
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PREFIX = "/user/ana/proxy/8000"
NAMES = ("echo", "dependencies", "broadcast")
app = FastAPI()


def page_text(name: str) -> str:
    return (files("kit") / "pages" / f"{name}.html").read_text("utf-8")


@app.get("/{name}")
@app.get("/strict/{name}")
@app.get(PREFIX + "/{name}")
async def page(name: str, strict: bool = False) -> HTMLResponse:
    """A page; ``strict`` forbids it everything but its own two blocks of style and script, and its own server."""
    text = page_text(name)
    blocks = {tag: re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1] for tag in ("style", "script")}
    hashes = {tag: base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for tag, block in blocks.items()}
    policy = f"default-src 'none'; img-src data:; connect-src 'self'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy} if strict else {})


@app.websocket("/echo/ws")
@app.websocket(PREFIX + "/echo/ws")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "close":
            await websocket.close(4000, "the room is full")
        elif text == "return":
            return
        else:
            await websocket.send_text(f"Message text was: {text} at {websocket.url.path}?{websocket.url.query}")


async def cookie_or_token(session: str | None = Cookie(None), token: str | None = Query(None)) -> str:
    if session is None and token is None:
        raise WebSocketException(1008)
    return f"cookie {session}, token {token}"


@app.websocket("/dependencies/items/{item_id}/ws")
async def item(websocket: WebSocket, item_id: str, q: int | None = None, shown: str = Depends(cookie_or_token)) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{text} for item {item_id}, q {q}, {shown}")


talkers: list[WebSocket] = []


@app.websocket("/broadcast/ws/{client_id}")
async def chat(websocket: WebSocket, client_id: int) -> None:
    await websocket.accept()
    talkers.append(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            for talker in talkers:
                await talker.send_text(f"Client #{client_id} says: {text}")
    except WebSocketDisconnect:
        talkers.remove(websocket)
        for talker in talkers:
            await talker.send_text(f"Client #{client_id} left the chat")


@pytest_asyncio.fixture(loop_scope="session")
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    talkers.clear()
    async with serve(app, name=request.node.name, port=0) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser's window whose tabs fail the test when a page logs an error or opens a dialog."""
    context = await browser.new_context()
    complaints: list[str] = []
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    context.on("dialog", lambda dialog: complaints.append(dialog.message))
    yield context
    await context.close()
    assert [text for text in complaints if "Error during WebSocket handshake" not in text] == []


@pytest_asyncio.fixture(loop_scope="session")
async def tab(tabs: BrowserContext) -> Page:
    return await tabs.new_page()


def message_of(where: Page | FrameLocator) -> Any:
    return where.get_by_role("textbox", name=re.compile("^Message"))


async def connected(where: Page | FrameLocator) -> None:
    await expect(where.get_by_role("status")).to_contain_text("Connected to ws")


# Each page, at its own address.


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["direct", "behind a proxy"])
async def test_it_talks_to_the_server_that_it_came_from_and_keeps_the_pages_token(server: Server, tab: Page, prefix: str) -> None:
    await tab.goto(f"{server.url}{prefix}/echo?token=for-the-page")
    await connected(tab)
    await message_of(tab).press_sequentially("hello\n")
    await expect(tab.get_by_role("log")).to_contain_text(f"Message text was: hello at {prefix}/echo/ws?")
    await expect(tab.get_by_role("log")).not_to_contain_text("for-the-page")
    await expect(tab.get_by_role("note")).to_have_count(1 if prefix else 0)


@pytest.mark.parametrize("name", NAMES)
async def test_it_works_where_only_its_own_script_and_its_own_server_are_allowed(server: Server, tab: Page, name: str) -> None:
    await tab.goto(f"{server.url}/{name}?strict=true")
    if name == "dependencies":
        await tab.get_by_role("button", name="Connect").click()
    await connected(tab)
    await message_of(tab).press_sequentially("hello\n")
    await expect(tab.get_by_role("log")).to_contain_text("hello")


@pytest.mark.parametrize("name", NAMES)
async def test_what_crosses_the_wire_stays_text(server: Server, tab: Page, name: str) -> None:
    await tab.goto(f"{server.url}/{name}")
    if name == "dependencies":
        await tab.get_by_role("button", name="Connect").click()
    await connected(tab)
    await message_of(tab).fill("<img src=x onerror=alert(1)>")
    await tab.get_by_role("button", name="Send").click()
    await expect(tab.get_by_role("log").get_by_text("<img src=x onerror=alert(1)>").last).to_be_visible()
    assert await tab.locator("img").count() == 0


@pytest.mark.parametrize(
    ("word", "state"),
    [("close", "Closed with code 4000: a code of the app's own (“the room is full”)"), ("return", "Closed with code 1006: the line went dead")],
)
async def test_an_end_is_said_in_words_and_the_page_connects_again_by_keyboard(server: Server, tab: Page, word: str, state: str) -> None:
    await tab.goto(f"{server.url}/echo")
    await connected(tab)
    await tab.keyboard.type(f"{word}\n")
    await expect(tab.get_by_role("status")).to_contain_text(state)
    await expect(tab.get_by_role("button", name="Connect again")).to_be_focused()
    await tab.keyboard.press("Enter")
    await connected(tab)
    await expect(message_of(tab)).to_be_focused()


async def test_a_refusal_is_said_to_be_all_that_a_browser_tells_and_is_not_tried_again(server: Server, tab: Page) -> None:
    await tab.goto(f"{server.url}/dependencies")
    await tab.get_by_label("Token").fill("")
    await tab.get_by_role("button", name="Connect").click()
    await expect(tab.get_by_role("status")).to_contain_text("Refused, or nobody answered: code 1006. Browsers do not tell the status")
    assert len(server.timeline.connections) == 1


async def test_the_dependencies_page_sends_what_is_filled_in_and_nothing_else(server: Server, tab: Page) -> None:
    await tab.goto(f"{server.url}/dependencies")
    await tab.get_by_label("Item ID").fill("b ü")
    await tab.get_by_label("Query parameter q").fill("7")
    await tab.get_by_label("Token").fill("x&y")
    await tab.get_by_role("button", name="Connect").click()
    await connected(tab)
    await expect(tab.get_by_role("status")).to_contain_text("/dependencies/items/b%20%C3%BC/ws?token=x%26y&q=7")
    await tab.keyboard.type("hi\n")
    await expect(tab.get_by_role("log")).to_contain_text("hi for item b ü, q 7, cookie None, token x&y")


async def test_the_session_cookie_is_stored_sent_by_the_browser_and_removed(server: Server, tab: Page) -> None:
    await tab.goto(f"{server.url}/dependencies")
    await tab.get_by_label("Token").fill("")
    await tab.get_by_label("Cookie “session”").fill("two words")
    await tab.get_by_role("button", name="Connect").click()
    assert await tab.get_by_label("Cookie “session”").evaluate("(field) => field.validity.patternMismatch")
    assert len(server.timeline.connections) == 0
    await tab.get_by_label("Cookie “session”").fill("abc=1~[")
    await tab.get_by_role("button", name="Connect").click()
    await connected(tab)
    await tab.keyboard.type("hi\n")
    await expect(tab.get_by_role("log")).to_contain_text("hi for item foo, q None, cookie abc=1~[, token None")
    await tab.get_by_role("button", name="Disconnect").click()
    await expect(tab.get_by_role("status")).to_have_text("Closed with code 1000: normal closure")
    await tab.get_by_label("Cookie “session”").fill("")
    await tab.get_by_role("button", name="Connect").click()
    await expect(tab.get_by_role("status")).to_contain_text("Refused")
    assert await tab.evaluate("document.cookie") == ""


async def test_two_chat_pages_hear_each_other_and_that_one_left(server: Server, tabs: BrowserContext) -> None:
    ana, ben = await tabs.new_page(), await tabs.new_page()
    for tab in (ana, ben):
        await tab.goto(f"{server.url}/broadcast")
        await connected(tab)
    number = await ana.locator("#client").inner_text()
    await ana.keyboard.type("good morning\n")
    for tab in (ana, ben):
        await expect(tab.get_by_role("log")).to_contain_text(f"Client #{number} says: good morning")
    await ana.get_by_role("button", name="Leave").click()
    await expect(ben.get_by_role("log")).to_contain_text(f"Client #{number} left the chat")
    await expect(ana.get_by_role("button", name="Connect again")).to_be_focused()


# In a notebook.

CHAT = """
from fastapi import FastAPI, WebSocket
from fastapi.responses import HTMLResponse
from importlib.resources import files
from kit import ChatPanel, serve
from kit.panels.page import PagePanel
app = FastAPI()
talkers = []

@app.get("/")
async def page():
    return HTMLResponse((files("kit") / "pages" / "broadcast.html").read_text("utf-8"))

@app.websocket("/ws/{client_id}")
async def chat(websocket: WebSocket, client_id: int):
    await websocket.accept()
    talkers.append(websocket)
    try:
        async for text in websocket.iter_text():
            if text == "full":
                await websocket.close(4001, "the room is full")
                return
            for talker in talkers:
                await talker.send_text(f"Client #{client_id} says: {text}")
    finally:
        talkers.remove(websocket)

@app.websocket("/second")
async def second(websocket: WebSocket):
    await websocket.accept("second", headers=[(b"set-cookie", b"room=blue; Path=/")])
    print("heard", await websocket.receive())

@app.websocket("/refuse")
async def refuse(websocket: WebSocket):
    await websocket.close(1008, "members only")
"""
SERVE = "server = await serve(app, port=0)"
PANELS = "chat = ChatPanel(server, '/ws/1', name='Ana')\npage = PagePanel(server)\ndisplay(chat, page)"


def panel_of(notebook: Notebook) -> Any:
    return notebook.page.get_by_role("region", name="Page of server main", exact=True)


def frame_of(notebook: Notebook) -> FrameLocator:
    return panel_of(notebook).frame_locator("iframe")


async def page_and_panel_talk(notebook: Notebook) -> None:
    await connected(frame_of(notebook))
    ana = notebook.chat("Ana")
    await ana.get_by_role("button", name="Connect", exact=True).click()
    await expect(ana.get_by_role("status")).to_have_text("open")
    number = await frame_of(notebook).locator("#client").inner_text()
    await message_of(frame_of(notebook)).fill("from the page")
    await message_of(frame_of(notebook)).press("Enter")
    await expect(ana.get_by_label("received: ")).to_contain_text(f"Client #{number} says: from the page")
    await ana.get_by_label("Message", exact=True).fill("from the panel")
    await ana.get_by_label("Message", exact=True).press("Enter")
    await expect(frame_of(notebook).get_by_role("log")).to_contain_text("Client #1 says: from the panel")


async def test_a_page_in_a_local_notebook_and_a_panel_talk_in_the_same_chat(open_notebook: OpenNotebook) -> None:
    async with open_notebook(CHAT, SERVE, PANELS) as notebook:
        await notebook.run_all()
        await page_and_panel_talk(notebook)
        port = await notebook.execute("print(server.port)")
        await expect(panel_of(notebook).get_by_role("link", name="Open in a tab")).to_have_attribute("href", f"http://localhost:{port}/")
        await expect(panel_of(notebook).get_by_role("status")).to_have_text("direct")
        await expect(frame_of(notebook).get_by_role("note")).to_have_count(0)
        assert await notebook.outputs("error") == []
        assert notebook.page_errors == []


async def test_a_framed_page_is_loaded_again_when_asked_and_when_its_server_is_replaced(open_notebook: OpenNotebook) -> None:
    async with open_notebook(CHAT, SERVE, "page = PagePanel(server)\npage", "await server.stop()") as notebook:
        for index in range(3):
            await notebook.run(index)
        client = frame_of(notebook).locator("#client")
        await connected(frame_of(notebook))
        await client.evaluate("(element) => { element.textContent = 'old'; }")
        await panel_of(notebook).get_by_role("button", name="Reload").click()
        await expect(client).to_have_text(re.compile(r"^\d{4}$"))
        await notebook.run(3)
        await expect(panel_of(notebook).get_by_role("status")).to_have_text("stopped")
        await expect(panel_of(notebook)).to_contain_text("Run the cell with serve(…) again")
        await expect(panel_of(notebook).locator("iframe")).to_have_count(0)
        await notebook.run(1)
        await connected(frame_of(notebook))


async def test_a_framed_page_can_neither_take_the_notebooks_tab_nor_read_it(open_notebook: OpenNotebook) -> None:
    async with open_notebook(CHAT, SERVE, PANELS) as notebook:
        await notebook.run_all()
        await connected(frame_of(notebook))
        tried = """(element) => {
          const tries = [() => { top.location.href = "about:blank"; }, () => { parent.document.title += '!'; }];
          return tries.map((one) => { try { one(); return "done"; } catch (error) { return error.name; } });
        }"""
        assert await frame_of(notebook).locator("main").evaluate(tried) == ["SecurityError", "SecurityError"]


async def test_a_framed_page_leaves_the_keyboard_with_the_notebook_and_has_its_theme(open_notebook: OpenNotebook) -> None:
    async with open_notebook(CHAT, SERVE, PANELS, dark=True) as notebook:
        await notebook.page.emulate_media(color_scheme="no-override")
        await notebook.run_all()
        await connected(frame_of(notebook))
        assert await frame_of(notebook).locator("main").evaluate(
            "() => [document.activeElement.tagName, matchMedia('(prefers-color-scheme: dark)').matches]"
        ) == [*("BODY", True)]
        assert await notebook.page.evaluate("document.activeElement.tagName") != "IFRAME"
        assert await panels_that_overflow(notebook.page) == []
        assert await faint_texts(notebook.page) == []


# Through a real jupyter-server-proxy, below a user's prefix, on a machine that is not the browser's.

HUB = "hub.test"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    async with running_lab(tmp_path_factory.mktemp("hub"), base_url="/user/ana/", host=HUB, arguments=["--ServerApp.allow_remote_access=True"]) as lab:
        yield lab


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def elsewhere(chromium_path: str) -> AsyncIterator[BrowserContext]:
    """A browser that knows this machine by a foreign name only."""
    async with async_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", f"--host-resolver-rules=MAP {HUB} 127.0.0.1"]
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=flags)
        context = await browser.new_context(viewport={"width": 1000, "height": 1000})
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        context.set_default_navigation_timeout(6 * PATIENCE_MILLISECONDS)
        yield context
        await browser.close()


async def test_a_page_through_the_proxy_and_a_panel_talk_in_the_same_chat(hub: Lab, elsewhere: BrowserContext) -> None:
    async with Notebook.opened(hub, elsewhere, hub.write("talk", CHAT, SERVE, PANELS)) as notebook:
        await notebook.run_all()
        await page_and_panel_talk(notebook)
        port = await notebook.execute("print(server.port)")
        await expect(panel_of(notebook).get_by_role("link", name="Open in a tab")).to_have_attribute("href", f"{hub.url}/proxy/{port}/")
        await expect(panel_of(notebook).get_by_role("status")).to_have_text("through Jupyter")
        await expect(frame_of(notebook).get_by_role("note")).to_contain_text("This page came through Jupyter's proxy")
        assert await notebook.outputs("error") == []
        assert notebook.page_errors == []


async def test_a_notebook_from_elsewhere_is_let_in_once_it_shows_a_panel(hub: Lab, elsewhere: BrowserContext) -> None:
    """And the frame is loaded only then: a page that came first would be refused."""
    async with Notebook.opened(hub, elsewhere, hub.write("first", CHAT, SERVE, "page = PagePanel(server)\npage")) as notebook:
        await notebook.run(0)
        await notebook.run(1)
        address = f"{hub.url}/proxy/{await notebook.execute('print(server.port)')}/"
        ask = "async (url) => { const answer = await fetch(url); return [answer.status, (await answer.text()).slice(0, 7)]; }"
        assert await notebook.page.evaluate(ask, address) == [403, "Refused"]
        await notebook.run(2)
        await connected(frame_of(notebook))


async def test_the_page_of_a_server_with_a_secret_opens_by_itself_and_hides_it(hub: Lab, elsewhere: BrowserContext) -> None:
    serve_it = "server = await serve(app, port=0, kit_token='a-secret-of-23-letters.')"
    async with Notebook.opened(hub, elsewhere, hub.write("secret", CHAT, serve_it, PANELS)) as notebook:
        await notebook.run_all()
        await page_and_panel_talk(notebook)
        assert "kit_token" not in await frame_of(notebook).locator("main").evaluate("() => location.href + document.cookie")
        await expect(panel_of(notebook)).not_to_contain_text("a-secret")


_ENDING = """async (element, [path, protocols, say]) => await new Promise((resolve) => {
  const happened = [];
  const socket = new WebSocket(new URL(path, location.href.replace(/^http/, "ws")), protocols);
  socket.onopen = () => { happened.push(`open ${socket.protocol}`); if (say) socket.send(say); };
  socket.onclose = ({ code, reason }) => { happened.push(`close ${code} ${reason}`); resolve(happened); };
  if (path === "second") socket.addEventListener("open", () => socket.close(4321, "the page leaves"));
})"""


async def test_what_the_proxy_hides_is_what_the_pages_say_that_it_hides(hub: Lab, elsewhere: BrowserContext) -> None:
    """When a newer proxy hides less, this fails: then the note in the three pages must say less too."""
    async with Notebook.opened(hub, elsewhere, hub.write("hides", CHAT, SERVE, "page = PagePanel(server)\npage")) as notebook:
        await notebook.run_all()
        await connected(frame_of(notebook))
        main = frame_of(notebook).locator("main")
        assert await main.evaluate(_ENDING, ["ws/2", [], "full"]) == ["open ", "close 1005 "]
        assert await main.evaluate(_ENDING, ["refuse", [], ""]) == ["open ", "close 1006 "]
        assert (await main.evaluate(_ENDING, ["second", ["first", "second"], ""]))[0] == "open first"
        assert "room" not in await main.evaluate("() => document.cookie")
        heard = "while not (heard := [e.text for e in server.timeline.entries() if e.kind == 'print' and e.text.startswith('heard')]): time.sleep(0.01)"
        assert "1005" in await notebook.execute(f"import time\n{heard}\nprint(heard)")
        await message_of(frame_of(notebook)).fill("full")
        await message_of(frame_of(notebook)).press("Enter")
        await expect(frame_of(notebook).get_by_role("status")).to_have_text("Closed with code 1005: the proxy keeps the server's own code to itself")


async def test_without_the_proxy_the_panel_says_what_to_install_and_frames_nothing(elsewhere: BrowserContext, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bare")
    (folder / "config").mkdir()
    without = {"ServerApp": {"jpserver_extensions": {"jupyter_server_proxy": False}}}
    (folder / "config" / "jupyter_server_config.json").write_text(json.dumps(without), "utf-8")
    async with (
        running_lab(folder, base_url="/user/ana/", host=HUB, arguments=["--ServerApp.allow_remote_access=True"]) as lab,
        Notebook.opened(lab, elsewhere, lab.write("bare", CHAT, SERVE, "page = PagePanel(server)\npage")) as notebook,
    ):
        await notebook.run_all()
        await expect(panel_of(notebook).get_by_role("status")).to_have_text("out of reach")
        await expect(panel_of(notebook)).to_contain_text("run pip install jupyter-server-proxy in the environment of the Jupyter server")
        await expect(panel_of(notebook).locator("iframe")).to_have_count(0)
