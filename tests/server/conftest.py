"""One contract for both places: every test here runs with the server in a thread of its own and on the loop of its caller.

Those marked ``needs_a_thread`` run in a thread only, and say why.
"""

from __future__ import annotations

import functools
import threading

import pytest

from kit import serve
from tests.server.probes import left_by_others


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    only_a_thread = any(metafunc.definition.iter_markers("needs_a_thread"))
    metafunc.parametrize("place", ["thread"] if only_a_thread else ["thread", "kernel"], indirect=True)


@pytest.fixture(autouse=True)
def serve_runs_in(place: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test module's ``serve`` runs its servers there."""
    monkeypatch.setattr(request.module, "serve", functools.partial(serve, runs_in=place))


@pytest.fixture(autouse=True)
def only_own_threads_count() -> None:
    left_by_others[:] = threading.enumerate()
