"""The table of the two state machines is what Starlette's own WebSocket does, over a real server, in every state that can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

import pytest
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from kit import serve
from kit.panels.stage import Stage, stage_app
from kit.websocket_states import APPLICATION, CALLS, CLIENT, GONE, judge_receive, judge_send

MESSAGES = {call.key: call.message for call in CALLS if call.message is not None} | {"nonsense": {"type": "websocket.nonsense"}}
STEPS = {"CONNECTING": [], "CONNECTED": ["accept"], "RESPONSE": ["start"], "DISCONNECTED": ["close"]}


class Place(NamedTuple):
    """Both states, and whether the server has noticed that the client is gone."""

    client: str
    application: str
    gone: bool

    def __str__(self) -> str:
        return f"client {self.client}, application {self.application}{', client gone' if self.gone else ''}"


UNFINISHED = [state for state in APPLICATION.states if state != "DISCONNECTED"]
# The client's end is DISCONNECTED when the client is gone, or when the handler itself has ended the connection.
PLACES = [
    *(Place(client, application, False) for client in ("CONNECTING", "CONNECTED") for application in APPLICATION.states),
    *(Place(client, application, True) for client in CLIENT.states for application in UNFINISHED),
    Place("DISCONNECTED", "DISCONNECTED", False),
]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A connection with a parked handler."""
    stages: list[Stage] = []
    async with serve(stage_app(lambda: stages[0]), name="state", port=0) as server:
        stages.append(Stage(server, lambda: None, lambda verb, message: None))
        await stages[0].begin()
        yield stages[0]
        await stages[0].end("the test is over")


async def go_to(stage: Stage, place: Place) -> None:
    for key in STEPS[place.application]:
        await stage.server.run(stage.send(MESSAGES[key]))
    if place.client != "CONNECTING":
        await stage.server.run(stage.receive(5))
    if place.gone:
        await stage.vanish()
    if place.client == "DISCONNECTED":
        await stage.server.run(stage.receive(5))
    assert states(stage) == (place.client, place.application)


def states(stage: Stage) -> tuple[str, str]:
    return stage.websocket.client_state.name, stage.websocket.application_state.name


def described(error: BaseException | None) -> str:
    if error is None:
        return ""
    if type(error) is WebSocketDisconnect:
        return f"WebSocketDisconnect(code={error.code}, reason={error.reason!r})"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def passed(stage: Stage, kind: str) -> int:
    """How many messages have come past Starlette."""
    return sum(entry.kind == kind for entry in stage.server.timeline.entries())


async def outcome(call: Any) -> BaseException | None:
    try:
        await call
    except Exception as error:
        return error
    return None


def test_the_states_have_starlettes_names() -> None:
    assert {*CLIENT.states, *APPLICATION.states} == {state.name for state in WebSocketState}
    assert {CLIENT.attribute, APPLICATION.attribute} <= vars(WebSocket({"type": "websocket"}, None, None)).keys()


def test_all_twelve_pairs_of_states_are_reached() -> None:
    assert {(place.client, place.application) for place in PLACES} == {(client, application) for client in CLIENT.states for application in APPLICATION.states}


@pytest.mark.parametrize("key", MESSAGES)
@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_a_send_does_what_the_table_says(stage: Stage, place: Place, key: str) -> None:
    await go_to(stage, place)
    verdict, before = judge_send(place.application, MESSAGES[key], client_gone=place.gone), passed(stage, "asgi-send")
    error = await outcome(stage.server.run(stage.send(MESSAGES[key])))
    assert described(error) == verdict.error
    assert states(stage) == (place.client, verdict.after)
    assert passed(stage, "asgi-send") - before == verdict.legal, "an illegal call raises before anything is sent"
    assert bool(verdict.meaning) == bool(error)
    assert getattr(error, "__notes__", [""]) == [verdict.meaning]


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_a_receive_does_what_the_table_says(stage: Stage, place: Place, eventually: Callable[..., Any]) -> None:
    await go_to(stage, place)
    verdict, before = judge_receive(place.client), passed(stage, "asgi-receive")
    if (place.client, place.application, place.gone) == ("CONNECTED", "CONNECTED", False):
        await (await stage.open_client()).send_text("hello")
    receiving = asyncio.ensure_future(stage.server.run(stage.receive(5)))
    if place.client == "CONNECTED" and place.application in ("CONNECTING", "RESPONSE"):  # nothing else can come
        await eventually(lambda: stage.waits or receiving.done())
        await stage.vanish()
    error = await outcome(receiving)
    assert described(error) == verdict.error
    assert passed(stage, "asgi-receive") - before == verdict.legal
    if verdict.legal:
        message, moved = receiving.result()
        assert moved == (place.client, judge_receive(place.client, message["type"]).after)
        assert states(stage) == (moved[1], place.application)
    else:
        assert (states(stage), error.__notes__) == ((place.client, place.application), [verdict.meaning])


@pytest.mark.parametrize("kind", ["websocket.connect", "websocket.receive", "websocket.disconnect", "websocket.send"])
@pytest.mark.parametrize("state", CLIENT.states)
async def test_a_server_that_hands_on_what_it_may_not_is_refused_as_the_table_says(state: str, kind: str) -> None:
    """No real server does this, so a few lines of ASGI stand in for one that does."""

    async def receive() -> dict[str, Any]:
        return {"type": kind}

    websocket = WebSocket({"type": "websocket"}, receive, None)
    websocket.client_state = WebSocketState[state]
    verdict = judge_receive(state, kind)
    assert described(await outcome(websocket.receive())) == verdict.error
    assert websocket.client_state.name == verdict.after
    assert verdict.legal == (not verdict.error)


async def test_an_oserror_while_connected_becomes_a_disconnect_with_1006(stage: Stage) -> None:
    await go_to(stage, Place("CONNECTED", "CONNECTED", True))
    with pytest.raises(WebSocketDisconnect) as caught:
        await stage.server.run(stage.websocket.send_text("hello"))
    assert described(caught.value) == GONE
    assert isinstance(caught.value.__context__, OSError)


CONVENIENCES: dict[str, Callable[[WebSocket], Any]] = {
    "accept()": lambda websocket: websocket.accept(),
    "send_text()": lambda websocket: websocket.send_text("hello"),
    "send_bytes()": lambda websocket: websocket.send_bytes(b"hello"),
    "send_json()": lambda websocket: websocket.send_json("hello"),
    'send_json(mode="binary")': lambda websocket: websocket.send_json("hello", mode="binary"),
    "close()": lambda websocket: websocket.close(),
    "send_denial_response()": lambda websocket: websocket.send_denial_response(PlainTextResponse("who are you?", 401)),
    "receive_text()": lambda websocket: websocket.receive_text(),
    "receive_bytes()": lambda websocket: websocket.receive_bytes(),
    "receive_json()": lambda websocket: websocket.receive_json(mode="binary"),
}


@pytest.mark.parametrize("name", CONVENIENCES)
async def test_each_call_names_the_methods_that_make_it(name: str) -> None:
    made: list[str] = []

    async def receive() -> dict[str, Any]:
        made.append("receive")
        return {"type": "websocket.receive", "text": '"hello"', "bytes": b'"hello"'} if name != "accept()" else {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        made.append(key_of(message))

    websocket = WebSocket({"type": "websocket", "extensions": {"websocket.http.response": {}}}, receive, send)
    if name not in ("accept()", "close()", "send_denial_response()"):
        websocket.client_state = websocket.application_state = WebSocketState.CONNECTED
    await CONVENIENCES[name](websocket)
    assert {call.key for call in CALLS if name in call.made_by} == set(made)


def key_of(message: dict[str, Any]) -> str:
    """The key of the call that sends a message of this kind."""
    return next(call.key for call in CALLS if call.message and call.key != "more" and kind_of(call.message) == kind_of(message))


def kind_of(message: Mapping[str, Any]) -> tuple[str, bool]:
    return message["type"], "bytes" in message
