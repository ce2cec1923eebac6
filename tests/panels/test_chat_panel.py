"""ChatPanel: each click has a method twin, and its front end is told what both do."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketState

from kit import BothSides, ChatPanel, Server, connect, loops, serve, stop_all
from kit.errors import ConnectError, Disconnected, HandshakeRefused, KitError, UnsafeServerWarning
from kit.timeline import Timeline
from tests.apps import app
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]


async def said(front_end: FrontEnd, eventually: Eventually, *words: str) -> None:
    await eventually(lambda: all(word in front_end.words() for word in words))


async def state_is(front_end: FrontEnd, eventually: Eventually, pill: str) -> None:
    await eventually(lambda: front_end.state.get("pill") == pill)


# Being displayed.


async def test_nothing_connects_by_being_made_or_displayed(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ChatPanel(server, "/ws", name="Ana"))
    await state_is(front_end, eventually, "not connected")
    assert front_end.state["open"] is False
    assert server.timeline.connections == []


async def test_a_view_that_is_displayed_late_is_told_the_history_and_only_that_view(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    first = show(panel)
    await panel.connect()
    await panel.send("hello")
    await eventually(lambda: [item["from"] for item in first.shown].count("server") == 1)
    second = show(panel)
    await eventually(lambda: [item["from"] for item in second.shown].count("server") == 1)
    greetings = [data["content"]["to"] for kind, data in panel.comm.published if kind == "comm_msg" and "to" in data.get("content", {})]
    assert greetings == [first.view, second.view]


async def test_nothing_is_told_while_nobody_looks(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    front_end = show(panel)
    await panel.connect()
    await state_is(front_end, eventually, "open")
    front_end.do("bye")
    await panel.send("unseen")
    before = len(front_end.messages)
    await eventually(lambda: any(entry.kind == "frame-in" and entry.side == "client" for entry in server.timeline.entries()))
    again = show(panel)
    await said(again, eventually, "unseen")
    assert not any("unseen" in str(message) for message in front_end.messages[:before])


async def test_no_secret_is_kept_in_traits_that_are_saved_with_the_notebook(server: Server) -> None:
    panel = ChatPanel(server, "/ws?token=spring-rain", name="Ana", cookies={"session": "spring-rain"})
    await panel.connect()
    await panel.send("token=spring-rain")
    await panel.connect(query={"token": "spring-rain"}, headers={"X-Token": "spring-rain"}, subprotocols=["spring-rain"])
    assert "spring-rain" not in str(panel.get_state())


async def test_an_end_is_explained_after_all_that_came_before_it_however_far_behind_the_panel_is(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    front_end = show(panel)
    client = await panel.connect()
    for number in range(150):
        await client.send_text(f"number {number}")
    heard = ("client", "frame-in", "TEXT")
    await eventually(lambda: [(entry.side, entry.kind, entry.details.get("opcode")) for entry in server.timeline.entries()].count(heard) == 150)
    await client.abort()
    await eventually(lambda: "ended" in [item["from"] for item in front_end.shown])
    told = [item["from"] for message in front_end.messages for item in message.get("items", ())]
    assert told.index("ended") > max(place for place, source in enumerate(told) if source in ("me", "server"))
    assert told.count("server") == 150


@pytest.mark.parametrize(
    ("target", "path", "error", "words"),
    [
        (app, "/ws", TypeError, r"expects a server from `await serve\(app\)` or an address, but got FastAPI"),
        ("main", "/ws", ValueError, "a server or an address like 'ws://127.0.0.1:8000', but got 'main'"),
        ("ws://127.0.0.1:1", "ws", ValueError, "a text that begins with '/', but got 'ws'"),
    ],
)
def test_what_nobody_could_dial_is_refused_when_the_panel_is_made(target: Any, path: str, error: type[Exception], words: str) -> None:
    for make in (ChatPanel, BothSides):
        with pytest.raises(error, match=words):
            make(target, path)


# The method twins.


async def test_connect_send_and_disconnect_are_shown(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    front_end = show(panel)
    client = await panel.connect()
    assert client is panel.client
    assert client.state is WebSocketState.CONNECTED
    await state_is(front_end, eventually, "open")
    await panel.send("hello")
    await eventually(lambda: [item["text"] for item in front_end.shown if item["from"] in ("me", "server")] == ["hello", "hello"])
    await panel.disconnect(4001, "enough")
    await state_is(front_end, eventually, "closed 4001")
    await said(front_end, eventually, "The client closed first, with code 4001 and the reason “enough”")


async def test_send_returns_once_its_frame_is_written(server: Server) -> None:
    panel = ChatPanel(server, "/listening", name="Ana")
    await panel.connect()
    await panel.send("hello")
    assert [entry.text for entry in server.timeline.entries() if entry.kind == "frame-out" and entry.side == "client"] == ["hello"]


async def test_abort_vanishes_and_ping_measures(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    front_end = show(panel)
    await panel.connect()
    assert await panel.ping() > 0
    await said(front_end, eventually, "ping", "pong")
    await panel.abort()
    await state_is(front_end, eventually, "closed 1006")
    await said(front_end, eventually, "The client dropped the line without saying goodbye.")


async def test_what_needs_a_connection_says_so_and_what_does_not_does_nothing(server: Server) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    for action in (panel.send("hello"), panel.ping()):
        with pytest.raises(KitError, match=r"Ana is not connected\. Press Connect, or run: await panel\.connect"):
            await action
    await panel.disconnect()
    await panel.abort()


async def test_sending_after_the_end_says_why_it_ended(server: Server) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    await panel.connect()
    await panel.disconnect()
    with pytest.raises(Disconnected, match="Ana is not connected"):
        await panel.send("hello")


async def test_connecting_again_closes_the_connection_before(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    first = await panel.connect()
    second = await panel.connect("/listening")
    assert (first.close_code, second.state) == (1000, WebSocketState.CONNECTED)
    assert panel.path == "/listening"
    front_end = show(panel)
    await eventually(lambda: front_end.state.get("number") == second.number)


async def test_an_end_stays_explained_after_connecting_again(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/end/closing?code=4002&reason=first", name="Ana")
    front_end = show(panel)
    client = await panel.connect()
    await client.wait_closed()
    await said(front_end, eventually, "The server closed first, with code 4002")
    await panel.connect("/ws")
    await state_is(front_end, eventually, "open")
    await said(front_end, eventually, "The server closed first, with code 4002")
    assert [item["from"] for item in front_end.shown if item["from"] in ("ended", "note")] == ["note", "ended", "note"]


# Kinds of messages.


@pytest.mark.parametrize(
    ("kind", "message", "sent"),
    [
        ("text", "", ""),
        ("text", "grüß dich 🌍", "grüß dich 🌍"),
        ("json", '{"a": 1}', '{"a": 1}'),
        ("json", [1, None, "ü"], '[1,null,"ü"]'),
        ("binary", "00 ff, 0x41", b"\x00\xffA"),
        ("binary", b"bytes", b"bytes"),
        ("binary", "", b""),
    ],
)
async def test_each_kind_is_sent_as_what_it_is(server: Server, kind: str, message: Any, sent: str | bytes) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    await panel.connect()
    await panel.send(message, kind)
    frame = next(entry for entry in server.timeline.entries() if entry.kind == "frame-out" and entry.side == "client")
    assert frame.details["opcode"] == ("BINARY" if isinstance(sent, bytes) else "TEXT")
    assert (frame.payload if isinstance(sent, str) else bytes(frame.payload or b"")) == sent


@pytest.mark.parametrize(
    ("kind", "message", "problem"),
    [
        ("json", '{"a": ', "not JSON.*Nothing was sent"),
        ("json", "", "not JSON"),
        ("json", "[" * 100_000, "not JSON"),
        ("binary", "0", "not hex.*Nothing was sent"),
        ("binary", "xyz", "not hex"),
        ("text", 7, "expects text, but got int"),
        ("carrier pigeon", "coo", "kind expects one of 'text', 'json', 'binary'"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_what_was_expected(server: Server, kind: str, message: Any, problem: str) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    client = await panel.connect()
    with pytest.raises(ValueError, match=problem):
        await panel.send(message, kind)
    assert client.state is WebSocketState.CONNECTED
    assert not [entry for entry in server.timeline.entries() if entry.kind == "frame-out" and entry.side == "client"]


# Clicks.


async def test_clicks_do_what_their_twins_do(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ChatPanel(server, "/nowhere", name="Ana"))
    front_end.do("connect", path="/ws")
    await state_is(front_end, eventually, "open")
    front_end.do("send", message="hello", kind="text", token="7")
    await eventually(lambda: any(message.get("done") == "7" for message in front_end.messages))
    front_end.do("ping")
    await said(front_end, eventually, "hello", "pong")
    front_end.do("disconnect", code="4003")
    await state_is(front_end, eventually, "closed 4003")
    front_end.do("connect", path="/ws")
    await state_is(front_end, eventually, "open")
    front_end.do("abort")
    await state_is(front_end, eventually, "closed 1006")


async def test_a_click_that_fails_is_an_error_in_the_panel_and_its_entry_is_kept(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    front_end = show(panel)
    await panel.connect()
    front_end.do("send", message="{", kind="json", token="1")
    await eventually(lambda: any(message.get("failed") == "1" for message in front_end.messages))
    error = await eventually(lambda: next((item["text"] for item in front_end.shown if item["from"] == "error"), None))
    assert error.startswith("not JSON")
    assert not any("done" in message for message in front_end.messages)


async def test_every_error_is_shown_however_many_there_were(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel(server, "/ws", name="Ana"))
    await panel.connect()
    for _ in range(30):
        front_end.do("send", message="{", kind="json")
    await eventually(lambda: len([item for item in front_end.shown if item["from"] == "error"]) == 30)


@pytest.mark.parametrize("code", ["1005", "99999", "abc", "-1"])
async def test_a_close_code_that_may_not_be_sent_is_an_error_in_the_panel(server: Server, show: Show, eventually: Eventually, code: str) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    front_end = show(panel)
    client = await panel.connect()
    front_end.do("disconnect", code=code)
    await eventually(lambda: any(item["from"] == "error" for item in front_end.shown))
    assert client.state is WebSocketState.CONNECTED


async def test_what_no_front_end_says_is_ignored(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ChatPanel(server, "/ws", name="Ana"))
    front_end.do("format the disk")
    await state_is(front_end, eventually, "not connected")


async def test_a_click_returns_at_once_on_any_thread_even_without_a_loop(show: Show, eventually: Eventually) -> None:
    app, clicked = FastAPI(), threading.Event()

    @app.websocket("/ws")
    async def accepts_after_the_click(websocket: WebSocket) -> None:
        await asyncio.to_thread(clicked.wait, 10.0)
        await websocket.accept()
        await websocket.receive()

    async with serve(app, port=0) as server:
        front_end = show(ChatPanel(server, "/ws", name="Ana"))

        def click() -> None:
            front_end.do("connect", path="/ws")
            clicked.set()

        thread = threading.Thread(target=click)
        thread.start()
        thread.join(5.0)
        assert clicked.is_set()
        await state_is(front_end, eventually, "open")


async def test_a_panel_goes_on_while_the_loop_that_made_it_is_blocked(server: Server, show: Show) -> None:
    front_end = show(ChatPanel(server, "/ws", name="Ana"))
    front_end.do("connect", path="/ws")
    deadline = time.monotonic() + 20
    while front_end.state.get("pill") != "open":
        time.sleep(0.005)  # noqa: ASYNC251 - blocking this loop is the point
        assert time.monotonic() < deadline


async def test_twins_may_be_awaited_on_another_loop(server: Server) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")

    async def talk() -> None:
        await panel.connect()
        await panel.send("hello")
        await panel.disconnect()

    await asyncio.to_thread(asyncio.run, talk())
    assert panel.client is not None
    assert panel.client.close_code == 1000


# What goes wrong.


@pytest.mark.parametrize(("path", "pill"), [("/refuse/closing", "refused 403"), ("/refuse/http", "refused 401"), ("/refuse/raising", "refused 500")])
async def test_a_refusal_is_raised_and_explained(server: Server, show: Show, eventually: Eventually, path: str, pill: str) -> None:
    panel = ChatPanel(server, path, name="Ana")
    front_end = show(panel)
    with pytest.raises(HandshakeRefused):
        await panel.connect()
    await state_is(front_end, eventually, pill)
    await eventually(lambda: any(item["from"] == "ended" for item in front_end.shown))


async def test_an_address_where_nobody_answers_is_raised_and_shown(show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel("ws://127.0.0.1:9", "/ws", name="Ana"))
    with pytest.raises(ConnectError):
        await panel.connect()
    await eventually(lambda: any(item["from"] == "error" and "127.0.0.1:9" in item["text"] for item in front_end.shown))
    await state_is(front_end, eventually, "not connected")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/end/returning", "The handler returned after `accept` without closing"),
        ("/end/raising", "The handler raised ZeroDivisionError: after accept"),
        ("/end/closing?code=4002&reason=full", "The server closed first, with code 4002 and the reason “full”"),
    ],
)
async def test_the_end_is_explained(server: Server, show: Show, eventually: Eventually, path: str, words: str) -> None:
    front_end = show(panel := ChatPanel(server, path, name="Ana"))
    await panel.connect()
    await said(front_end, eventually, words)


async def test_hostile_text_is_shown_with_escapes_and_cut_short(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel(server, "/ws", name="Ana"))
    await panel.connect()
    await panel.send(f"<img src=x>\x1b[31m\u202e a{chr(0x301) * 10_000}" + "x" * 100_000)
    await eventually(lambda: [item["from"] for item in front_end.shown].count("server") == 1)
    text = front_end.shown[-1]["text"]
    assert text.startswith("<img src=x>\\x1b[31m\\u202e a")
    assert "more combining marks]" in text
    assert len(text) < 5_000


# The handshake.


GIVEN = {"query": {"token": "abc", "tag": ["a", "b"]}, "cookies": {"session": "s1"}, "headers": {"X-Name": "Ana"}, "subprotocols": ["chat", "superchat"]}


async def arrived(server: Server, eventually: Eventually) -> dict[str, Any]:
    """What the newest handshake brought to the handler of /mirror, which sends it back."""

    def newest() -> str | None:
        number = server.timeline.connections[-1].number if server.timeline.connections else None
        frames = [entry for entry in server.timeline.entries(connection=number) if entry.kind == "frame-in" and entry.side == "client"]
        return frames[0].payload if number and frames else None

    mirrored = json.loads(await eventually(newest))
    return {**mirrored, "headers": dict(mirrored["headers"])}


async def test_what_the_panel_was_given_is_in_its_fields_and_arrives_at_the_handler(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel(server, "/mirror?page=2", name="Ana", **GIVEN))
    await state_is(front_end, eventually, "not connected")
    assert front_end.state["fields"] == {
        "path": "/mirror?page=2",
        "query": "token=abc&tag=a&tag=b",
        "cookies": "session=s1",
        "headers": "X-Name: Ana",
        "origin": "",
        "subprotocols": "chat, superchat",
    }
    client = await panel.connect()
    mirrored = await arrived(server, eventually)
    assert mirrored["query"] == [["page", "2"], ["token", "abc"], ["tag", "a"], ["tag", "b"]]
    assert mirrored["cookies"] == {"session": "s1"}
    assert mirrored["headers"]["x-name"] == "Ana"
    assert mirrored["subprotocols"] == ["chat", "superchat"]
    assert client.subprotocol == "chat"
    await eventually(lambda: any(item["from"] == "note" and item["text"].endswith(" ms · subprotocol chat") for item in front_end.shown))


async def test_edited_fields_are_sent_and_the_others_stay_as_the_panel_has_them(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ChatPanel(server, "/mirror", name="Ana", **GIVEN))
    front_end.do("connect", cookies="session=s2; theme=dark", query="tag=c&tag=d&tag=e", subprotocols="", token="5")
    mirrored = await arrived(server, eventually)
    assert mirrored["query"] == [["tag", "c"], ["tag", "d"], ["tag", "e"]]
    assert mirrored["cookies"] == {"session": "s2", "theme": "dark"}
    assert mirrored["headers"]["x-name"] == "Ana"
    assert mirrored["subprotocols"] == []
    took = next(message for message in front_end.messages if message.get("took") == "5")
    assert took["state"]["fields"]["cookies"] == "session=s2; theme=dark"
    assert took["state"]["fields"]["subprotocols"] == ""
    assert not any("subprotocol" in item["text"] for item in front_end.shown if item["from"] == "note")


async def test_an_origin_arrives_where_it_is_allowed_and_is_refused_elsewhere(server: Server, show: Show, eventually: Eventually) -> None:
    with pytest.warns(UnsafeServerWarning):
        open_to_all = await serve(app, name="open to all", port=0, allowed_origins="*")
    await ChatPanel(open_to_all, "/mirror", name="Ana").connect(origin="https://evil.example")
    assert (await arrived(open_to_all, eventually))["headers"]["origin"] == "https://evil.example"
    front_end = show(ChatPanel(server, "/mirror", name="Ana"))
    front_end.do("connect", origin="https://evil.example")
    await state_is(front_end, eventually, "refused 403")
    await said(front_end, eventually, "https://evil.example")


async def test_the_twin_replaces_what_it_is_given_clears_what_is_empty_and_keeps_the_rest(server: Server, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/mirror", name="Ana", **GIVEN)
    await panel.connect(query={"room": 7}, headers=None, subprotocols=[])
    mirrored = await arrived(server, eventually)
    assert (mirrored["query"], mirrored["cookies"], mirrored["subprotocols"]) == ([["room", "7"]], {"session": "s1"}, [])
    assert "x-name" not in mirrored["headers"]
    await panel.connect(cookies={"session": "s2"})
    mirrored = await arrived(server, eventually)
    assert (mirrored["query"], mirrored["cookies"]) == ([["room", "7"]], {"session": "s2"})


async def test_the_handshake_of_the_last_connect_is_used_again_with_a_server_that_replaces_it(server: Server, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/mirror", name="Ana")
    first = await panel.connect(query={"tag": ["a", "b"]}, cookies={"session": "s1"}, headers={"X-Name": "Ana"}, subprotocols=iter(["chat"]))
    await serve(app)
    await eventually(lambda: panel.client is not first)
    mirrored = await arrived(server, eventually)
    assert (mirrored["query"], mirrored["cookies"], mirrored["subprotocols"]) == ([["tag", "a"], ["tag", "b"]], {"session": "s1"}, ["chat"])
    assert mirrored["headers"]["x-name"] == "Ana"
    assert server.timeline.connections[-1].number == 2


@pytest.mark.parametrize(
    ("field", "text"),
    [("query", "abc"), ("cookies", "session"), ("headers", "X-Name"), ("origin", "example.org"), ("subprotocols", "chat superchat")],
)
async def test_a_field_that_cannot_be_read_is_an_error_and_nothing_is_connected_or_kept(
    server: Server, show: Show, eventually: Eventually, field: str, text: str
) -> None:
    panel = ChatPanel(server, "/mirror", name="Ana", cookies={"session": "s1"})
    front_end = show(panel)
    front_end.do("connect", **{"path": "/elsewhere", "cookies": "session=s2", field: text}, token="3")
    failed = await eventually(lambda: next((message for message in front_end.messages if message.get("failed") == "3"), None))
    assert failed["field"] == field
    errors = await eventually(lambda: [item["text"] for item in front_end.shown if item["from"] == "error"])
    assert len(errors) == 1
    assert errors[0].startswith(f"{field.capitalize()}: expected ")
    assert not any("took" in message for message in front_end.messages)
    assert server.timeline.connections == []
    assert (panel.path, front_end.state["fields"]["cookies"]) == ("/mirror", "session=s1")


async def test_a_wrong_argument_of_the_twin_is_shown_and_leaves_the_connection_and_the_handshake_alone(
    server: Server, show: Show, eventually: Eventually
) -> None:
    panel = ChatPanel(server, "/mirror", name="Ana", cookies={"session": "s1"})
    front_end = show(panel)
    client = await panel.connect()
    with pytest.raises(TypeError, match="subprotocols expects a list"):
        await panel.connect("/ws", subprotocols="chat")
    with pytest.raises(ValueError, match="cannot be sent as a header"):
        await panel.connect(headers={"X Name": "Ana"})
    await said(front_end, eventually, "subprotocols expects a list", "cannot be sent as a header")
    assert client.state is WebSocketState.CONNECTED
    assert (panel.path, front_end.state["fields"]["headers"]) == ("/mirror", "")


@pytest.mark.parametrize("wrong", [{"query": "a=1"}, {"cookies": "a=1"}, {"headers": {"X Name": "Ana"}}, {"subprotocols": "chat"}, {"qery": {}}])
async def test_wrong_arguments_are_refused_when_the_panel_is_made(server: Server, wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        ChatPanel(server, "/ws", name="Ana", **wrong)


# Servers that are replaced.


async def test_an_idle_chat_tells_only_the_newest_start_or_stop_of_its_server(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel(server, "/ws", name="Ana"))
    for _ in range(3):
        server = await serve(app)
    await eventually(lambda: [item["text"] for item in front_end.shown] == [f"serving at {server.url}"])
    await panel.connect()
    await panel.send("hello")
    await eventually(lambda: [item["from"] for item in front_end.shown] == ["divider", "note", "me", "server"])
    await panel.disconnect()
    await server.stop()
    await eventually(lambda: [item["from"] for item in front_end.shown] == ["divider", "note", "me", "server", "ended", "divider"])
    assert front_end.shown[-1]["text"] == f"stopped; port {server.port} is free"
    late = show(panel)
    await eventually(lambda: [item["from"] for item in late.shown].count("divider") == 2)


async def test_a_panel_that_was_connected_follows_the_name_to_the_new_server(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel(server, "/ws", name="Ana"))
    await panel.connect()
    new = await serve(app)
    assert new.port == server.port
    await eventually(lambda: panel.client is not None and panel.client.number == 2)
    await state_is(front_end, eventually, "open")
    await panel.send("hello again")
    await said(front_end, eventually, "hello again", "serving at")
    await said(front_end, eventually, "1012, service restart")


async def test_a_panel_follows_through_replacements_in_quick_succession(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel(server, "/ws", name="Ana"))
    await panel.connect()
    for _ in range(10):
        for _ in range(3):
            newest = await serve(app)
        await eventually(lambda: panel.client.state is WebSocketState.CONNECTED and not panel.client.connection.server_stopped)
        await state_is(front_end, eventually, "open")
        assert len(newest.connections) == 1


async def test_connect_without_a_path_from_the_front_end_keeps_the_panels_own(server: Server, show: Show, eventually: Eventually) -> None:
    """A click may come before the front end has been told the path."""
    front_end = show(ChatPanel(server, "/ws", name="Ana"))
    front_end.do("connect")
    await state_is(front_end, eventually, "open")


async def test_connecting_many_times_at_once_leaves_one_connection(server: Server, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    await asyncio.gather(*(panel.connect() for _ in range(5)))
    await eventually(lambda: len(server.connections) == 1)
    await panel.disconnect()
    await eventually(lambda: server.connections == [])


async def test_a_panel_of_a_forgotten_server_leaves_a_new_one_of_that_name_alone(server: Server, eventually: Eventually) -> None:
    old = ChatPanel(server, "/ws", name="Ana")
    client = await old.connect()
    await stop_all()
    new = await serve(app, port=0)
    await eventually(lambda: client.state is WebSocketState.DISCONNECTED)
    old.timeline.note("something that makes it look")
    async with connect(new, "/ws") as other:
        assert [connection.number for connection in new.timeline.connections] == [other.number]


async def test_a_panel_that_nobody_looks_at_reconnects_too(server: Server, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    await panel.connect()
    await serve(app)
    await eventually(lambda: panel.client is not None and panel.client.number == 2)


async def test_a_panel_that_had_left_stays_away(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel := ChatPanel(server, "/ws", name="Ana"))
    await panel.connect()
    await panel.disconnect()
    await state_is(front_end, eventually, "closed 1000")
    new = await serve(app)
    await eventually(lambda: (last := front_end.shown[-1])["from"] == "divider" and last["text"] == f"serving at {new.url}")
    assert len(server.timeline.connections) == 1


async def test_a_panel_made_again_takes_the_place_of_the_one_before(server: Server, eventually: Eventually) -> None:
    old = ChatPanel(server, "/ws", name="Ana")
    client = await old.connect()
    new = ChatPanel(server, "/ws", name="Ana")
    await eventually(lambda: client.close_code == 1001)
    await new.connect()
    assert [connection.name for connection in server.connections] == ["Ana"]


async def test_two_names_have_two_seats(server: Server) -> None:
    ana, ben = ChatPanel(server, "/ws", name="Ana"), ChatPanel(server, "/ws", name="Ben")
    await asyncio.gather(ana.connect(), ben.connect())
    assert sorted(connection.name for connection in server.connections) == ["Ana", "Ben"]


# Snapshots.


async def test_a_snapshot_is_static_html_and_text_without_secrets(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    panel = ChatPanel(server, "/ws?token=spring-rain", name="Ana <b>")
    await panel.connect()
    await panel.send("<script>alert(1)</script> token=spring-rain")
    await panel.disconnect(4000, "token=spring-rain")
    panel.snapshot()
    html, text = shown[0]["text/html"], shown[0]["text/plain"]
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "Ana &lt;b&gt;" in html
    assert "→ <script>alert(1)</script> token=[redacted]" in text
    assert "closed 4000" in text
    assert "spring-rain" not in html + text


async def test_a_snapshot_is_without_the_handshakes_secrets_even_where_the_app_repeats_them(
    server: Server, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    panel = ChatPanel(server, "/ws", name="Ana", cookies={"session": "spring-rain"})
    await panel.connect()
    await panel.send("the cookie's value is spring-rain, and springs are wet")
    await panel.disconnect()
    await panel.connect("/mirror", query={"api_key": "summer-sun"}, cookies=None, headers={"Authorization": "Bearer autumn"}, subprotocols=["winter"])
    await arrived(server, eventually)
    panel.snapshot()
    words = shown[0]["text/html"] + shown[0]["text/plain"]
    assert "the cookie's value is [redacted], and springs are wet" in words
    assert "subprotocol [redacted]" in words
    assert not [secret for secret in ("spring-rain", "summer-sun", "autumn") if secret in words]


async def test_a_panel_for_another_program_has_a_timeline_of_its_own(server: Server) -> None:
    panel = ChatPanel(server.ws_url, "/ws", name="Ana")
    assert isinstance(panel.timeline, Timeline)
    assert panel.timeline is not server.timeline
    await panel.connect()
    await panel.send("hello")
    assert [entry.text for entry in panel.timeline.entries() if entry.kind == "frame-out"] == ["hello"]


async def test_a_closed_panel_is_quiet_and_closing_twice_is_safe(server: Server, show: Show) -> None:
    front_end = show(panel := ChatPanel(server, "/ws", name="Ana"))
    panel.close()
    panel.close()
    told = len(front_end.messages)
    await panel.connect()
    await panel.send("unseen")
    assert not any("unseen" in str(message) for message in front_end.messages[told:])


async def test_a_closed_panel_follows_nothing_even_where_its_client_connects_afterwards(server: Server, show: Show) -> None:
    show(panel := ChatPanel(server, "/ws", name="Ana"))
    panel.close()
    await panel.connect()
    await loops.panels().run(asyncio.sleep(0))
    assert panel._follower is None


async def test_the_newest_five_hundred_items_are_kept_also_when_all_are_errors(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    front_end = show(panel)
    for _ in range(520):
        front_end.do("send", message="hello")
    await eventually(lambda: "error 520" in [item["id"] for item in front_end.shown])
    late = show(panel)
    await eventually(lambda: late.messages)
    assert len(late.messages[0]["items"]) == 500


async def test_a_snapshot_hides_a_secret_that_is_spread_over_fragments(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    panel = ChatPanel(server, "/listening", name="Ana")
    await panel.connect()
    await panel.send_in_fragments("token=spring-rain", 3)
    await panel.disconnect()
    panel.snapshot()
    assert "in 6 fragments" in shown[0]["text/plain"]
    assert "spring-rain" not in "".join(shown[0].values())
