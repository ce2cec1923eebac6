"""A client that stops reading."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketState

from kit import Client, Server, connect, serve
from kit.errors import ReceiveTimeout
from kit.faults import reading_stalled
from tests.apps import app
from tests.faults.parts import ALIVE_SECONDS, Eventually, echoes, frames, number_of


async def test_a_stalled_client_gets_nothing_and_then_everything_in_order(client: Client) -> None:
    async with reading_stalled(client):
        for number in range(300):
            await client.send_text(str(number))
        with pytest.raises(ReceiveTimeout):
            await client.receive_text(timeout=0.1)
        assert frames(client, "client", "frame-in") == []
    assert [await client.receive_text(timeout=5.0) for _ in range(300)] == [str(number) for number in range(300)]


async def test_twenty_times_the_same_no_frame_comes_in_between_stopping_and_reading_again(server: Server, eventually: Eventually) -> None:
    """While a loop of its own reads for a receive that waits, which is where a frame would slip through."""
    for _ in range(20):
        async with connect(server, "/ws", name="Ana") as client:
            assert await echoes(client, "before")
            receiving = asyncio.create_task(client.receive_text())
            await asyncio.sleep(0)
            async with reading_stalled(client):
                await client.send_text("during")
                await client.send_text("more")
                await eventually(lambda: len(frames(client, "server", "frame-out")) == 3)
                assert not receiving.done()
            assert await asyncio.wait_for(receiving, 5.0) == "during"
            assert await client.receive_text(timeout=5.0) == "more"
            first, last = number_of(client, "reading-stalled", "begins"), number_of(client, "reading-stalled", "ends")
            between = [entry.kind for entry in client.timeline.entries(connection=client.number) if entry.side == "client" and first < entry.number < last]
            assert between == ["frame-out", "frame-out"]
            client.timeline._records.clear()


async def test_the_servers_send_waits_for_a_stalled_client_and_goes_on_afterwards() -> None:
    """The sends stop once the network's buffers are full; how much those take is the kernel's business."""
    pouring, sent = FastAPI(), []

    @pouring.websocket("/ws")
    async def pour(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        for number in range(400):
            await websocket.send_bytes(bytes([number % 256]) * 64 * 1024)
            sent.append(number)

    async with serve(pouring, port=0) as server, connect(server, "/ws", name="Ana") as client:
        async with reading_stalled(client):
            await client.send_text("go")
            assert await _standstill(sent) < 400
            assert frames(client, "client", "frame-in") == []
        messages = [await client.receive_bytes(timeout=5.0) for _ in range(400)]
        assert [(message[0], len(message)) for message in messages] == [(number % 256, 64 * 1024) for number in range(400)]


async def _standstill(sent: list[int]) -> int:
    """How many there are once, for a fifth of a second, there were no more."""
    count = -1
    while count != len(sent) or not count:
        count = len(sent)
        await asyncio.sleep(0.2)
    return count


async def test_what_was_read_before_the_stall_can_still_be_taken(client: Client, eventually: Eventually) -> None:
    await client.send_text("one")
    await eventually(lambda: frames(client, "client", "frame-in"))
    async with reading_stalled(client):
        assert await client.receive_text(timeout=5.0) == "one"


async def test_a_stalled_client_answers_no_ping_and_is_closed_with_1011(eventually: Eventually) -> None:
    async with (
        serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=ALIVE_SECONDS) as server,
        connect(server, "/ws", name="Ana") as client,
        connect(server, "/ws", name="Bo") as other,
    ):
        async with reading_stalled(client):
            await eventually(lambda: not client.connection.open)
            assert client.state is WebSocketState.CONNECTED
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert (client.close_code, client.close_reason) == (1011, "keepalive ping timeout")
        assert await echoes(other, "unharmed")
