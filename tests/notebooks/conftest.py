"""The notebooks are executed once for all tests that look at what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks.execution import ROOT, Executions, Run


@pytest.fixture(scope="session")
def run_of(executions: Executions) -> Callable[[str], Run]:
    """The `Run` of a notebook, by its name."""
    return lambda stem: executions.run_of(ROOT / f"notebooks/{stem}.ipynb")


@pytest.fixture(scope="module")
def run(request: pytest.FixtureRequest, run_of: Callable[[str], Run]) -> Run:
    """The `Run` of the notebook after which the test module is named."""
    return run_of(Path(request.path).stem.removeprefix("test_"))
