"""Receives that are cancelled, time out or come from several loops lose nothing, and who takes nothing makes the others wait."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.frames import Frame, Opcode

from kit import Client, Server, connect, serve
from kit.errors import ReceiveTimeout

# Receives that are cancelled or time out.


async def test_a_receive_that_times_out_says_so_and_loses_nothing(client: Client) -> None:
    with pytest.raises(ReceiveTimeout, match=r"0\.01 s"):
        await client.receive_text(timeout=0.01)
    with pytest.raises(TimeoutError):
        await client.receive_json(timeout=0)
    await client.send_text("later")
    assert await client.receive_text(timeout=5.0) == "later"


async def test_twenty_thousand_messages_survive_random_timeouts_and_cancellations(server: Server) -> None:
    """From a foreign loop, the test's own; each message is received once and in order."""
    count, chance, numbers = 20_000, random.Random(20_000), []
    timeouts = cancellations = 0
    async with serve(bursting(count), port=0, name="bursts") as bursts, connect(bursts, "/bursts") as client:
        while len(numbers) < count:
            patience = chance.choice([0.0, 1e-6, 5e-5, 2e-4])
            match chance.randrange(3):
                case 0:
                    with contextlib.suppress(ReceiveTimeout):
                        numbers.append(int(await client.receive_text(timeout=patience)))
                        continue
                    timeouts += 1
                case 1:
                    try:
                        async with asyncio.timeout(patience):
                            message = await client.receive_text()
                    except TimeoutError:
                        timeouts += 1
                    else:
                        numbers.append(int(message))
                case 2:
                    task = asyncio.ensure_future(client.receive_text())
                    for _ in range(chance.randrange(4)):
                        await asyncio.sleep(0)
                    task.cancel()
                    try:
                        numbers.append(int(await task))
                    except asyncio.CancelledError:
                        cancellations += 1
        assert numbers == list(range(count))
        with pytest.raises(ReceiveTimeout):
            await client.receive_text(timeout=0.01)
    assert timeouts > 0
    assert cancellations > 0


@pytest.mark.parametrize(("count", "header_bytes"), [(2, 2), (60, 4), (30_000, 10)])
async def test_a_frame_that_comes_in_parts_is_whole_although_receives_time_out_meanwhile(count: int, header_bytes: int) -> None:
    """Wherever the network cuts it, whichever loop happens to read each part, and even if its payload looks like frames."""
    message = Frame(Opcode.TEXT, b"A").serialize(mask=False) * count

    async def send_in_parts(connection: ServerConnection) -> None:
        frame = Frame(Opcode.BINARY, message).serialize(mask=False)
        for cuts in itertools.pairwise([0, 1, header_bytes, len(frame)]), itertools.pairwise([0, header_bytes, header_bytes + 3, len(frame)]):
            for start, end in cuts:
                connection.transport.write(frame[start:end])
                await asyncio.sleep(0.02)  # so that each part comes alone
        await connection.wait_closed()

    async with websockets_serve(send_in_parts, "127.0.0.1", 0) as other, connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}", "/") as client:
        received: list[bytes] = []
        async with asyncio.timeout(10.0):
            while len(received) < 2:
                with contextlib.suppress(ReceiveTimeout):
                    received.append(await client.receive_bytes(timeout=0.003))
        assert received == [message, message]


def bursting(count: int) -> FastAPI:
    """Sends numbers in bursts of random length, with a turn of the loop or a short pause between them."""
    bursts = FastAPI()

    @bursts.websocket("/bursts")
    async def burst(websocket: WebSocket) -> None:
        await websocket.accept()
        chance, number = random.Random(1), 0
        while number < count:
            for _ in range(min(chance.randrange(1, 50), count - number)):
                await websocket.send_text(str(number))
                number += 1
            await asyncio.sleep(chance.choice([0.0, 0.0005]))
        await websocket.receive()

    return bursts


async def test_receives_at_the_same_time_share_the_messages(server: Server) -> None:
    """From this loop and from two more; nothing is lost, nothing comes twice, and each sees them in order."""
    async with connect(server, "/count/3000") as client:
        everything: list[int] = []

        async def take() -> list[int]:
            taken = []
            while len(everything) < 3000:
                with contextlib.suppress(ReceiveTimeout):
                    taken.append(int(await client.receive_text(timeout=0.5)))
                    everything.append(taken[-1])
            return taken

        shares = await asyncio.gather(take(), take(), asyncio.to_thread(asyncio.run, take()), asyncio.to_thread(asyncio.run, take()))
        assert sorted(number for share in shares for number in share) == list(range(3000))
        assert all(share == sorted(share) for share in shares)


async def test_a_client_may_be_used_from_any_thread_and_loop(client: Client) -> None:
    async def echo(text: str) -> str:
        await client.send_text(text)
        return await client.receive_text(timeout=5.0)

    assert await echo("here") == "here"
    assert await asyncio.to_thread(asyncio.run, echo("there")) == "there"


async def test_sends_from_several_threads_are_never_mixed_up(client: Client) -> None:
    """Messages of 3 MB never fit the socket at once: no other frame may get in between their parts."""
    size = 3_000_000

    async def send(letter: str) -> None:
        for _ in range(3):
            await client.send_text(letter * size)
            await client.send_text(letter)

    async def take() -> list[str]:
        return [await client.receive_text(timeout=10.0) for _ in range(24)]

    senders = [asyncio.to_thread(asyncio.run, send(letter)) for letter in "abc"]
    messages, *_ = await asyncio.gather(take(), send("d"), *senders)
    assert sorted(messages) == sorted(text for letter in "abcd" for text in (letter, letter * size) for _ in range(3))


# Back-pressure.


@pytest.mark.parametrize(("size_bytes", "total"), [(64 * 1024, 1_500), (1024, 30_000)])
async def test_a_client_that_takes_nothing_makes_the_servers_send_wait(size_bytes: int, total: int, eventually: Callable) -> None:
    """Its queue is bounded: it stops reading, the network's buffers fill, and the handler's send does not return."""
    sent, stalled = [0], []
    endless = FastAPI()

    @endless.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        for number in range(total):
            sending = asyncio.ensure_future(websocket.send_bytes(number.to_bytes(4) + bytes(size_bytes)))
            while not (await asyncio.wait([sending], timeout=0.3))[0]:
                stalled.append(number)
            sent[0] += 1
        await websocket.receive()

    async with serve(endless, port=0) as server, connect(server, "/ws") as client:
        await eventually(lambda: len(stalled) >= 2 and stalled[-2] == stalled[-1])
        assert sent[0] * size_bytes < 24 * 2**20, "far more than the queue and the network's buffers hold"
        numbers = [int.from_bytes((await client.receive_bytes(timeout=5.0))[:4]) for _ in range(total)]
        assert numbers == list(range(total))


async def test_a_send_waits_while_the_server_does_not_read(server: Server) -> None:
    async with connect(server, "/silent") as client:

        async def send_for_ever() -> None:
            while True:
                await client.send_bytes(bytes(64 * 1024))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send_for_ever(), 0.5)
        sent = max(e.ordinal for e in server.timeline.entries() if e.side == "client" and e.kind == "frame-out")
        assert sent * 64 * 1024 < 32 * 2**20
        await client.abort()
