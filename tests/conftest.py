"""What every test may use: real servers on free ports, and proof that nothing is left running."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from kit import stop_all
from kit.loops import stop_shared_loops
from tests.notebooks.execution import NOTEBOOKS, Executions

HELPING = ("conversation", "hostile", "outlet", "server", "taps", "timing")

pytest.register_assert_rewrite(*(f"tests.{name}" for name in HELPING))  # what helpers assert is explained as well


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    """Every test ends with its servers stopped; a server's thread that outlives its server fails the test."""
    before = set(threading.enumerate())  # so that only the test that left a thread fails
    yield
    await stop_all()
    ending = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("kit-server")]
    for thread in ending:
        thread.join(10.0)  # a server has stopped when its port is free; its thread has a few more lines to run
    left = [thread.name for thread in ending if thread.is_alive()]
    assert not left, f"threads left running: {left}"


@pytest.fixture(autouse=True, scope="session")
def shared_loops_end() -> Iterator[None]:
    yield
    stop_shared_loops()
    ending = [thread for thread in threading.enumerate() if thread.name.startswith("kit-")]
    for thread in ending:
        thread.join(10.0)
    assert not [thread.name for thread in ending if thread.is_alive()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at executed notebooks comes last: they are executed while other tests run."""
    items.sort(key=lambda item: "executions" in item.fixturenames)


def pytest_collection_finish() -> None:
    """What is there before the first test stays to the end: to look at all of it again and again would hold up each test for most of a second."""
    gc.collect()
    gc.freeze()


class Together(LoadScopeScheduling):
    """One process runs all tests that share what is costly to have twice: the browser, a kernel, processes, the parsed kit. The others are dealt out."""

    PLACES = ("tests/browser/", "tests/notebooks/test_serving_in_a_kernel.py", "tests/test_package.py", "tests/workers/")

    def _split_scope(self, nodeid: str) -> str:
        return next(filter(nodeid.startswith, self.PLACES), nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


@pytest.fixture(scope="session")
def notebooks_wanted(request: pytest.FixtureRequest) -> list[Path]:
    """Those that some test of this session looks at when they have run."""
    wanting = [item.nodeid for item in request.session.items if "executions" in item.fixturenames]
    return [path for path in NOTEBOOKS if any(path.stem in nodeid for nodeid in wanting)]


@pytest.fixture(scope="session")
def executions(request: pytest.FixtureRequest, notebooks_wanted: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executions]:
    """One for all worker processes of this session, if there are several."""
    one_of_several = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent / "notebooks" if one_of_several else tmp_path_factory.mktemp("notebooks")
    folder.mkdir(exist_ok=True)
    beside_a_browser = any(item.nodeid.startswith("tests/browser/") for item in request.session.items)
    running = Executions(folder, notebooks_wanted, at_a_time=1 if beside_a_browser else 2)
    yield running
    running.close(at_once=not one_of_several)


@pytest.fixture(autouse=True)
def notebooks_run_meanwhile(request: pytest.FixtureRequest, notebooks_wanted: list[Path]) -> None:
    """Begin to execute the notebooks with the first test that drives no browser, if any test of this session wants them."""
    if notebooks_wanted and not request.node.get_closest_marker("browser"):
        request.getfixturevalue("executions").begin()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Wait, by looking again and again but for a bounded time, until a condition holds; returns what it returned."""

    async def wait(condition: Callable[[], object], *, within_seconds: float = 20.0) -> object:
        deadline = time.monotonic() + within_seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not within {within_seconds} s: {condition}"
            await asyncio.sleep(0.005)
        return found

    return wait


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a server runs, for tests that are parametrized by it; what nest-asyncio patches for the kernel's place is put back."""
    patched = [asyncio, asyncio.events, asyncio.futures, asyncio.tasks, asyncio.SelectorEventLoop, asyncio.BaseEventLoop, type(asyncio.get_event_loop_policy())]
    before = [dict(vars(owner)) for owner in patched]
    yield request.param
    for owner, attributes in zip(patched, before, strict=True):
        for name in vars(owner).keys() - attributes.keys():
            delattr(owner, name)
        for name, value in attributes.items():
            if vars(owner)[name] is not value:
                setattr(owner, name, value)
