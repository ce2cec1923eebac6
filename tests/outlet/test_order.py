"""What an outlet writes is in order with everything else, one write a turn, and written by itself where it is last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest
from fastapi import WebSocket

from kit import serve
from kit.frames import prepared
from kit.outlet import DETAILED_CONNECTIONS, Outlet
from tests.outlet.listeners import CLOSE_1000, Listeners, app_of, raw_client


@pytest.mark.parametrize("many", [True, False], ids=["many", "few"])
async def test_a_transport_that_raises_in_the_middle_of_a_turn_costs_nobody_else_a_message(many: bool, eventually: Callable[..., Awaitable[object]]) -> None:
    listeners = Listeners()
    count = DETAILED_CONNECTIONS + 4 if many else 3
    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server)) for _ in range(count)]

        async def tell() -> list[str]:
            said: list[str] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
            broken = listeners.outlets[1]

            def refuse(_: bytes) -> None:
                raise RuntimeError("unable to perform operation on a closed transport")

            broken._write = refuse
            await listeners.tell_all("1")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not broken.write(prepared("2"))
            listeners.outlets.remove(broken)
            await listeners.tell_all("2")
            return said

        await eventually(lambda: len(listeners.outlets) == count)
        assert await server.run(tell()) == ["a transport refused what was due for it, and is dropped"]
        assert sorted([await client.read_until(b"\x81\x012") for client in clients]) == [b"", *[b"\x81\x011\x81\x012"] * (count - 1)]


@pytest.mark.parametrize("recording", [True, False], ids=["recording", "not recording"])
async def test_order_holds_whatever_else_is_written(recording: bool) -> None:
    """Outlet, app, keepalive and the closing handshake within one turn of the loop: the wire has them in the order of the calls."""

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        await websocket.receive_text()
        outlet.write(prepared("1"))
        await websocket.send_text("2")
        outlet.write(prepared("3"))
        outlet.write(prepared(b"4"))
        outlet._wire.send_keepalive_ping()
        outlet.write(prepared("5"))
        outlet._wire.data_received(b"\x89\x81" + bytes(4) + b"?")  # the client's ping: its pong is uvicorn's
        outlet.write(prepared("6"))
        await websocket.send_bytes(b"7")
        outlet.write(prepared("8"))
        await websocket.close()
        assert not outlet.write(prepared("9"))

    async with serve(app_of(script), port=0, recording=recording) as server, raw_client(server) as client:
        client.socket.send(b"\x81\x82" + bytes(4) + b"go")
        wire = await client.read_until(CLOSE_1000)
        assert wire[:12] == b"\x81\x011\x81\x012\x81\x013\x82\x014"
        ping, rest = wire[12:18], wire[18:]
        assert ping[:2] == b"\x89\x04"
        assert rest == b"\x81\x015" + b"\x8a\x01?" + b"\x81\x016\x82\x017\x81\x018" + CLOSE_1000


@pytest.mark.parametrize("count", [1, DETAILED_CONNECTIONS + 1])
async def test_what_is_due_in_one_turn_is_written_together(count: int, eventually: Callable[..., Awaitable[object]]) -> None:
    """One write on the transport for each connection, whether its frames are recorded there or only counted."""
    listeners = Listeners()
    texts = [f"message {place}" for place in range(8)]
    writes: list[bytes] = []

    def seen_by(write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        return lambda data: (writes.append(data), write(data))[1]

    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server)) for _ in range(count)]
        await eventually(lambda: len(listeners.outlets) == count)
        for outlet in listeners.outlets:
            outlet._write = seen_by(outlet._write)
        await server.run(listeners.tell_all(*texts))
        for client in clients:
            await client.read_until(prepared(texts[-1]))
    assert writes == [b"".join(map(prepared, texts))] * count
