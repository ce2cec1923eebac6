"""Whatever a peer sends, the server, its process and the other clients go on, and the Timeline says what happened.

Every test runs with the server in a thread of its own and on the loop of its caller. Around each of them an innocent client is
connected: afterwards it still gets its echo, and a new one connects (see `innocent`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from kit import Client, Server, connect, serve
from tests.hostile.peers import LIMIT_BYTES, app


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("place", ["thread", "kernel"], indirect=True)


@pytest.fixture
def handshake_seconds() -> float:
    """How long a request may take to come whole: longer than anything that holds up a busy machine."""
    return 20.0


@pytest.fixture
async def server(place: str, handshake_seconds: float) -> AsyncIterator[Server]:
    limits = {"max_message_bytes": LIMIT_BYTES, "handshake_timeout_seconds": handshake_seconds, "max_connections": 400}
    async with serve(app, port=0, runs_in=place, **limits) as serving:
        yield serving


@pytest.fixture(autouse=True)
async def innocent(server: Server, eventually: Callable) -> AsyncIterator[Client]:
    """A client that was there before: it gets its echo, a new one connects, and no peer or handler is left behind."""
    async with connect(server, "/ws", name="innocent") as client:
        yield client
        for one in (client, await connect(server, "/ws", name="newcomer")):
            await one.send_text("still here")
            assert await one.receive_text(timeout=5.0) == "still here"
            await one.close()
    assert server.state == "serving"
    await eventually(lambda: server.connections == [])
