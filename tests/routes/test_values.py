"""What is wrong with a value is said before the server refuses it."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Cookie, FastAPI, Header, Path, WebSocket
from pydantic import AfterValidator

from kit import serve
from kit.errors import HandshakeRefused
from kit.route import Handshake, RouteDescription
from kit.routes import websocket_routes
from tests.routes.handlers import Colour, app_with, handler, only_route, said


def strict_route() -> tuple[FastAPI, RouteDescription]:
    async def endpoint(
        websocket: WebSocket,
        number: Annotated[int, Path(ge=1, examples=[7])],
        colour: Colour = Colour.RED,
        key: Annotated[str | None, Header()] = None,
        session: Annotated[str | None, Cookie()] = None,
        even: Annotated[int | None, AfterValidator(refuse_odd)] = None,
    ) -> None:
        await handler(websocket)

    app = app_with(endpoint, "/items/{number}")
    return app, only_route(app)


def refuse_odd(value: int | None) -> int | None:
    if value is not None and value % 2:
        raise LookupError("odd")
    return value


@pytest.mark.parametrize(
    ("values", "name", "words"),
    [
        ({}, "number", "number: expected a whole number, at least 1, but got nothing. It is required, as a part of the path. Give for example 7."),
        ({"number": "x"}, "number", "expected a whole number, at least 1, but got “x”. The app says: Input should be a valid integer"),
        ({"number": 0}, "number", "but got “0”. The app says: Input should be greater than or equal to 1."),
        ({"number": "a/b"}, "number", "A / begins the next part of the path, even written as %2F"),
        ({"number": 1, "colour": "green"}, "colour", "colour: expected one of red, blue, but got “green”."),
        ({"number": 1, "key": "日"}, "key", "HTTP headers cannot carry “日”; send it percent-encoded"),
        ({"number": 1, "session": "a;b"}, "session", "A cookie's value cannot hold “;” (RFC 6265 §4.1.1)"),
        ({"number": 1, "even": 3}, "even", "The app's own check raised LookupError: odd"),
    ],
    ids=str,
)
def test_a_wrong_value_is_said_with_what_was_expected_what_came_and_why(values: dict[str, Any], name: str, words: str) -> None:
    problems = strict_route()[1].problems(values)
    assert list(problems) == [name]
    assert words in problems[name]


@pytest.mark.parametrize("values", [{"number": "x"}, {"number": 0}, {"number": "a/b"}, {}, {"number": 1, "colour": "green"}], ids=str)
async def test_the_server_refuses_what_was_said_to_be_wrong(values: dict[str, Any]) -> None:
    app, route = strict_route()
    async with serve(app, port=0) as server:
        with pytest.raises(HandshakeRefused) as refused:
            await said(server, route.handshake(values))
        assert refused.value.status == 403
        assert await said(server, route.handshake({"number": 1, "colour": "blue"})) == {"number": "1"}


def test_a_parameter_is_also_known_by_its_name_on_the_wire() -> None:
    route = only_route(app_with(with_header))
    assert route.handshake({"x-my-name": "Ana"}) == route.handshake({"x_my_name": "Ana"}) == Handshake("/ws", {}, {"x-my-name": "Ana"}, {})


async def with_header(websocket: WebSocket, x_my_name: Annotated[str, Header()]) -> None: ...


def test_an_unknown_parameter_or_route_is_answered_with_those_that_there_are() -> None:
    routes = websocket_routes(app_with(with_header))
    with pytest.raises(LookupError, match=r"/ws has no parameter 'x'\. It takes x_my_name\."):
        routes[0].handshake({"x": 1})
    with pytest.raises(LookupError, match=r"the app has no WebSocket route '/wss'\. There are /ws\."):
        routes.find("/wss")
    with pytest.raises(LookupError, match=r"It has none at all\."):
        websocket_routes(FastAPI()).find("/ws")


def test_a_route_is_found_by_path_name_or_a_path_that_it_answers() -> None:
    app = FastAPI()
    app.add_api_websocket_route("/rooms/{room}", handler, name="room")
    routes = websocket_routes(app)
    assert routes.find("/rooms/{room}") is routes.find("room") is routes.find("/rooms/a%20b") is routes[0]


async def test_server_routes_are_those_of_its_app() -> None:
    async with serve(app_with(handler), port=0) as server:
        assert server.routes == websocket_routes(server.app)
        assert [route.path for route in server.routes] == ["/ws"]
