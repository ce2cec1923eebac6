"""An app's WebSocket endpoints: through routers, mounts and middleware, with what each depends on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.security import HTTPBearer
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute

from kit.endpoints import Routing, endpoints_of


async def settings() -> AsyncIterator[int]:
    yield 1


bearer = HTTPBearer()


def user(settings: Annotated[int, Depends(settings)], bearer: Annotated[Any, Depends(bearer)]) -> str:
    return "Ana"


async def talk(websocket: WebSocket, user: Annotated[str, Depends(user)]) -> None:
    await websocket.accept()


async def listen(websocket: WebSocket) -> None:
    await websocket.accept()


class Around:
    """A middleware around an app, as readers write it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def an_app() -> FastAPI:
    app, router = FastAPI(), APIRouter()
    router.add_api_websocket_route("/talk/{name}", talk)
    app.include_router(router, prefix="/v1")
    app.mount("/sub", Starlette(routes=[WebSocketRoute("/listen", listen), Mount("/deep", routes=[WebSocketRoute("/listen", listen)])]))
    return app


def test_routers_mounts_and_middleware_are_looked_through() -> None:
    assert [endpoint.path for endpoint in endpoints_of(Around(an_app()))] == ["/v1/talk/{name}", "/sub/listen", "/sub/deep/listen"]


def test_dependencies_are_the_readers_own_each_once_and_those_of_dependencies_too() -> None:
    assert endpoints_of(an_app())[0].dependencies == (user, settings)


def test_a_path_leads_to_the_first_endpoint_that_serves_it() -> None:
    routing = Routing(an_app())
    assert [getattr(routing.endpoint_of(path), "function", None) for path in ("/v1/talk/Ana", "/sub/deep/listen", "/nowhere")] == [talk, listen, None]


def test_an_endpoint_serves_its_own_path_as_it_was_written() -> None:
    endpoint = endpoints_of(an_app())[0]
    assert [endpoint.serves(path) for path in ("/v1/talk/{name}", "/v1/talk/Ana", "/v1/talk")] == [True, True, False]


def test_any_other_app_has_none_that_can_be_seen() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    assert endpoints_of(app) == []
