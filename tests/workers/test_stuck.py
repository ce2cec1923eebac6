"""A process that is stuck, and one that ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import kit.opening
import kit.workers.process
from kit import Server, connect, serve
from kit.conversation import Conversation
from kit.errors import ConnectError
from kit.evidence import settled
from tests.timing import within
from tests.workers.towns import TOWN, Eventually, come_to, seen, told, write


@pytest.fixture
def silence_is_soon_noticed(monkeypatch: pytest.MonkeyPatch, processes_may_be_late: None) -> None:
    """As usual."""
    monkeypatch.setattr(kit.workers.process, "_QUIET_LOOKS", 6)


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that gets no time of the processor for as long as the block lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_blocked_process_is_named_with_its_line_and_the_other_serves(calm_town: Server, tmp_path: Path, eventually: Eventually) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    client = await connect(calm_town, "/stick")
    await client.send_text(str(pipe))
    blocked = await eventually(lambda: calm_town.blocked)
    assert "open(path).close()" in str(blocked.place)
    assert (blocked.connection, blocked.since_seconds >= 0.4, calm_town.frame()) == (client.number, True, None)
    (notice,) = await eventually(
        lambda: [entry for entry in calm_town.timeline.entries() if entry.details.get("what") == "blocked" and entry.details["number"] == client.number]
    )
    assert (notice.details["process"], notice.details["number"]) == (client.connection.process, client.number)
    other, _ = await seen(calm_town)
    assert other.connection.process != client.connection.process
    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
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


@pytest.mark.usefixtures("silence_is_soon_noticed")
async def test_a_process_that_does_not_answer_is_passed_over_until_it_does(town: Server, eventually: Eventually) -> None:
    first, pid = await seen(town)
    with stopped(pid):
        blocked = await eventually(lambda: town.blocked)
        assert (blocked.place, blocked.connection, blocked.since_seconds >= 1.0) == (None, None, True)
        assert [process.state for process in town.processes] == ["not answering", "serving"]
        (notice,) = await eventually(lambda: told(town, what="not-answering"))
        assert notice == "process 1 does not answer: one long call holds its interpreter, or it was stopped. New connections go to process 2."
        assert await come_to(town, 3) == [town.processes[1].pid] * 3
    (notice,) = await eventually(lambda: told(town, what="answering"))
    assert notice.startswith("process 1 answers again, after ")
    assert notice.endswith(" s. New connections go to process 1 and process 2.")
    assert (town.blocked, [process.state for process in town.processes]) == (None, ["serving", "serving"])
    assert pid in await come_to(town, 2)
    assert first.connection.open
    await first.close()


@pytest.mark.usefixtures("silence_is_soon_noticed")
async def test_a_process_whose_interpreter_is_held_does_not_answer(town: Server, monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    monkeypatch.setattr(kit.opening, "_HEARD_SECONDS", 0.1)  # of the end of its connection it will never tell
    client = await connect(town, "/hold")
    await client.send_text("now")
    assert (await eventually(lambda: town.blocked)).place is None
    (other,) = [process.pid for process in town.processes if process.label != client.connection.process]
    assert await come_to(town, 2) == [other] * 2
    await client.abort()


@pytest.fixture
async def alone(folder: Path) -> AsyncIterator[Server]:
    """A server of one process."""
    write(folder, "town.py", TOWN)
    async with serve("town:app", port=0, name="alone") as server:
        yield server


@pytest.mark.usefixtures("silence_is_soon_noticed")
async def test_connections_wait_while_no_process_answers(alone: Server, eventually: Eventually) -> None:
    (process,) = alone.processes
    with stopped(process.pid):
        assert (await eventually(lambda: told(alone, what="not-answering")))[0].endswith("New connections wait: no process answers.")
        waiting = [asyncio.create_task(seen(alone)) for _ in range(3)]
    for client, pid in await asyncio.gather(*waiting):
        assert pid == process.pid
        await client.close()


@pytest.mark.usefixtures("silence_is_soon_noticed")
async def test_a_process_that_takes_no_sockets_costs_the_kernel_few_descriptors(alone: Server) -> None:
    with stopped(alone.processes[0].pid), contextlib.ExitStack() as stack:
        comers = [stack.enter_context(socket.create_connection(("127.0.0.1", alone.port))) for _ in range(800)]
        most = 0
        while not told(alone, what="not-answering"):
            most = max(most, len(os.listdir("/proc/self/fd")) - len(comers))  # noqa: PTH208
            await asyncio.sleep(0.01)
        assert most < 300
    client, _ = await seen(alone)
    await client.close()


async def test_a_process_that_has_closed_its_channel_is_passed_over(town: Server, eventually: Eventually) -> None:
    client = await connect(town, "/cut")
    await client.send_text("now")
    (notice,) = await eventually(lambda: told(town, what="not-answering"))
    assert notice == "process 1 has closed its channel to this kernel, so it can be given no more connections. New connections go to process 2."
    assert [process.state for process in town.processes] == ["not answering", "serving"]
    assert await come_to(town, 2) == [town.processes[1].pid] * 2
    await client.abort()


@pytest.mark.usefixtures("silence_is_soon_noticed")
async def test_a_kernel_that_was_held_itself_takes_no_process_for_dead(calm_town: Server) -> None:
    before = len(told(calm_town, what="not-answering"))
    ended = threading.Event()
    calm_town._life.loop.call_soon(lambda: (time.sleep(1.6), ended.set()))
    await asyncio.to_thread(ended.wait, 5)
    client, _ = await seen(calm_town)
    await asyncio.sleep(0.6)  # two more looks
    assert len(told(calm_town, what="not-answering")) == before
    await client.close()
