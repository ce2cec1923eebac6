"""What is said of an app's WebSocket routes is so: every parameter is sent where its route takes it, by a real connection."""

from __future__ import annotations

import datetime
import functools
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import APIRouter, Cookie, Depends, FastAPI, Header, Path, Query, Security, WebSocket
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBasic, HTTPBearer, HTTPDigest, OAuth2PasswordBearer
from pydantic import AfterValidator, BaseModel, Field
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute, Host, Mount, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles

from kit import connect, serve
from kit.errors import HandshakeRefused
from kit.parameters import Parameter
from kit.route import Handshake, RouteDescription
from kit.routes import websocket_routes


async def handler(websocket: WebSocket) -> None:
    """Says hello. And more."""
    await websocket.accept()
    await websocket.send_json({key: str(value) for key, value in websocket.path_params.items()})
    await websocket.close()


async def opaque(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI app that shows nothing of itself."""


def app_with(endpoint: Callable[..., Any], path: str = "/ws") -> FastAPI:
    app = FastAPI()
    app.add_api_websocket_route(path, endpoint)
    return app


def only_route(app: Any) -> RouteDescription:
    (route,) = websocket_routes(app)
    return route


def only_parameter(annotation: Any, default: Any = ...) -> Parameter:
    """The description of a parameter that a handler declares so."""

    async def endpoint(websocket, value=default): ...

    endpoint.__annotations__ = {"websocket": WebSocket, "value": annotation}
    if default is ...:
        endpoint.__defaults__ = None
    (parameter,) = only_route(app_with(endpoint)).parameters
    return parameter


async def said(server: Any, handshake: Handshake) -> Any:
    """What the first message of a real connection says."""
    async with connect(server, handshake.path, query=handshake.query, headers=handshake.headers, cookies=handshake.cookies) as client:
        return await client.receive_json(timeout=5)


@pytest.fixture
def answers() -> Callable[..., Any]:
    """``await answers(endpoint, values, path)``: serve a handler, connect to it with these values, and return what it says."""

    async def ask(endpoint: Callable[..., Any], values: dict[str, Any], path: str = "/ws") -> Any:
        app = endpoint if isinstance(endpoint, (FastAPI, Starlette)) else app_with(endpoint, path)
        async with serve(app, port=0, name="asked") as server:
            route = server.routes[0]
            assert route.problems(values) == {}
            return await said(server, route.handshake(values))

    return ask


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
        "/old: routes cannot be listed: this ASGI app (tests.test_routes.opaque) does not show its routes.",
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
    assert sentence == "/odd: tests.test_routes.Odd is a kind of route that does not tell whether it takes WebSockets."


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


# What a parameter is.


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, "whole number"),
        (float, "number"),
        (bool, "true or false"),
        (str, "text"),
        (int | None, "whole number"),
        (int | str, "whole number or text"),
        (Decimal, "number"),
        (datetime.date, "date, such as 2026-11-21"),
        (datetime.datetime, "date and time, such as 2026-11-21T09:30:00"),
        (UUID, "UUID"),
        (Annotated[list[int], Query()], "several of: whole number"),
        (Annotated[set[Colour], Query()], "several of: choice"),
        (Colour, "choice"),
        (Any, "anything"),
    ],
    ids=str,
)
def test_types_are_said_in_words(annotation: Any, kind: str) -> None:
    assert only_parameter(annotation).kind == kind


@pytest.mark.parametrize(
    ("annotation", "limits"),
    [
        (Annotated[int, Query(ge=1, lt=10)], ("at least 1", "less than 10")),
        (Annotated[float | None, Query(gt=0.5, le=2)], ("more than 0.5", "at most 2")),
        (Annotated[int, Query(multiple_of=5)], ("a multiple of 5",)),
        (Annotated[str, Query(min_length=3, max_length=8, pattern="^a")], ("3 characters or more", "8 characters or fewer", "matches ^a")),
        (Annotated[list[str], Query(max_length=2)], ("2 values or fewer",)),
    ],
    ids=str,
)
def test_limits_are_said_in_words(annotation: Any, limits: tuple[str, ...]) -> None:
    assert only_parameter(annotation).limits == limits


def test_choices_are_listed() -> None:
    assert only_parameter(Colour).choices == ("red", "blue")
    assert only_parameter(Literal["a", 2] | None).choices == ("a", "2")


@pytest.mark.parametrize(
    ("default", "said"),
    [(None, "none"), (10, "10"), (True, "true"), ("", "empty text"), (Colour.RED, "red"), (datetime.date(2026, 1, 2), "2026-01-02")],
    ids=str,
)
def test_a_default_makes_a_parameter_optional_and_is_said_as_one_would_type_it(default: Any, said: str) -> None:
    parameter = only_parameter(Any, default)
    assert (parameter.required, parameter.default) == (False, said)


def test_a_default_that_is_made_each_time_is_said_to_be() -> None:
    assert only_parameter(Annotated[str, Query(default_factory=str)]).default == "made anew each time"


def test_description_examples_alias_and_deprecation_are_the_authors() -> None:
    parameter = only_parameter(Annotated[str, Query(description="Who.", examples=["Ana", "Ben"], alias="who-is-it", deprecated=True)])
    assert (parameter.name, parameter.sent_as) == ("value", "who-is-it")
    assert (parameter.description, parameter.examples, parameter.deprecated) == ("Who.", ("Ana", "Ben"), True)


async def test_each_parameter_goes_to_its_own_place(answers: Callable[..., Any]) -> None:
    async def endpoint(
        websocket: WebSocket,
        room: str,
        x_name: Annotated[str, Header()],
        plain_name: Annotated[str, Header(convert_underscores=False)],
        session: Annotated[str, Cookie(alias="session-id")],
        colour: Colour,
        numbers: Annotated[list[int], Query()],
        loud: bool,
        day: datetime.date,
        left_out: int | None = None,
    ) -> None:
        await websocket.accept()
        await websocket.send_json([room, x_name, plain_name, session, colour.name, numbers, loud, day.isoformat(), left_out])
        await websocket.close()

    values = {
        "room": "a",
        "x_name": "Ana",
        "plain_name": "p",
        "session": "s",
        "colour": Colour.BLUE,
        "numbers": [1, 2],
        "loud": True,
        "day": datetime.date(2026, 1, 2),
        "left_out": None,
    }
    expected = ["a", "Ana", "p", "s", "BLUE", [1, 2], True, "2026-01-02", None]
    assert await answers(endpoint, values, "/rooms/{room}") == expected
    typed = values | {"colour": "blue", "numbers": ["1", "2"], "loud": "true", "day": "2026-01-02"}
    assert await answers(endpoint, typed, "/rooms/{room}") == expected


@pytest.mark.parametrize("text", ["ü", "a b", "100%", "%2F", "a?b=c", "#", "a+b", "..", "&;=", "“”", "\u2028", "日本"])
async def test_any_text_comes_through_path_and_query_as_it_was(answers: Callable[..., Any], text: str) -> None:
    async def endpoint(websocket: WebSocket, part: str, query: str) -> None:
        await websocket.accept()
        await websocket.send_json([part, query])
        await websocket.close()

    assert await answers(endpoint, {"part": text, "query_query": text}, "/x/{part}/y") == [text, text]


async def test_a_path_convertor_lets_slashes_through(answers: Callable[..., Any]) -> None:
    assert await answers(handler, {"file": "a/b c/d.txt"}, "/files/{file:path}") == {"file": "a/b c/d.txt"}


class Paging(BaseModel):
    limit: int = Field(10, ge=1, le=100)
    tags: list[str] = []
    order_by: str = Field("name", alias="order")


async def test_a_model_stands_for_several_parameters(answers: Callable[..., Any]) -> None:
    async def endpoint(websocket: WebSocket, paging: Annotated[Paging, Query()]) -> None:
        await websocket.accept()
        await websocket.send_json([paging.limit, paging.tags, paging.order_by])
        await websocket.close()

    route = only_route(app_with(endpoint))
    assert [(each.name, each.sent_as, each.default) for each in route.parameters] == [
        ("limit", "limit", "10"),
        ("tags", "tags", "none"),
        ("order_by", "order", "name"),
    ]
    assert await answers(endpoint, {"limit": 5, "tags": ["a", "b"], "order_by": "age"}) == [5, ["a", "b"], "age"]
    assert "at most 100, but got “101”" in route.problems({"limit": 101})["limit"]


async def test_models_of_headers_and_cookies_are_sent_as_fastapi_reads_them(answers: Callable[..., Any]) -> None:
    class Headers(BaseModel):
        x_name: str
        save_data: bool = False

    class Cookies(BaseModel):
        session_id: str

    async def endpoint(websocket, headers, cookies) -> None:
        await websocket.accept()
        await websocket.send_json([headers.x_name, headers.save_data, cookies.session_id])
        await websocket.close()

    endpoint.__annotations__ = {"websocket": WebSocket, "headers": Annotated[Headers, Header()], "cookies": Annotated[Cookies, Cookie()]}
    assert [each.sent_as for each in only_route(app_with(endpoint)).parameters] == ["x-name", "save-data", "session_id"]
    assert await answers(endpoint, {"x_name": "Ana", "save_data": True, "session_id": "s"}) == ["Ana", True, "s"]


def test_a_model_that_may_be_left_out_has_nothing_required() -> None:
    class Filter(BaseModel):
        colour: str

    (parameter,) = only_route(app_with_model(Filter | None)).parameters
    assert (parameter.name, parameter.required) == ("colour", False)


def app_with_model(annotation: Any) -> FastAPI:
    async def endpoint(websocket, model=None): ...

    endpoint.__annotations__ = {"websocket": WebSocket, "model": Annotated[annotation, Query()]}
    return app_with(endpoint)


def test_names_that_two_places_share_or_that_connect_needs_get_their_place_before_them() -> None:
    async def endpoint(websocket: WebSocket, name: str, token: str, key: Annotated[str, Header(alias="token")], x: Annotated[str, Cookie()]) -> None: ...

    def dependency(token: Annotated[str, Cookie()]) -> None: ...

    app = FastAPI()
    app.websocket("/ws", dependencies=[Depends(dependency)])(endpoint)
    assert [each.name for each in only_route(app).parameters] == ["query_name", "query_token", "key", "x", "cookie_token"]


# Dependencies and security.


async def session() -> AsyncIterator[str]:
    """A session. With the database."""
    yield "session"


def current_user(token: Annotated[str, Query(min_length=3)], db: Annotated[str, Depends(session)]) -> str:
    """Whoever the token belongs to."""
    return token


class Pager:
    """Counts pages."""

    def __init__(self, page: int = 1) -> None:
        self.page = page


class Checker:
    """Checks."""

    def __call__(self, strict: bool = False) -> bool:
        return strict


async def with_dependencies(
    websocket: WebSocket, user: Annotated[str, Depends(current_user)], pager: Annotated[Pager, Depends()], strict: Annotated[bool, Depends(Checker())]
) -> None:
    await websocket.accept()
    await websocket.send_json([user, pager.page, strict])
    await websocket.close()


async def test_dependencies_are_a_tree_and_bring_their_parameters(answers: Callable[..., Any]) -> None:
    route = only_route(app_with(with_dependencies))
    user, pager, checker = route.dependencies
    assert (user.name, user.headline, user.yields) == ("current_user", "Whoever the token belongs to.", False)
    assert [(each.name, each.headline, each.yields) for each in user.dependencies] == [("session", "A session.", True)]
    assert [(each.name, each.headline) for each in (pager, checker)] == [("Pager", "Counts pages."), ("Checker", "Checks.")]
    assert [(each.name, each.asked_by) for each in route.parameters] == [("token", ("current_user",)), ("page", ("Pager",)), ("strict", ("Checker",))]
    assert await answers(with_dependencies, {"token": "abc", "page": 2, "strict": True}) == ["abc", 2, True]


def at_most_five(value: Annotated[int, Query(le=5)]) -> None: ...


def test_what_two_functions_ask_for_is_one_parameter_as_strict_as_both() -> None:
    async def endpoint(websocket: WebSocket, low: Annotated[None, Depends(at_most_five)], value: Annotated[int, Query(ge=1)] = 3) -> None: ...

    (parameter,) = only_route(app_with(endpoint)).parameters
    assert parameter.required
    assert set(parameter.limits) == {"at least 1", "at most 5"}
    assert parameter.asked_by == ("endpoint", "at_most_five")
    assert [bool(parameter.problem(value)) for value in (0, 3, 6)] == [True, False, True]


async def test_an_overridden_dependency_is_shown_as_what_replaces_it() -> None:
    def anybody(nick: str = "somebody") -> str:
        """Anybody at all."""
        return nick

    app = app_with(with_dependencies)
    app.dependency_overrides[current_user] = anybody
    route = only_route(app)
    assert (route.dependencies[0].name, route.dependencies[0].instead_of) == ("anybody", "current_user")
    assert [each.name for each in route.parameters] == ["nick", "page", "strict"]
    async with serve(app, port=0) as server:
        assert await said(server, route.handshake({"nick": "Ana"})) == ["Ana", 1, False]


def test_overrides_hold_in_included_routers_and_not_in_mounted_apps() -> None:
    router, mounted, app = APIRouter(), app_with(with_dependencies), FastAPI()
    router.add_api_websocket_route("/included", with_dependencies)
    app.include_router(router)
    app.mount("/mounted", mounted)
    app.dependency_overrides[current_user] = lambda: "anybody"
    included, in_mounted = websocket_routes(app)
    assert included.dependencies[0].instead_of == "current_user"
    assert in_mounted.dependencies[0].instead_of == ""


@pytest.mark.parametrize(
    ("scheme", "value", "sent"),
    [
        (HTTPBearer(), "abc", {"where": "header", "sent_as": "Authorization", "text": "Bearer abc"}),
        (OAuth2PasswordBearer("token"), "abc", {"where": "header", "sent_as": "Authorization", "text": "Bearer abc"}),
        (HTTPBasic(), "ana:secret", {"where": "header", "sent_as": "Authorization", "text": "Basic YW5hOnNlY3JldA=="}),
        (HTTPDigest(), "abc", {"where": "header", "sent_as": "Authorization", "text": "Digest abc"}),
        (APIKeyHeader(name="X-Key"), "abc", {"where": "header", "sent_as": "X-Key", "text": "abc"}),
        (APIKeyQuery(name="key"), "abc", {"where": "query", "sent_as": "key", "text": "abc"}),
        (APIKeyCookie(name="key"), "abc", {"where": "cookie", "sent_as": "key", "text": "abc"}),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_security_scheme_says_what_to_send_and_takes_it(answers: Callable[..., Any], scheme: Any, value: str, sent: dict[str, str]) -> None:
    async def endpoint(websocket, credentials) -> None:
        await websocket.accept()
        await websocket.send_json(type(credentials).__name__)
        await websocket.close()

    endpoint.__annotations__ = {"websocket": WebSocket, "credentials": Annotated[Any, Security(scheme)]}
    (parameter,) = only_route(app_with(endpoint)).parameters
    assert {"where": parameter.where, "sent_as": parameter.sent_as, "text": parameter.on_the_wire(value)} == sent
    assert parameter.required
    assert await answers(endpoint, {"credentials": value}) in ("str", "HTTPAuthorizationCredentials", "HTTPBasicCredentials")


def test_a_scheme_that_does_not_insist_is_optional_and_a_prefix_is_not_doubled() -> None:
    app = FastAPI()
    app.websocket("/ws", dependencies=[Depends(HTTPBearer(auto_error=False, description="From /login."))])(handler)
    route = only_route(app)
    (parameter,) = route.parameters
    assert (parameter.name, parameter.required, parameter.description) == ("authorization", False, "From /login.")
    assert parameter.on_the_wire("bearer abc") == "bearer abc"
    assert route.dependencies[0].wants == "header Authorization: token, sent as “Bearer …”"


# What is wrong with a value.


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
