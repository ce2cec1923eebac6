"""Stopping, replacing, and what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kit.workers.engine
from kit import Server, connect, serve
from kit.errors import ConnectError
from tests.apps import app
from tests.timing import within
from tests.workers.towns import ROOT, TOWN, Eventually, is_gone, seen, told, write


async def test_what_a_process_has_started_ends_with_it(town: Server, eventually: Eventually) -> None:
    first, second = await connect(town, "/child"), await connect(town, "/child")
    left = [int(await client.receive_text(timeout=5)) for client in (first, second)]
    os.kill(town.processes[0].pid, signal.SIGKILL)
    await eventually(lambda: is_over(left[0]))
    assert not is_over(left[1])
    await town.stop()
    await eventually(lambda: is_over(left[1]))


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


async def test_stopping_closes_everything_in_time_and_leaves_no_process(town: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.workers.engine, "_STOP_SECONDS", 60.0)  # for a busy machine, whose naps get longer: see `within`
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


@pytest.mark.parametrize("stop_seconds", [1.0, 2.0])
async def test_a_process_that_blocks_is_killed_when_the_server_stops(
    town: Server, stop_seconds: float, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """However late that is, no thread of the kernel is said to be blocked."""
    monkeypatch.setattr(kit.workers.engine, "_STOP_SECONDS", stop_seconds)
    client = await connect(town, "/block", query={"seconds": 30})
    await client.send_text("now")
    await eventually(lambda: town.blocked)
    blocked = next(process.pid for process in town.processes if process.label == client.connection.process)
    with within(5.0):
        await town.stop()
    assert is_gone(blocked)
    assert f"{client.connection.process} did not stop within {stop_seconds:g} s, so it was killed" in told(town, what="killed")
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
