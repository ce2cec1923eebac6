"""serve("chat:app", processes=2): real processes, of which everything is seen and explained as if they were one server here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect as websockets_connect

import kit.workers.engine
from kit import Client, Server, connect, explain, loops, read_recording, serve, stop_all, write_recording
from kit.admission import notebook_pages
from kit.connection import Connection
from kit.conversation import Conversation
from kit.errors import ConnectError, HandshakeRefused, KitError, ServerStartError
from kit.evidence import settled
from tests.apps import app
from tests.timing import within

ROOT = Path(__file__).parent.parent
T = TypeVar("T")
Eventually = Callable[..., Any]

TOWN = """
    import asyncio, logging, os, re, subprocess, sys, threading, time
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    async def pid(websocket):
        await websocket.accept()
        await websocket.send_text(str(os.getpid()))
        await websocket.receive()

    async def say(websocket):
        await websocket.accept()
        print("from the handler")
        logging.getLogger("town").warning("a warning")
        threading.Thread(target=print, args=("from a thread",)).start()
        os.write(2, b"from beneath\\n")
        await websocket.receive()

    async def noise(websocket):
        await websocket.accept()
        os.write(1, b"line\\n" * 5000)
        await websocket.receive()

    async def block(websocket):
        await websocket.accept()
        await websocket.receive_text()
        time.sleep(float(websocket.query_params["seconds"]))  # nobody else is served
        await websocket.send_text("over")

    async def leave(websocket):
        await websocket.accept()
        await websocket.receive_text()
        os._exit(3)

    async def hold(websocket):
        await websocket.accept()
        await websocket.receive_text()
        re.match("(a*)*b", "a" * 27)  # one call that never lets another thread run, for some seconds
        await websocket.send_text("over")

    async def cut(websocket):
        await websocket.accept()
        await websocket.receive_text()
        os.close(int(sys.argv[1]))  # the control channel
        await websocket.receive()

    async def child(websocket):
        await websocket.accept()
        await websocket.send_text(str(subprocess.Popen(["sleep", "60"]).pid))
        await websocket.receive()

    async def garble(websocket):
        await websocket.accept()
        os.write(int(sys.argv[2]), b'{"batch": 5}\\n')  # the pipe to the kernel
        await websocket.receive()

    app = Starlette(routes=[WebSocketRoute(f"/{handler.__name__}", handler) for handler in (pid, say, noise, block, leave, hold, cut, child, garble)])
"""


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> None:
    """In place of the one for all tests: servers that tests share stay until the module's end, where nothing may be left."""


@pytest.fixture(autouse=True, scope="module")
def no_trace_is_left() -> Iterator[None]:
    """After the last test there is no child, not even a dead one, and no thread or file more than before."""
    loops.panels()
    on_its_loop(once())
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    on_its_loop(stop_all())
    deadline = time.monotonic() + 10.0
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert children() == []
    assert threading.active_count() <= threads, threading.enumerate()
    assert len(os.listdir("/proc/self/fd")) <= files  # noqa: PTH208


async def once() -> None:
    """What the first server and the first client open for all."""
    async with serve(app, port=0) as server, connect(server, "/ws"):
        pass


def on_its_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from a fixture that has no loop."""
    return loops.background().submit(coroutine).result(60)


def children() -> list[int]:
    """The processes that this one has started and not seen to their ends, those that have died included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and (fields[0] == "Z" or b"kit.workers.child" in (stat.parent / "cmdline").read_bytes()):
                found.append(int(stat.parent.name))
    return sorted(found)


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def started(*arguments: Any, **options: Any) -> Server:
    return await serve(*arguments, **options)


@pytest.fixture(scope="module")
def two() -> Server:
    """The app of the other tests, in two processes."""
    return on_its_loop(started("tests.apps:app", processes=2, port=0, name="two"))


@pytest.fixture(scope="module")
def threaded() -> Server:
    """The same app in a thread, which shows what is to be expected."""
    return on_its_loop(started(app, port=0, name="threaded"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebook's folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, name: str, source: str) -> None:
    """What ``%%writefile`` does."""
    (folder / name).write_text(textwrap.dedent(source))


@pytest.fixture(scope="module")
def calm_town(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """An app of which each handler does something to its process, in two processes; for tests that end none."""
    here, folder = Path.cwd(), tmp_path_factory.mktemp("town")
    write(folder, "town.py", TOWN)
    os.chdir(folder)
    try:
        return on_its_loop(started("town:app", processes=2, port=0, name="calm town"))
    finally:
        os.chdir(here)


@pytest.fixture
async def town(folder: Path) -> AsyncIterator[Server]:
    """The same, each test's own."""
    write(folder, "town.py", TOWN)
    async with serve("town:app", processes=2, port=0, name=folder.name) as server:
        yield server


async def seen(server: Server, path: str = "/pid") -> tuple[Client, int]:
    """A client, and the process that it says it has come to."""
    client = await connect(server, path)
    return client, int(await client.receive_text(timeout=5))


async def come_to(server: Server, times: int) -> list[int]:
    """The processes that so many clients come to, one after the other."""
    found = []
    for _ in range(times):
        client, pid = await seen(server)
        await client.close()
        found.append(pid)
    return found


def told(server: Server, **wanted: Any) -> list[str]:
    """The texts of the Entries that have these attributes or details."""
    return [entry.text for entry in server.timeline.entries() if all(getattr(entry, k, entry.details.get(k)) == v for k, v in wanted.items())]


# Who gets which connection, and what is seen of it.


async def test_connections_are_dealt_out_in_turn(calm_town: Server) -> None:
    clients = [await seen(calm_town) for _ in range(4)]
    labels = {process.pid: process.label for process in calm_town.processes}
    dealt_to = [labels[pid] for _, pid in clients]
    assert sorted(dealt_to[:2]) == ["process 1", "process 2"]
    assert dealt_to[2:] == dealt_to[:2]
    assert [client.connection.process for client, _ in clients] == dealt_to
    assert [(process.label, process.state, process.connections_open) for process in calm_town.processes] == [
        ("process 1", "serving", 2),
        ("process 2", "serving", 2),
    ]
    assert all(os.getsid(pid) == pid for pid in labels), "the kernel's Ctrl-C is not theirs"
    for client, _ in clients:
        await client.close()


async def test_both_ends_are_in_the_kernels_timeline_under_one_number(two: Server, eventually: Eventually) -> None:
    async with connect(two, "/ws", name="Ana") as ana, connect(two, "/ws", name="Ben") as ben:
        for client in (ana, ben):
            await client.send_text(f"hello of {client.name}")
            assert await client.receive_text() == f"hello of {client.name}"
        for client in (ana, ben):
            entries = await eventually(lambda client=client: complete(two, client.number))
            assert {entry.details.get("process") for entry in entries if entry.side == "server"} == {client.connection.process}
            assert {entry.details.get("process") for entry in entries if entry.side == "client"} == {None}
            in_time = [(entry.side, entry.kind) for entry in sorted(entries, key=lambda entry: entry.at_seconds)]
            assert in_time == [
                *(("client", "request"), ("server", "request"), ("server", "asgi-receive"), ("server", "asgi-send")),
                *(("server", "response"), ("client", "response"), ("client", "frame-out"), ("server", "frame-in"), ("server", "asgi-receive")),
                *(("server", "asgi-send"), ("server", "frame-out"), ("client", "frame-in")),
            ]
            assert (client.connection.client_state, client.connection.application_state) == ("CONNECTED", "CONNECTED")


def complete(server: Server, number: int) -> list[Any]:
    entries = server.timeline.entries(connection=number)
    return entries if len(entries) == 12 else []


async def test_rows_of_a_conversation_do_not_mind_that_the_servers_part_comes_later(two: Server, threaded: Server, eventually: Eventually) -> None:
    async def rows_of(server: Server) -> list[tuple[Any, ...]]:
        async with connect(server, "/ws") as client:
            await client.send_text("one")
            await client.receive_text()
            await client.ping()
            await client.send_bytes(b"two")
            await client.receive_bytes()
        await eventually(lambda: settled(client.connection))

        def folded() -> list[tuple[Any, ...]]:
            fold = Conversation()
            fold.feed(server.timeline.entries(connection=client.number))
            rows = sorted(fold.rows, key=lambda row: row.at_seconds)
            return [(row.kind, row.direction, row.label, row.first, sorted(row.moments), row.waits, row.lost) for row in rows]

        def all_told() -> bool:
            rows = folded()
            return rows[-1][4] == ["client", "wire"] and not any(waits or lost for *_, waits, lost in rows)

        await eventually(all_told)
        return folded()

    assert await rows_of(two) == await rows_of(threaded)


async def test_a_stranger_has_a_number_and_its_process(two: Server, eventually: Eventually) -> None:
    async with websockets_connect(f"{two.ws_url}/ws", proxy=None) as stranger:
        await stranger.send("hi")
        assert await stranger.recv() == "hi"
        connection = await eventually(lambda: next((known for known in two.connections if known.name == "stranger"), None))
        assert (connection.path, connection.process in ("process 1", "process 2"), connection.server_here) == ("/ws", True, True)
    await eventually(lambda: not connection.open)
    assert explain(connection).pill == "closed 1000"


async def test_a_long_message_crosses_with_its_preview_and_its_size(two: Server, eventually: Eventually) -> None:
    async with connect(two, "/ws") as client:
        await client.send_text("x" * 100_000)
        assert len(await client.receive_text()) == 100_000
        (entry,) = await eventually(
            lambda: [entry for entry in two.timeline.entries(connection=client.number) if entry.kind == "asgi-receive" and entry.ordinal]
        )
        assert (entry.size, entry.payload, len(entry.text)) == (100_000, None, 256)


async def test_what_is_printed_and_logged_is_in_the_timeline(calm_town: Server, eventually: Eventually) -> None:
    client = await connect(calm_town, "/say")
    await eventually(lambda: told(calm_town, kind="print", text="from a thread") and told(calm_town, text="from beneath"))
    process = client.connection.process
    assert await eventually(lambda: told(calm_town, kind="print", connection=client.number, process=process)) == ["from the handler"]
    assert await eventually(lambda: told(calm_town, kind="log", connection=client.number, process=process)) == ["WARNING town: a warning"]
    assert told(calm_town, kind="print", connection=None, stream="stderr", process=process) == ["from beneath"]
    noisy = await connect(calm_town, "/noise")
    assert await eventually(lambda: len(told(calm_town, text="line", process=noisy.connection.process)) == 200)
    await noisy.close()
    await client.close()


async def test_what_a_process_tells_that_makes_no_sense_is_said(calm_town: Server, eventually: Eventually) -> None:
    client = await connect(calm_town, "/garble")
    (notice,) = await eventually(lambda: told(calm_town, what="unreadable"))
    assert notice == f"{client.connection.process} told something that makes no sense here: expected a batch, got 5."
    await client.close()


# Every end is explained as that of a server in a thread.

REFUSALS = ["/refuse/closing", "/refuse/policy", "/refuse/http", "/refuse/denial", "/refuse/raising", "/nowhere"]
ENDS = ["/end/returning", "/end/raising", "/end/aborting", "/end/closing?code=4000&reason=enough", "/end/closing"]


def account(connection: Connection) -> tuple[Any, ...]:
    return explain(connection), explain(connection).table, connection.close_frames, connection.client_state, connection.application_state


@pytest.mark.parametrize("path", REFUSALS)
async def test_a_refusal_is_explained_at_once(two: Server, threaded: Server, path: str) -> None:
    refusals = []
    for server in (two, threaded):
        with pytest.raises(HandshakeRefused) as refused:
            await connect(server, path)
        headers = [pair for pair in refused.value.headers if pair[0].lower() != "date"]
        refusals.append((str(refused.value), refused.value.status, headers, refused.value.body, *account(refused.value.connection)))
    assert refusals[0] == refusals[1]


async def test_a_page_of_another_origin_is_refused_unless_it_shows_panels(two: Server, threaded: Server) -> None:
    refusals = []
    for server in (two, threaded):
        with pytest.raises(HandshakeRefused) as refused:
            await connect(server, "/ws", origin="https://example.org")
        refusals.append((str(refused.value), refused.value.connection.refused_because))
    assert refusals[0] == refusals[1]
    notebook_pages.add("https://example.org")
    try:
        async with connect(two, "/ws", origin="https://example.org") as client:
            await client.send_text("let in")
    finally:
        notebook_pages.forget()


async def leave(client: Client) -> None:
    await client.close(4001, "enough")


async def vanish(client: Client) -> None:
    await client.abort()


async def wait(client: Client) -> None:
    await client.wait_closed()


@pytest.mark.parametrize(
    ("path", "act"), [*((path, wait) for path in ENDS), ("/ws", leave), ("/ws", vanish), ("/end/disconnect", leave), ("/listening", vanish)]
)
async def test_an_end_is_explained_the_same(two: Server, threaded: Server, path: str, act: Callable[..., Any], eventually: Eventually) -> None:
    accounts = []
    for server in (two, threaded):
        client = await connect(server, path)
        await act(client)
        at_once = client.ended
        await eventually(lambda client=client: settled(client.connection))
        accounts.append((account(client.connection), client.connection.handler_returned, client.connection.handler_error))
        if act is wait:
            assert at_once == client.ended
    assert accounts[0] == accounts[1]


async def test_a_recording_says_which_process_it_was(two: Server, eventually: Eventually) -> None:
    async with connect(two, "/ws") as client:
        await client.send_text("hi")
        await client.receive_text()
    await eventually(lambda: settled(client.connection))
    again = read_recording(write_recording(two.timeline))
    (connection,) = [known for known in again.connections if known.number == client.number]
    assert connection.process == client.connection.process
    assert {entry.details.get("process") for entry in again.entries(connection=client.number) if entry.side == "server"} == {connection.process}


# A process that is stuck, and one that ends.


async def test_a_blocked_process_is_named_with_its_line_and_the_other_serves(calm_town: Server, eventually: Eventually) -> None:
    client = await connect(calm_town, "/block", query={"seconds": 1.2})
    await client.send_text("now")
    blocked = await eventually(lambda: calm_town.blocked)
    assert "time.sleep(float(" in str(blocked.place)
    assert (blocked.connection, blocked.since_seconds >= 0.4, calm_town.frame()) == (client.number, True, None)
    (notice,) = await eventually(
        lambda: [entry for entry in calm_town.timeline.entries() if entry.details.get("what") == "blocked" and entry.details["number"] == client.number]
    )
    assert (notice.details["process"], notice.details["number"]) == (client.connection.process, client.number)
    other, _ = await seen(calm_town)
    assert other.connection.process != client.connection.process
    assert await client.receive_text(timeout=5) == "over"
    assert await eventually(lambda: calm_town.blocked is None and told(calm_town, what="unblocked"))
    await client.close()
    await other.close()


async def test_a_process_that_ends_takes_its_connections_along_and_the_others_go_on_until_none_is_left(town: Server, eventually: Eventually) -> None:
    gone = await connect(town, "/leave", name="Ana")
    stays, pid = await seen(town)
    await gone.send_text("now")
    await gone.wait_closed()
    assert str(gone.ended).startswith("1006, no Close frame. Process 1 ended with exit code 3, and all its connections ended with it.")
    assert settled(gone.connection)
    (notice,) = await eventually(lambda: told(town, kind="notice", what="process-ended"))
    assert notice == "process 1 ended with exit code 3; 1 open connection ended with it. New ones go to process 2."
    assert [(process.state, process.exit) for process in town.processes] == [("ended", "exit code 3"), ("serving", "")]
    assert stays.connection.open
    others = [await seen(town) for _ in range(2)]
    assert [other for _, other in others] == [pid, pid]
    fold = Conversation()
    fold.feed(town.timeline.entries(connection=gone.number))
    assert not any(row.waits for row in fold.rows), "what it had not received waits no more"
    (dropped,) = [row for row in fold.rows if row.kind == "dropped"]
    assert dropped.direction == "down", "it was the server's end that went first"
    os.kill(pid, signal.SIGKILL)
    for client in (stays, *(client for client, _ in others)):
        await client.wait_closed()
        assert "Process 2 was ended by signal 9 (SIGKILL)" in str(client.ended)
    last = await eventually(lambda: next(iter(told(town, kind="notice", what="process-ended")[1:]), None))
    assert last.endswith("3 open connections ended with it. None is left: connections are refused until the app is served again.")
    with within(2.0), pytest.raises(ConnectError):
        await connect(town, "/pid")


async def test_a_process_that_does_not_answer_is_passed_over_until_it_does(town: Server, eventually: Eventually) -> None:
    first, stopped = await seen(town)
    os.kill(stopped, signal.SIGSTOP)
    try:
        blocked = await eventually(lambda: town.blocked)
        assert (blocked.place, blocked.connection, blocked.since_seconds >= 1.0) == (None, None, True)
        assert [process.state for process in town.processes] == ["not answering", "serving"]
        (notice,) = told(town, what="not-answering")
        assert notice == "process 1 does not answer: one long call holds its interpreter, or it was stopped. New connections go to process 2."
        assert await come_to(town, 3) == [town.processes[1].pid] * 3
    finally:
        os.kill(stopped, signal.SIGCONT)
    (notice,) = await eventually(lambda: told(town, what="answering"))
    assert notice.startswith("process 1 answers again, after ")
    assert notice.endswith(" s. New connections go to process 1 and process 2.")
    assert (town.blocked, [process.state for process in town.processes]) == (None, ["serving", "serving"])
    assert stopped in await come_to(town, 2)
    assert first.connection.open
    await first.close()


async def test_a_process_whose_interpreter_is_held_does_not_answer(town: Server, eventually: Eventually) -> None:
    client = await connect(town, "/hold")
    await client.send_text("now")
    assert (await eventually(lambda: town.blocked)).place is None
    assert await come_to(town, 2) == [town.processes[1].pid] * 2
    await client.abort()


async def test_connections_wait_while_no_process_answers(folder: Path, eventually: Eventually) -> None:
    write(folder, "town.py", TOWN)
    async with serve("town:app", port=0, name="alone") as server:
        (process,) = server.processes
        os.kill(process.pid, signal.SIGSTOP)
        try:
            assert (await eventually(lambda: told(server, what="not-answering")))[0].endswith("New connections wait: no process answers.")
            waiting = [asyncio.create_task(seen(server)) for _ in range(3)]
        finally:
            os.kill(process.pid, signal.SIGCONT)
        for client, pid in await asyncio.gather(*waiting):
            assert pid == process.pid
            await client.close()


async def test_a_process_that_takes_no_sockets_costs_the_kernel_few_descriptors(folder: Path, eventually: Eventually) -> None:
    write(folder, "town.py", TOWN)
    async with serve("town:app", port=0, name="alone") as server:
        (process,) = server.processes
        os.kill(process.pid, signal.SIGSTOP)
        comers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(800)]
        try:
            most = 0
            while not told(server, what="not-answering"):
                most = max(most, len(os.listdir("/proc/self/fd")) - len(comers))  # noqa: PTH208
                await asyncio.sleep(0.01)
            assert most < 300
        finally:
            for comer in comers:
                comer.close()
            os.kill(process.pid, signal.SIGCONT)
        client, _ = await seen(server)
        await client.close()


async def test_a_process_that_has_closed_its_channel_is_passed_over(town: Server, eventually: Eventually) -> None:
    client = await connect(town, "/cut")
    await client.send_text("now")
    (notice,) = await eventually(lambda: told(town, what="not-answering"))
    assert notice == "process 1 has closed its channel to this kernel, so it can be given no more connections. New connections go to process 2."
    assert [process.state for process in town.processes] == ["not answering", "serving"]
    assert await come_to(town, 2) == [town.processes[1].pid] * 2
    await client.abort()


async def test_a_kernel_that_was_held_itself_takes_no_process_for_dead(calm_town: Server) -> None:
    before = len(told(calm_town, what="not-answering"))
    ended = threading.Event()
    calm_town._life.loop.call_soon(lambda: (time.sleep(1.6), ended.set()))
    await asyncio.to_thread(ended.wait, 5)
    client, _ = await seen(calm_town)
    await asyncio.sleep(0.6)  # two more looks
    assert len(told(calm_town, what="not-answering")) == before
    await client.close()


# Stopping, replacing, and what is left.


async def test_what_a_process_has_started_ends_with_it(town: Server, eventually: Eventually) -> None:
    first, second = await connect(town, "/child"), await connect(town, "/child")
    left = [int(await client.receive_text(timeout=5)) for client in (first, second)]
    os.kill(town.processes[0].pid, signal.SIGKILL)
    await eventually(lambda: is_over(left[0]))
    assert not is_over(left[1])
    await town.stop()
    assert is_over(left[1])


def is_over(pid: int) -> bool:
    """Whether a process has ended, waited for or not: it was not ours."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_serving_again_takes_the_port_the_timeline_and_the_new_file(town: Server, folder: Path, eventually: Eventually) -> None:
    client, _ = await seen(town)
    old = [process.pid for process in town.processes]
    write(folder, "town.py", TOWN.replace("str(os.getpid())", "'anew'"))
    again = await serve("town:app", name=town.name)
    await client.wait_closed()
    assert (client.close_code, again.port, again.timeline is town.timeline, town.state) == (1012, town.port, True, "stopped")
    assert "because it was replaced by a new one" in str(client.ended)
    assert all(map(is_gone, old))
    assert [process.label for process in again.processes] == ["process 1"]
    fresh = await connect(again, "/pid")
    assert await fresh.receive_text() == "anew"
    assert fresh.number == client.number + 1
    async with serve(app, name=town.name) as here:
        assert (here.processes, here.port, here.runs_in) == ([], town.port, "thread")
        await fresh.wait_closed()


async def test_stopping_closes_everything_in_time_and_leaves_no_process(town: Server) -> None:
    client, _ = await seen(town)
    pids = [process.pid for process in town.processes]
    with within(1.0):
        await town.stop()
    await town.stop()
    assert (client.close_code, all(map(is_gone, pids)), town.blocked) == (1001, True, None)
    assert {(process.state, process.exit) for process in town.processes} == {("ended", "exit code 0")}
    assert "because it was stopped" in str(client.ended)
    with pytest.raises(ConnectError):
        await connect(town, "/pid")


async def test_a_process_that_blocks_is_killed_when_the_server_stops(town: Server) -> None:
    client = await connect(town, "/block", query={"seconds": 30})
    await client.send_text("now")
    blocked = town.processes[0].pid
    with within(2.0):
        await town.stop()
    assert is_gone(blocked)
    assert told(town, what="killed") == ["process 1 did not stop within 1 s, so it was killed"]
    assert str(client.ended).startswith("1006, no Close frame. The server stopped before the goodbye got through.")


KERNEL = """
    import asyncio, os
    from kit import connect, serve

    async def main():
        server = await serve("town:app", port=0)
        client = await connect(server, "/block", query={"seconds": 30})
        await client.send_text("now")
        print(server.processes[0].pid, flush=True)
        os.kill(os.getpid(), 9)

    asyncio.run(main())
"""


async def test_a_process_ends_with_the_kernel_even_while_it_blocks_and_the_kernel_was_killed(folder: Path, eventually: Eventually) -> None:
    write(folder, "town.py", TOWN)
    write(folder, "kernel.py", KERNEL)
    kernel = await asyncio.create_subprocess_exec(sys.executable, "kernel.py", stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
    out, _ = await asyncio.wait_for(kernel.communicate(), 30)
    assert kernel.returncode == -signal.SIGKILL
    await eventually(lambda: is_gone(int(out)))


# What does not start says why, and leaves nothing.


@pytest.mark.parametrize(
    ("source", "wanted", "words"),
    [
        (None, "chat:app", r"there is no module 'chat' in .*%%writefile chat\.py"),
        ("import nothing_like_it", "chat:app", r"importing 'chat' raised ModuleNotFoundError.*chat\.py, line 1, in <module>: import nothing_like_it"),
        ("application = 1", "chat:app", r"has no 'app'.*app = FastAPI\(\)"),
        ("from starlette.applications import Starlette\nchat = Starlette()", "chat:app", r"has no 'app'\. Did you mean 'chat:chat'"),
        ("x = 1\ny = x / 0", "chat:app", r"ZeroDivisionError: division by zero\. It came from chat\.py, line 2, in <module>: y = x / 0"),
        ("app = (", "chat:app", r"SyntaxError: .*chat\.py, line 1: app = \("),
        ("app = 3", "chat:app", "expects an ASGI app"),
        ("import sys\nsys.exit(2)", "chat:app", "importing 'chat' raised SystemExit: 2"),
        ("import os\nos._exit(7)", "chat:app", r"process 1 ended with exit code 7 before it served\.$"),
        ("import os\nos.write(2, b'no licence\\nfound')\nos._exit(7)", "chat:app", r"before it served\. Its last words: no licence \| found$"),
    ],
)
async def test_an_app_that_cannot_be_imported_is_refused_with_its_line(folder: Path, source: str | None, wanted: str, words: str) -> None:
    before = children()
    if source is not None:
        write(folder, "chat.py", source)
    with within(10.0), pytest.raises(ServerStartError, match=f"(?s){words}"):
        await serve(wanted, port=0, name="broken")
    assert children() == before


async def test_a_module_of_the_readers_that_has_pythons_name_needs_another(folder: Path) -> None:
    write(folder, "random.py", "app = 1")
    with pytest.raises(ServerStartError, match=r"has no 'app'\. Python found that one, not your random\.py: give your file another name\."):
        await serve("random:app", port=0, name="broken")


async def test_a_kernel_in_a_folder_that_is_gone_says_so_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    before = children()
    with within(2.0), pytest.raises(ServerStartError, match=r"this kernel's folder is gone .*os\.chdir"):
        await serve("chat:app", port=0, name="broken")
    assert children() == before


async def test_what_is_no_text_in_the_path_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "town.py", TOWN)
    monkeypatch.setattr(sys, "path", [folder, *sys.path])
    async with serve("town:app", port=0, name="path") as server:
        assert await come_to(server, 1) == [server.processes[0].pid]


LIFESPAN = """
    import contextlib, time
    from starlette.applications import Starlette

    @contextlib.asynccontextmanager
    async def lifespan(app):
        {0}
        yield

    app = Starlette(lifespan=lifespan)
"""


async def test_a_start_up_that_fails_is_raised_here(folder: Path) -> None:
    write(folder, "chat.py", LIFESPAN.format("raise LookupError('no database')"))
    with pytest.raises(ServerStartError, match=r"LookupError: no database\. It came from chat\.py, line 7"):
        await serve("chat:app", port=0, name="broken")


async def test_a_start_that_hangs_is_given_up_with_its_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    monkeypatch.setattr(kit.workers.engine, "START_SECONDS", 3.0)
    write(folder, "chat.py", LIFESPAN.format("time.sleep(60)"))
    with within(7.0), pytest.raises(ServerStartError, match=r"did not end within 3 s; it is in .*time\.sleep\(60\)"):
        await serve("chat:app", port=0, name="broken")
    assert children() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((FastAPI(), 2), r"processes=2 needs the app as a text.*%%writefile chat\.py.*serve\('chat:app', processes=2\)"),
        (("chat:app", 0), "from 1 to 16, but got 0"),
        (("chat:app", 17), "from 1 to 16, but got 17"),
        (("chat:app", True), "from 1 to 16, but got True"),
        (("chat:app", "2"), "from 1 to 16, but got '2'"),
        (("chat", None), r"such as 'chat:app'.*serve\('chat:app'\)"),
        (("chat.py:app", None), r"Write: serve\('chat:app'\)"),
        (("rooms/chat.py:town", 2), r"Write: serve\('rooms\.chat:town'\)"),
        (("__main__:app", None), r"cannot import a notebook.*%%writefile chat\.py.*serve\('chat:app'\)"),
        (("no folder/chat:app", None), "such as 'chat:app'"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(folder: Path, arguments: tuple[Any, Any], words: str) -> None:
    with pytest.raises(ServerStartError, match=f"(?s){words}"):
        await serve(arguments[0], processes=arguments[1], port=0, name="broken")


async def test_an_app_of_other_processes_runs_on_no_loop_of_the_kernel() -> None:
    with pytest.raises(ServerStartError, match="runs_in='kernel' is for an app of this kernel"):
        await serve("tests.apps:app", runs_in="kernel", port=0, name="broken")


async def test_a_system_that_cannot_hand_over_sockets_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "send_fds")
    with pytest.raises(ServerStartError, match="this system cannot hand sockets to other processes"):
        await serve("tests.apps:app", port=0, name="broken")


# What cannot cross says so.


async def test_what_cannot_cross_says_so(two: Server) -> None:
    assert (two.app, two.runs_in, two.frame(), two.blocked) == ("tests.apps:app", "processes", None, None)
    with pytest.raises(KitError, match=r"'tests\.apps:app' runs in other processes"):
        await two.run(asyncio.sleep(0))
    assert list(two.routes) == []
    assert repr(two.routes).startswith("The routes of 'tests.apps:app' are in other processes, where this kernel cannot look.")


async def test_nothing_is_recorded_where_that_was_asked_for_and_ends_are_explained_all_the_same(folder: Path, eventually: Eventually) -> None:
    write(folder, "town.py", TOWN)
    async with serve("town:app", port=0, name="unrecorded", recording=False, kit_token="a-secret-for-tests") as server:
        client, _ = await seen(server)
        await client.close(4002)
        await eventually(lambda: settled(client.connection))
        assert client.ended.pill == "closed 4002"
        assert (client.connection.process, client.connection.close_frames) == ("process 1", [("client", 4002, ""), ("server", 4002, "")])
        assert not told(server, kind="frame-in")
        page = await asyncio.to_thread(httpx2.get, server.url)
        assert page.status_code == 403, "the token is wanted there too"
        assert not any("a-secret-for-tests" in command_of(process.pid) for process in server.processes)
