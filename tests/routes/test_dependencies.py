"""What dependencies and security schemes ask for is asked for with their route's own parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Security, WebSocket
from fastapi.security import APIKeyCookie, APIKeyHeader, APIKeyQuery, HTTPBasic, HTTPBearer, HTTPDigest, OAuth2PasswordBearer

from kit import serve
from kit.routes import websocket_routes
from tests.routes.handlers import app_with, handler, only_route, said


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
