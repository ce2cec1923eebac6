"""What does not start or cannot cross says why, and leaves nothing."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

import kit.workers.engine
from kit import Server, serve
from kit.errors import KitError, ServerStartError
from kit.evidence import settled
from kit.registry import servers
from tests.timing import within
from tests.workers.towns import TOWN, Eventually, children, come_to, command_of, seen, told, write

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


async def test_after_a_start_that_failed_no_process_is_said_to_serve(folder: Path, eventually: Eventually) -> None:
    write(folder, "chat.py", LIFESPAN.format("open('started', 'x').close()"))  # only one process may start here
    with pytest.raises(ServerStartError, match="FileExistsError"):
        await serve("chat:app", processes=2, port=0, name="broken")
    await eventually(lambda: [process.state for process in servers["broken"].processes] == ["ended", "ended"])


async def test_a_start_that_hangs_is_given_up_with_its_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    monkeypatch.setattr(kit.workers.engine, "START_SECONDS", 6.0)  # by then it has imported what it needs, also on a busy machine
    write(folder, "chat.py", LIFESPAN.format("time.sleep(60)"))
    with within(12.0), pytest.raises(ServerStartError, match=r"did not end within 6 s; it is in .*time\.sleep\(60\)"):
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


async def test_what_cannot_cross_says_so(two: Server, eventually: Eventually) -> None:
    assert (two.app, two.runs_in, two.frame()) == ("tests.apps:app", "processes", None)
    await eventually(lambda: two.blocked is None)
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
