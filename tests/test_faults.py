"""Faults over real servers: each one's cause and effect as both ends see them, that nothing is lost, and that it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from kit import Client, Server, connect, serve
from kit.errors import Disconnected, KitError, ReceiveTimeout
from kit.faults import FAULTS, INVALID_FRAMES, Fault, half_open, pongs_delayed, reading_stalled, send_in_fragments, send_invalid_frame, slow_network
from kit.line import IN_FLIGHT_BYTES
from kit.timeline import Entry
from tests.apps import app
from tests.timing import within

Eventually = Callable[..., Any]

# Every fault that lasts, as a reader would write it.
BLOCKS: dict[str, Callable[[Client], Fault]] = {
    "reading-stalled": reading_stalled,
    "slow-network": lambda client: slow_network(client, to_server_seconds=0.02, to_client_seconds=0.02),
    "half-open": half_open,
    "pongs-delayed": lambda client: pongs_delayed(client, seconds=None),
}
every_block = pytest.mark.parametrize("what", BLOCKS)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0, ping_interval_seconds=None) as serving:
        yield serving


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with connect(server, "/ws", name="Ana") as connected:
        yield connected


def noted(client: Client) -> list[tuple[str, str]]:
    """The faults of the Timeline: what, and which phase of it."""
    return [(entry.details["what"], entry.details["phase"]) for entry in client.timeline.entries() if entry.kind == "fault"]


def frames(client: Client, side: str, kind: str, *opcodes: str) -> list[Entry]:
    entries = client.timeline.entries(connection=client.number)
    return [entry for entry in entries if (entry.side, entry.kind) == (side, kind) and (not opcodes or entry.details["opcode"] in opcodes)]


def number_of(client: Client, what: str, phase: str) -> int:
    """The number of a fault's Entry."""
    return next(e.number for e in client.timeline.entries() if e.kind == "fault" and (e.details["what"], e.details["phase"]) == (what, phase))


async def echoes(client: Client, text: str) -> bool:
    await client.send_text(text)
    return await client.receive_text(timeout=5.0) == text


# What all that last have in common.


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
    assert await client.ping() < 1.0


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


# A client that stops reading.


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
        serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=0.1) as server,
        connect(server, "/ws", name="Ana") as client,
        connect(server, "/ws", name="Bo") as other,
    ):
        async with reading_stalled(client):
            await eventually(lambda: not client.connection.open)
            assert client.state is WebSocketState.CONNECTED
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert (client.close_code, client.close_reason) == (1011, "keepalive ping timeout")
        assert await echoes(other, "unharmed")


# A slow network.


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


# A line that is dead at one end.


async def test_of_a_half_open_line_the_server_learns_only_by_its_ping(eventually: Eventually) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.2, ping_timeout_seconds=0.2) as server, connect(server, "/ws", name="Ana") as client:
        async with half_open(client):
            await client.send_text("never arrives")
            assert client.connection.open
            await eventually(lambda: not client.connection.open)
            assert client.connection.close_frames == [("server", 1011, "keepalive ping timeout")]
            assert client.state is WebSocketState.CONNECTED
            assert frames(client, "server", "frame-in", "TEXT", "PONG") == []
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
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=2.0) as server, connect(server, "/ws", name="Ana") as client:
        async with pongs_delayed(client, seconds=0.2):
            await eventually(lambda: frames(client, "server", "frame-in", "PONG"))
            first = number_of(client, "pongs-delayed", "begins")
            ping = next(entry for entry in frames(client, "client", "frame-in", "PING") if entry.number > first)
            pong = next(entry for entry in frames(client, "client", "frame-out", "PONG") if entry.payload == ping.payload)
            assert pong.at_seconds - ping.at_seconds >= 0.2
            assert await echoes(client, "messages are not delayed")
        assert client.state is WebSocketState.CONNECTED


async def test_pongs_that_never_come_end_in_1011() -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=0.1) as server, connect(server, "/ws", name="Ana") as client:
        async with pongs_delayed(client, seconds=None):
            await asyncio.wait_for(client.wait_closed(), 5.0)
        assert (client.close_code, client.close_reason) == (1011, "keepalive ping timeout")
        assert noted(client) == [("pongs-delayed", "begins"), ("pongs-delayed", "ends")]


async def test_pongs_that_are_late_are_sent_when_the_fault_ends(eventually: Eventually) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=5.0) as server, connect(server, "/ws", name="Ana") as client:
        async with pongs_delayed(client, seconds=30.0):
            await eventually(lambda: frames(client, "client", "frame-in", "PING"))
            assert frames(client, "client", "frame-out", "PONG") == []
        pings, pongs = frames(client, "client", "frame-in", "PING"), frames(client, "client", "frame-out", "PONG")
        assert pongs
        assert [pong.text for pong in pongs] == [ping.text for ping in pings[: len(pongs)]]


# Fragments and frames that break a rule.


@pytest.mark.parametrize(
    ("message", "sizes", "lengths"),
    [
        ("hello", 2, [2, 2, 1]),
        ("hello", 5, [5]),
        ("hello", 99, [5]),
        ("hello", [1, 3], [1, 3, 1]),
        ("hello", [2, 3], [2, 3]),
        ("ä€𝄞", 1, [1] * 9),
        ("", 1, [0]),
        (b"\x00\xff", [1], [1, 1]),
    ],
)
@pytest.mark.parametrize("ping_between", [False, True])
async def test_a_message_in_fragments_arrives_whole(client: Client, message: str | bytes, sizes: Any, lengths: list[int], ping_between: bool) -> None:
    await send_in_fragments(client, message, sizes, ping_between=ping_between)
    received = await client.receive(timeout=5.0)
    assert received["text" if isinstance(message, str) else "bytes"] == message
    seen = frames(client, "server", "frame-in", "TEXT", "BINARY", "CONT")
    assert [entry.size for entry in seen] == lengths
    assert [entry.details["fin"] for entry in seen] == [False] * (len(lengths) - 1) + [True]
    assert {entry.ordinal for entry in seen} == {1}
    assert len(frames(client, "server", "frame-in", "PING")) == (len(lengths) - 1 if ping_between else 0)
    assert noted(client) == [("fragments", "once")]


async def test_messages_of_other_tasks_never_come_between_two_fragments(client: Client) -> None:
    whole = "0123456789" * 50
    await asyncio.gather(*(send_in_fragments(client, whole, 7) if number % 2 else client.send_text(str(number)) for number in range(60)))
    received = [await client.receive_text(timeout=5.0) for _ in range(60)]
    assert sorted(received) == sorted([str(number) if number % 2 == 0 else whole for number in range(60)])


@pytest.mark.parametrize("sizes", [0, -1, [1, 0], "ab", True, 1.5])
async def test_a_size_that_is_none_is_refused_and_nothing_sent(client: Client, sizes: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await send_in_fragments(client, "hello", sizes)
    with pytest.raises(ValueError, match="at most 1,000 fragments"):
        await send_in_fragments(client, "x" * 1_002, 1)
    with pytest.raises(TypeError, match="expects str or bytes, but got dict"):
        await send_in_fragments(client, {}, 1)  # type: ignore[arg-type]
    assert frames(client, "client", "frame-out") == []


@pytest.mark.parametrize("kind", INVALID_FRAMES)
async def test_the_server_answers_an_invalid_frame_with_the_code_that_the_rule_prescribes(server: Server, eventually: Eventually, kind: str) -> None:
    async with connect(server, "/listening", name="Ana") as client, connect(server, "/ws") as other:
        await send_invalid_frame(client, kind)
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.close_code == INVALID_FRAMES[kind].code
        assert ("server", INVALID_FRAMES[kind].code) in [frame[:2] for frame in client.connection.close_frames]
        await eventually(lambda: client.connection.client_state == "DISCONNECTED")
        assert await echoes(other, "unharmed")
        assert noted(client) == [(f"invalid-frame {kind}", "once")]
        assert client.timeline.entries(connection=client.number)[-1].connection == client.number


async def test_an_unknown_kind_of_invalid_frame_is_answered_with_those_there_are(client: Client) -> None:
    with pytest.raises(ValueError, match=r"kind expects one of 'unmasked', .*, but got 'rude'"):
        await send_invalid_frame(client, "rude")


async def test_after_the_end_neither_fragments_nor_invalid_frames_are_sent(client: Client) -> None:
    await client.close()
    for action in (send_in_fragments(client, "hello", 1), send_invalid_frame(client, "unmasked")):
        with pytest.raises(Disconnected, match="Ana is not connected"):
            await action
    assert noted(client) == []


async def test_fragments_are_delayed_by_a_slow_network_and_held_by_a_dead_line(client: Client) -> None:
    async with slow_network(client, to_server_seconds=0.1):
        await send_in_fragments(client, "hello", 2)
        assert frames(client, "server", "frame-in") == []
        assert await client.receive_text(timeout=5.0) == "hello"
    async with half_open(client):
        await send_in_fragments(client, "world", 2)
    assert [entry.text for entry in frames(client, "server", "frame-in", "TEXT")] == ["he"]


async def test_vanishing_is_a_fault_that_happens_once(client: Client) -> None:
    await client.abort()
    await client.abort()
    assert noted(client) == [("vanishes", "once")]
