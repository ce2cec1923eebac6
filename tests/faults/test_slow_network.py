"""A network that takes its time: latency, order, bounds and ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from kit import Client, Server, connect, serve
from kit.errors import Disconnected
from kit.faults import slow_network
from kit.line import IN_FLIGHT_BYTES
from tests.faults.parts import Eventually, echoes, frames
from tests.timing import within


async def test_a_ping_takes_both_latencies_and_a_message_is_recorded_at_each_end_when_it_is_there(client: Client) -> None:
    async with slow_network(client, to_server_seconds=0.1, to_client_seconds=0.2):
        assert await client.ping() >= 0.3
        assert await echoes(client, "slow")
    out, arrived = frames(client, "client", "frame-out", "TEXT")[0], frames(client, "server", "frame-in", "TEXT")[0]
    back, here = frames(client, "server", "frame-out", "TEXT")[0], frames(client, "client", "frame-in", "TEXT")[0]
    assert arrived.at_seconds - out.at_seconds >= 0.1
    assert here.at_seconds - back.at_seconds >= 0.2
    assert out.ordinal == arrived.ordinal == back.ordinal == here.ordinal == 1


async def test_sending_into_a_slow_network_does_not_wait_for_the_arrival(client: Client) -> None:
    async with slow_network(client, to_server_seconds=30.0):
        await client.send_text("on its way")
        assert frames(client, "server", "frame-in") == []
        await client.abort()


async def test_order_and_bytes_survive_a_slow_network_and_its_end(client: Client) -> None:
    messages = [f"{number} " + "x" * (number * 700 % 40_000) for number in range(60)]
    async with slow_network(client, to_server_seconds=0.03, to_client_seconds=0.03):
        for message in messages[:40]:
            await client.send_text(message)
    for message in messages[40:]:  # behind what is still under way
        await client.send_text(message)
    assert [await client.receive_text(timeout=5.0) for _ in messages] == messages


async def test_what_is_under_way_is_bounded_and_then_sends_wait(client: Client, eventually: Eventually) -> None:
    chunk = b"x" * (IN_FLIGHT_BYTES // 8)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await client.send_bytes(chunk)
            sent += 1

    async with slow_network(client, to_server_seconds=30.0):
        flooding = asyncio.create_task(flood())
        await eventually(lambda: sent == 7)  # the eighth is taken too, and waits for room
        await asyncio.sleep(0.1)
        assert sent == 7
        flooding.cancel()
        await client.abort()


async def test_a_close_under_way_in_a_slow_network_arrives_with_its_answer(client: Client) -> None:
    async with slow_network(client, to_server_seconds=0.1, to_client_seconds=0.1):
        began = time.monotonic()
        await client.close(4001, "slowly")
        assert time.monotonic() - began >= 0.2
    assert client.close_code == 4001


async def test_the_servers_close_comes_behind_its_last_message(server: Server) -> None:
    async with connect(server, "/end/closing?code=4002&reason=done", name="Ana") as first:
        await first.wait_closed()
    async with serve(_farewell(), port=0) as other, connect(other, "/ws") as client:
        async with slow_network(client, to_server_seconds=0.05, to_client_seconds=0.1):
            await client.send_text("go")
            assert await client.receive_text(timeout=5.0) == "last words"
            with within(1.5):  # without the reset that ends a goodbye which takes 2 s
                await client.wait_closed()
        assert (client.close_code, client.close_reason) == (4003, "bye")


async def test_what_had_come_before_a_reset_is_not_lost_in_a_slow_network(eventually: Eventually) -> None:
    dropping = FastAPI()

    @dropping.websocket("/ws")
    async def send_and_drop(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.receive_text()
        websocket.scope["extensions"]["kit.abort"]["abort"]()

    async with serve(dropping, port=0) as server, connect(server, "/ws", name="Ana") as client:
        async with slow_network(client, to_client_seconds=30.0):
            await client.send_text("last words")
            await eventually(lambda: not client._wire._line.idle)  # they are on this side of the network
            await client.send_text("now drop me")
            await eventually(lambda: not client.connection.open)
            with pytest.raises(Disconnected):  # to a socket that is gone: the answer is a reset
                await _send_for_ever(client)
            assert await client.receive_text(timeout=5.0) == "last words"
        assert client.close_code == 1006


async def _send_for_ever(client: Client) -> None:
    async with asyncio.timeout(5.0):
        while True:
            await client.send_text("anybody there?")
            await asyncio.sleep(0.005)


def _farewell() -> FastAPI:
    farewell = FastAPI()

    @farewell.websocket("/ws")
    async def say_goodbye(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        await websocket.send_text("last words")
        await websocket.close(4003, "bye")

    return farewell


@pytest.mark.parametrize("arguments", [{}, {"to_server_seconds": -1}, {"to_client_seconds": 61}, {"to_server_seconds": "fast"}, {"to_server_seconds": True}])
async def test_a_latency_that_is_none_is_refused(client: Client, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expects"):
        slow_network(client, **arguments)
