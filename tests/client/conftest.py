"""A client of a server, both in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kit import Client, Server, connect, serve
from tests.apps import app


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0) as serving:
        yield serving


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with connect(server, "/ws", name="Ana") as connected:
        yield connected
