"""A server stops in time and frees its port, whatever its handlers and its clients do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketState

from kit import connect, serve, stop_all
from kit.engine import Engine
from kit.errors import HandshakeRefused, StillBlockedWarning
from tests.apps import app
from tests.server.apps import BLOCKS, STUBBORN, blocking_app, stopping_app
from tests.server.probes import in_another_thread, is_free, peer_that_never_reads, server_threads
from tests.timing import within


@pytest.mark.parametrize("path", ["/receive", "/sleep", "/loop", "/flood", "/thread-pool"])
async def test_suspended_handlers_do_not_hold_up_a_stop(path: str) -> None:
    await stop_with_three_clients_at(path)


@pytest.mark.needs_a_thread(STUBBORN)
@pytest.mark.parametrize("path", ["/stubborn", "/slow-cleanup"])
async def test_handlers_that_will_not_be_cancelled_do_not_hold_up_a_stop(path: str) -> None:
    await stop_with_three_clients_at(path)


async def stop_with_three_clients_at(path: str) -> None:
    server = await serve(stopping_app(), port=0)
    clients = [await connect(server, path) for _ in range(3)]
    with within(1.5):
        await server.stop()
    assert (server.state, is_free(server.port), server_threads()) == ("stopped", True, [])
    for client in clients:
        await client.close()
        assert client.close_code in (1001, 1006)


@pytest.mark.parametrize("path", ["/receive", "/sleep"])
async def test_a_reading_client_is_told_with_1001(path: str) -> None:
    server = await serve(stopping_app(), port=0)
    client = await connect(server, path)
    await server.stop()
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.close_code == 1001


async def test_another_code_may_be_asked_for() -> None:
    server = await serve(app, port=0)
    client = await connect(server, "/listening")
    await server.stop(code=1013)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.close_code == 1013


@pytest.mark.parametrize("path", ["/flood", "/receive"])
async def test_a_peer_that_never_reads_does_not_hold_up_a_stop(path: str, eventually: Callable) -> None:
    server = await serve(stopping_app(), port=0)
    async with peer_that_never_reads(server, path):
        if path == "/flood":
            await eventually(lambda: server.timeline.statistics().payload_bytes > 2**20)  # it is stuck sending, or soon will be
        with within(1.5):
            await server.stop()
    assert (is_free(server.port), server_threads()) == (True, [])


async def test_a_client_that_takes_nothing_does_not_hold_up_a_stop(eventually: Callable) -> None:
    server = await serve(stopping_app(), port=0)
    client = await connect(server, "/flood")
    await eventually(lambda: server.timeline.statistics().payload_bytes > 8 * 2**20)
    with within(1.5):
        await server.stop()
    await client.abort()


async def test_a_handshake_that_the_handler_never_answers_does_not_hold_up_a_stop(eventually: Callable) -> None:
    server = await serve(stopping_app(), port=0)

    async def connecting() -> None:
        await connect(server, "/before-accept")

    waiting = asyncio.create_task(connecting())
    await eventually(lambda: any((entry.side, entry.kind) == ("server", "request") for entry in server.timeline.entries()))
    with within(1.5):
        await server.stop()
    with pytest.raises(HandshakeRefused, match=r"HTTP 503.*stopped or replaced"):
        await asyncio.wait_for(waiting, 5.0)


async def test_a_half_open_http_request_does_not_hold_up_a_stop() -> None:
    server = await serve(app, port=0)
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with within(1.5):
            await server.stop()
    assert is_free(server.port)


async def test_a_shutdown_that_never_ends_does_not_hold_up_a_stop() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    server = await serve(FastAPI(lifespan=lifespan), port=0)
    with within(2.5):
        await server.stop()
    assert (is_free(server.port), server_threads()) == (True, [])


@pytest.mark.needs_a_thread(BLOCKS)
@pytest.mark.parametrize("how", ["loop", "naps"])
async def test_a_handler_that_blocks_in_python_is_interrupted(how: str, eventually: Callable) -> None:
    server = await serve(blocking_app(how), port=0)
    client = await connect(server, "/ws")
    await client.send_text("block")
    await eventually(lambda: server.blocked)
    with within(2.5):
        await server.stop()
    assert (server.state, is_free(server.port), server_threads()) == ("stopped", True, [])
    await asyncio.wait_for(client.wait_closed(), 5.0)


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_handler_that_blocks_in_c_is_named_and_its_port_is_free(eventually: Callable) -> None:
    held = threading.Lock()
    held.acquire()
    server = await serve(blocking_app("c", held), port=0)
    client = await connect(server, "/ws")
    await client.send_text("block")
    await eventually(lambda: server.blocked)
    with within(2.4), pytest.warns(StillBlockedWarning, match=r"apps\.py, line \d+, in handler: held\.acquire"):
        await server.stop()
    assert is_free(server.port)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    held.release()
    await eventually(lambda: server_threads() == [])  # it ends when the call returns


async def test_a_stop_while_a_handler_blocks_leaves_the_loop_sound(place: str) -> None:
    blocking = FastAPI()

    @blocking.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        blocks.set()
        time.sleep(1.5)  # noqa: ASYNC251 - it blocks on purpose

    async def stop_meanwhile() -> None:
        await asyncio.to_thread(blocks.wait, 5.0)
        await server.stop()

    blocks = threading.Event()
    server = await serve(blocking, port=0)
    client = await connect(server, "/ws")
    await client.send_text("block")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StillBlockedWarning)
        await in_another_thread(stop_meanwhile())
    await client.close()
    async with serve(app, port=0) as again, connect(again, "/ws") as fresh:
        await fresh.send_text("sound")
        assert await fresh.receive_text(timeout=5.0) == "sound"


async def test_stopping_twice_and_at_once_from_several_places_is_safe() -> None:
    server = await serve(app, port=0)
    await asyncio.gather(server.stop(), server.stop(), in_another_thread(server.stop()))
    await server.stop()
    assert server.state == "stopped"


async def test_a_stop_that_is_cancelled_goes_on_in_the_background(eventually: Callable) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(go_on.wait, 20.0)

    go_on, app = threading.Event(), stopping_app()
    app.router.lifespan_context = lifespan
    server = await serve(app, port=0)
    client = await connect(server, "/sleep")
    stopping = asyncio.create_task(server.stop(within_seconds=40.0))
    await eventually(lambda: server.state == "stopping")
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    go_on.set()
    await eventually(lambda: server.state == "stopped" and is_free(server.port) and not server_threads())
    await client.close()


async def test_a_handler_may_stop_its_own_server(eventually: Callable) -> None:
    suicidal = FastAPI()

    @suicidal.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await server.stop()

    server = await serve(suicidal, port=0)
    client = await connect(server, "/ws")
    await eventually(lambda: server.state == "stopped" and is_free(server.port))
    await asyncio.wait_for(client.wait_closed(), 5.0)


async def test_stop_all_stops_every_server_and_forgets_their_names() -> None:
    servers = [await serve(app, port=0, name=name) for name in ("a", "b", "c")]
    await stop_all()
    assert {server.state for server in servers} == {"stopped"}
    fresh = await serve(app, port=0, name="a")
    assert fresh.timeline is not servers[0].timeline


async def test_clients_of_a_stopped_server_know_it() -> None:
    server = await serve(app, port=0)
    client = await connect(server, "/ws")
    await server.stop()
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.state is WebSocketState.DISCONNECTED
    assert server.connections == []


async def test_a_slow_start_of_one_name_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "start_seconds", 60.0)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        begun.set()
        await asyncio.to_thread(go_on.wait, 50)
        yield

    begun, go_on = threading.Event(), threading.Event()
    server = await serve(app, port=0, name="quick")
    slow = asyncio.ensure_future(serve(FastAPI(lifespan=lifespan), port=0, name="slow"))
    await asyncio.to_thread(begun.wait, 5)
    try:
        with within(1.0):
            await server.stop()
        with within(1.0):
            await serve(app, port=0, name="quick")
        assert not slow.done()
    finally:
        go_on.set()
    assert (await slow).state == "serving"
