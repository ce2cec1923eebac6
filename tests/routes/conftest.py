"""A server that answers with what its handler was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette

from kit import serve
from tests.routes.handlers import app_with, said


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
