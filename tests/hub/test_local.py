"""local://: processes of one user that meet without a service, take over from each other, and let nobody else in."""

# ruff: noqa: ASYNC240, small files of the test's own

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kit.hub import Gap, Hub, HubError, Message, PublishFailed, link, local_meeting
from kit.hub.local_frames import frame
from kit.hub.local_meeting import MeetingPoint

Eventually = Callable[..., Any]
ROOT = Path(__file__).parent.parent.parent

# Another process: it answers in another room, and prints what it has answered.
OTHER = """
import asyncio, sys
from kit.hub import Hub

async def main(url):
    async with Hub(url) as hub, hub.subscribe("room") as subscriber:
        print("ready", flush=True)
        async for message in subscriber:
            await hub.publish("answers", message.data)
            print(message.data, flush=True)

asyncio.run(main(sys.argv[1]))
"""

# One that forks while it serves, closes its hub, opens it again and publishes; the forked child lives until their input ends.
FORKS = """
import asyncio, os, sys
from kit.hub import Hub

async def main(url):
    async with Hub(url) as hub, hub.subscribe("room") as subscriber:
        print("ready", flush=True)
        await subscriber.get()
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
    async with hub:
        while True:
            await hub.publish("room", "again")
            await asyncio.sleep(0.1)

asyncio.run(main(sys.argv[1]))
"""

# One that forks while it serves, and goes on serving; the forked child lives until their input ends.
FORKS_AND_SERVES = """
import asyncio, os, sys
from kit.hub import Hub

async def main(url):
    async with Hub(url) as hub, hub.subscribe("room") as subscriber:
        print("ready", flush=True)
        await subscriber.get()
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        await hub.publish("room", "forked")
        await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(params=["a Unix socket", "a port and a secret"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Also as Windows would do it, as far as that can be seen from here."""
    if request.param != "a Unix socket":
        monkeypatch.setattr(local_meeting, "HAS_UNIX_SOCKETS", False)
    return f"local://{secrets.token_hex(8)}"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the processes of this test's user meet: nobody has been there yet."""
    monkeypatch.setattr(local_meeting.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"kit-hub-{os.getuid()}"


@contextlib.asynccontextmanager
async def another_process(url: str, script: str = OTHER) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, url, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE)
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 20.0) == b"ready\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()  # which ends a forked child too
        await process.communicate()


async def test_who_opens_it_first_serves_and_another_takes_over_with_a_gap(url: str, eventually: Eventually) -> None:
    first = Hub(url)
    await first.open()
    async with Hub(url) as second, Hub(url) as third, second.subscribe("room") as subscriber:
        before = await third.publish("room", 1)
        assert (await subscriber.get(timeout=5.0)).data == 1
        await first.close()
        await eventually(lambda: second.statistics().reconnects == third.statistics().reconnects == 1)
        after = await third.publish("room", 2)
        gap, message = await subscriber.get(timeout=5.0), await subscriber.get(timeout=5.0)
        assert isinstance(gap, Gap)
        assert message == Message("room", 2, *after)
        assert before.epoch != after.epoch


async def test_a_process_that_serves_is_frozen_and_said_to_be_and_killed_and_replaced(eventually: Eventually) -> None:
    url = f"local://{secrets.token_hex(8)}"
    async with another_process(url) as process, Hub(url) as hub, hub.subscribe("answers") as answers:
        await hub.publish("room", "before")
        assert (await answers.get(timeout=5.0)).data == "before"
        assert await asyncio.wait_for(process.stdout.readline(), 5.0) == b"before\n"
        process.send_signal(signal.SIGSTOP)
        publishing = asyncio.create_task(hub.publish("room", "meanwhile"))
        await eventually(lambda: hub.state == "reconnecting")
        with pytest.raises(PublishFailed, match=r"did not take the message within 5 s"):
            await publishing
        process.send_signal(signal.SIGCONT)
        await eventually(lambda: hub.state == "connected")
        await hub.publish("room", "after")
        seen = [(await answers.get(timeout=5.0)).data]
        while seen[-1] != "after":
            seen.append((await answers.get(timeout=5.0)).data)
        assert seen in (["after"], ["meanwhile", "after"]), "what was on its way may have arrived; nobody knows, and no gap is claimed"
        process.send_signal(signal.SIGKILL)
        gap = await answers.get(timeout=5.0)
        assert isinstance(gap, Gap)
        await hub.publish("answers", "alone")
        assert (await answers.get(timeout=5.0)).data == "alone"


async def test_a_cut_connection_reads_on_where_it_was(url: str, eventually: Eventually) -> None:
    async with Hub(url) as serving, Hub(url) as hub, hub.subscribe("room") as subscriber:
        for turn in range(5):
            for peer in list(serving._broker._server._peers):
                peer.transport.abort()
            await eventually(lambda: hub.state == serving.state == "connected" and hub.statistics().reconnects > turn)  # noqa: B023
            await serving.publish("room", turn)
        assert [(await subscriber.get(timeout=5.0)).data for _ in range(5)] == list(range(5))


async def test_strangers_and_nonsense_are_let_go_and_counted(url: str, eventually: Eventually) -> None:
    async with Hub(url) as hub:
        point = MeetingPoint(url.partition("://")[2])
        nested = b"[" * 100_000
        deep = len(nested).to_bytes(4, "big") + bytes(4) + nested
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", frame({"do": "fly"}), frame({"do": "publish", "number": 1}), deep):
            reader, writer = await point.connect()
            writer.write(nonsense)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        await eventually(lambda: hub.statistics().poison == 4)
        await hub.publish("room", "still here")


async def test_without_the_secret_nobody_gets_in(monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    monkeypatch.setattr(local_meeting, "HAS_UNIX_SOCKETS", False)
    name = secrets.token_hex(8)
    async with Hub(f"local://{name}") as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub._broker._server._server.sockets[0].getsockname()[1])
        writer.write(frame({"secret": "a guess"}) + frame({"do": "publish", "room": "room", "number": 1}, b"tpoison"))
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await eventually(lambda: hub.statistics().poison == 1)
        assert "without the secret" in hub.statistics().detail


async def test_a_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    async with Hub("local://name"):
        assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    await refused("must be a folder of yours that nobody else may enter. Remove it, then open the hub again.")
    if os.getuid() == 0:  # only root can give a folder away
        os.chown(folder, 65534, 65534)
        await refused("must be a folder of yours that nobody else may enter, but it is another user's. Set TMPDIR")


async def refused(why: str) -> None:
    """The error says so, and gives no advice for another cause."""
    with pytest.raises(HubError, match=re.escape(why)) as caught:
        await Hub("local://name").open()
    assert "Another process" not in str(caught.value)


async def test_a_path_that_is_too_long_for_a_socket_is_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(local_meeting.tempfile, "gettempdir", lambda: str(deep))
    await refused("is too long for a socket. Set TMPDIR to a folder of yours with a shorter path")


@pytest.mark.parametrize("suffix", [".lock", ".socket"])
async def test_what_is_in_the_way_is_named(folder: Path, suffix: str) -> None:
    in_the_way = MeetingPoint("name")._path.with_suffix(suffix)
    in_the_way.mkdir(parents=True)
    folder.chmod(0o700)
    await refused(f"{in_the_way} cannot be used: Is a directory. Remove it, then open the hub again.")


async def test_a_folder_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(local_meeting.tempfile, "gettempdir", lambda: str(tmp_path / "file"))
    await refused("cannot be made: Not a directory. Set TMPDIR")


async def test_a_program_that_is_no_hub_is_said_to_answer(folder: Path) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 100)
        writer.close()

    point = MeetingPoint("name")
    folder.mkdir(mode=0o700)
    async with await asyncio.start_unix_server(nonsense, point._address):
        await refused("what came is no frame of a local broker. Use another name.")


@pytest.mark.parametrize("bad", ["local://", "local://" + "x" * 201, "local://a\nb"])
def test_a_name_is_like_a_room_s(bad: str) -> None:
    with pytest.raises(HubError, match='expects a URL such as "local://name"'):
        Hub(bad)


async def test_nothing_but_a_lock_stays_in_the_folder(folder: Path) -> None:
    async with Hub("local://name"):
        pass
    assert [path.suffix for path in folder.iterdir()] == [".lock"]


async def test_a_hub_that_is_closed_while_its_connection_is_given_up_leaves_no_task_behind(eventually: Eventually) -> None:
    url = f"local://{secrets.token_hex(8)}"

    def running(name: str) -> list[asyncio.Task[Any]]:
        return [task for task in asyncio.all_tasks() if task.get_coro().__qualname__.startswith(name)]

    async with Hub(url) as serving, Hub(url) as hub:
        reading = running("LocalLink.read")[-1]
        await serving.close()
        await eventually(reading.done)
        await hub.close()
        assert running("LinkedBroker") == running("LocalLink") == []


async def test_a_forked_child_of_who_served_keeps_neither_the_lock_nor_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENT_SECONDS", 600)  # the silence is not what is noticed
    url = f"local://{secrets.token_hex(8)}"
    async with another_process(url, FORKS), Hub(url) as hub, hub.subscribe("room") as subscriber:
        await hub.publish("room", "fork")
        assert (await subscriber.get(timeout=5.0)).data == "fork"
        assert isinstance(await subscriber.get(timeout=20.0), Gap)
        while isinstance(each := await subscriber.get(timeout=5.0), Gap):
            pass
        assert each.data == "again"


async def test_a_forked_child_keeps_them_neither_when_its_parent_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SILENT_SECONDS", 600)
    url = f"local://{secrets.token_hex(8)}"
    async with another_process(url, FORKS_AND_SERVES) as process, Hub(url) as hub, hub.subscribe("room") as subscriber:
        await hub.publish("room", "fork")
        assert [(await subscriber.get(timeout=5.0)).data for _ in range(2)] == ["fork", "forked"]
        process.send_signal(signal.SIGKILL)
        assert isinstance(await subscriber.get(timeout=20.0), Gap)
        await hub.publish("room", "again")
        assert (await subscriber.get(timeout=5.0)).data == "again"


async def test_who_meets_where_a_folder_was_removed_meets_all_others_again_with_a_gap(url: str, folder: Path, eventually: Eventually) -> None:
    async with Hub(url) as first, Hub(url) as second, first.subscribe("room") as one, second.subscribe("room") as two:
        shutil.rmtree(folder)
        async with Hub(url) as late, late.subscribe("room") as three:
            await eventually(lambda: first.statistics().reconnects == second.statistics().reconnects == 1 and first.state == second.state == "connected")
            assert [type(await each.get(timeout=5.0)) for each in (one, two)] == [Gap, Gap]
            for hub in (first, second, late):
                await hub.publish("room", "all")
                assert [(await each.get(timeout=5.0)).data for each in (one, two, three)] == ["all"] * 3


async def test_what_is_published_where_nobody_else_can_come_any_more_is_said_to_have_failed(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BEAT_SECONDS", 3600.0)  # it finds out by publishing
    async with Hub(url) as first:
        shutil.rmtree(folder)
        async with Hub(url) as late, late.subscribe("room"):
            with pytest.raises(PublishFailed, match="Whether the message arrived is not known"):
                await first.publish("room", "into the dark")


@pytest.mark.parametrize("suffix", [".lock", ""], ids=["the lock", "the address"])
async def test_a_single_file_may_be_removed_too(url: str, folder: Path, suffix: str, eventually: Eventually) -> None:
    async with Hub(url) as first, first.subscribe("room") as subscriber:
        for path in folder.iterdir():
            if (path.suffix == ".lock") == (suffix == ".lock"):
                path.unlink()
        await eventually(lambda: first.statistics().reconnects == 1 and first.state == "connected")
        async with Hub(url) as late:
            await late.publish("room", "found")
        assert [type(await subscriber.get(timeout=5.0)) for _ in range(2)] == [Gap, Message]


async def test_who_steps_down_leaves_the_address_of_who_serves_now(url: str, folder: Path) -> None:
    first = Hub(url)
    await first.open()
    shutil.rmtree(folder)
    async with Hub(url) as late:
        await first.close()
        async with Hub(url) as third, third.subscribe("room") as subscriber:
            await late.publish("room", "found")
            assert (await subscriber.get(timeout=5.0)).data == "found"


async def test_who_could_not_begin_to_serve_keeps_nothing_locked(folder: Path) -> None:
    point = MeetingPoint("name")
    assert point.take()
    point.give_back()
    in_the_way = point._address
    in_the_way.mkdir()
    with pytest.raises(HubError):
        await Hub("local://name").open()
    in_the_way.rmdir()
    assert MeetingPoint("name").take(), "the lock is free: another process would find it so too"
