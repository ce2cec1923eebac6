"""A server of handlers that each wait on a line of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kit import Server, serve
from tests.suspension.handlers import app, let_go


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    let_go.clear()
    async with serve(app, port=0) as running:
        yield running
        let_go.set()
