"""serve(): it starts or says why not, it replaces by name, and it stops whatever its handlers do.

One contract for both places: every test here runs with the server in a thread of its own and on the loop of its caller, but
for those marked ``needs_a_thread``, which say why.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.concurrency import run_in_threadpool
from starlette.websockets import WebSocketState

import kit.binding
from kit import Server, connect, serve, stop_all
from kit.engine import Engine
from kit.errors import HandshakeRefused, LoopStopped, ServerStartError, StillBlockedWarning
from tests.apps import app

ROOT = Path(__file__).parent.parent
T = TypeVar("T")


@contextlib.asynccontextmanager
async def peer_that_never_reads(server: Server, path: str) -> AsyncIterator[socket.socket]:
    """A client that shakes hands and then never takes another byte from its socket."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = f"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13"
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.setblocking(False)
        async with asyncio.timeout(5.0):
            await loop.sock_connect(peer, ("127.0.0.1", server.port))
            await loop.sock_sendall(peer, f"GET {path} HTTP/1.1\r\n{upgrade}\r\n\r\n".encode())
            assert await loop.sock_recv(peer, 12) == b"HTTP/1.1 101"
        yield peer


def is_free(port: int) -> bool:
    """Whether a program could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True


def server_threads() -> list[str]:
    """The servers' threads that run now, but for those that an earlier test left: it has failed already."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kit-server") and thread not in left_by_others]


left_by_others: list[threading.Thread] = []

BLOCKS = "something blocks here; on the caller's own loop that stops the caller too, and nobody may interrupt the reader's thread"
STUBBORN = "a handler that will not be cancelled ends with its loop, and the caller's own loop goes on"
OWN_PROCESS = "it starts a Python of its own, whose script says where the server runs"


@pytest.fixture(autouse=True)
def only_own_threads_count() -> None:
    left_by_others[:] = threading.enumerate()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    only_a_thread = any(metafunc.definition.iter_markers("needs_a_thread"))
    metafunc.parametrize("place", ["thread"] if only_a_thread else ["thread", "kernel"], indirect=True)


@pytest.fixture(autouse=True)
def serve_runs_in(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This module's ``serve`` runs its servers there."""
    monkeypatch.setattr(sys.modules[__name__], "serve", functools.partial(serve, runs_in=place))


async def in_another_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on a loop of its own in a thread of its own; `asyncio.run` would leave its loop open once it is patched."""

    def run() -> T:
        with asyncio.Runner() as runner:
            return runner.run(coroutine)

    return await asyncio.to_thread(run)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the count is all that matters


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """The block takes less than so many seconds."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


@pytest.fixture
def one_file(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in a Python of its own, as a fresh kernel would be."""

    def run(script: str, *, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "script.py"
        file.write_text(textwrap.dedent(script))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=timeout, env=environment, check=False)

    return run


# Start.


async def test_it_is_ready_when_serve_returns() -> None:
    server = await serve(app, port=0)
    assert server.state == "serving"
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.ws_url == f"ws://127.0.0.1:{server.port}"
    with socket.create_connection(("127.0.0.1", server.port), timeout=1.0):
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


async def endpoint(websocket: WebSocket) -> None:
    """What a reader passes who mistakes the endpoint for the app."""


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

    with within(5.0), pytest.raises(ServerStartError, match=r"(?s)ConnectionError: no database.*test_server\.py, line \d+.*# the reader's line") as error:
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


# Replace by name.


async def test_serving_again_twenty_times_leaves_one_server_one_port_and_no_leak(place: str) -> None:
    first = await serve(app, port=0, name="again")
    async with connect(first, "/ws") as client:
        await client.ping()
    files, threads = open_files(), threading.active_count()
    numbers = []
    for _ in range(20):
        server = await serve(app, name="again")
        assert (server.port, server.timeline) == (first.port, first.timeline)
        client = await connect(server, "/ws")
        numbers.append(client.number)
        await client.send_text("hi")
        assert await client.receive_text(timeout=5.0) == "hi"
    assert numbers == list(range(2, 22))
    assert server_threads() == (["kit-server-again"] if place == "thread" else [])
    assert first.state == "stopped"
    await client.close()
    gc.collect()
    assert open_files() <= files + 2
    assert threading.active_count() <= threads


async def test_the_clients_of_a_replaced_server_are_told_with_1012() -> None:
    old = await serve(app, port=0)
    clients = [await connect(old, "/ws") for _ in range(5)]
    new = await serve(app)
    for client in clients:
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.close_code == 1012
    assert (old.state, new.state, new.port) == ("stopped", "serving", old.port)
    assert old.connections == new.connections == []


async def test_names_keep_servers_apart() -> None:
    one, two = await serve(app, port=0, name="one"), await serve(app, port=0, name="two")
    async with connect(one, "/ws") as client:
        await serve(app, name="two")
        await client.send_text("untouched")
        assert await client.receive_text(timeout=5.0) == "untouched"
    assert (one.state, two.state) == ("serving", "stopped")


async def test_wrong_arguments_leave_the_running_server_alone() -> None:
    server = await serve(app, port=0)
    with pytest.raises(ServerStartError):
        await serve(endpoint)
    with pytest.raises(ServerStartError):
        await serve(app, port=99_999)
    assert server.state == "serving"
    async with connect(server, "/ws") as client:
        await client.ping()


@pytest.mark.needs_a_thread("a server on the loop of another thread's caller ends with that loop")
async def test_serving_the_same_name_from_several_places_at_once_leaves_one() -> None:
    first = await serve(app, port=0, name="busy")

    async def again() -> Server:  # with a port, so that it prints nothing: CPython 3.11 can crash when two threads print at once
        return await serve(app, port=first.port, name="busy")

    servers = await asyncio.gather(again(), again(), in_another_thread(again()), again())
    assert sorted(server.state for server in servers) == ["serving", "stopped", "stopped", "stopped"]
    assert server_threads() == ["kit-server-busy"]


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_server_is_replaced_even_while_its_handler_blocks(recwarn: pytest.WarningsRecorder, eventually: Callable) -> None:
    old = await serve(blocking_app("loop"), port=0)
    await blocked(old, eventually)
    new = await serve(app)
    assert new.port == old.port
    async with connect(new, "/ws") as client:
        await client.ping()


# Stop.


def stopping_app() -> FastAPI:
    """Handlers that are suspended at an await in every way that is known to hold up a stop."""
    stopping = FastAPI()

    @stopping.websocket("/receive")
    async def receive(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()

    @stopping.websocket("/sleep")
    async def sleep(websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(3600)

    @stopping.websocket("/before-accept")
    async def before_accept(websocket: WebSocket) -> None:
        await asyncio.sleep(3600)

    @stopping.websocket("/loop")
    async def loop(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:  # noqa: ASYNC110 - it is meant to spin
            await asyncio.sleep(0)

    @stopping.websocket("/flood")
    async def flood(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_bytes(bytes(64 * 1024))

    @stopping.websocket("/stubborn")
    async def stubborn(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.sleep(3600)

    @stopping.websocket("/thread-pool")
    async def thread_pool(websocket: WebSocket) -> None:
        await websocket.accept()
        await run_in_threadpool(time.sleep, 2.0)

    @stopping.websocket("/slow-cleanup")
    async def slow_cleanup(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(3600)

    return stopping


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


def blocking_app(how: str) -> FastAPI:
    """Handlers that block the server's loop once a message comes: in Python's bytecode, or inside a call to C."""
    blocking = FastAPI()

    @blocking.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive()
        if how == "loop":
            while True:
                pass  # blocks in Python
        elif how == "naps":
            while True:
                time.sleep(0.01)  # blocks in naps  # noqa: ASYNC251
        else:
            time.sleep(2.5)  # blocks in C  # noqa: ASYNC251

    return blocking


async def blocked(server: Server, eventually: Callable) -> None:
    """A client has made the handler block, and the server knows."""
    client = await connect(server, "/ws")
    await client.send_text("block")
    await eventually(lambda: server.blocked)
    assert client.state is WebSocketState.CONNECTED


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
    server = await serve(blocking_app("c"), port=0)
    client = await connect(server, "/ws")
    await client.send_text("block")
    await eventually(lambda: server.blocked)
    with within(2.4), pytest.warns(StillBlockedWarning, match=r"test_server\.py, line \d+, in handler: time\.sleep\(2\.5\)"):
        await server.stop()
    assert is_free(server.port)
    await asyncio.wait_for(client.wait_closed(), 1.0)
    await eventually(lambda: server_threads() == [])  # it ends when the call returns


async def test_a_stop_while_a_handler_blocks_leaves_the_loop_sound(place: str) -> None:
    blocking = FastAPI()

    @blocking.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        time.sleep(1.5)  # noqa: ASYNC251 - it blocks on purpose

    async def stop_meanwhile() -> None:
        await asyncio.sleep(0.2)
        await server.stop()

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
    server = await serve(stopping_app(), port=0)
    client = await connect(server, "/sleep")
    stopping = asyncio.create_task(server.stop())
    await eventually(lambda: server.state == "stopping")
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
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


# The loop is blocked.


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_blocked_loop_is_noticed_with_its_place_and_connection(eventually: Callable) -> None:
    pausing = FastAPI()

    @pausing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            time.sleep(1.2)  # the line that blocks  # noqa: ASYNC251
            await websocket.send_text("awake")

    async with serve(pausing, port=0) as server, connect(server, "/ws"), connect(server, "/ws") as client:
        assert server.blocked is None
        assert server.statistics().blocked_seconds == 0
        await client.send_text("block")
        found = await eventually(lambda: server.blocked)
        assert (found.connection, found.place.function) == (2, "handler")
        assert found.place.code.startswith("time.sleep(1.2)  # the line that blocks")
        assert found.since_seconds > 0
        assert server.statistics().blocked_seconds > 0
        assert await client.receive_text(timeout=5.0) == "awake"
        await eventually(lambda: server.blocked is None)
        await eventually(lambda: any(e.details.get("what") == "unblocked" for e in server.timeline.entries()))
        (notice,) = [e for e in server.timeline.entries() if e.details.get("what") == "blocked"]
        assert notice.details["number"] == 2
        assert "the line that blocks" in notice.text


async def test_a_loop_that_is_only_busy_is_not_called_blocked() -> None:
    """It works hard for a second, but lets others have their turn in between."""
    busy = FastAPI()

    @busy.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        for _ in range(20):
            until = time.monotonic() + 0.05
            while time.monotonic() < until:
                pass
            await asyncio.sleep(0)
        await websocket.send_text("done")

    async with serve(busy, port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=10.0) == "done"
        assert [e.text for e in server.timeline.entries() if e.details.get("what") == "blocked"] == []


@pytest.mark.needs_a_thread(STUBBORN)
async def test_a_handler_that_refuses_to_end_writes_nothing_into_a_passing_cell(capfd: pytest.CaptureFixture[str]) -> None:
    """It is destroyed with its loop; uvicorn calls that an exception in the application, and nobody has asked."""
    server = await serve(stopping_app(), port=0)
    client = await connect(server, "/stubborn")
    await server.stop()
    await client.close()
    gc.collect()
    assert capfd.readouterr().err == ""


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_cell_that_blocks_does_not_delay_an_echo() -> None:
    """Another client, in a thread of its own, gets its echoes while this loop sleeps for a second."""
    async with serve(app, port=0) as server:

        async def echoes() -> list[float]:
            trips = []
            async with connect(server, "/ws") as client:
                for _ in range(50):
                    began = time.monotonic()
                    await client.send_text("x")
                    await client.receive_text(timeout=5.0)
                    trips.append(time.monotonic() - began)
            return trips

        trips: list[float] = []
        thread = threading.Thread(target=lambda: trips.extend(asyncio.run(echoes())))
        thread.start()
        while thread.is_alive():
            time.sleep(1.0)  # the cell blocks its own loop  # noqa: ASYNC251
        assert len(trips) == 50
        assert max(trips) < 0.5


# run().


async def test_run_uses_the_apps_own_queue_and_lock(place: str) -> None:
    thread = "kit-server-queueing" if place == "thread" else threading.current_thread().name
    queueing = FastAPI()
    queue: asyncio.Queue[str] = asyncio.Queue()
    lock = asyncio.Lock()

    @queueing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        async with lock:
            await websocket.send_text("locked")
            await websocket.send_text(await queue.get())
        await websocket.receive()

    async def put_and_wait_for_the_lock(text: str) -> str:
        await queue.put(text)
        async with lock:
            return threading.current_thread().name

    async with serve(queueing, port=0, name="queueing") as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=5.0) == "locked"
        assert await asyncio.wait_for(server.run(put_and_wait_for_the_lock("from a cell")), 5.0) == thread
        assert await client.receive_text(timeout=5.0) == "from a cell"


async def test_run_forwards_exceptions_and_cancellation() -> None:
    async with serve(app, port=0) as server:
        error, started, cancelled = LookupError("from the server's loop"), threading.Event(), threading.Event()

        async def fail() -> None:
            raise error

        async def wait_for_ever() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        with pytest.raises(LookupError) as raised:
            await server.run(fail())
        assert raised.value is error
        running = asyncio.create_task(server.run(wait_for_ever()))
        assert await asyncio.to_thread(started.wait, 5.0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(cancelled.wait, 5.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.run(asyncio.sleep(60)), 0.02)


async def test_run_survives_an_exit_request() -> None:
    async with serve(app, port=0) as server:

        async def leave() -> None:
            sys.exit(7)

        with pytest.raises(RuntimeError, match="SystemExit"):
            await server.run(leave())
        async with connect(server, "/ws") as client:
            await client.ping()


async def test_run_works_from_a_thread_and_from_the_servers_own_loop(place: str) -> None:
    thread = "kit-server-main" if place == "thread" else threading.current_thread().name
    async with serve(app, port=0, name="main") as server:

        async def name() -> str:
            return threading.current_thread().name

        async def nested() -> str:
            return await server.run(name())

        assert await in_another_thread(nested()) == thread
        assert await server.run(nested()) == thread


async def test_run_wants_a_coroutine() -> None:
    async with serve(app, port=0) as server:

        async def broadcast() -> None: ...

        with pytest.raises(TypeError, match=r"await server\.run\(broadcast\(…\)\)"):
            await server.run(broadcast)
        with pytest.raises(TypeError, match="expects a coroutine"):
            await server.run(None)


async def test_run_on_a_stopped_server_says_how_to_start_it() -> None:
    server = await serve(app, port=0)
    await server.stop()
    with pytest.raises(LoopStopped, match="await serve"):
        await server.run(asyncio.sleep(0))


@pytest.mark.needs_a_thread("a coroutine on the caller's own loop outlives the server")
async def test_a_run_that_is_under_way_when_the_server_stops_ends_with_an_error() -> None:
    server = await serve(app, port=0)
    started = threading.Event()

    async def wait_for_ever() -> None:
        started.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(server.run(wait_for_ever()))
    assert await asyncio.to_thread(started.wait, 5.0)
    await server.stop()
    with pytest.raises(LoopStopped):
        await asyncio.wait_for(running, 5.0)


# Statistics, limits, surroundings.


async def test_statistics_are_a_snapshot() -> None:
    server = await serve(app, port=0, name="counted")
    async with connect(server, "/ws"), connect(server, "/ws"):
        async with connect(server, "/ws"):
            pass
        statistics = server.statistics()
        assert (statistics.name, statistics.url, statistics.state) == ("counted", server.url, "serving")
        assert statistics.connections_total == 3
        assert statistics.connections_open in (2, 3)  # the third may be on its way out
        assert statistics.uptime_seconds >= 0
    await server.stop()
    assert (server.statistics().state, server.statistics().connections_open) == ("stopped", 0)
    assert statistics.state == "serving"


async def test_connections_are_those_that_are_open_oldest_first(eventually: Callable) -> None:
    async with serve(app, port=0) as server:
        ana, ben = await connect(server, "/ws", name="Ana"), await connect(server, "/silent", name="Ben")
        assert [(c.number, c.name, c.path, c.application_state) for c in server.connections] == [
            (1, "Ana", "/ws", "CONNECTED"),
            (2, "Ben", "/silent", "CONNECTED"),
        ]
        await ana.close()
        await eventually(lambda: [c.name for c in server.connections] == ["Ben"])
        await ben.abort()


async def test_forty_kilobytes_of_cookies_are_answered_and_arrive() -> None:
    cookies = {f"cookie{number}": "c" * 4_000 for number in range(10)}
    async with serve(app, port=0) as server, connect(server, "/mirror?x=1", cookies=cookies, headers={"x-extra": "1"}) as client:
        seen = await client.receive_json(timeout=5.0)
        assert seen["cookies"] == cookies
        assert dict(seen["headers"])["x-extra"] == "1"
        assert (seen["path"], seen["query"]) == ("/mirror", [["x", "1"]])


async def test_more_than_128_headers_are_answered_and_arrive() -> None:
    headers = {f"x-header-{number}": str(number) for number in range(300)}
    async with serve(app, port=0) as server, connect(server, "/mirror", headers=headers, subprotocols=["a"]) as client:
        seen = dict((await client.receive_json(timeout=5.0))["headers"])
        assert {name: seen.get(name) for name in headers} == headers
        assert client.subprotocol == "a"


async def test_a_request_line_of_twenty_kilobytes_is_answered() -> None:
    async with serve(app, port=0) as server, connect(server, "/mirror", query={"q": "x" * 20_000}) as client:
        assert (await client.receive_json(timeout=5.0))["query"] == [["q", "x" * 20_000]]


async def test_a_message_over_the_servers_limit_closes_with_1009() -> None:
    async with serve(app, port=0, max_message_bytes=1_000) as server:
        client = await connect(server, "/ws")
        await client.send_text("x" * 1_001)
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.close_code == 1009


async def test_a_client_that_answers_no_ping_is_closed(eventually: Callable) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05, ping_timeout_seconds=0.05) as server, peer_that_never_reads(server, "/listening"):
        await eventually(lambda: any(frame[:2] == ("server", 1011) for c in server.timeline.connections for frame in c.close_frames))


async def test_the_kernels_signal_handlers_are_left_alone() -> None:
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in signals]
    async with serve(app, port=0) as server:
        assert [signal.getsignal(number) for number in signals] == before
        async with connect(server, "/ws") as client:
            await client.ping()
    await serve(app, port=0)
    assert [signal.getsignal(number) for number in signals] == before


async def test_an_unknown_path_is_refused_with_403() -> None:
    async with serve(app, port=0) as server:
        with pytest.raises(HandshakeRefused) as refused:
            await connect(server, "/nowhere")
        assert refused.value.status == 403


async def test_dependencies_run_before_and_after_the_handler() -> None:
    steps: list[str] = []
    depending = FastAPI()

    async def dependency() -> AsyncIterator[str]:
        steps.append("before")
        yield "value"
        steps.append("after")

    @depending.websocket("/ws")
    async def handler(websocket: WebSocket, value: str = Depends(dependency)) -> None:
        await websocket.accept()
        await websocket.send_text(value)
        await websocket.receive()

    async with serve(depending, port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=5.0) == "value"
    assert steps == ["before", "after"]


# Whole processes.

SERVE_AND_ECHO = """
    async def main():
        from kit import connect, serve
        from tests.apps import app
        server = await serve(app, port=0)
        async with connect(server, "/ws") as client:
            await client.send_text("hi")
            assert await client.receive_text(timeout=5) == "hi"
        await server.stop()
        print("echoed")
"""


@pytest.mark.needs_a_thread(OWN_PROCESS)
@pytest.mark.parametrize("when", ["never", "before", "after"])
def test_it_works_with_nest_asyncio_applied_before_or_after(one_file: Callable, when: str) -> None:
    apply = "import nest_asyncio; nest_asyncio.apply()"
    lines = {
        "never": ["import asyncio, kit"],
        "before": [apply, "import asyncio, kit"],
        "after": ["import asyncio, kit", apply],
    }[when]
    twice = "asyncio.run(main()); asyncio.run(main())"
    result = one_file("\n".join(lines) + "\n" + textwrap.dedent(SERVE_AND_ECHO) + twice)
    assert result.stdout.split() == ["echoed", "echoed"], result.stderr
    assert result.returncode == 0
    assert result.stderr == ""


@pytest.mark.needs_a_thread(OWN_PROCESS)
def test_nest_asyncio_may_be_applied_while_a_server_runs(one_file: Callable) -> None:
    result = one_file(
        """
        import asyncio
        from kit import connect, serve
        from tests.apps import app

        async def main():
            server = await serve(app, port=0)
            import nest_asyncio
            nest_asyncio.apply()

            async def echo():
                async with connect(server, "/ws") as client:
                    await client.send_text("hi")
                    return await client.receive_text(timeout=5)

            print(await echo(), asyncio.get_event_loop().run_until_complete(echo()))  # nested, as a blocking call in a cell
            await server.stop()

        asyncio.run(main())
        """
    )
    assert result.stdout.split() == ["hi", "hi"], result.stderr


EXITS = {
    "a running server": "await asyncio.sleep(0)",
    "a client that takes nothing": "clients.append(await connect(server, '/flood'))",
    "a blocked handler": "clients.append(await connect(server, '/block')); await clients[-1].send_text('x'); await until(lambda: server.blocked)",
    "a handler stuck in C": "clients.append(await connect(server, '/block-in-c')); await clients[-1].send_text('x'); await until(lambda: server.blocked)",
    "a handler that waits for a thread": "clients.append(await connect(server, '/thread')); await clients[-1].receive_text(timeout=5)",
}


@pytest.mark.needs_a_thread(OWN_PROCESS)
@pytest.mark.parametrize("what", EXITS)
def test_a_kernel_leaves_quickly_with(one_file: Callable, what: str) -> None:
    """... although nobody stopped anything: Jupyter gives it five seconds before it is killed."""
    result = one_file(
        f"""
        import asyncio, time
        from fastapi import WebSocket
        from kit import connect, serve
        from tests.apps import app

        @app.websocket("/block")
        async def block(websocket: WebSocket):
            await websocket.accept()
            await websocket.receive()
            while True:
                pass

        @app.websocket("/block-in-c")
        async def block_in_c(websocket: WebSocket):
            await websocket.accept()
            await websocket.receive()
            time.sleep(12)

        @app.websocket("/thread")
        async def thread(websocket: WebSocket):
            await websocket.accept()
            await websocket.send_text("waiting for a thread")
            await asyncio.to_thread(time.sleep, 12)

        clients = []

        async def until(condition):
            while not condition():
                await asyncio.sleep(0.01)

        async def main():
            server = await serve(app, port=0)
            {EXITS[what]}
            print(time.time())

        asyncio.run(main())
        """
    )
    left_seconds = time.time() - float(result.stdout)
    assert result.returncode == 0
    assert result.stderr == ""
    assert left_seconds < 4.5
