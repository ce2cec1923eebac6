"""The WebSocket endpoints of an app: where each is, its function, and the functions that it depends on. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from fastapi.routing import iter_route_contexts
from starlette.routing import Host, Mount, WebSocketRoute, compile_path

from kit.listing import code_of
from kit.source import is_readers

__all__ = ["Endpoint", "Routing", "endpoints_of"]

_DEPTH_LIMIT = 10


class Endpoint(NamedTuple):
    """One WebSocket route.

    Attributes:
        path: as it was written, with the prefixes of routers and mounts: ``/ws/{client_id}``.
        function: the function or class that serves it.
        dependencies: the reader's own functions that FastAPI calls for it, each once, in the order in which they are declared.
        pattern: what a path must match to get here.
    """

    path: str
    function: Any
    dependencies: tuple[Any, ...]
    pattern: re.Pattern[str]

    def serves(self, path: str) -> bool:
        """Whether a client that asks for ``path`` gets here, or ``path`` is the route's own as it was written."""
        return path == self.path or self.pattern.match(path) is not None


class Routing:
    """An app's WebSocket endpoints, and which of them serves a path: the first that matches, as when a client connects."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.endpoints = endpoints_of(app)
        self.endpoint_of: Callable[[str], Endpoint | None] = lru_cache(4096)(self._first_that_serves)

    def _first_that_serves(self, path: str) -> Endpoint | None:
        return next((endpoint for endpoint in self.endpoints if endpoint.pattern.match(path)), None)


def endpoints_of(app: Any) -> list[Endpoint]:
    """Every WebSocket endpoint of a FastAPI or Starlette app, through routers, mounts and middleware around it; [] for any other app."""
    return list(_endpoints(app, "", 0))


def _endpoints(app: Any, prefix: str, depth: int) -> Iterator[Endpoint]:
    while depth < _DEPTH_LIMIT and not hasattr(app, "routes") and hasattr(app, "app"):
        app, depth = app.app, depth + 1
    if depth >= _DEPTH_LIMIT:
        return
    for context in iter_route_contexts(getattr(app, "routes", None) or []):
        route = context.original_route
        if isinstance(route, WebSocketRoute):
            path = prefix + (context.path or "")
            yield Endpoint(path, context.endpoint, tuple(_dependencies(getattr(context, "dependant", None))), compile_path(path)[0])
        elif isinstance(route, (Mount, Host)):
            yield from _endpoints(route.app, prefix + getattr(route, "path", ""), depth + 1)


def _dependencies(dependant: Any) -> Iterator[Any]:
    found: dict[Any, Any] = {}
    waiting = list(getattr(dependant, "dependencies", ()))
    while waiting:
        dependency = waiting.pop(0)
        code = code_of(dependency.call)
        if code is not None and is_readers(code.co_filename):
            found.setdefault(code, dependency.call)
        waiting = [*dependency.dependencies, *waiting]
    yield from found.values()
