"""What the tests ask of an app: its only route, and the only parameter of that."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from fastapi import FastAPI, WebSocket

from kit import connect
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


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
