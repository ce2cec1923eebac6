"""RoutesPanel: what it tells of an app's routes, and how it connects to them, from code and by its forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal

import pytest
from fastapi import Depends, FastAPI, Header, Path, WebSocket, WebSocketException
from fastapi.security import APIKeyCookie
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketState

from kit import Client, Server, serve
from kit.errors import HandshakeRefused, KitError
from kit.panels import routes as module
from kit.panels.routes import RoutesPanel
from kit.route import WrongParameters
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]

app = FastAPI()


async def door(session: Annotated[str, Depends(APIKeyCookie(name="session"))]) -> AsyncIterator[str]:
    """Lets in who has a session."""
    if session != "s3cr3t-session":
        raise WebSocketException(1008, "no such session")
    yield session


@app.websocket("/rooms/{room}")
async def talk(
    websocket: WebSocket, room: Annotated[int, Path(ge=1)], x_key: Annotated[str, Header(description="`open`")] = "none", mood: Literal["good", "bad"] = "good"
) -> None:
    """Says what it got, and listens."""
    await websocket.accept(subprotocol=next(iter(websocket.scope["subprotocols"]), None))
    await websocket.send_json([room, x_key, mood, dict(websocket.query_params), websocket.cookies])
    await websocket.receive()


@app.websocket("/guarded")
async def guarded(websocket: WebSocket, session: Annotated[str, Depends(door)]) -> None:
    await websocket.accept()
    await websocket.receive()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0, name="routes") as serving:
        yield serving


@pytest.fixture
async def panel(server: Server) -> AsyncIterator[RoutesPanel]:
    panel = RoutesPanel(server)
    yield panel
    for chat in panel.chats:
        await panel.remove(chat)


def sent_by(client: Client, server: Server) -> list[str]:
    """The messages that the handler of a client has sent."""
    return [entry.text for entry in server.timeline.entries(connection=client.number) if entry.kind == "asgi-send" and entry.text]


def answers(front_end: FrontEnd) -> list[dict[str, Any]]:
    return [message["answer"] for message in front_end.messages if "answer" in message]


# What it tells.


async def test_it_tells_all_that_is_known_of_a_route(panel: RoutesPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel.list)
    await eventually(lambda: front_end.messages)
    talks, guarded = front_end.messages[0]["routes"]
    assert (talks["path"], talks["headline"], talks["declares"]) == ("/rooms/{room}", "Says what it got, and listens.", True)
    assert talks["defined"].startswith("test_routes_panel.py, line ")
    room, mood, key = talks["parameters"]
    assert (room["name"], room["where"], room["kind"], room["limits"], room["required"]) == ("room", "path", "whole number", ["at least 1"], True)
    assert (key["sentAs"], key["default"], key["description"]) == ("x-key", "none", "`open`")
    assert mood["choices"] == ["good", "bad"]
    (dependency,) = guarded["dependencies"]
    assert (dependency["name"], dependency["yields"], dependency["dependencies"][0]["wants"]) == ("door", True, "cookie session: API key")
    assert guarded["parameters"][0]["askedBy"] == ["door"]


async def test_what_an_app_says_of_itself_is_made_visible(show: Show, eventually: Eventually) -> None:
    async def endpoint(websocket: WebSocket) -> None: ...

    endpoint.__doc__ = "Reads \u202ebackwards\x00."
    hostile = FastAPI()
    hostile.add_api_websocket_route("/\u202e", endpoint)
    async with serve(hostile, port=0, name="hostile") as server:
        front_end = show(RoutesPanel(server).list)
        await eventually(lambda: front_end.messages)
        (route,) = front_end.messages[0]["routes"]
        assert (route["path"], route["headline"]) == ("/\\u202e", "Reads \\u202ebackwards\\x00.")


async def test_an_app_without_routes_and_one_that_hides_them_are_told_apart(show: Show, eventually: Eventually) -> None:
    async def hidden(scope: Any, receive: Any, send: Any) -> None: ...

    for served, notes in ((FastAPI(), 0), (hidden, 1)):
        async with serve(served, port=0, name="empty") as server:
            front_end = show(RoutesPanel(server).list)
            await eventually(lambda front_end=front_end: front_end.messages)
            assert (front_end.messages[0]["routes"], len(front_end.messages[0]["notes"])) == ([], notes)


async def test_routes_over_the_limit_are_counted(show: Show, eventually: Eventually) -> None:
    many = FastAPI(routes=[WebSocketRoute(f"/{number}", talk) for number in range(203)])
    async with serve(many, port=0, name="many") as server:
        front_end = show(RoutesPanel(server).list)
        await eventually(lambda: front_end.messages)
        assert len(front_end.messages[0]["routes"]) == 200
        assert front_end.messages[0]["notes"] == ["3 more routes are not shown."]


async def test_it_counts_the_open_connections_of_each_route(panel: RoutesPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel.list)
    await panel.connect("/rooms/{room}", room=1)
    await panel.connect("/rooms/{room}", room=2)
    await eventually(lambda: front_end.state.get("open") == {"0": 2})
    with pytest.raises(HandshakeRefused):
        await panel.connect("/guarded", session="wrong")
    await panel.connect("/guarded", session="s3cr3t-session")
    await eventually(lambda: front_end.state.get("open") == {"0": 2, "1": 1})
    await panel.remove("Ana")
    await eventually(lambda: front_end.state.get("open") == {"0": 2})


async def test_it_follows_the_name_and_lists_the_routes_of_the_app_that_replaces_the_first(show: Show, eventually: Eventually) -> None:
    later = FastAPI()
    later.add_api_websocket_route("/later", talk)
    async with serve(app, port=0, name="followed") as first:
        panel = RoutesPanel(first)
        front_end = show(panel.list)
        await eventually(lambda: front_end.messages)
        async with serve(later, port=0, name="followed"):
            await eventually(
                lambda: [route["path"] for route in ([m for m in front_end.messages if "routes" in m] or [{}])[-1].get("routes", [])] == ["/later"]
            )
            assert [route.path for route in panel.routes] == ["/later"]
        await eventually(lambda: front_end.state["pill"] == "stopped")


async def test_refresh_shows_what_came_later(show: Show, eventually: Eventually) -> None:
    growing = FastAPI()
    async with serve(growing, port=0, name="growing") as server:
        panel = RoutesPanel(server)
        front_end = show(panel.list)
        growing.add_api_websocket_route("/one", talk)
        await panel.refresh()
        assert [route.path for route in panel.routes] == ["/one"]
        growing.add_api_websocket_route("/two", talk)
        front_end.do("refresh")
        await eventually(lambda: len(panel.routes) == 2)


# Connecting from code.


async def test_values_go_by_name_to_where_the_route_wants_them(panel: RoutesPanel, server: Server, eventually: Eventually) -> None:
    client = await panel.connect(
        "/rooms/{room}", room=7, x_key="k", mood="bad", name="Ana", subprotocols=["v1"], query={"more": "q"}, cookies={"c": "1"}, headers={"X-More": "h"}
    )
    assert client.subprotocol == "v1"
    await eventually(lambda: sent_by(client, server))
    assert sent_by(client, server) == ['[7,"k","bad",{"mood":"bad","more":"q"},{"c":"1"}]']


@pytest.mark.parametrize("path", ["/rooms/{room}", "talk", "/rooms/99"])
async def test_a_route_goes_by_its_path_its_name_or_a_path_that_it_answers(panel: RoutesPanel, path: str) -> None:
    assert (await panel.connect(path, room=1)).connection.path == "/rooms/1"


async def test_wrong_and_missing_values_connect_nothing_and_name_every_problem(panel: RoutesPanel, server: Server) -> None:
    with pytest.raises(WrongParameters) as wrong:
        await panel.connect("/rooms/{room}", room="x", mood="so so")
    assert list(wrong.value.problems) == ["room", "mood"]
    assert str(wrong.value).endswith("Nothing was connected.")
    with pytest.raises(WrongParameters, match=r"session: expected an API key, but got nothing\. It is required, as the cookie session\."):
        await panel.connect("/guarded")
    with pytest.raises(LookupError, match=r"no WebSocket route '/nowhere'\. There are /rooms/{room}, /guarded"):
        await panel.connect("/nowhere")
    with pytest.raises(LookupError, match=r"has no parameter 'rom'\. It takes room, mood, x_key\."):
        await panel.connect("/rooms/{room}", rom=1)
    assert (panel.chats, server.timeline.connections) == ([], [])


async def test_anyway_lets_the_server_refuse_itself(panel: RoutesPanel) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        await panel.connect("/rooms/{room}", room="x", anyway=True)
    assert refused.value.status == 403
    assert panel["Ana"].path == "/rooms/x"


async def test_names_are_taken_in_turn_and_a_chat_that_ended_is_used_again(panel: RoutesPanel) -> None:
    for _ in range(2):
        with pytest.raises(HandshakeRefused):
            await panel.connect("/rooms/{room}", room=0, anyway=True)
    await panel.connect("/rooms/{room}", room=1)
    assert [chat.name for chat in panel.chats] == ["Ana"]
    await panel.connect("/rooms/{room}", room=1)
    await panel.connect("/guarded", session="s3cr3t-session")
    assert [(chat.name, chat.path) for chat in panel.chats] == [("Ana", "/rooms/1"), ("Ben", "/rooms/1"), ("Ana", "/guarded")]


async def test_a_name_that_is_given_again_gets_its_chat_with_new_values_only(panel: RoutesPanel, server: Server, eventually: Eventually) -> None:
    await panel.connect("/rooms/{room}", room=1, mood="bad", x_key="k", name="Ana")
    client = await panel.connect("/rooms/{room}", room=2, name="Ana")
    await eventually(lambda: sent_by(client, server))
    assert sent_by(client, server) == ['[2,"none","good",{},{}]']
    assert len(panel.chats) == 1


async def test_chats_are_bounded_and_can_be_removed(panel: RoutesPanel) -> None:
    clients = [await panel.connect("/rooms/{room}", room=1, name=f"client {number}") for number in range(module.CHATS_LIMIT)]
    with pytest.raises(KitError, match=r"12 chats here already\. Remove one first"):
        await panel.connect("/rooms/{room}", room=1, name="one more")
    await panel.remove("client 0")
    assert clients[0].state is WebSocketState.DISCONNECTED
    await panel.connect("/rooms/{room}", room=1, name="one more")
    assert [chat.name for chat in panel.chats][-1] == "one more"
    with pytest.raises(KeyError, match="no chat of 'client 0' here"):
        await panel.remove("client 0")


async def test_the_remove_button_does_the_same(panel: RoutesPanel, eventually: Eventually) -> None:
    client = await panel.connect("/rooms/{room}", room=1)
    holder = panel._column.children[0]
    assert holder.children[1].description == "Remove Ana"
    holder.children[1].click()
    await eventually(lambda: panel.chats == [] and client.state is WebSocketState.DISCONNECTED)
    assert panel._column.children == ()


async def test_closing_the_panel_closes_its_connections(server: Server, eventually: Eventually) -> None:
    panel = RoutesPanel(server)
    client = await panel.connect("/rooms/{room}", room=1)
    panel.close()
    await eventually(lambda: client.state is WebSocketState.DISCONNECTED)
    await eventually(lambda: panel.chats == [])


def test_it_wants_a_server() -> None:
    with pytest.raises(TypeError, match="RoutesPanel expects a server from `await serve"):
        RoutesPanel("ws://127.0.0.1:8000")


# Connecting by the form.


async def test_a_form_connects_as_typed(panel: RoutesPanel, server: Server, show: Show, eventually: Eventually) -> None:
    front_end = show(panel.list)
    front_end.do("connect", route=0, path="/rooms/{room}", values={"room": "3", "x_key": "", "mood": "bad"}, name="Cleo", subprotocols="v1, v2")
    (answer,) = await eventually(lambda: answers(front_end))
    assert (answer["tone"], answer["said"]) == ("good", "Cleo is connected, as connection 1.")
    client = panel["Cleo"].client
    assert client.subprotocol == "v1"
    await eventually(lambda: sent_by(client, server) == ['[3,"none","bad",{"mood":"bad"},{}]'])


async def test_a_form_is_told_what_is_wrong_beside_each_field(panel: RoutesPanel, show: Show, eventually: Eventually) -> None:
    front_end, other = show(panel.list), show(panel.list)
    front_end.do("connect", route=0, path="/rooms/{room}", values={"room": "x"})
    (answer,) = await eventually(lambda: answers(front_end))
    assert answer["route"] == 0
    assert answer["problems"]["room"].startswith("Expected a whole number, at least 1, but got “x”.")
    front_end.do("connect", route=0, path="/rooms/{room}", values={"room": "1"}, subprotocols="a b")
    await eventually(lambda: len(answers(front_end)) == 2)
    assert "Subprotocols: expected names of letters" in answers(front_end)[1]["problems"]["subprotocols"]
    assert (answers(other), panel.chats) == ([], [])


async def test_a_form_that_sends_anyway_is_told_of_the_refusal(panel: RoutesPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel.list)
    front_end.do("connect", route=0, path="/rooms/{room}", values={"room": "x"}, anyway=True)
    (answer,) = await eventually(lambda: answers(front_end))
    assert (answer["tone"], answer["said"]) == ("bad", "Refused with HTTP 403: the chat of Ana says why.")


async def test_a_form_of_an_app_that_has_changed_since_connects_nothing(panel: RoutesPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel.list)
    front_end.do("connect", route=1, path="/rooms/{room}", values={"room": "1"})
    (answer,) = await eventually(lambda: answers(front_end))
    assert "the app has changed since this form was made. Press Refresh" in answer["said"]
    assert panel.chats == []


async def test_nothing_that_was_typed_is_kept_in_what_a_notebook_saves(panel: RoutesPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel.list)
    front_end.do("connect", route=1, path="/guarded", values={"session": "s3cr3t-session"})
    await eventually(lambda: answers(front_end))
    assert "s3cr3t-session" not in repr([widget.get_state() for widget in (panel, panel.list, panel._column, panel["Ana"])])
