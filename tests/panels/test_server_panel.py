"""ServerPanel: address, connections with both states, the handlers' log, and the line that blocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import connect as dial

from kit import Hub, Server, ServerPanel, connect, serve
from kit.errors import HandshakeRefused, KitError
from tests.apps import app
from tests.hub.rooms_app import joining_app
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]

talking, go_on = FastAPI(), threading.Event()


@talking.websocket("/ws")
async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        print("heard", text)
        if text == "block":
            go_on.wait(60)  # blocking the loop is what is tested
        await websocket.send_text(f"echo {text}")


def row_of(front_end: FrontEnd, number: int) -> dict[str, Any]:
    return next((row for row in front_end.state.get("connections", ()) if row["number"] == number), {})


async def test_it_shows_the_address_and_that_nobody_is_connected(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ServerPanel(server))
    await eventually(lambda: front_end.state)
    assert {"name": "main", "url": server.url, "pill": "serving", "count": "0 open · 0 closed", "connections": []}.items() <= front_end.state.items()


async def test_it_shows_each_connection_with_both_states_and_how_it_ended(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ServerPanel(server))
    async with connect(server, "/ws", name="Ana"):
        await eventually(lambda: row_of(front_end, 1).get("application") == "CONNECTED")
        assert {"name": "Ana", "path": "/ws", "client": "CONNECTED", "stranger": False, "pill": ""}.items() <= row_of(front_end, 1).items()
    await eventually(lambda: row_of(front_end, 1).get("pill") == "closed 1000")
    assert front_end.state["count"] == "0 open · 1 closed"


@pytest.mark.parametrize(
    ("path", "client", "application", "stays"),
    [
        ("/ws", "DISCONNECTED", "was CONNECTED", ["application_state"]),
        ("/end/returning", "was CONNECTED", "was CONNECTED", ["client_state", "application_state"]),
        ("/silent", "still CONNECTED", "still CONNECTED", ["client_state", "application_state"]),
    ],
)
async def test_a_state_that_outlives_its_connection_is_told_as_what_it_was_and_why(
    server: Server, show: Show, eventually: Eventually, path: str, client: str, application: str, stays: list[str]
) -> None:
    front_end = show(ServerPanel(server))
    async with connect(server, path):
        await eventually(lambda: row_of(front_end, 1).get("application") not in (None, "–", "CONNECTING"))
    await eventually(lambda: (row_of(front_end, 1)["client"], row_of(front_end, 1)["application"]) == (client, application))
    said = row_of(front_end, 1)["states"]
    assert [name for name in ("client_state", "application_state") if f"`{name}` stays CONNECTED" in said] == stays
    assert ("no close yet" in said) == (path == "/silent"), "a handler that still runs may yet send one"


async def test_a_client_that_is_not_of_this_kernel_is_a_stranger(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ServerPanel(server))
    async with dial(f"{server.ws_url}/ws", proxy=None):
        await eventually(lambda: row_of(front_end, 1).get("stranger"))


async def test_a_refusal_is_shown_with_its_status(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ServerPanel(server))
    with pytest.raises(HandshakeRefused):
        await connect(server, "/refuse/http")
    await eventually(lambda: row_of(front_end, 1).get("pill") == "refused 401")


async def test_the_log_has_messages_prints_errors_and_the_readers_own_line(show: Show, eventually: Eventually) -> None:
    async with serve(talking, port=0, name="talking") as server, connect(server, "/ws") as client:
        front_end = show(ServerPanel(server))
        await client.send_text("hello")
        await client.receive_text(timeout=5)
        await eventually(lambda: "send text “echo hello”" in front_end.words())
        assert [row["text"] for row in front_end.shown[1:]] == [
            *("receive connect", "send accept", "receive text “hello”", "heard hello", "send text “echo hello”")
        ]
        assert {row["number"] for row in front_end.shown[1:]} == {1}


async def test_the_log_has_what_a_handler_does_with_a_hub(show: Show, eventually: Eventually) -> None:
    async with serve(joining_app(Hub(), opens_hub=True), port=0) as server, connect(server, "/join/lobby") as client:
        front_end = show(ServerPanel(server))
        await client.send_text("hello")
        await eventually(lambda: [row["text"] for row in front_end.shown if row["mark"] == "hub"] == ["join “lobby”", "publish “hello” to “lobby”"])


async def test_an_error_names_the_readers_own_line(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ServerPanel(server))
    async with connect(server, "/end/raising") as client:
        await client.wait_closed()
    await eventually(lambda: any(row["tone"] == "bad" for row in front_end.shown))
    error = next(row for row in front_end.shown if row["tone"] == "bad")
    assert "ZeroDivisionError: after accept" in error["text"]
    assert "this line is named" in error["text"]


async def test_a_blocked_loop_is_named_with_its_line_while_it_is_blocked(show: Show, eventually: Eventually) -> None:
    go_on.clear()
    async with serve(talking, port=0, name="talking") as server, connect(server, "/ws") as client:
        front_end = show(ServerPanel(server))
        await client.send_text("block")
        await eventually(lambda: front_end.state.get("pill") == "blocked")
        assert "go_on.wait(60)" in front_end.state["blocked"]
        assert front_end.state["blockedNumber"] == 1
        go_on.set()
        assert await client.receive_text(timeout=5) == "echo block"
        await eventually(lambda: front_end.state["pill"] == "serving")
        await eventually(lambda: "answers again, after at least " in front_end.words())
        assert front_end.state["blocked"] == ""


async def test_it_follows_the_name_and_says_when_nobody_bears_it(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ServerPanel(server)
    front_end = show(panel)
    async with connect(server, "/ws"):
        new = await serve(app)
        assert panel.server is new
        await eventually(lambda: row_of(front_end, 1).get("pill") == "closed 1012")
        await eventually(lambda: front_end.state["pill"] == "serving")
        await eventually(lambda: front_end.words().count("serving at") == 2)
    await new.stop()
    await eventually(lambda: front_end.state["pill"] == "stopped")


async def test_a_view_that_comes_late_gets_the_log_and_the_newest_state(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ServerPanel(server)
    async with connect(server, "/ws") as client:
        await client.send_text("hello")
        await client.receive_text(timeout=5)
    front_end = show(panel)
    await eventually(lambda: "receive text “hello”" in front_end.words())
    assert front_end.messages[0]["reset"] is True


async def test_a_flood_reaches_the_front_end_in_few_bounded_messages(server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(ServerPanel(server))
    await eventually(lambda: front_end.messages)
    before, began = len(front_end.messages), time.monotonic()
    async with connect(server, "/ws") as client:
        for number in range(2_000):
            await client.send_text(str(number))
            await client.receive_text(timeout=5)
    await eventually(lambda: row_of(front_end, 1).get("pill") == "closed 1000")
    told = front_end.messages[before:]
    assert len(told) <= 20 * (time.monotonic() - began) + 5, "panels are told at most 20 times a second"
    assert max(len(message.get("rows", ())) for message in told) <= 2_000


async def test_its_snapshot_is_static_and_has_no_secrets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    async with connect(server, "/ws?token=spring-rain", cookies={"session": "spring-rain"}) as client:
        await client.send_text("<img src=x> token=spring-rain")
        await client.receive_text(timeout=5)
        await client.close(4000, "token=spring-rain")
    ServerPanel(server).snapshot()
    html, text = shown[0]["text/html"], shown[0]["text/plain"]
    assert "&lt;img src=x&gt;" in html
    assert "<img" not in html
    assert "receive text “<img src=x> token=[redacted]”" in text
    assert "spring-rain" not in html + text


async def test_a_row_that_has_ended_is_told_from_both_sides_when_it_is_opened(server: Server, show: Show, eventually: Eventually) -> None:
    panel = ServerPanel(server)
    front_end = show(panel)
    async with connect(server, "/ws", name="Ana") as client:
        await client.close(4001, "<b>bye</b>")
    await eventually(lambda: row_of(front_end, 1).get("settled"))
    assert not any("table" in row for row in front_end.state["connections"]), "told only when asked for"
    front_end.do("explain", number=1)
    await eventually(lambda: any("explained" in message for message in front_end.messages))
    told = next(message["explained"] for message in front_end.messages if "explained" in message)
    assert told == {"number": 1, "table": [list(fact) for fact in panel.explain(1).table]}
    assert ["Client sent", "Close 4001 “<b>bye</b>”"] in told["table"]


async def test_what_has_not_ended_has_no_end_to_explain(server: Server) -> None:
    panel = ServerPanel(server)
    async with connect(server, "/ws"):
        with pytest.raises(KitError, match="connection 1 has not ended"):
            panel.explain(1)
    with pytest.raises(KitError, match="connection 7 is not known here"):
        panel.explain(7)


async def test_the_table_of_connections_is_told_only_when_it_has_changed(show: Show, eventually: Eventually) -> None:
    async with serve(talking, port=0) as server:
        front_end = show(ServerPanel(server))
        async with connect(server, "/ws") as client:
            await client.send_text("one")
            await eventually(lambda: "echo one" in front_end.words() and row_of(front_end, 1).get("application") == "CONNECTED")
            before = len(front_end.messages)
            await client.send_text("two")
            await eventually(lambda: "echo two" in front_end.words())
            assert [message for message in front_end.messages[before:] if "state" in message] == []


async def test_what_is_no_server_is_refused_with_what_is_expected() -> None:
    with pytest.raises(TypeError, match=r"ServerPanel expects a server from `await serve\(app\)`, but got 'http://127.0.0.1'"):
        ServerPanel("http://127.0.0.1")  # type: ignore[arg-type]
