"""A line that is dead at one end, and pongs that come late or never."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from kit import Client, connect, serve
from kit.faults import half_open, pongs_delayed
from kit.line import IN_FLIGHT_BYTES
from tests.apps import app
from tests.faults.parts import ALIVE_SECONDS, Eventually, echoes, frames, noted, since_begin

# A line that is dead at one end.


async def test_of_a_half_open_line_the_server_learns_only_by_its_ping(eventually: Eventually) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.2, ping_timeout_seconds=ALIVE_SECONDS) as server, connect(server, "/ws", name="Ana") as client:
        async with half_open(client):
            await client.send_text("never arrives")
            assert client.connection.open
            await eventually(lambda: not client.connection.open)
            assert client.connection.close_frames == [("server", 1011, "keepalive ping timeout")]
            assert client.state is WebSocketState.CONNECTED
            pings = [entry.payload for entry in since_begin(client, "half-open", frames(client, "server", "frame-out", "PING"))]
            assert pings
            assert [entry for entry in frames(client, "server", "frame-in", "PONG") if entry.payload in pings] == []
            assert frames(client, "server", "frame-in", "TEXT") == []
        assert (client.state, client.close_code) == (WebSocketState.DISCONNECTED, 1006)


async def test_without_pings_nothing_happens_until_the_end_and_then_the_handler_gets_a_reset(eventually: Eventually) -> None:
    leaves: list[WebSocketDisconnect] = []
    waiting = FastAPI()

    @waiting.websocket("/ws")
    async def wait(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        except WebSocketDisconnect as leave:
            leaves.append(leave)

    async with serve(waiting, port=0, ping_interval_seconds=None) as server, connect(server, "/ws", name="Ana") as client:
        async with half_open(client):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.ping(), 0.2)
            assert (client.connection.open, leaves) == (True, [])
        await eventually(lambda: len(leaves) == 1)
        await eventually(lambda: not client.connection.open)
        assert client.connection.vanished_side == "client"


async def test_a_half_open_client_that_floods_waits_in_the_end(client: Client) -> None:
    async with half_open(client):
        flooding = asyncio.gather(*(client.send_bytes(bytes(IN_FLIGHT_BYTES // 4)) for _ in range(8)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flooding, 0.3)
        assert frames(client, "server", "frame-in") == []


# Late pongs.


async def test_a_late_pong_is_sent_late_and_the_connection_lives(eventually: Eventually) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=20.0) as server, connect(server, "/ws", name="Ana") as client:
        async with pongs_delayed(client, seconds=0.2):
            ping, *_ = await eventually(lambda: since_begin(client, "pongs-delayed", frames(client, "client", "frame-in", "PING")))
            pong, *_ = await eventually(lambda: [entry for entry in frames(client, "server", "frame-in", "PONG") if entry.payload == ping.payload])
            assert pong.at_seconds - ping.at_seconds >= 0.2
            assert await echoes(client, "messages are not delayed")
        assert client.state is WebSocketState.CONNECTED


async def test_pongs_that_never_come_end_in_1011() -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=ALIVE_SECONDS) as server, connect(server, "/ws", name="Ana") as client:
        async with pongs_delayed(client, seconds=None):
            await asyncio.wait_for(client.wait_closed(), 5.0)
        assert (client.close_code, client.close_reason) == (1011, "keepalive ping timeout")
        assert noted(client) == [("pongs-delayed", "begins"), ("pongs-delayed", "ends")]


async def test_pongs_that_are_late_are_sent_when_the_fault_ends(eventually: Eventually) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=20.0) as server, connect(server, "/ws", name="Ana") as client:
        async with pongs_delayed(client, seconds=30.0):
            await eventually(lambda: since_begin(client, "pongs-delayed", frames(client, "client", "frame-in", "PING")))
            assert since_begin(client, "pongs-delayed", frames(client, "client", "frame-out", "PONG")) == []
        pings, pongs = (since_begin(client, "pongs-delayed", frames(client, "client", *of)) for of in (("frame-in", "PING"), ("frame-out", "PONG")))
        assert pongs
        assert [pong.text for pong in pongs] == [ping.text for ping in pings[: len(pongs)]]
