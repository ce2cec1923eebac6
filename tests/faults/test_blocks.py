"""What all faults that last have in common: they begin, end, are noted, and leave the connection as it was."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.websockets import WebSocketState

from kit import Client, Server, connect, serve
from kit.errors import Disconnected, KitError, ReceiveTimeout
from kit.faults import FAULTS, reading_stalled, send_in_fragments, send_invalid_frame, slow_network
from tests.apps import app
from tests.faults.parts import BLOCKS, Eventually, echoes, every_block, noted
from tests.timing import within


def test_every_fault_that_lasts_is_found_by_its_name() -> None:
    assert FAULTS.keys() == BLOCKS.keys()


@every_block
async def test_a_fault_is_noted_at_its_beginning_and_at_its_end_and_known_to_its_client_meanwhile(client: Client, what: str) -> None:
    fault = BLOCKS[what](client)
    assert (list(client.faults), noted(client)) == ([], [])
    async with fault as entered:
        assert entered is fault is client.faults[what]
        assert noted(client) == [(what, "begins")]
        assert repr(fault) == f"<Fault {what} of 'Ana', on>"
    assert list(client.faults) == []
    assert noted(client) == [(what, "begins"), (what, "ends")]
    sentences = [entry.text for entry in client.timeline.entries() if entry.kind == "fault"]
    assert all(text.startswith("Ana ") for text in sentences)
    assert {(entry.side, entry.connection) for entry in client.timeline.entries() if entry.kind == "fault"} == {("client", client.number)}


@pytest.mark.parametrize("what", [what for what in BLOCKS if what != "half-open"])
async def test_afterwards_the_connection_is_as_it_was_before(client: Client, eventually: Eventually, what: str) -> None:
    for _ in range(20):
        async with BLOCKS[what](client):
            pass
        assert await echoes(client, "hello")
    await eventually(lambda: client._wire.transport is not client._wire._line and client._wire._line is None)


@every_block
async def test_the_same_fault_twice_is_refused_by_name_and_the_first_stays(client: Client, what: str) -> None:
    async with BLOCKS[what](client) as first:
        with pytest.raises(KitError, match=rf"Ana's fault '{what}' is on already\. Leave its block first, or: await client\.faults\['{what}'\]\.end\(\)"):
            await BLOCKS[what](client).begin()
        assert client.faults == {what: first}


async def test_different_faults_are_on_together_and_end_in_any_order(client: Client) -> None:
    stalled, slow = reading_stalled(client), slow_network(client, to_server_seconds=0.5, to_client_seconds=0.5)
    await stalled.begin()
    await slow.begin()
    assert list(client.faults) == ["reading-stalled", "slow-network"]
    await client.send_text("both")
    with pytest.raises(ReceiveTimeout):
        await client.receive_text(timeout=0.2)
    await stalled.end()
    assert await client.receive_text(timeout=5.0) == "both"
    assert await client.ping() >= 1.0
    await slow.end()
    with within(1.0):
        await client.ping()


@every_block
async def test_ending_twice_or_what_never_began_does_nothing(client: Client, what: str) -> None:
    fault = BLOCKS[what](client)
    await fault.end()
    async with fault:
        await fault.end()
    await fault.end()
    assert noted(client) == [(what, "begins"), (what, "ends")]


@every_block
async def test_cancelling_the_block_ends_the_fault(client: Client, what: str) -> None:
    entered = asyncio.Event()

    async def block() -> None:
        async with BLOCKS[what](client):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert noted(client)[-1] == (what, "ends")
    assert client.faults == {}


@every_block
async def test_cancelling_a_fault_while_it_begins_leaves_none(client: Client, eventually: Eventually, what: str) -> None:
    """At any moment: 40 tries, each cancelled a little later than the one before."""
    for number in range(40):
        task = asyncio.create_task(BLOCKS[what](client).begin())
        for _ in range(number % 8):
            await asyncio.sleep(0)
        task.cancel()
        if await asyncio.gather(task, return_exceptions=True) == [None]:
            await client.faults[what].end()
        await eventually(lambda: not client.faults)
        if client.state is WebSocketState.DISCONNECTED:  # half-open: once begun, it ends in a reset
            return
    phases = [phase for _, phase in noted(client)]
    assert phases == ["begins", "ends"] * (len(phases) // 2)
    assert await echoes(client, "still here")


@every_block
async def test_a_fault_of_a_connection_that_has_ended_says_why_it_has(client: Client, what: str) -> None:
    await client.close(4001, "enough")
    with pytest.raises(Disconnected, match=r"Ana is not connected.*4001"):
        await BLOCKS[what](client).begin()
    assert client.faults == {}


@every_block
async def test_a_connection_that_its_client_ends_inside_the_block_ends_the_fault_quietly(client: Client, what: str) -> None:
    async with BLOCKS[what](client):
        await client.close(within_seconds=0.2)
        assert client.state is WebSocketState.DISCONNECTED
    assert noted(client) == [(what, "begins"), (what, "ends")]
    assert "has no connection any more" in [entry.text for entry in client.timeline.entries() if entry.kind == "fault"][-1]


@every_block
async def test_a_client_may_vanish_during_a_fault(client: Client, eventually: Eventually, what: str) -> None:
    async with BLOCKS[what](client):
        await client.abort()
    assert (client.faults, client.close_code) == ({}, 1006)
    await eventually(lambda: not client.connection.open)


@every_block
async def test_a_server_stops_in_time_during_a_fault_of_one_of_its_clients(server: Server, client: Client, what: str) -> None:
    async with BLOCKS[what](client):
        await asyncio.wait_for(server.stop(), 20.0)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.faults == {}


@every_block
async def test_a_fault_may_be_begun_on_one_loop_and_ended_on_another(client: Client, what: str) -> None:
    fault = BLOCKS[what](client)

    def elsewhere() -> None:
        asyncio.run(fault.begin())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert list(client.faults) == [what]
    await fault.end()
    assert client.faults == {}


@pytest.mark.parametrize("function", [*BLOCKS.values(), lambda it: send_in_fragments(it, "x", 1), lambda it: send_invalid_frame(it, "unmasked")])
async def test_what_is_no_client_is_refused_with_what_to_write(server: Server, client: Client, function: Callable[[Any], Any]) -> None:
    class Panel:
        def __init__(self) -> None:
            self.client = client

    for wrong, hint in (
        (server, r"but got Server\. Write: \w+\(client, …\)"),
        (connect(server, "/ws"), r"Did you forget await\?"),
        (Panel(), r"It has one: write \w+\(panel\.client, …\)"),
    ):
        with pytest.raises(TypeError, match=hint):
            await function(wrong)


async def test_a_client_that_is_not_recorded_can_have_faults_too() -> None:
    async with serve(app, port=0, recording=False) as server, connect(server, "/ws") as client:
        async with slow_network(client, to_server_seconds=0.05):
            assert await client.ping() >= 0.05
        assert await echoes(client, "hello")
        assert noted(client) == []


async def test_faults_pass_over_compressed_connections_too() -> None:
    async with serve(app, port=0, compression=True) as server, connect(server, "/ws", compression=True) as client:
        async with slow_network(client, to_server_seconds=0.03, to_client_seconds=0.03):
            assert await echoes(client, "slowly " * 1_000)
        async with reading_stalled(client):
            await client.send_text("stalled")
        assert await client.receive_text(timeout=5.0) == "stalled"
        await send_in_fragments(client, "in pieces " * 10, 7, ping_between=True)
        assert await client.receive_text(timeout=5.0) == "in pieces " * 10
        assert await echoes(client, "compressed again")
