"""Sockets of the server may be used from other loops, which is recorded too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from kit import connect, serve
from kit.errors import LoopStopped
from tests.apps import keeping_app
from tests.taps.looking import seen


async def test_a_cell_may_send_on_a_socket_of_the_server() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/chat") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        await websocket.send_text("from the cell")
        await websocket.send_json({"from": "the cell"})
        await websocket.send_bytes(b"from the cell")
        assert await client.receive_text(timeout=5.0) == "from the cell"
        assert await client.receive_json(timeout=5.0) == {"from": "the cell"}
        assert await client.receive_bytes(timeout=5.0) == b"from the cell"
        hops = [bool(e.details.get("hopped")) for e in seen(server, "server", "asgi-send") if e.ordinal]
        assert hops == [False, True, True, True]


async def test_a_plain_thread_with_a_loop_of_its_own_may_send_too() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/chat") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        thread = threading.Thread(target=lambda: asyncio.run(websocket.send_text("from a thread")))
        thread.start()
        assert await client.receive_text(timeout=5.0) == "from a thread"
        thread.join()


async def test_a_cell_may_send_to_many_sockets_at_once() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        clients = [await connect(server, "/chat") for _ in range(20)]
        for client in clients:
            assert await client.receive_text(timeout=5.0) == "ready"
        await asyncio.gather(*(websocket.send_text(f"{turn}") for websocket in keeping.state.sockets for turn in range(20)))
        for client in clients:
            assert [await client.receive_text(timeout=5.0) for _ in range(20)] == [str(turn) for turn in range(20)]
            await client.close()


async def test_a_cell_may_close_a_socket_of_the_server() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        client = await connect(server, "/chat")
        assert await client.receive_text(timeout=5.0) == "ready"
        await keeping.state.sockets[0].close(4444, "from the cell")
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert (client.close_code, client.close_reason) == (4444, "from the cell")


async def test_a_send_from_afar_to_a_client_that_left_raises_what_it_raises_at_home(eventually: Callable) -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        client = await connect(server, "/keep")
        assert await client.receive_text(timeout=5.0) == "ready"
        await client.close()
        await eventually(lambda: not server.connections)
        with pytest.raises(WebSocketDisconnect) as leave:
            await keeping.state.sockets[0].send_text("too late")
        assert leave.value.code == 1006


async def test_a_send_from_afar_feels_a_client_that_does_not_read() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/keep") as client:
        assert await client.receive_text(timeout=5.0) == "ready"

        async def send_for_ever() -> None:
            while True:
                await keeping.state.sockets[0].send_bytes(bytes(64 * 1024))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send_for_ever(), 0.7)
        await client.abort()


async def test_a_cell_may_receive_on_a_socket_of_the_server_and_a_timeout_loses_nothing() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/keep") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        numbers: list[int] = []
        timeouts = 0

        async def send() -> None:
            for number in range(500):
                await client.send_text(str(number))
                if number % 10 == 0:
                    await asyncio.sleep(0.001)

        sending = asyncio.create_task(send())
        while len(numbers) < 500:
            try:
                async with asyncio.timeout(0.0003):
                    text = await websocket.receive_text()
            except TimeoutError:
                timeouts += 1
            else:
                numbers.append(int(text))
        await sending
        assert numbers == list(range(500))
        assert timeouts > 0
        hops = {bool(e.details.get("hopped")) for e in seen(server, "server", "asgi-receive") if e.ordinal}
        assert hops == {True}


async def test_receives_from_afar_at_the_same_time_share_the_messages() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/keep") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        receives = [asyncio.create_task(websocket.receive_text()) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(3):
            await client.send_text(str(number))
        texts = await asyncio.wait_for(asyncio.gather(*receives), 5.0)
        assert sorted(texts) == ["0", "1", "2"]


async def test_a_receive_that_a_cell_gave_up_leaves_the_message_to_the_handler() -> None:
    keeping = FastAPI()

    @keeping.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        keeping.state.socket, keeping.state.go = websocket, asyncio.Event()
        await websocket.accept()
        await keeping.state.go.wait()
        await websocket.send_text(f"the handler got {await websocket.receive_text()}")
        await websocket.receive()

    async with serve(keeping, port=0) as server, connect(server, "/ws") as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keeping.state.socket.receive_text(), 0.05)
        await client.send_text("it")

        async def go() -> None:
            keeping.state.go.set()

        await server.run(go())
        assert await client.receive_text(timeout=5.0) == "the handler got it"


async def test_a_client_that_leaves_is_seen_by_a_receive_from_afar() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        client = await connect(server, "/keep")
        assert await client.receive_text(timeout=5.0) == "ready"
        receive = asyncio.create_task(keeping.state.sockets[0].receive_text())
        await asyncio.sleep(0)
        await client.close(4010)
        with pytest.raises(WebSocketDisconnect) as leave:
            await asyncio.wait_for(receive, 5.0)
        assert leave.value.code == 4010


async def test_a_receive_from_afar_ends_when_the_server_stops() -> None:
    keeping = keeping_app()
    server = await serve(keeping, port=0)
    client = await connect(server, "/keep")
    assert await client.receive_text(timeout=5.0) == "ready"
    receive = asyncio.create_task(keeping.state.sockets[0].receive_text())
    await asyncio.sleep(0)
    await server.stop()
    with pytest.raises(WebSocketDisconnect) as leave:
        await asyncio.wait_for(receive, 5.0)
    assert leave.value.code == 1001


async def test_a_socket_of_a_stopped_server_says_that_it_is_gone() -> None:
    keeping = keeping_app()
    server = await serve(keeping, port=0)
    client = await connect(server, "/keep")
    assert await client.receive_text(timeout=5.0) == "ready"
    await server.stop()
    with pytest.raises(LoopStopped):
        await asyncio.wait_for(keeping.state.sockets[0].send_text("too late"), 5.0)
