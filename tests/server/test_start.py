"""serve() is ready when it returns, on the port that was asked for, or says in time why not and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket

import kit.binding
import kit.server
from kit import connect, serve
from kit.engine import Engine
from kit.errors import ServerStartError
from kit.registry import running_server
from tests.apps import app
from tests.server.apps import BLOCKS, endpoint
from tests.server.probes import is_free, server_threads
from tests.timing import within


async def test_it_is_ready_when_serve_returns() -> None:
    server = await serve(app, port=0)
    assert server.state == "serving"
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.ws_url == f"ws://127.0.0.1:{server.port}"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5.0):
        pass
    assert "serving" in repr(server)


async def test_a_server_in_a_block_stops_at_its_end() -> None:
    async with serve(app, port=0) as server:
        port = server.port
        assert not is_free(port)
    assert server.state == "stopped"
    assert is_free(port)


async def test_using_a_server_that_was_not_awaited_names_the_mistake() -> None:
    with pytest.raises(AttributeError, match="forget await"):
        serve(app, port=0).url  # noqa: B018


async def test_a_cell_that_ends_with_a_server_that_was_not_awaited_shows_what_to_write() -> None:
    assert repr(serve(app, port=0)) == "<this server has not been started. Did you forget await? Write: server = await serve(app)>"


async def coroutine_function() -> None:
    """What a reader passes who mistakes any coroutine function for the app."""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: endpoint, "endpoint.*pass the app that it is registered on"),
        (lambda: coroutine_function, "coroutine_function.*pass the app"),
        (lambda: coroutine_function(), "got a coroutine"),
        (lambda: "main.py", "got 'main.py'. Write: serve\\('main:app'\\)"),
        (lambda: FastAPI, "class FastAPI"),
        (lambda: None, "NoneType"),
        (dict, "dict"),
        (lambda: 8000, "int"),
        (lambda: serve(app), "serve"),
    ],
)
async def test_what_is_not_an_app_is_refused_by_name(wrong: Callable, words: str) -> None:
    with within(5.0), pytest.raises(ServerStartError, match=f"(?s){words}"):
        await serve(wrong(), port=0)
    assert server_threads() == []


@pytest.mark.parametrize("port", [-1, 65_536, "8000", 80.5, True])
async def test_a_port_that_is_none_is_refused(port: object) -> None:
    with pytest.raises(ServerStartError, match="from 0 to 65535"):
        await serve(app, port=port)


async def test_a_port_that_another_program_holds_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with within(5.0), pytest.raises(ServerStartError, match=rf"port {port} is taken by another program.*port=0") as error:
            await serve(app, port=port)
        assert error.value.port == port
    assert server_threads() == []


async def test_a_port_that_another_server_of_this_kernel_holds_is_named_with_it() -> None:
    holder = await serve(app, port=0, name="holder")
    with pytest.raises(ServerStartError, match=rf"port {holder.port}.*'holder'"):
        await serve(app, port=holder.port, name="other")
    assert holder.state == "serving"


async def test_an_address_that_is_not_this_machines_is_named() -> None:
    with within(5.0), pytest.raises(ServerStartError, match=r"cannot bind 192\.0\.2\.1"):
        await serve(app, port=0, host="192.0.2.1", kit_token="a secret for tests".replace(" ", "-"))


async def test_a_start_up_that_fails_is_raised_with_the_readers_line() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        raise ConnectionError("no database")  # the reader's line
        yield

    with within(5.0), pytest.raises(ServerStartError, match=r"(?s)ConnectionError: no database.*test_start\.py, line \d+.*# the reader's line") as error:
        await serve(FastAPI(lifespan=lifespan), port=0)
    assert isinstance(error.value.__cause__, ConnectionError)
    assert server_threads() == []


async def test_a_start_up_that_calls_exit_is_an_error_and_not_the_end_of_the_kernel() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        sys.exit(3)
        yield

    with within(6.0), pytest.raises(ServerStartError):
        await serve(FastAPI(lifespan=lifespan), port=0)
    assert server_threads() == []


async def test_a_start_up_that_never_ends_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "start_seconds", 0.5)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    with within(2.5), pytest.raises(ServerStartError, match=r"did not end within 0\.5 s") as error:
        await serve(FastAPI(lifespan=lifespan), port=0)
    assert is_free(error.value.port)
    assert server_threads() == []


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_start_up_that_blocks_is_given_up_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "start_seconds", 0.5)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        while True:
            time.sleep(0.01)  # the blocking line  # noqa: ASYNC251
        yield

    with within(5.0), pytest.raises(ServerStartError, match="the blocking line"):
        await serve(FastAPI(lifespan=lifespan), port=0)


@pytest.mark.parametrize("inner_name", ["outer", "inner"])
async def test_a_start_up_may_serve_another_app_but_not_under_its_own_name(inner_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for itself until the outer start is given up; what is wrong is said at once."""
    monkeypatch.setattr(Engine, "start_seconds", 60.0)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with serve(app, port=0, name=inner_name):
            yield

    starting = asyncio.ensure_future(serve(FastAPI(lifespan=lifespan), port=0, name="outer"))
    if inner_name == "inner":
        outer = await asyncio.wait_for(starting, 20.0)
        assert {outer.state, running_server("inner").state} == {"serving"}
        await outer.stop()
        assert running_server("inner") is None
        return
    with pytest.raises(ServerStartError, match=r"'outer' is still starting, and this serve\(\) is in its app's own start-up.*name='outer-inner'"):
        await asyncio.wait_for(starting, 20.0)


async def test_after_a_failed_start_the_next_one_works() -> None:
    with pytest.raises(ServerStartError):
        await serve(endpoint, port=0)
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ServerStartError):
        await serve(app, port=other.getsockname()[1])
    server = await serve(app, port=0)
    async with connect(server, "/ws") as client:
        await client.send_text("works")
        assert await client.receive_text(timeout=5.0) == "works"


async def test_a_start_that_is_cancelled_leaves_nothing_behind(eventually: Callable) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        started.set()
        await asyncio.Event().wait()
        yield

    started = threading.Event()

    async def start() -> None:
        await serve(FastAPI(lifespan=lifespan), port=0)

    starting = asyncio.create_task(start())
    assert await asyncio.to_thread(started.wait, 5.0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await eventually(lambda: server_threads() == [])


async def test_an_app_without_a_lifespan_is_served() -> None:
    async def bare(scope: dict, receive: Callable, send: Callable) -> None:
        assert scope["type"] == "websocket"
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})
        await receive()
        await receive()

    async with serve(bare, port=0) as server, connect(server, "/bare") as client:
        assert await client.receive_text(timeout=5.0) == "/bare"


async def test_the_lifespan_runs_on_the_servers_loop_and_shares_its_state(place: str) -> None:
    steps: list[object] = []
    thread = "kit-server-living" if place == "thread" else threading.current_thread().name

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict]:
        steps.append(threading.current_thread().name)
        yield {"shared": 42}
        steps.append("shut down")

    living = FastAPI(lifespan=lifespan)

    @living.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json([websocket.state.shared, threading.current_thread().name])
        await websocket.receive()

    async with serve(living, port=0, name="living") as server, connect(server, "/ws") as client:
        assert await client.receive_json(timeout=5.0) == [42, thread]
    assert steps == [thread, "shut down"]


# Ports.


async def test_port_zero_is_any_free_port() -> None:
    one, two = await serve(app, port=0, name="one"), await serve(app, port=0, name="two")
    assert one.port != two.port
    assert 0 not in (one.port, two.port)


async def test_a_number_is_taken_strictly(eventually: Callable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = await serve(app, port=port)
    assert server.port == port


@pytest.fixture
def first_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port in the place of 8000, which anybody on this machine may hold."""
    assert kit.binding.FIRST_PORT == 8000
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for module in (kit.binding, kit.server):
        monkeypatch.setattr(module, "FIRST_PORT", port)
    return port


async def test_without_a_port_it_is_8000_or_the_next_free_one_and_said_plainly(first_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", first_port)):
        server = await serve(app, name="next")
        assert first_port < server.port <= first_port + 100
        assert server.url in capsys.readouterr().out


async def test_without_a_port_a_free_8000_is_taken_silently(first_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    server = await serve(app)
    assert server.port == first_port
    assert capsys.readouterr().out == ""


async def test_a_port_lost_to_another_program_while_stopped_does_not_stop_a_reader_who_asked_for_none() -> None:
    """``port=None`` means 8000 or the next free one: the port of before is a wish, not a condition."""
    server = await serve(app, port=0)
    await server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        again = await serve(app)
        assert again.port != server.port


async def test_a_failed_start_does_not_change_what_port_none_means() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ServerStartError):
        await serve(app, port=other.getsockname()[1])
    server = await serve(app)
    assert 8000 <= server.port <= 8100


async def test_a_refusal_is_told_with_the_readers_line_and_hardly_any_of_the_kits() -> None:
    """A reader who has to scroll past the kit's own lines never reaches the sentence that helps."""
    with pytest.raises(ServerStartError) as refused:
        await serve("no_such_module:app", port=0)
    files = [Path(frame.filename).name for frame in traceback.extract_tb(refused.value.__traceback__)]
    assert files == [Path(__file__).name, "pending.py"]
