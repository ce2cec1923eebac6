"""Every end says what it was, at both ends: closes, aborts, pings that wait, and limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.websockets import WebSocketDisconnect, WebSocketState
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

from kit import Client, Server, connect, serve
from kit.errors import Disconnected
from tests.apps import app
from tests.client.apps import counting_then_closing
from tests.timing import within


async def test_close_tells_the_server_its_code_and_reason(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.close(4001, "grüß gott")
    await eventually(lambda: any(e.details.get("type") == "websocket.disconnect" for e in server.timeline.entries()))
    (end,) = [e for e in server.timeline.entries() if e.details.get("type") == "websocket.disconnect"]
    assert (end.details["code"], end.details["reason"]) == (4001, "grüß gott")
    assert (client.state, client.close_code, client.close_reason) == (WebSocketState.DISCONNECTED, 4001, "grüß gott")


async def test_closing_twice_does_nothing(client: Client) -> None:
    await client.close(4000)
    await client.close(4001)
    assert client.close_code == 4000


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, -1])
async def test_codes_that_may_not_be_sent_are_refused(client: Client, code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        await client.close(code)
    assert client.state is WebSocketState.CONNECTED


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 3000, 3999, 4000, 4999])
async def test_codes_that_may_be_sent_are_sent(server: Server, code: int) -> None:
    client = await connect(server, "/listening")
    await client.close(code)
    assert client.close_code == code


async def test_a_reason_has_at_most_123_bytes(server: Server) -> None:
    client = await connect(server, "/listening")
    with pytest.raises(ValueError, match="124"):
        await client.close(1000, "ü" * 62)
    await client.close(1000, "ü" * 61 + "x")
    assert client.close_reason == "ü" * 61 + "x"


async def test_leaving_the_block_closes_with_1000(server: Server) -> None:
    async with connect(server, "/ws") as client:
        assert (client.state, client.close_code, client.close_reason) == (WebSocketState.CONNECTED, None, None)
    assert client.close_code == 1000


async def test_the_servers_close_arrives_with_code_and_reason(server: Server) -> None:
    client = await connect(server, "/end/closing?code=4321&reason=enough")
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert (client.close_code, client.close_reason) == (4321, "enough")
    with pytest.raises(Disconnected) as end:
        await client.receive_text()
    assert (end.value.code, end.value.reason) == (4321, "enough")
    assert isinstance(end.value, WebSocketDisconnect)
    assert "4321" in str(end.value)


@pytest.mark.parametrize("path", ["/end/returning", "/end/raising"])
async def test_a_handler_that_ends_without_closing_is_seen_as_1006(server: Server, path: str) -> None:
    client = await connect(server, path)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.close_code == 1006


async def test_sending_after_the_end_says_what_ended_it(client: Client) -> None:
    await client.close(4007, "over")
    for send in (client.send_text("x"), client.send_bytes(b"x"), client.send_json(1), client.ping()):
        with pytest.raises(Disconnected, match="4007") as end:
            await send
        assert end.value.code == 4007


async def test_messages_that_came_before_the_end_can_still_be_taken(server: Server) -> None:
    async with serve(counting_then_closing(), port=0, name="other") as other:
        client = await connect(other, "/text")
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert [await client.receive_text() for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(Disconnected):
            await client.receive_text()


async def test_a_receive_that_waits_learns_of_the_end(client: Client) -> None:
    waiting = [asyncio.create_task(client.receive_text()) for _ in range(3)]
    await asyncio.sleep(0)
    await client.close()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5.0)
    assert [type(result) for result in results] == [Disconnected] * 3


async def test_abort_is_seen_by_the_server_as_a_vanished_client(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.abort()
    assert client.close_code == 1006
    await eventually(lambda: not server.connections)
    connection = server.timeline.connections[-1]
    assert (connection.vanished_side, connection.close_frames) == ("client", [])
    await eventually(lambda: any(e.details.get("type") == "websocket.disconnect" for e in server.timeline.entries()))
    (end,) = [e for e in server.timeline.entries() if e.details.get("type") == "websocket.disconnect"]
    assert end.details["code"] in (1005, 1006)
    await client.abort()


@contextlib.asynccontextmanager
async def deaf_server() -> AsyncIterator[str]:
    """The address of a raw server that shakes hands and then never reads."""

    async def answer(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await over.wait()

    over = asyncio.Event()
    async with websockets_serve(answer, "127.0.0.1", 0, close_timeout=0.1) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        over.set()


async def test_closing_towards_a_server_that_never_answers_takes_the_time_that_was_given() -> None:
    async with deaf_server() as address:
        client = await connect(address, "/")
        with within(3.0):
            await client.close(1000, within_seconds=0.2)
        assert client.state is WebSocketState.DISCONNECTED


async def test_closing_a_client_that_has_stopped_reading_still_works(server: Server) -> None:
    """Its queue is full, so it does not read: to see the server's answer it must read on, and discard."""
    client = await connect(server, "/flood")
    await client.receive_bytes(timeout=5.0)
    with within(4.0):
        await client.close(1000)
    assert (client.state, client.close_code) == (WebSocketState.DISCONNECTED, 1000)


async def test_ping_returns_the_round_trip_in_seconds(client: Client) -> None:
    trips = await asyncio.gather(*(client.ping() for _ in range(20)))
    assert min(trips) > 0


async def test_a_ping_that_waits_learns_of_the_end(eventually: Callable) -> None:
    async with deaf_server() as address:
        client = await connect(address, "/")
        ping = asyncio.create_task(client.ping())
        await eventually(lambda: any(entry.kind == "frame-out" for entry in client.timeline.entries()))
        await client.abort()
        with pytest.raises(Disconnected):
            await asyncio.wait_for(ping, 5.0)


async def test_a_message_over_the_clients_limit_closes_with_1009(server: Server) -> None:
    client = await connect(server, "/ws", max_message_bytes=1_000)
    await client.send_text("x" * 2_000)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.connection.close_frames[0][:2] == ("client", 1009)


async def test_text_that_is_not_utf8_closes_with_1007() -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.send(b"\xff\xfe", text=True)
        await connection.wait_closed()

    async with websockets_serve(answer, "127.0.0.1", 0) as other:
        client = await connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}", "/")
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.connection.close_frames[0][:2] == ("client", 1007)


@pytest.mark.parametrize("text", ["short", "long " * 40_000])
async def test_compression_is_off_unless_both_sides_ask_for_it(text: str) -> None:
    for on_server, on_client in ((True, True), (True, False), (False, True)):
        async with serve(app, port=0, compression=on_server) as server, connect(server, "/ws", compression=on_client) as client:
            for _ in range(3):
                await client.send_text(text)
                assert await client.receive_text(timeout=5.0) == text
            newest = [e for e in server.timeline.entries(connection=client.number) if e.kind == "frame-in"]
            assert {e.details["compressed"] for e in newest} == {on_server and on_client}
