"""StatePanel: the raw calls on a real WebSocket, marked, made and explained; nothing of it is left behind."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import connect as dial
from websockets.exceptions import InvalidStatus

from kit import connect, stop_all
from kit.errors import ConnectError, KitError, LoopStopped, ReceiveTimeout
from kit.panels.state import StatePanel
from kit.registry import running_server
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]

ACCEPT = {"type": "websocket.accept"}
HELLO = {"type": "websocket.send", "text": "hello"}
CLOSE = {"type": "websocket.close", "code": 4001, "reason": "enough"}
TOO_EARLY = 'Expected ASGI message "websocket.accept", "websocket.close" or "websocket.http.response.start", but got \'websocket.send\''


@pytest.fixture
async def stage() -> AsyncIterator[StatePanel]:
    stage = StatePanel()
    yield stage
    await stage.stop()


def done(front_end: FrontEnd) -> list[str]:
    """The log's rows as sentences."""
    return [" ".join(filter(None, (row["who"], row["call"], row["result"], row["meaning"]))) for row in front_end.shown]


async def says(front_end: FrontEnd, eventually: Eventually, *words: str) -> None:
    await eventually(lambda: all(any(word in row for row in done(front_end)) for word in words))


async def lit(front_end: FrontEnd, eventually: Eventually, client: str, application: str) -> None:
    await eventually(lambda: front_end.state.get("states") == {"client_state": client, "application_state": application})


def mark(front_end: FrontEnd, key: str) -> str:
    """How a call is marked now."""
    return front_end.state.get("marks", {}).get(key, [""])[0]


async def marked(front_end: FrontEnd, eventually: Eventually, *legal: str) -> None:
    await eventually(lambda: {key for key in front_end.state.get("marks", {}) if mark(front_end, key) == "legal"} == set(legal))


# Being displayed, and connecting.


async def test_nothing_is_served_or_connected_by_being_made_or_displayed(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    await eventually(lambda: front_end.state)
    assert {"pill": "not connected", "connected": False, "marks": {}}.items() <= front_end.state.items()
    assert front_end.state["states"] == {"client_state": "", "application_state": ""}
    assert (stage.server, stage.websocket, stage.client, stage.client_state, stage.application_state) == (None, None, None, None, None)
    assert running_server("state") is None


async def test_before_connecting_every_call_says_what_to_do(stage: StatePanel) -> None:
    for call in (stage.send(ACCEPT), stage.receive(), stage.client_says("hi"), stage.client_closes(), stage.client_vanishes()):
        with pytest.raises(KitError, match=r"nothing is connected\. Press Connect, or run: await stage\.connect\(\)"):
            await call


async def test_connect_hands_over_the_parked_handlers_own_websocket(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    front_end.do("connect")
    await eventually(lambda: front_end.state.get("pill") == "handler parked")
    assert type(stage.websocket) is WebSocket
    assert (stage.client_state, stage.application_state) == (WebSocketState.CONNECTING, WebSocketState.CONNECTING)
    assert stage.server is running_server("state")
    await lit(front_end, eventually, "CONNECTING", "CONNECTING")
    await marked(front_end, eventually, "receive", "accept", "close", "start")
    assert front_end.state["line"]["pill"] == "waits for an answer"


async def test_the_handshake_waits_longer_than_a_client_of_connect_would(stage: StatePanel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connect.__kwdefaults__, "handshake_timeout_seconds", 0.2)
    await stage.connect()
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectError, match="did not answer"):
        await connect(f"ws://127.0.0.1:{silent.getsockname()[1]}", "/ws")
    await stage.send(ACCEPT)
    await stage.client_says("still here")


async def test_the_table_of_arrows_and_calls_goes_to_the_front_end(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    await eventually(lambda: front_end.messages)
    greeting = front_end.messages[0]
    assert [machine["attribute"] for machine in greeting["machines"]] == ["client_state", "application_state"]
    assert ("RESPONSE", "http.response.body, more_body", "RESPONSE") in greeting["machines"][1]["arrows"]
    assert [call["key"] for call in greeting["calls"]] == ["receive", "accept", "text", "bytes", "close", "start", "more", "body"]


# The calls.


async def test_clicks_go_through_accept_text_and_close(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    await stage.connect()
    front_end.do("call", key="receive")
    await lit(front_end, eventually, "CONNECTED", "CONNECTING")
    front_end.do("call", key="accept")
    await lit(front_end, eventually, "CONNECTED", "CONNECTED")
    await eventually(lambda: front_end.state["last"] == ("application_state", "CONNECTING", "CONNECTED"))
    await marked(front_end, eventually, "receive", "text", "bytes", "close")
    front_end.do("call", key="text")
    await says(front_end, eventually, "send({'type': 'websocket.send', 'text': 'hello'}) application_state stays CONNECTED", "client gets text “hello”")
    front_end.do("call", key="close")
    await lit(front_end, eventually, "CONNECTED", "DISCONNECTED")
    await says(front_end, eventually, "client gets Close 1000 “bye”")
    await eventually(lambda: (front_end.state["pill"], front_end.state["line"]["pill"]) == ("connection ended", "closed 1000"))
    front_end.do("call", key="receive")
    await says(front_end, eventually, "{'type': 'websocket.disconnect', 'code': 1000, 'reason': 'bye'} · client_state CONNECTED → DISCONNECTED")
    await marked(front_end, eventually)


async def test_an_illegal_press_shows_the_exact_error_and_sends_nothing(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    await stage.connect()
    front_end.do("call", key="text")
    await says(front_end, eventually, f"RuntimeError: {TOO_EARLY} The handshake is not answered yet, so no message can be sent. Accept first")
    assert [entry.kind for entry in stage.timeline.entries() if entry.kind == "asgi-send"] == []
    assert front_end.state["states"] == {"client_state": "CONNECTING", "application_state": "CONNECTING"}


async def test_the_twin_raises_what_starlette_raises_and_says_what_it_means(stage: StatePanel) -> None:
    await stage.connect()
    with pytest.raises(RuntimeError) as caught:
        await stage.send(HELLO)
    assert (type(caught.value), str(caught.value)) == (RuntimeError, TOO_EARLY)
    assert "Accept first" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="send expects an ASGI message such as"):
        await stage.send("websocket.accept")


async def test_what_the_server_below_starlette_refuses_is_told_apart(stage: StatePanel) -> None:
    await stage.connect()
    with pytest.raises(RuntimeError, match="Invalid HTTP status code '99' in response") as caught:
        await stage.send({"type": "websocket.http.response.start", "status": 99})
    assert caught.value.__notes__ == ["Starlette let it pass; the server below it did not."]


async def test_a_denial_response_goes_through_response_to_the_client(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    await stage.connect()
    for key, after in (("start", "RESPONSE"), ("more", "RESPONSE"), ("body", "DISCONNECTED")):
        front_end.do("call", key=key)
        await lit(front_end, eventually, "CONNECTING", after)
        await eventually(lambda after=after: front_end.state["last"][2] == after)
    await says(front_end, eventually, "client gets HTTP 401 Unauthorized")
    assert [entry.payload for entry in stage.timeline.entries() if entry.kind == "response" and entry.side == "client"] == [b"who are you?"]
    await eventually(lambda: front_end.state["line"]["pill"] == "refused 401")


async def test_a_call_past_the_panel_is_shown_too(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    await stage.connect()
    await stage.websocket.accept()
    await says(front_end, eventually, "handler receive() {'type': 'websocket.connect'} Called past this panel.", "passed on Called past this panel.")
    await lit(front_end, eventually, "CONNECTED", "CONNECTED")
    await stage.send(HELLO)
    await says(front_end, eventually, "client gets text “hello”")
    assert sum("Called past" in row for row in done(front_end)) == 2


# Receiving.


async def test_receive_returns_the_asgi_message(stage: StatePanel) -> None:
    await stage.connect()
    assert await stage.receive() == {"type": "websocket.connect"}
    await stage.send(ACCEPT)
    await stage.client_says("hello")
    await stage.client_says(b"\x00\xff")
    assert await stage.receive(timeout=5) == {"type": "websocket.receive", "text": "hello"}
    assert await stage.receive(timeout=5) == {"type": "websocket.receive", "bytes": b"\x00\xff"}


async def waiting(stage: StatePanel) -> StatePanel:
    await stage.connect()
    await stage.receive()
    await stage.send(ACCEPT)
    return stage


async def test_a_receive_that_waits_is_shown_and_a_second_press_gives_it_up(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(await waiting(stage))
    front_end.do("call", key="receive")
    await eventually(lambda: mark(front_end, "receive") == "waiting, press to give up")
    await says(front_end, eventually, "handler receive() waiting for a message")
    front_end.do("call", key="receive")
    await says(front_end, eventually, "receive was given up: its button was pressed again. No message was taken.")
    await eventually(lambda: mark(front_end, "receive") == "legal")
    await stage.client_says("hello")
    assert (await stage.receive(timeout=5))["text"] == "hello"


async def test_a_receive_that_waits_gets_the_disconnect(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(await waiting(stage))
    front_end.do("call", key="receive")
    await eventually(lambda: mark(front_end, "receive") == "waiting, press to give up")
    front_end.do("client", key="close")
    await says(front_end, eventually, "{'type': 'websocket.disconnect', 'code': 1000, 'reason': ''}")
    await lit(front_end, eventually, "DISCONNECTED", "CONNECTED")


async def test_a_timeout_or_a_cancelled_receive_loses_no_message(stage: StatePanel, eventually: Eventually) -> None:
    await waiting(stage)
    with pytest.raises(ReceiveTimeout, match=r"no message came within 0\.02 s"):
        await stage.receive(timeout=0.02)
    receiving = asyncio.ensure_future(stage.receive())
    await eventually(lambda: stage._stage.waits)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await eventually(lambda: not stage._stage.waits)
    await stage.client_says("hello")
    assert (await stage.receive(timeout=5))["text"] == "hello"


# The client.


CLICKS = [("hello", "client says “hello” sent"), ("bytes", "client says b'\\x00\\xff' sent"), ("close", "client closes with 1000 closed")]


@pytest.mark.parametrize(("key", "words"), CLICKS)
async def test_the_clients_buttons(stage: StatePanel, show: Show, eventually: Eventually, key: str, words: str) -> None:
    front_end = show(await waiting(stage))
    front_end.do("client", key=key)
    await says(front_end, eventually, words)


async def test_before_the_handshake_is_answered_the_client_can_only_vanish(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(stage)
    await stage.connect()
    with pytest.raises(KitError, match="Send accept first; until then it can only vanish"):
        await stage.client_says("hello")
    front_end.do("client", key="vanish")
    await says(front_end, eventually, "client vanishes gone, without a goodbye")
    await marked(front_end, eventually, "receive")
    assert mark(front_end, "accept") == "legal, client gone"


async def test_after_a_refusal_the_client_says_why_it_has_no_websocket(stage: StatePanel) -> None:
    await stage.connect()
    await stage.send({"type": "websocket.close", "code": 1008, "reason": "members only"})
    with pytest.raises(KitError, match=r"its handshake was not accepted\. HTTP 403"):
        await stage.client_says("hello")


async def test_a_client_that_vanished_is_noticed_by_the_very_next_send(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(await waiting(stage))
    await stage.client_vanishes()
    with pytest.raises(WebSocketDisconnect) as caught:
        await stage.send(HELLO)
    assert caught.value.code == 1006
    await says(front_end, eventually, "WebSocketDisconnect(code=1006, reason='') The client is gone, so nothing was sent.")
    await lit(front_end, eventually, "CONNECTED", "DISCONNECTED")
    assert front_end.state["last"] == ("application_state", "CONNECTED", "DISCONNECTED")


async def test_a_close_frame_that_the_server_does_not_read_is_explained(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(await waiting(stage))
    for count in (1, 2):
        await stage.client_says("unread")
        await eventually(lambda count=count: sum(entry.side == "server" and entry.kind == "frame-in" for entry in stage.timeline.entries()) == count)
    await stage.client_closes()
    await says(front_end, eventually, "no answer: messages wait for the handler")


# Leaving nothing behind.


async def handlers(stage: StatePanel) -> int:
    async def count() -> int:
        return sum("run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks())

    return await stage.server.run(count())


async def test_the_handler_returns_when_its_connection_ends_and_its_websocket_stays(stage: StatePanel, eventually: Eventually) -> None:
    await waiting(stage)
    assert await handlers(stage) == 1
    await stage.send(CLOSE)
    await eventually(lambda: stage._stage.connection.handler_returned)
    assert await handlers(stage) == 0
    assert await stage.receive() == {"type": "websocket.disconnect", "code": 4001, "reason": "enough"}
    with pytest.raises(RuntimeError, match='Cannot call "send" once a close message has been sent'):
        await stage.send(HELLO)


@pytest.mark.parametrize("accepted", [True, False])
async def test_connecting_again_ends_the_connection_before_and_whoever_waits_there(stage: StatePanel, eventually: Eventually, accepted: bool) -> None:
    await stage.connect()
    await stage.receive()
    receiving = None
    if accepted:
        await stage.send(ACCEPT)
        receiving = asyncio.ensure_future(stage.receive())
        await eventually(lambda: stage._stage.waits)
    server, before = stage.server, stage._stage
    await stage.connect()
    assert (stage.server, stage._stage.connection.number) == (server, 2)
    assert before.connection.handler_returned
    assert await handlers(stage) == 1
    assert before.connection.close_frames[:1] == ([("client", 1001, "the panel connects anew")] if accepted else [])
    if receiving is not None:
        with pytest.raises(KitError, match="receive was given up: the panel connects anew"):
            await receiving
    assert stage.application_state is WebSocketState.CONNECTING


async def test_a_panel_that_is_closed_ends_its_server_handler_and_client(stage: StatePanel, eventually: Eventually) -> None:
    await waiting(stage)
    receiving = asyncio.ensure_future(stage.receive())
    await eventually(lambda: stage._stage.waits)
    connection = stage._stage.connection
    stage.close()
    with pytest.raises(KitError, match="receive was given up: the panel was stopped"):
        await receiving
    await eventually(lambda: stage.server.state == "stopped")
    assert (running_server("state"), stage.websocket, connection.open, connection.handler_returned) == (None, None, False, True)


async def test_another_panel_takes_the_server_over(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(await waiting(stage))
    other = StatePanel()
    await other.connect()
    await eventually(lambda: front_end.state["pill"] == "not connected")
    with pytest.raises(LoopStopped, match="server 'state' is stopped"):
        await stage.send(HELLO)
    await stage.connect()
    await stage.send(ACCEPT)
    await other.stop()
    await stage.client_says("still here")


async def test_stop_all_ends_a_receive_that_waits_and_connect_starts_anew(stage: StatePanel, eventually: Eventually) -> None:
    await waiting(stage)
    receiving = asyncio.ensure_future(stage.receive())
    await eventually(lambda: stage._stage.waits)
    await stop_all()
    ended = (await asyncio.gather(receiving, return_exceptions=True))[0]
    assert isinstance(ended, LoopStopped) or ended["type"] == "websocket.disconnect"
    await stage.connect()
    assert await stage.receive() == {"type": "websocket.connect"}


async def test_a_stranger_is_sent_away_and_does_not_disturb(stage: StatePanel) -> None:
    await stage.connect()
    with pytest.raises(InvalidStatus, match="403"):
        await dial(f"{stage.server.ws_url}/ws", proxy=None)
    assert stage.client_state is WebSocketState.CONNECTING
    await stage.send(ACCEPT)


async def test_two_connects_at_once_leave_one_connection(stage: StatePanel, eventually: Eventually) -> None:
    await asyncio.gather(stage.connect(), stage.connect())
    await eventually(lambda: len(stage.server.connections) == 1)
    assert await handlers(stage) == 1


def test_a_kernel_that_ends_with_a_parked_handler_and_a_waiting_receive_says_nothing() -> None:
    script = (
        "import asyncio\n"
        "from kit import loops\n"
        "from kit.panels.state import StatePanel\n"
        "stage = StatePanel()\n"
        "async def main():\n"
        "    await stage.connect()\n"
        "    await stage.receive()\n"
        "    waiting = loops.background().submit(stage.receive())\n"
        "    while not stage._stage.waits: await asyncio.sleep(0.005)\n"
        "asyncio.run(main())\n"
        "print('end')\n"
    )
    result = subprocess.run([sys.executable, "-X", "dev", "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in result.stderr.splitlines() if not line.startswith("Executing <")]  # the debug mode's word on a busy machine
    assert (result.returncode, result.stdout, said) == (0, "end\n", [])


# What is told and kept.


async def test_a_view_that_comes_late_gets_the_log_in_order_and_nothing_twice(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    await waiting(stage)
    await eventually(lambda: any(entry.kind == "response" and entry.side == "client" for entry in stage.timeline.entries()))
    await stage.send(HELLO)
    await eventually(lambda: any(entry.kind == "frame-in" and entry.side == "client" for entry in stage.timeline.entries()))
    front_end = show(stage)
    await says(front_end, eventually, "client gets text “hello”")
    assert [row.split("(")[0] for row in done(front_end)] == [
        "panel connect connection 1: the handler is parked; the client waits for an answer to its handshake",
        *("handler receive", "handler send", "client gets HTTP 101 Switching Protocols", "handler send", "client gets text “hello”"),
    ]


async def test_rows_come_in_the_order_in_which_things_happened(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(await waiting(stage))
    for number in range(5):
        await stage.send({"type": "websocket.send", "text": str(number)})
        await eventually(lambda number=number: any(e.kind == "frame-in" and e.side == "client" and e.text == str(number) for e in stage.timeline.entries()))
    await says(front_end, eventually, "client gets text “4”")
    assert [row["at"] for row in front_end.shown] == sorted(row["at"] for row in front_end.shown)


async def test_what_is_long_or_invisible_is_shown_short_and_visible(stage: StatePanel, show: Show, eventually: Eventually) -> None:
    front_end = show(await waiting(stage))
    await stage.client_says("\u202e" + "x" * 5_000)
    await stage.receive()
    await says(front_end, eventually, "… 5,001 in all")
    assert "\u202e" not in front_end.words()
    assert max(map(len, done(front_end))) < 500


async def test_its_snapshot_is_static_and_has_no_secrets(stage: StatePanel, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    await waiting(stage)
    await stage.send({"type": "websocket.send", "text": "<img src=x> token=spring-rain"})
    await eventually(lambda: any("img" in row["call"] for row in stage._log.rows()))
    stage.snapshot()
    html, text = shown[0]["text/html"], shown[0]["text/plain"]
    assert "client_state CONNECTED · application_state CONNECTED" in text
    assert "<img" not in html
    assert "spring-rain" not in html + text
