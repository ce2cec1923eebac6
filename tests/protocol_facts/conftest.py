"""The server whose handlers do everything that a handler can do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kit import Server, serve
from tests.protocol_facts.handlers import app


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0) as serving:
        yield serving
