"""What a route is, and where routes are found."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute, Host, Mount, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from kit import serve
from kit.routes import websocket_routes
from tests.routes.handlers import app_with, handler, only_route, opaque, said

# What a route is.


def documented(websocket: WebSocket) -> None:
    """Talks about one
    thing. Then about another.

    Much later.
    """


def test_a_route_says_its_path_name_handler_place_and_docstring() -> None:
    app = FastAPI()
    app.add_api_websocket_route("/rooms/{room}", documented, name="room")
    route = only_route(app)
    assert (route.path, route.name, route.endpoint) == ("/rooms/{room}", "room", f"{__name__}.documented")
    assert (route.headline, route.description) == ("Talks about one thing.", "Then about another.\n\nMuch later.")
    assert (route.defined.cell, route.defined.code) == ("test_routes.py", "def documented(websocket: WebSocket) -> None:")
    assert route.defined.line == documented.__code__.co_firstlineno


def test_a_handler_without_docstring_has_no_headline() -> None:
    assert (only_route(app_with(lambda websocket: None)).headline, only_route(app_with(lambda websocket: None)).description) == ("", "")


def test_a_decorated_and_a_partial_handler_are_found_under_their_wrappers() -> None:
    @functools.wraps(documented)
    def wrapper(websocket: WebSocket) -> None: ...

    for endpoint in (wrapper, functools.partial(documented)):
        route = only_route(Starlette(routes=[WebSocketRoute("/", endpoint)]))
        assert (route.endpoint, route.headline) == (f"{__name__}.documented", "Talks about one thing.")
        assert route.defined.line == documented.__code__.co_firstlineno


def test_http_routes_are_not_listed() -> None:
    app = app_with(handler)
    app.get("/page")(lambda: "page")
    assert [route.path for route in websocket_routes(app)] == ["/ws"]


def test_an_app_without_any_route_has_an_empty_list_that_says_so() -> None:
    assert websocket_routes(FastAPI()) == []
    assert repr(websocket_routes(FastAPI())) == "no WebSocket routes"


def test_routes_are_printed_as_a_table() -> None:
    app = app_with(handler, "/{a}/{b}")
    app.mount("/old", opaque)
    assert repr(websocket_routes(app)).splitlines() == [
        "path      takes  says",
        "/{a}/{b}  a, b   Says hello.",
        "/old: routes cannot be listed: this ASGI app (tests.routes.handlers.opaque) does not show its routes.",
    ]


# Where routes are found.


async def test_included_routers_bring_their_prefixes_and_dependencies() -> None:
    def outermost(a: int = 1) -> None: ...
    def outer(b: int = 2) -> None: ...
    def inner(c: int = 3) -> None: ...

    deep, middle, app = APIRouter(prefix="/deep", dependencies=[Depends(inner)]), APIRouter(prefix="/middle"), FastAPI(dependencies=[Depends(outermost)])
    deep.add_api_websocket_route("/{room}", handler)
    middle.include_router(deep, prefix="/more")
    app.include_router(middle, prefix="/api", dependencies=[Depends(outer)])
    route = only_route(app)
    assert route.path == "/api/middle/more/deep/{room}"
    assert [dependency.name for dependency in route.dependencies] == ["outermost", "outer", "inner"]
    assert [parameter.name for parameter in route.parameters] == ["room", "a", "b", "c"]
    async with serve(app, port=0) as server:
        assert await said(server, route.handshake({"room": "tea"})) == {"room": "tea"}


@pytest.mark.parametrize("make", [FastAPI, Starlette, APIRouter, Router], ids=lambda make: f"{make.__module__}.{make.__name__}")
async def test_mounted_apps_are_looked_into(make: Callable[[], Any]) -> None:
    mounted, app = make(), FastAPI()
    mounted.routes.append(WebSocketRoute("/ws/{room}", handler))
    app.mount("/shops/{shop:int}", mounted)
    route = only_route(app)
    assert route.path == "/shops/{shop:int}/ws/{room}"
    async with serve(app, port=0) as server:
        assert await said(server, route.handshake({"shop": 7, "room": "tea"})) == {"shop": "7", "room": "tea"}


async def test_a_mount_with_middleware_of_its_own_is_looked_into() -> None:
    app = Starlette(routes=[Mount("/sub", routes=[WebSocketRoute("/ws", handler)], middleware=[Middleware(TrustedHostMiddleware)])])
    route = only_route(app)
    assert route.path == "/sub/ws"
    async with serve(app, port=0) as server:
        assert await said(server, route.handshake({})) == {}


async def test_a_host_is_sent_as_the_host_header() -> None:
    app = Starlette(routes=[Host("{shop}.example.org", Router(routes=[WebSocketRoute("/ws", handler)]))])
    route = only_route(app)
    assert (route.host, [parameter.where for parameter in route.parameters]) == ("{shop}.example.org", ["host"])
    assert route.handshake({"shop": "tea"}).headers == {"Host": "tea.example.org"}
    async with serve(app, port=0, allowed_hosts=["tea.example.org"]) as server:
        assert await said(server, route.handshake({"shop": "tea"})) == {"shop": "tea"}


class Wrapped:
    """A middleware as one writes it oneself."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def test_middleware_that_keeps_the_app_it_wraps_is_unwrapped() -> None:
    assert only_route(Wrapped(Wrapped(app_with(handler)))).path == "/ws"


@pytest.mark.parametrize("app", [opaque, Wrapped(opaque), None, 42, lambda scope: None], ids=["function", "wrapped", "None", "number", "lambda"])
def test_an_app_that_does_not_show_its_routes_is_said_to_be_such(app: Any) -> None:
    routes = websocket_routes(app)
    assert routes == []
    (sentence,) = routes.unlisted
    assert sentence.startswith("routes cannot be listed: this ASGI app (")
    assert sentence.endswith(") does not show its routes.")


def test_an_app_that_wraps_itself_or_mounts_itself_comes_to_an_end() -> None:
    wrapped, app = Wrapped(None), app_with(handler)
    wrapped.app = wrapped
    app.mount("/again", app)
    assert websocket_routes(wrapped).unlisted
    assert [route.path for route in websocket_routes(app)] == ["/ws"]


def test_static_files_take_no_websockets_and_are_not_worth_a_word(tmp_path: Any) -> None:
    app = app_with(handler)
    app.mount("/static", StaticFiles(directory=tmp_path))
    assert websocket_routes(app).unlisted == []


class Odd(BaseRoute):
    path = "/odd"


def test_an_unknown_kind_of_route_is_named() -> None:
    (sentence,) = websocket_routes(Starlette(routes=[Odd()])).unlisted
    assert sentence == "/odd: tests.routes.test_routes.Odd is a kind of route that does not tell whether it takes WebSockets."


def test_one_odd_route_does_not_hide_the_others() -> None:
    odd = WebSocketRoute("/odd", handler)
    odd.path = 3
    routes = websocket_routes(Starlette(routes=[odd, WebSocketRoute("/ws", handler)]))
    assert [route.path for route in routes] == ["/ws"]
    assert "this route cannot be described (TypeError" in routes.unlisted[0]


def test_a_name_that_mount_and_route_share_is_no_obstacle() -> None:
    app = Starlette(routes=[Mount("/{id}", routes=[WebSocketRoute("/{id}", handler)])])
    assert only_route(app).path == "/{id}/{id}"


class Echo(WebSocketEndpoint):
    """Sends back what it gets."""

    encoding = "text"

    async def on_connect(self, websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_json(dict(websocket.path_params))


async def test_plain_starlette_routes_declare_no_more_than_their_path(answers: Callable[..., Any]) -> None:
    app = Starlette(routes=[WebSocketRoute("/echo/{number:int}", Echo)])
    route = only_route(app)
    assert (route.declares, route.endpoint, route.headline) == (False, f"{__name__}.Echo", "Sends back what it gets.")
    assert route.defined.cell == "test_routes.py"
    assert await answers(app, {"number": 5}) == {"number": 5}


def test_a_list_is_as_new_as_the_app() -> None:
    app = app_with(handler)
    assert len(websocket_routes(app)) == 1
    app.websocket("/later")(handler)
    assert [route.path for route in websocket_routes(app)] == ["/ws", "/later"]
