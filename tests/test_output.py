"""Prints and logs of handlers belong to their connection; what other code prints goes where it always went."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
from collections.abc import Callable

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.concurrency import run_in_threadpool

from kit import Server, connect, serve
from kit.timeline import Entry


def printed(server: Server, connection: int | None = None) -> list[str]:
    return [entry.text for entry in server.timeline.entries() if entry.kind == "print" and entry.connection == connection]


def logged(server: Server) -> list[Entry]:
    return [entry for entry in server.timeline.entries() if entry.kind == "log"]


def app_that(does: Callable, *, path: str = "/ws") -> FastAPI:
    """An app whose handler accepts, awaits ``does(websocket)``, says "done" and waits for the client to leave."""
    app = FastAPI()

    @app.websocket(path)
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await does(websocket)
        await websocket.send_text("done")
        await websocket.receive()

    return app


async def after_handler(app: FastAPI, path: str = "/ws") -> Server:
    """A server whose connection 1 has done what it does."""
    server = await serve(app, port=0)
    async with connect(server, path) as client:
        assert await client.receive_text(timeout=5.0) == "done"
    return server


async def test_a_handlers_print_is_recorded_with_its_connection(capsys: pytest.CaptureFixture[str]) -> None:
    async def does(websocket: WebSocket) -> None:
        print("hello", "from", "the handler")
        print("to stderr", file=sys.stderr)

    server = await after_handler(app_that(does))
    assert printed(server, 1) == ["hello from the handler", "to stderr"]
    streams = [entry.details["stream"] for entry in server.timeline.entries() if entry.kind == "print"]
    assert streams == ["stdout", "stderr"]
    captured = capsys.readouterr()
    assert "handler" not in captured.out
    assert "to stderr" not in captured.err


async def test_lines_are_recorded_whole_however_they_are_written() -> None:
    async def does(websocket: WebSocket) -> None:
        print("one", end=" ")
        print("line\nand a second\nand a be", end="")
        sys.stdout.write("ginning\n")
        sys.stdout.writelines(["x\n", "y\n"])

    assert printed(await after_handler(app_that(does)), 1) == ["one line", "and a second", "and a beginning", "x", "y"]


async def test_a_line_without_an_end_is_recorded_when_the_handler_ends(eventually: Callable) -> None:
    app = FastAPI()

    @app.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        print("no line end", end="")

    async with serve(app, port=0) as server:
        client = await connect(server, "/ws")
        await client.wait_closed()
        await eventually(lambda: printed(server, 1) == ["no line end"])


async def test_prints_from_the_thread_pool_belong_to_their_connection() -> None:
    async def does(websocket: WebSocket) -> None:
        await run_in_threadpool(print, "run_in_threadpool")
        await asyncio.to_thread(print, "to_thread")

    assert printed(await after_handler(app_that(does)), 1) == ["run_in_threadpool", "to_thread"]


async def test_prints_of_a_plain_dependency_belong_to_their_connection() -> None:
    app = FastAPI()

    def dependency() -> None:
        print("dependency")

    @app.websocket("/ws")
    async def handler(websocket: WebSocket, _: None = Depends(dependency)) -> None:
        await websocket.accept()
        await websocket.send_text("done")

    assert printed(await after_handler(app), 1) == ["dependency"]


async def test_prints_of_tasks_that_a_handler_starts_belong_to_its_connection() -> None:
    async def later() -> None:
        print("from a task")

    async def does(websocket: WebSocket) -> None:
        await asyncio.create_task(later())

    assert printed(await after_handler(app_that(does)), 1) == ["from a task"]


async def test_prints_from_run_in_executor_are_shown_without_a_connection() -> None:
    """Context variables do not cross ``run_in_executor``: the print is the server's, but nobody knows whose."""

    async def does(websocket: WebSocket) -> None:
        await asyncio.get_running_loop().run_in_executor(None, print, "run_in_executor")

    server = await after_handler(app_that(does))
    assert printed(server, None) == ["run_in_executor"]
    assert printed(server, 1) == []


async def test_prints_of_the_lifespan_are_the_servers() -> None:
    async def lifespan(app: FastAPI):
        print("starting up")
        yield
        print("shutting down")

    import contextlib

    app = FastAPI(lifespan=contextlib.asynccontextmanager(lifespan))
    server = await serve(app, port=0)
    await server.stop()
    assert printed(server, None) == ["starting up", "shutting down"]


async def test_two_connections_that_print_at_the_same_time_are_never_mixed() -> None:
    app = FastAPI()

    @app.websocket("/{word}")
    async def handler(websocket: WebSocket, word: str) -> None:
        await websocket.accept()
        for number in range(200):
            print(word, end=" ")
            await asyncio.sleep(0)
            print(number)
            if number % 50 == 0:
                await asyncio.to_thread(print, word, "thread")
        await websocket.send_text("done")

    async with serve(app, port=0) as server:
        clients = await asyncio.gather(*(connect(server, f"/{word}", name=word) for word in ("ana", "ben", "cleo")))
        await asyncio.gather(*(client.receive_text(timeout=10.0) for client in clients))
        for client in clients:
            lines = printed(server, client.number)
            assert {line.split()[0] for line in lines} == {client.name}
            assert [line.split()[1] for line in lines if "thread" not in line] == [str(number) for number in range(200)]
            await client.close()


async def test_two_servers_keep_their_prints_apart() -> None:
    async def say_one(websocket: WebSocket) -> None:
        print("one")

    async def say_two(websocket: WebSocket) -> None:
        print("two")

    async with serve(app_that(say_one), port=0, name="one") as one, serve(app_that(say_two), port=0, name="two") as two:
        for server in (one, two):
            async with connect(server, "/ws") as client:
                await client.receive_text(timeout=5.0)
        assert (printed(one, 1), printed(two, 1)) == (["one"], ["two"])


async def test_log_records_of_a_handler_are_recorded_and_still_reach_its_own_handlers(caplog: pytest.LogCaptureFixture) -> None:
    async def does(websocket: WebSocket) -> None:
        logging.getLogger("shop").warning("only %d left", 3)

    server = await after_handler(app_that(does))
    (entry,) = logged(server)
    assert (entry.text, entry.connection, entry.details["level"]) == ("WARNING shop: only 3 left", 1, "WARNING")
    assert "only 3 left" in caplog.text


async def test_a_log_call_with_a_broken_format_does_not_break_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    async def does(websocket: WebSocket) -> None:
        logger = logging.Logger("broken")
        logger.warning("%d", "not a number")

    await after_handler(app_that(does))


async def test_what_other_code_prints_stays_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve(app_that(lambda websocket: asyncio.sleep(0)), port=0) as server:
        print("from the cell")
        thread = threading.Thread(target=print, args=["from a thread"])
        thread.start()
        thread.join()
        logging.getLogger("cell").warning("a log of the cell")
        assert printed(server) == []
        assert logged(server) == []
    assert capsys.readouterr().out == "from the cell\nfrom a thread\n"


async def test_stdout_and_the_log_factory_are_restored_after_the_last_stop() -> None:
    before = (sys.stdout, sys.stderr, logging.getLogRecordFactory())
    app = app_that(lambda websocket: asyncio.sleep(0))
    one, two = await serve(app, port=0, name="one"), await serve(app, port=0, name="two")
    assert sys.stdout is not before[0]
    await one.stop()
    assert sys.stdout is not before[0]
    await two.stop()
    assert (sys.stdout, sys.stderr, logging.getLogRecordFactory()) == before


async def test_stdout_is_restored_after_a_start_that_failed() -> None:
    async def app(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

    before = (sys.stdout, logging.getLogRecordFactory())
    with pytest.raises(Exception, match="start-up"):
        await serve(app, port=0)
    assert (sys.stdout, logging.getLogRecordFactory()) == before


async def test_the_stand_in_behaves_like_the_stream_that_it_stands_for() -> None:
    async with serve(app_that(lambda websocket: asyncio.sleep(0)), port=0):
        assert sys.stdout.writable()
        assert sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.flush()


async def test_a_stream_that_somebody_puts_in_place_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve(app_that(lambda websocket: asyncio.sleep(0)), port=0)
    mine = io.StringIO()
    stand_in, sys.stdout = sys.stdout, mine
    try:
        await server.stop()
        assert sys.stdout is mine
    finally:
        sys.stdout = getattr(stand_in, "original", stand_in)
