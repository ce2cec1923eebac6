"""What is recorded is bounded, and the app is left as it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed

from kit import Server, connect, serve
from kit.errors import HandshakeRefused
from tests.apps import app
from tests.taps.looking import assert_causal, journey

# Bounds.


async def test_a_long_conversation_leaves_the_timeline_bounded(server: Server) -> None:
    async with connect(server, "/ws") as client:
        for number in range(2_500):
            await client.send_text(str(number))
            assert await client.receive_text(timeout=5.0) == str(number)
    statistics = server.timeline.statistics()
    assert statistics.entries == 10_000
    assert statistics.entries_dropped > 4_000
    assert statistics.entries + statistics.entries_dropped == server.timeline.last_number


async def test_many_long_messages_leave_their_previews_and_sizes(server: Server) -> None:
    async with connect(server, "/ws") as client:
        for number in range(40):
            await client.send_text(f"{number:06}" * 100_000)
            await client.receive_text(timeout=5.0)
        statistics = server.timeline.statistics()
        assert statistics.payload_bytes <= 16 * 2**20
        assert statistics.payloads_dropped > 0
        first, last = journey(server)["server", "frame-in"][1], journey(server)["server", "frame-in"][40]
        assert (first.payload, first.size, first.text) == (None, 600_000, ("000000" * 50)[:256])
        assert (last.payload, last.size) == ("000039" * 100_000, 600_000)
        assert_causal(server, 40)


async def test_large_bodies_of_refusals_count_as_payload_too() -> None:
    """Whatever crosses the wire is bounded: a body is no less memory than a message."""
    from starlette.responses import PlainTextResponse

    refusing = FastAPI()

    @refusing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("x" * 900_000, 429))

    async with serve(refusing, port=0) as server:
        for _ in range(30):
            with pytest.raises(HandshakeRefused):
                await connect(server, "/ws")
        kept = sum(len(str(entry.payload or "")) + len(str(entry.details)) for entry in server.timeline.entries())
        assert kept < 20 * 2**20


async def test_a_subscriber_that_never_takes_does_not_slow_the_server(server: Server) -> None:
    wakes: list[float] = []
    subscription = server.timeline.subscribe(lambda: wakes.append(time.monotonic()))
    async with connect(server, "/ws") as client:
        for number in range(500):
            await client.send_text(str(number))
            assert await client.receive_text(timeout=5.0) == str(number)
        assert len(wakes) == 1
        entries, skipped = subscription.take(100)
        assert len(entries) == 100
        assert skipped > 2_000


async def test_without_recording_nothing_is_kept_but_everything_works() -> None:
    async with serve(app, port=0, recording=False) as server, connect(server, "/ws") as client:
        await client.send_text("x")
        assert await client.receive_text(timeout=5.0) == "x"
        assert [entry.kind for entry in server.timeline.entries() if entry.connection] == []
        assert server.connections[0].application_state == "CONNECTED"


# The app is left as it is.


async def test_the_app_is_unmodified_and_http_passes_untouched(server: Server) -> None:
    assert server.app is app
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5.0)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"FastAPI" in answer
    assert [entry for entry in server.timeline.entries() if entry.connection] == []


async def test_a_stranger_who_speaks_nonsense_harms_nobody(server: Server, eventually: Callable) -> None:
    async with websockets_connect(f"{server.ws_url}/ws", proxy=None) as stranger:
        stranger.transport.write(b"\xff\xff\xff\xff nonsense")
        with pytest.raises(ConnectionClosed):
            await stranger.recv()
    async with connect(server, "/ws") as client:
        await client.send_text("still here")
        assert await client.receive_text(timeout=5.0) == "still here"
