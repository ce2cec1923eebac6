"""What a server tells of itself, what it lets in, and what it leaves alone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import Depends, FastAPI, WebSocket

from kit import connect, serve
from kit.errors import HandshakeRefused
from tests.apps import app
from tests.server.probes import peer_that_never_reads


async def test_statistics_are_a_snapshot() -> None:
    server = await serve(app, port=0, name="counted")
    async with connect(server, "/ws"), connect(server, "/ws"):
        async with connect(server, "/ws"):
            pass
        statistics = server.statistics()
        assert (statistics.name, statistics.url, statistics.state) == ("counted", server.url, "serving")
        assert statistics.connections_total == 3
        assert statistics.connections_open in (2, 3)  # the third may be on its way out
        assert statistics.uptime_seconds >= 0
    await server.stop()
    assert (server.statistics().state, server.statistics().connections_open) == ("stopped", 0)
    assert statistics.state == "serving"


async def test_connections_are_those_that_are_open_oldest_first(eventually: Callable) -> None:
    async with serve(app, port=0) as server:
        ana, ben = await connect(server, "/ws", name="Ana"), await connect(server, "/silent", name="Ben")
        assert [(c.number, c.name, c.path, c.application_state) for c in server.connections] == [
            (1, "Ana", "/ws", "CONNECTED"),
            (2, "Ben", "/silent", "CONNECTED"),
        ]
        await ana.close()
        await eventually(lambda: [c.name for c in server.connections] == ["Ben"])
        await ben.abort()


async def test_forty_kilobytes_of_cookies_are_answered_and_arrive() -> None:
    cookies = {f"cookie{number}": "c" * 4_000 for number in range(10)}
    async with serve(app, port=0) as server, connect(server, "/mirror?x=1", cookies=cookies, headers={"x-extra": "1"}) as client:
        seen = await client.receive_json(timeout=5.0)
        assert seen["cookies"] == cookies
        assert dict(seen["headers"])["x-extra"] == "1"
        assert (seen["path"], seen["query"]) == ("/mirror", [["x", "1"]])


async def test_more_than_128_headers_are_answered_and_arrive() -> None:
    headers = {f"x-header-{number}": str(number) for number in range(300)}
    async with serve(app, port=0) as server, connect(server, "/mirror", headers=headers, subprotocols=["a"]) as client:
        seen = dict((await client.receive_json(timeout=5.0))["headers"])
        assert {name: seen.get(name) for name in headers} == headers
        assert client.subprotocol == "a"


async def test_a_request_line_of_twenty_kilobytes_is_answered() -> None:
    async with serve(app, port=0) as server, connect(server, "/mirror", query={"q": "x" * 20_000}) as client:
        assert (await client.receive_json(timeout=5.0))["query"] == [["q", "x" * 20_000]]


async def test_a_message_over_the_servers_limit_closes_with_1009() -> None:
    async with serve(app, port=0, max_message_bytes=1_000) as server:
        client = await connect(server, "/ws")
        await client.send_text("x" * 1_001)
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.close_code == 1009


async def test_a_client_that_answers_no_ping_is_closed(eventually: Callable) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=0.05) as server, peer_that_never_reads(server, "/listening"):
        await eventually(lambda: any(frame[:2] == ("server", 1011) for c in server.timeline.connections for frame in c.close_frames))


async def test_the_kernels_signal_handlers_are_left_alone() -> None:
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in signals]
    async with serve(app, port=0) as server:
        assert [signal.getsignal(number) for number in signals] == before
        async with connect(server, "/ws") as client:
            await client.ping()
    await serve(app, port=0)
    assert [signal.getsignal(number) for number in signals] == before


async def test_an_unknown_path_is_refused_with_403() -> None:
    async with serve(app, port=0) as server:
        with pytest.raises(HandshakeRefused) as refused:
            await connect(server, "/nowhere")
        assert refused.value.status == 403


async def test_dependencies_run_before_and_after_the_handler() -> None:
    steps: list[str] = []
    depending = FastAPI()

    async def dependency() -> AsyncIterator[str]:
        steps.append("before")
        yield "value"
        steps.append("after")

    @depending.websocket("/ws")
    async def handler(websocket: WebSocket, value: str = Depends(dependency)) -> None:
        await websocket.accept()
        await websocket.send_text(value)
        await websocket.receive()

    async with serve(depending, port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=5.0) == "value"
    assert steps == ["before", "after"]
