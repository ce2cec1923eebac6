"""A peer that does not read delays nobody, and what is written past it goes behind what the app sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kit import connect, serve
from kit.frames import prepared
from kit.outlet import DUE_LIMIT_BYTES, Outlet
from tests.outlet.listeners import Listeners, fill, raw_client, seen


async def test_a_room_notices_that_a_peer_has_become_slow() -> None:
    """Also where nothing is recorded, and nothing but the room ever writes: what it says is what the transport says."""
    listeners = Listeners()

    async def work() -> None:
        (outlet,) = listeners.outlets
        for _ in range(1_000):
            if outlet.turn.write([outlet], prepared(bytes(65_536))):
                assert not outlet.writable
                return
            outlet.turn.end()
        raise AssertionError("it went on taking messages")

    async with serve(listeners.app, port=0, recording=False) as server, raw_client(server, receive_bytes=4096):
        await server.run(work())


async def test_a_peer_that_does_not_read_makes_its_outlet_unwritable_until_it_reads() -> None:
    listeners = Listeners()

    async def work() -> int:
        (outlet,) = listeners.outlets
        count = fill(outlet)
        assert outlet.pending_bytes > 65_536
        assert outlet.turn.write([outlet], prepared("no")) == [outlet]
        assert outlet.write(prepared("owed"))  # one that is written all the same is owed
        return count

    async def wait_until_drained() -> None:
        (outlet,) = listeners.outlets
        await outlet.drained()
        assert outlet.writable
        assert outlet.turn.write([outlet], prepared("yes")) == []

    async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096) as client:
        count = await server.run(work())
        waiting = asyncio.ensure_future(server.run(wait_until_drained()))
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        frames = prepared(bytes(65_536)) * count + prepared("owed") + prepared("yes")
        assert await client.read_until(prepared("yes")) == frames
        await waiting


async def test_a_peer_that_does_not_read_delays_nobody_and_is_dropped_at_once() -> None:
    listeners = Listeners()

    async def stall_then_tell() -> list[Outlet]:
        fill(listeners.outlets[0])
        return listeners.outlets[0].turn.write(listeners.outlets, prepared("to the others"))

    async def drop() -> int:
        stuck = listeners.outlets[0]
        waiting = asyncio.ensure_future(stuck.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
        stuck.abort()
        await asyncio.wait_for(waiting, 5)
        return stuck.pending_bytes

    async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096), connect(server, "/ws") as reading:
        assert await server.run(stall_then_tell()) == listeners.outlets[:1]
        assert await reading.receive_text() == "to the others"
        assert await server.run(drop()) == 0


async def test_a_publisher_that_never_yields_meets_the_limit_of_a_turn() -> None:
    """What is due is bounded without the loop's help: the turn ends early, and a peer that does not read becomes unwritable."""
    listeners = Listeners()
    frame = prepared(bytes(16_384))

    async def flood(write: Callable[[Outlet], bool]) -> int:
        (outlet,) = listeners.outlets
        most = 0
        for _ in range(2_000):
            if not outlet.writable or not write(outlet):
                return most
            most = max(most, sum(map(len, outlet._due)))
        raise AssertionError("never unwritable")

    for write in (lambda outlet: outlet.write(frame), lambda outlet: not outlet.turn.write([outlet], frame)):
        async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096):
            assert await server.run(flood(write)) <= DUE_LIMIT_BYTES
            listeners.outlets.clear()


async def test_what_comes_while_a_send_of_the_app_waits_goes_behind_it(eventually: Callable[..., Awaitable[object]]) -> None:
    """So the numbers that the handler's messages were recorded with stay those of their frames."""
    listeners = Listeners()

    async def work() -> int:
        (outlet,), (websocket,) = listeners.outlets, listeners.websockets
        count = fill(outlet)
        sending = [asyncio.ensure_future(websocket.send_text("from the app 1"))]
        await asyncio.sleep(0)
        assert outlet.write(prepared("from the outlet"))
        sending.append(asyncio.ensure_future(websocket.send_text("from the app 2")))
        await asyncio.sleep(0)
        sending_tasks.extend(sending)
        return count

    sending_tasks: list[asyncio.Task[None]] = []
    async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096) as client:
        count = await server.run(work())
        wire = await client.read_until(prepared("from the outlet"))
        last = [prepared("from the app 1"), prepared("from the app 2"), prepared("from the outlet")]
        assert wire == prepared(bytes(65_536)) * count + b"".join(last)
        await eventually(lambda: all(task.done() for task in sending_tasks))
        written = [(entry.ordinal, entry.text) for entry in seen(server, "server", "frame-out") if "from" in entry.text]
        sent = [(entry.ordinal, entry.text) for entry in seen(server, "server", "asgi-send") if "from" in entry.text]
        assert written == [(count + 1, "from the app 1"), (count + 2, "from the app 2"), (count + 3, "from the outlet")]
        assert sent == written[:2]
