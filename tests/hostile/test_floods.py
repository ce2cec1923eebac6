"""Floods, and peers that never read: memory stays bounded, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from kit import Client, Server, serve
from kit.closing import explain
from tests.hostile.peers import BAD_FRAMES, CLOSE, PING, TEXT, Peer, app, frame, over, stranger


@contextlib.contextmanager
def memory_grows_less_than(megabytes: float) -> Iterator[None]:
    """This process, which is the server's too, never holds so much more than at the beginning."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_megabytes("VmRSS")
    yield
    assert memory_megabytes("VmHWM") - before < megabytes


def memory_megabytes(which: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0]) / 1024


async def in_small_change(peer: Peer, data: bytes) -> None:
    """Send so that the sender's own buffers do not count as the server's memory."""
    for start in range(0, len(data), 65_536):
        await peer.say(data[start : start + 65_536])


async def still_answers(client: Client) -> None:
    await client.send_text("meanwhile")
    assert await client.receive_text(timeout=5.0) == "meanwhile"


async def test_a_flood_of_pings_is_answered_in_bounded_memory(server: Server, innocent: Client) -> None:
    flood = frame(PING, bytes(4)) * 20_000 + frame(CLOSE, b"\x03\xe8")
    async with stranger(server, "/ws") as peer:
        with memory_grows_less_than(megabytes=30):
            hearing = asyncio.create_task(peer.rest())
            await in_small_change(peer, flood)
            await still_answers(innocent)
            heard = await hearing
    assert heard.count(b"\x8a\x04") == 20_000
    assert heard.endswith(b"\x88\x02\x03\xe8")
    assert [entry for entry in server.timeline.entries() if entry.kind == "frame-in" and entry.details["opcode"] == "PING"]


async def test_pings_of_a_peer_that_never_reads_do_not_pile_up(place: str, innocent: Client) -> None:
    """Only the last of many pings needs an answer (RFC 6455 §5.5.3), and none that nobody takes."""
    pings = 100_000  # 13 MB, which no network's buffers hold
    async with serve(app, port=0, name="quiet", runs_in=place, recording=False) as quiet, stranger(quiet, "/ws", receive_buffer_bytes=4_096) as peer:
        peer.writer.transport.pause_reading()
        await in_small_change(peer, frame(PING, bytes(125)) * pings)
        await still_answers(innocent)
        peer.writer.transport.resume_reading()
        await peer.say(frame(CLOSE, b"\x03\xe8"))
        heard = await peer.rest()
    assert 0 < heard.count(b"\x8a\x7d") < 0.8 * pings


async def test_a_flood_of_empty_fragments_is_one_message_in_bounded_memory(server: Server, innocent: Client) -> None:
    flood = frame(TEXT, b"be", fin=False) + frame(0x0, fin=False) * 100_000 + frame(0x0, b"gun")
    async with stranger(server, "/ws") as peer:
        with memory_grows_less_than(megabytes=30):
            await in_small_change(peer, flood)
            await still_answers(innocent)
            async with asyncio.timeout(10.0):
                assert await peer.reader.readexactly(7) == b"\x81\x05begun"
        connection = server.timeline.connections[-1]
    entries = server.timeline.entries(connection=connection.number)
    assert [entry for entry in entries if entry.kind == "frame-in" and entry.details["opcode"] == "CONT"]
    assert server.timeline.statistics().entries <= server.timeline.entries_limit


async def test_a_flood_of_messages_to_a_handler_that_takes_none_stays_in_the_network(place: str, innocent: Client, eventually: Callable) -> None:
    """While nothing is read from it, only a ping finds out that the peer has left."""
    flood = frame(TEXT, bytes(1_000)) * 20_000
    pings = {"ping_interval_seconds": 0.3, "ping_timeout_seconds": 0.3}
    async with serve(app, port=0, name="deaf", runs_in=place, **pings) as deaf:
        async with stranger(deaf, "/silent") as peer:
            with memory_grows_less_than(megabytes=30), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await in_small_change(peer, flood)
            await still_answers(innocent)
        await eventually(lambda: deaf.connections == [])


async def test_a_peer_that_never_reads_is_given_up_when_it_answers_no_ping(place: str, innocent: Client, eventually: Callable) -> None:
    pings = {"ping_interval_seconds": 0.1, "ping_timeout_seconds": 0.1}
    async with serve(app, port=0, name="pinging", runs_in=place, **pings) as pinging, stranger(pinging, "/listening") as peer:
        peer.writer.transport.pause_reading()
        connection = pinging.timeline.connections[-1]
        await eventually(lambda: over(connection))
        assert connection.close_frames == [("server", 1011, "keepalive ping timeout")]
        assert "a ping got no answer in time" in str(explain(connection))
        await still_answers(innocent)


async def test_200_connections_that_come_and_vanish_leave_nothing(server: Server, innocent: Client, eventually: Callable) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            await stack.enter_async_context(stranger(server, "/ws"))
        assert len(server.connections) == 201
        await still_answers(innocent)
    await eventually(lambda: len(server.connections) == 1)
    vanished = [connection for connection in server.timeline.connections if connection.name == "stranger"]
    await eventually(lambda: all(map(over, vanished)))
    assert len(vanished) == 200
    assert {explain(connection).sentence for connection in vanished} == {"The client dropped the line without saying goodbye."}


async def test_no_task_of_a_hostile_peer_is_left(server: Server, innocent: Client, eventually: Callable) -> None:
    async def tasks() -> int:
        return len([task for task in asyncio.all_tasks() if "asgi" in repr(task.get_coro()).lower()])

    for sent, _, _ in BAD_FRAMES.values():
        async with stranger(server, "/ws") as peer:
            await peer.say(sent)
            await peer.rest()
    await eventually(lambda: len(server.connections) == 1)
    assert await server.run(tasks()) == 1, "the innocent client's"
