"""Servers with several processes, shared by the tests that end none, and proof that none of them leaves a trace."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import kit.opening
import kit.workers.process
from kit import Server, loops, serve, stop_all
from tests.apps import app
from tests.workers.towns import TOWN, children, on_its_loop, once, started, write


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> None:
    """In place of the one for all tests: servers that tests share stay until the package's end, where nothing may be left."""


@pytest.fixture(autouse=True)
def processes_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they tell of an end is waited for, and they are not passed over, for as long as a busy machine may take."""
    monkeypatch.setattr(kit.opening, "_HEARD_SECONDS", 20.0)
    monkeypatch.setattr(kit.workers.process, "_QUIET_LOOKS", 60)


@pytest.fixture(autouse=True, scope="package")
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


@pytest.fixture(scope="package")
def two() -> Server:
    """The app of the other tests, in two processes."""
    return on_its_loop(started("tests.apps:app", processes=2, port=0, name="two"))


@pytest.fixture(scope="package")
def threaded() -> Server:
    """The same app in a thread, which shows what is to be expected."""
    return on_its_loop(started(app, port=0, name="threaded"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The notebook's folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="package")
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
