"""The panels in a real JupyterLab: what a reader does there, and what they then see."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect
from websockets.asyncio.client import connect as dial

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Lab, Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

APP = """
import threading, time
from fastapi import FastAPI, WebSocket
from kit import BothSides, ChatPanel, ConversationPanel, connect, serve
app, heard, go_on = FastAPI(), [], threading.Event()

@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        if text is None:
            await websocket.send_bytes(message["bytes"])
            continue
        print("heard", text)
        heard.append(text)
        if text == "block":
            go_on.wait(60)
        if text == "raise":
            raise ValueError("not my day")
        if text.startswith("leave"):
            await websocket.close(4000, text)
            return
        await websocket.send_text(f"echo {text}")
"""
SERVE = "server = await serve(app, port=0)"
CHAT = "chat = ChatPanel(server, '/ws', name='Ana')\nchat"
RETURNED = """
while both["Ana"].client.connection not in server.connections:
    time.sleep(0.01)
print(both["Ana"].client.number)
"""
BOTH = "both = BothSides(server, '/ws', clients=['Ana'], views=['chats', 'conversation', 'server'])\nboth"


async def state_is(chat: Locator, words: str) -> None:
    """The chat panel's state, in words."""
    await expect(chat.get_by_role("status")).to_have_text(words)


async def press(panel: Locator, label: str) -> None:
    await panel.get_by_role("button", name=label, exact=True).click()


async def say(chat: Locator, text: str) -> None:
    """Type into the panel's entry, and press Enter."""
    await chat.get_by_label("Message", exact=True).fill(text)
    await chat.get_by_label("Message", exact=True).press("Enter")


async def connect(chat: Locator) -> None:
    await press(chat, "Connect")
    await state_is(chat, "open")


async def disconnect(chat: Locator, code: str = "1000") -> None:
    if not await chat.get_by_label("Close code").is_visible():
        await press(chat, "More actions")
    await chat.get_by_label("Close code").fill(code)
    await press(chat, "Disconnect")


def log_of(panel: Locator) -> Locator:
    return panel.get_by_role("log")


def bubbles(chat: Locator, who: str) -> Locator:
    """The messages that were ``sent`` or ``received``."""
    return chat.get_by_label(f"{who}: ")


# Run All.


async def test_run_all_shows_a_server_as_its_panel_and_connects_nobody(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, "server", BOTH) as notebook:
        await notebook.run_all()
        await expect(notebook.server_panel()).to_have_count(2)
        await expect(notebook.server_panel().first).to_contain_text("Nobody is connected yet")
        await expect(notebook.server_panel().first).to_contain_text(await notebook.execute("print(server.url)"))
        await state_is(notebook.chat("Ana"), "not connected")
        await expect(notebook.chat("Ana").get_by_text("Press Connect, or run await panel.connect()")).to_be_visible()
        assert await notebook.execute("print(len(server.timeline.connections))") == "0"
        assert await notebook.outputs("error") == []
        assert notebook.page_errors == []


async def test_run_all_of_the_echo_notebook_ends_without_an_error_and_its_panel_talks(open_notebook: OpenNotebook, lab: Lab) -> None:
    shutil.copy(NOTEBOOKS / "01_echo.ipynb", lab.folder)
    async with open_notebook(path="01_echo.ipynb") as notebook:
        await notebook.run_all()
        assert await notebook.outputs("error") == []
        chat = notebook.chat("Ana").first
        await chat.scroll_into_view_if_needed()
        await connect(chat)
        await say(chat, "good morning")
        await expect(bubbles(chat, "received").filter(has_text="Message text was: good morning")).to_be_visible()
        await expect(log_of(notebook.server_panel("echo").first)).to_contain_text("receive text “good morning”")
        assert notebook.page_errors == []


async def test_run_all_again_and_again_leaves_no_cell_marked_as_running(open_notebook: OpenNotebook, lab: Lab) -> None:
    """Panels that were just displayed, or just removed, speak to the kernel only when no cell is about to end."""
    shutil.copy(NOTEBOOKS / "04_the_websocket_object.ipynb", lab.folder)
    async with open_notebook(path="04_the_websocket_object.ipynb") as notebook:
        for _ in range(5):
            await asyncio.wait_for(notebook.run_all(), 60)
        await expect(notebook.page.locator(".jp-InputPrompt").filter(has_text="*")).to_have_count(0)
        assert await notebook.outputs("error") == []


# One message, from both sides.


async def test_a_typed_message_and_its_echo_appear_on_both_sides(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, BOTH) as notebook:
        await notebook.run_all()
        chat, log, rows = notebook.chat("Ana"), log_of(notebook.server_panel()), log_of(notebook.conversation())
        await connect(chat)
        await say(chat, "hello")
        await expect(bubbles(chat, "sent")).to_contain_text("hello")
        await expect(bubbles(chat, "received")).to_contain_text("echo hello")
        await expect(chat.get_by_label("Message", exact=True)).to_have_value("")
        await expect(rows.get_by_role("button", name="Ana: “hello”, TEXT 5 B receive “hello”")).to_be_visible()
        await expect(rows.get_by_role("button", name="Ana: “echo hello”, TEXT 10 B send “echo hello”")).to_be_visible()
        for words in ("receive connect", "send accept", "receive text “hello”", "heard hello", "send text “echo hello”"):
            await expect(log).to_contain_text(words)
        await expect(notebook.server_panel().get_by_role("table")).to_contain_text("Ana")
        await expect(notebook.server_panel()).to_contain_text("1 open · 0 closed")
        assert await notebook.execute("print(both['Ana'].client.state.name)") == "CONNECTED"


async def test_a_row_of_the_conversation_opens_to_the_bytes_on_the_wire(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, BOTH) as notebook:
        await notebook.run_all()
        await connect(notebook.chat("Ana"))
        await say(notebook.chat("Ana"), "hello")
        row = log_of(notebook.conversation()).get_by_role("button", name="Ana: “hello”, TEXT 5 B receive “hello”")  # drawn for the last time
        await row.click()
        await expect(row).to_have_attribute("aria-expanded", "true")
        await expect(notebook.conversation()).to_contain_text("TEXT, FIN 1, masked with")


# How it ends.


async def test_disconnect_explains_the_end_by_code_name_who_and_meaning(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, CHAT) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await connect(chat)
        await disconnect(chat)
        await state_is(chat, "closed 1000")
        await expect(log_of(chat)).to_contain_text("1000, normal closure. The client closed first, with code 1000: the purpose of the connection is fulfilled.")
        await press(chat, "Connect again")
        await state_is(chat, "open")
        await say(chat, "leave the room")
        await state_is(chat, "closed 4000")
        await expect(log_of(chat)).to_contain_text("4000, the application's own code. The server closed first, with code 4000 and the reason “leave the room”")
        await press(chat, "Connect again")
        await say(chat, "raise")
        await state_is(chat, "closed 1006")
        await expect(log_of(chat)).to_contain_text("The handler raised ValueError: not my day, so the server just dropped the line.")
        await press(chat, "Connect again")
        await press(chat, "More actions")
        await press(chat, "Ping")
        await expect(log_of(chat)).to_contain_text("pong")
        await press(chat, "Vanish")
        await state_is(chat, "closed 1006")
        await expect(log_of(chat)).to_contain_text("The client dropped the line without saying goodbye.")


async def test_a_refused_handshake_is_explained_and_another_path_can_be_tried(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, CHAT) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await chat.get_by_label("Path", exact=True).fill("/nowhere")
        await press(chat, "Connect")
        await state_is(chat, "refused 403")
        await expect(log_of(chat)).to_contain_text("HTTP 403, the handshake was refused.")
        await expect(log_of(chat)).to_contain_text("Check the path")
        await chat.get_by_label("Path", exact=True).fill("/ws")
        await press(chat, "Connect again")
        await state_is(chat, "open")


async def test_an_address_where_nobody_answers_is_an_error_in_the_panel(open_notebook: OpenNotebook) -> None:
    async with open_notebook("from kit import ChatPanel\nchat = ChatPanel('ws://127.0.0.1:9', '/ws', name='Ana')\nchat") as notebook:
        await notebook.run_all()
        await press(notebook.chat("Ana"), "Connect")
        await expect(log_of(notebook.chat("Ana")).get_by_role("alert")).to_contain_text("127.0.0.1:9")
        await state_is(notebook.chat("Ana"), "not connected")


# Kinds of messages.


async def test_json_and_hex_are_sent_and_what_is_neither_is_refused_and_stays_in_the_entry(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, CHAT) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await connect(chat)
        await press(chat, "More actions")
        await chat.get_by_label("Send as").select_option("JSON")
        await say(chat, '{"a": [1, 2]}')
        await expect(bubbles(chat, "received")).to_contain_text('echo {"a": [1, 2]}')
        await say(chat, '{"a": ')
        await expect(log_of(chat).get_by_role("alert")).to_contain_text("not JSON")
        await expect(chat.get_by_label("Message", exact=True)).to_have_value('{"a": ')
        await chat.get_by_label("Send as").select_option("Binary")
        await say(chat, "00 ff 0x48, 69")
        await expect(bubbles(chat, "received").last).to_contain_text("00 ff 48 69")
        await expect(bubbles(chat, "received").last).to_contain_text("binary · 4 B")
        await say(chat, "0g")
        await expect(log_of(chat).get_by_role("alert").last).to_contain_text("not hex")
        await expect(chat.get_by_label("Message", exact=True)).to_have_value("0g")
        await expect(bubbles(chat, "sent")).to_have_count(2)
        await state_is(chat, "open")


async def test_what_crosses_the_wire_stays_text_and_runs_nothing(open_notebook: OpenNotebook) -> None:
    markup = "<img src=x onerror=\"window.hacked = 1; alert('hacked')\"><script>window.hacked = 1</script><svg onload='window.hacked = 1'>"
    hostile = f"{markup} \x1b[31mred\x1b[0m \u202egnp.exe \u2066isolated a{chr(0x301) * 10_000} end"
    async with open_notebook(APP, SERVE, BOTH, "both['Ana'].snapshot(); both.conversation.snapshot(); both.server_panel.snapshot()") as notebook:
        for index in range(3):
            await notebook.run(index)
        chat = notebook.chat("Ana")
        await connect(chat)
        await say(chat, hostile)
        await expect(bubbles(chat, "received")).to_contain_text(markup)
        await say(chat, f"leave {markup[:110]}")
        await expect(log_of(chat)).to_contain_text("The server closed first, with code 4000 and the reason “leave <img src=x")
        await chat.get_by_label("Path", exact=True).fill(f"/ws/{markup}")
        await press(chat, "Connect again")
        await state_is(chat, "refused 403")
        await expect(log_of(notebook.server_panel())).to_contain_text("heard <img src=x")
        await expect(log_of(notebook.conversation())).to_contain_text("print heard <img src=x")
        await notebook.run(3)
        await expect(notebook.cell(3)).to_contain_text("echo <img src=x")
        texts = [await panel.inner_text() for panel in (chat, notebook.server_panel(), notebook.conversation(), notebook.cell(3).locator(".jp-OutputArea"))]
        for text in texts:
            assert not set(text) & set("\x1b\u202e\u2066")
            assert text.count("\u0301") < 100
        assert all("\\x1b[31mred" in text and "\\u202egnp.exe" in text for text in texts[:2])
        assert await notebook.page.locator(":is(.kit-panel, .jp-OutputArea) :is(img, script, svg[onload], iframe)").count() == 0
        assert await notebook.page.evaluate("window.hacked") is None
        assert notebook.dialogs == []


# Blocking.


async def test_a_handler_that_blocks_is_named_while_other_servers_and_cells_go_on(open_notebook: OpenNotebook) -> None:
    other = "other = await serve(app, name='other', port=0)\nben = ChatPanel(other, '/ws', name='Ben')\nben"
    async with open_notebook(APP, SERVE, BOTH, other, "print('this cell', 'ran')") as notebook:
        await notebook.run_all()
        chat, server, ben = notebook.chat("Ana"), notebook.server_panel(), notebook.chat("Ben")
        await connect(ben)
        await connect(chat)
        await say(chat, "block")
        warning = server.get_by_role("status").filter(has_text="Blocked for")
        await expect(warning).to_be_visible()
        await expect(warning).to_contain_text("go_on.wait(60)")
        await notebook.run(4)
        await expect(notebook.cell(4)).to_contain_text("this cell ran")
        await say(ben, "still there?")
        await expect(bubbles(ben, "received")).to_contain_text("echo still there?")
        await expect(warning).to_be_visible()
        await notebook.execute("go_on.set()")
        await expect(bubbles(chat, "received")).to_contain_text("echo block")
        await expect(warning).to_be_hidden()
        await expect(log_of(server)).to_contain_text("answers again")


async def test_panels_move_while_a_cell_sleeps(open_notebook: OpenNotebook) -> None:
    sleeping = "for _ in range(6000):\n    if 'go on' in heard:\n        break\n    time.sleep(0.01)"
    async with open_notebook(APP, SERVE, BOTH, sleeping) as notebook:
        for index in range(3):
            await notebook.run(index)
        await connect(notebook.chat("Ana"))
        url = await notebook.execute("print(server.ws_url)")
        await notebook.start(3)
        busy = notebook.cell(3).locator(".jp-InputArea-prompt")
        await expect(busy).to_have_text("[*]:")
        async with dial(f"{url}/ws", proxy=None) as stranger:
            await stranger.send("from outside")
            assert await stranger.recv() == "echo from outside"
            await expect(log_of(notebook.server_panel())).to_contain_text("heard from outside")
            await expect(log_of(notebook.conversation())).to_contain_text("“from outside”")
            await expect(busy).to_have_text("[*]:")
            await stranger.send("go on")
            await expect(busy).to_have_text("[4]:")


# Again and again.


async def test_running_the_serve_cell_again_in_any_order_leaves_one_server_and_panels_that_work(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, BOTH, "server") as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await connect(chat)
        port = await notebook.execute("print(server.port)")
        for number, cells in enumerate([(1,), (1, 1), (0, 1), (3, 1), (1, 3, 1)]):
            for index in cells:
                await notebook.run(index)
            connected_as = await notebook.execute(RETURNED)
            await expect(chat.locator("header").get_by_label(f"connection {connected_as}", exact=True)).to_be_visible()
            await state_is(chat, "open")
            await say(chat, f"round {number}")
            await expect(bubbles(chat, "received").filter(has_text=f"echo round {number}")).to_be_visible()
            await expect(log_of(notebook.server_panel().first)).to_contain_text(f"heard round {number}")
        await expect(log_of(notebook.conversation())).to_contain_text("CLOSE 1012")
        await expect(log_of(chat)).to_contain_text("1012, service restart")
        assert await notebook.execute("print(server.port)") == port
        await notebook.execute("while [t.name for t in threading.enumerate()].count('kit-server-main') != 1: time.sleep(0.01)")  # the others' last lines
        await notebook.run(2)
        await expect(chat).to_have_count(1)
        await connect(chat)
        await notebook.execute("while len(server.connections) != 1: time.sleep(0.01)")  # the chat before is asked to leave
        assert await notebook.outputs("error") == []


async def test_after_a_kernel_restart_the_panels_say_that_the_kernel_is_gone(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, BOTH) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await connect(chat)
        await say(chat, "hello")
        await expect(bubbles(chat, "received")).to_contain_text("echo hello")
        await notebook.restart_kernel()
        for panel in (chat, notebook.server_panel(), notebook.conversation()):
            await expect(panel.get_by_role("alert")).to_contain_text("The kernel is gone")
        await expect(chat.get_by_label("Message", exact=True)).to_be_disabled()
        await expect(bubbles(chat, "received")).to_contain_text("echo hello")
        await notebook.run_all()
        await connect(chat)
        assert await notebook.outputs("error") == []


async def test_a_second_view_and_a_reloaded_page_show_the_history(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, BOTH, "both['Ana']") as notebook:
        for index in range(3):
            await notebook.run(index)
        chat = notebook.chat("Ana")
        await connect(chat)
        await say(chat, "hello")
        await expect(bubbles(chat, "received")).to_contain_text("echo hello")
        await notebook.run(3)
        for view in (chat.nth(0), chat.nth(1)):
            await expect(bubbles(view, "received")).to_contain_text("echo hello")
            await state_is(view, "open")
        await say(chat.nth(1), "from the second")
        await expect(bubbles(chat.nth(0), "received")).to_have_count(2)
        await notebook.save()
        await notebook.load()
        for view in (chat.nth(0), chat.nth(1)):
            await expect(bubbles(view, "received")).to_have_count(2)
            await state_is(view, "open")
        await expect(log_of(notebook.server_panel())).to_contain_text("heard hello")
        await expect(log_of(notebook.conversation())).to_contain_text("“echo hello”")
        await say(chat.nth(0), "after the reload")
        await expect(bubbles(chat.nth(0), "received")).to_have_count(3)


async def test_a_snapshot_stays_in_the_saved_notebook_without_its_secrets(open_notebook: OpenNotebook) -> None:
    secret = "spring" + "-rain-4711"
    views = "views=['chats', 'conversation', 'server']"
    open_it = f"secret = 'spring' + '-rain-4711'\nboth = BothSides(server, '/ws?token=' + secret, clients='Ana', {views}, cookies={{'session': secret}})\nboth"
    talk = "ana = both['Ana']\nawait ana.connect()\nawait ana.send(f'my token={secret}')\nawait ana.disconnect(1000, f'token={secret}')"
    async with open_notebook(APP, SERVE, open_it, talk, "both.snapshot()") as notebook:
        await notebook.run_all()
        assert await notebook.outputs("error") == []
        await expect(bubbles(notebook.chat("Ana"), "sent")).to_contain_text(secret)
        saved = await notebook.save()
        outputs = saved["cells"][4]["outputs"]
        assert len(outputs) == 3
        for output in outputs:
            assert {"text/html", "text/plain"} <= set(output["data"])
            assert "<script" not in "".join(output["data"]["text/html"])
        words = "".join("".join(output["data"]["text/plain"]) for output in outputs)
        assert "my token=[redacted]" in words
        assert "1000, normal closure" in words
        assert secret not in (notebook.lab.folder / notebook.path).read_text("utf-8")
        await expect(notebook.cell(4)).to_contain_text("my token=[redacted]")


# The logs' own controls, and the keyboard.


async def test_logs_pause_filter_and_clear(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, BOTH) as notebook:
        await notebook.run_all()
        chat, server = notebook.chat("Ana"), notebook.server_panel()
        log = log_of(server)
        await connect(chat)
        await say(chat, "apple")
        await say(chat, "pear")
        await expect(log).to_contain_text("heard pear")
        await server.get_by_label("Filter: Server log").fill("APPLE")
        await expect(log.get_by_text("heard apple")).to_be_visible()
        await expect(log.get_by_text("heard pear")).to_be_hidden()
        await server.get_by_label("Filter: Server log").fill("")
        await expect(log.get_by_text("heard pear")).to_be_visible()
        await expect(log).to_contain_text("send text “echo pear”")  # all that was new before the pause is there
        await press(server, "Pause")
        await say(chat, "plum")
        await expect(bubbles(chat, "received").last).to_contain_text("echo plum")
        resume = server.get_by_role("button", name="Resume")
        await expect(resume).to_have_text("Resume · 3 new")
        await expect(log).not_to_contain_text("heard plum")
        await resume.click()
        await expect(log).to_contain_text("heard plum")
        await press(server, "Clear")
        await expect(log).not_to_contain_text("heard plum")
        await expect(log).to_contain_text("What the handlers receive, send and print appears here.")
        await say(chat, "fig")
        await expect(log).to_contain_text("heard fig")


async def test_the_keyboard_is_enough(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP, SERVE, CHAT) as notebook:
        await notebook.run_all()
        chat, keyboard = notebook.chat("Ana"), notebook.page.keyboard
        await state_is(chat, "not connected")
        await log_of(chat).focus()
        await keyboard.press("Tab")
        await expect(chat.get_by_label("Path", exact=True)).to_be_focused()
        await keyboard.press("Tab")
        await expect(chat.get_by_role("button", name="Connect")).to_be_focused()
        await keyboard.press("Enter")
        await state_is(chat, "open")
        await expect(chat.get_by_label("Message", exact=True)).to_be_focused()
        await keyboard.type("dd hello")
        await keyboard.press("Enter")
        await expect(bubbles(chat, "received")).to_contain_text("echo dd hello")
        await expect(chat.get_by_label("Message", exact=True)).to_be_focused()
        await keyboard.press("Tab")
        await keyboard.press("Tab")
        await expect(chat.get_by_role("button", name="More actions")).to_be_focused()
        await keyboard.press("Enter")
        await expect(chat.get_by_label("Send as")).to_be_visible()
        await expect(notebook.cell(2)).to_be_visible()
        await chat.get_by_role("button", name="Disconnect").focus()
        await keyboard.press("Enter")
        await state_is(chat, "closed 1000")
        await expect(chat.get_by_role("button", name="Connect again")).to_be_focused()


# Looks.


async def show_every_state(notebook: Notebook) -> None:
    """Panels with an open, a refused, a failed and an explained connection, prints, errors, dividers and an open menu."""
    await notebook.run_all()
    first, second = notebook.chat("Ana"), notebook.chat("Ben")
    await connect(first)
    await say(first, "raise")
    await state_is(first, "closed 1006")
    await press(first, "Connect again")
    await say(first, "hello")
    await press(first, "More actions")
    await press(first, "Ping")
    await first.get_by_label("Send as").select_option("JSON")
    await say(first, "no json")
    await expect(log_of(first).get_by_role("alert")).to_be_visible()
    await second.get_by_label("Path", exact=True).fill("/nowhere")
    await press(second, "Connect")
    await state_is(second, "refused 403")
    await log_of(notebook.conversation()).get_by_role("button", name="Ana: “hello”, TEXT 5 B receive “hello”").click()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_text_has_contrast_and_nothing_is_wider_than_its_place(open_notebook: OpenNotebook, dark: bool) -> None:
    scene = "both = BothSides(server, '/ws', clients=['Ana', 'Ben'], views=['chats', 'conversation', 'server'])\nboth"
    async with open_notebook(APP, SERVE, scene, "ChatPanel(server, '/ws', name='Cleo')", "server", dark=dark) as notebook:
        await show_every_state(notebook)
        faint = await faint_texts(notebook.page)
        assert not faint, "\n".join(faint)
        assert await panels_that_overflow(notebook.page) == []
        await notebook.page.set_viewport_size({"width": 700, "height": 900})
        assert await panels_that_overflow(notebook.page) == []


# The handshake's fields.

MIRROR = """
@app.websocket("/mirror")
async def mirror(websocket: WebSocket):
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=offered[-1] if offered else None)
    heard = {name: value for name, value in websocket.headers.items() if name.startswith("x-")}
    await websocket.send_json([websocket.query_params.multi_items(), websocket.cookies, heard, offered])
    await websocket.receive()
"""


async def test_the_handshakes_fields_are_sent_survive_a_mistake_and_stay(open_notebook: OpenNotebook) -> None:
    async with open_notebook(APP + MIRROR, SERVE, "ChatPanel(server, '/mirror', name='Ana')") as notebook:
        await notebook.run_all()
        chat, keyboard = notebook.chat("Ana"), notebook.page.keyboard
        await state_is(chat, "not connected")
        disclosure = chat.get_by_role("button", name="Handshake", exact=True)
        cookies, headers = chat.get_by_label("Cookies", exact=True), chat.get_by_label("Headers", exact=True)
        await expect(disclosure).to_have_attribute("aria-expanded", "false")
        await expect(cookies).to_be_hidden()
        await disclosure.focus()
        await keyboard.press("Enter")
        await expect(disclosure).to_have_attribute("aria-expanded", "true")
        await keyboard.press("Tab")
        await expect(chat.get_by_label("Query", exact=True)).to_be_focused()
        await keyboard.type("tag=a&tag=b&dd=0")
        await headers.focus()
        await keyboard.type("X-Name: Ana")
        await keyboard.press("Shift+Enter")
        await keyboard.type("X-Room: 7")
        await keyboard.press("Enter")
        await expect(headers).to_have_value("X-Name: Ana\nX-Room: 7\n")
        await chat.get_by_label("Subprotocols", exact=True).fill("chat, superchat")
        await cookies.fill("session")
        await cookies.press("Enter")
        await expect(log_of(chat).get_by_role("alert")).to_contain_text("Cookies: expected name=value pairs with ; between them, but got “session”")
        await expect(cookies).to_have_attribute("aria-invalid", "true")
        await expect(cookies).to_be_focused()
        await expect(cookies).to_have_value("session")
        await expect(headers).to_have_value("X-Name: Ana\nX-Room: 7\n")
        await state_is(chat, "not connected")
        await keyboard.type("=abc")
        await keyboard.press("Shift+Enter")
        await state_is(chat, "open")
        sent = '[[["tag","a"],["tag","b"],["dd","0"]],{"session":"abc"},{"x-name":"Ana","x-room":"7"},["chat","superchat"]]'
        await expect(bubbles(chat, "received")).to_contain_text(sent)
        await expect(log_of(chat)).to_contain_text("· subprotocol superchat")
        await disconnect(chat)
        await expect(headers).to_have_value("X-Name: Ana\nX-Room: 7")
        await press(chat, "Handshake")
        await expect(cookies).to_be_hidden()
        await expect(chat.get_by_text("query · 1 cookie · 2 headers · 2 subprotocols", exact=True)).to_be_visible()
        await press(chat, "Connect again")
        await expect(bubbles(chat, "received")).to_have_count(2)
        await expect(bubbles(chat, "received").last).to_contain_text(sent)
        assert notebook.page_errors == []


async def test_a_handshake_that_was_given_is_open_from_the_first_and_is_not_saved(open_notebook: OpenNotebook) -> None:
    secret = "spring" + "-rain-4711"
    given = "token = 'spring' + '-rain-4711'\nChatPanel(server, '/mirror', name='Ana', query={'token': token}, cookies={'session': token})"
    async with open_notebook(APP + MIRROR, SERVE, given) as notebook:
        await notebook.run_all()
        chat = notebook.chat("Ana")
        await expect(chat.get_by_role("button", name="Handshake", exact=True)).to_have_attribute("aria-expanded", "true")
        await expect(chat.get_by_label("Query", exact=True)).to_have_value(f"token={secret}")
        await expect(chat.get_by_label("Cookies", exact=True)).to_have_value(f"session={secret}")
        await connect(chat)
        await expect(bubbles(chat, "received")).to_contain_text(secret)
        await notebook.save()
        assert secret not in (notebook.lab.folder / notebook.path).read_text("utf-8")


async def test_an_open_handshake_has_room_beside_the_log_wherever_the_panel_stands(open_notebook: OpenNotebook) -> None:
    scene = "BothSides(server, '/ws', clients=['Ana', 'Ben'], views=['chats', 'conversation', 'server'], cookies={'session': 'abc'})"
    async with open_notebook(APP, SERVE, scene, "ChatPanel(server, '/ws', name='Cleo', cookies={'session': 'abc'})") as notebook:
        await notebook.run_all()
        for width in (1000, 700):
            await notebook.page.set_viewport_size({"width": width, "height": 900})
            for name in ("Ana", "Ben", "Cleo"):
                chat = notebook.chat(name)
                await expect(chat.get_by_label("Subprotocols", exact=True)).to_be_visible()
                panel, log, last = [await part.bounding_box() for part in (chat, log_of(chat), chat.get_by_label("Subprotocols", exact=True))]
                assert log["height"] >= 90
                assert last["y"] + last["height"] <= panel["y"] + panel["height"], f"the form of {name} is cut off at {width} px"
            assert await panels_that_overflow(notebook.page) == []
        await notebook.page.set_viewport_size({"width": 1000, "height": 1000})
