"""Every notebook: how it is saved, that it runs, and that every cell may be run again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.execution import NOTEBOOKS, ROOT, Run, code_cells, failures, printed, read, tags, written_files

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LINES_LIMIT = 15
TROUBLE = re.compile(r"Traceback|Exception|never awaited|never retrieved|was destroyed|ResourceWarning")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def ruff(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ruff", *arguments], input=text, capture_output=True, text=True, cwd=ROOT)


# How a notebook is saved.


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS][:1] == ["01_echo"]


@every_notebook
def test_it_is_saved_without_outputs(path: Path) -> None:
    with_outputs = [cell.id for cell in code_cells(read(path)) if cell.outputs or cell.execution_count is not None]
    assert not with_outputs


@every_notebook
def test_its_cells_are_named_after_it_and_numbered(path: Path) -> None:
    name = path.stem.partition("_")[2].replace("_", "-")
    cells = read(path).cells
    assert [cell.id for cell in cells] == [f"{name}-{number:02}" for number in range(1, len(cells) + 1)]


@every_notebook
def test_its_metadata_names_the_kernel_and_nothing_else(path: Path) -> None:
    notebook = read(path)
    assert notebook.metadata == METADATA
    assert not [cell.id for cell in notebook.cells if set(cell.metadata) - {"tags"}]


@every_notebook
def test_it_is_written_as_nbformat_writes_it(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert path.read_text("utf-8") == nbformat.writes(notebook, indent=1).rstrip("\n") + "\n"


@every_notebook
def test_no_code_cell_has_more_than_15_lines_of_code(path: Path) -> None:
    lines = {cell.id: sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code_cells(read(path)) if "verbatim" not in tags(cell)}
    assert not {cell: count for cell, count in lines.items() if count > LINES_LIMIT}


@every_notebook
def test_it_ends_with_a_recap(path: Path) -> None:
    assert "\n## Recap\n\nIn this notebook we" in "\n" + read(path).cells[-1].source


@every_notebook
def test_every_prediction_gets_an_answer(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert text.count("**Predict.**") == text.count("<details><summary>Answer</summary>\n\n")
    assert text.count("<details><summary>") == text.count("\n\n</details>")


@every_notebook
def test_every_block_of_code_in_its_text_ends(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            marks = [line for line in cell.source.splitlines() if "```" in line]
            assert marks[1::2] == ["```"] * (len(marks) // 2 + len(marks) % 2), cell.id


@every_notebook
def test_it_names_no_place_on_its_authors_machine(path: Path) -> None:
    assert not re.search(r"/(?:home|Users|root|work|tmp)/|[A-Z]:\\\\", path.read_text("utf-8"))


@every_notebook
def test_ruff_finds_nothing_to_mend(path: Path) -> None:
    for arguments in (["check"], ["format", "--diff"]):
        result = ruff(*arguments, "--no-cache", str(path))
        assert result.returncode == 0, result.stdout + result.stderr


@every_notebook
def test_files_that_it_writes_are_formatted_too(path: Path) -> None:
    for name, source in written_files(path).items():
        assert ruff("format", "--diff", "--stdin-filename", str(path.with_name(name)), "-", text=source).returncode == 0
        checked = ruff("check", "--stdin-filename", str(path.with_name(name)), "-", text=source)
        assert checked.returncode == 0, checked.stdout


# How it runs.


def marked(path: Path) -> Any:
    """The notebook that starts a Redis and a PostgreSQL is run where tests may do that."""
    return pytest.param(path, id=path.stem, marks=pytest.mark.broker if path.stem.startswith("05") else ())


@pytest.fixture(params=map(marked, NOTEBOOKS))
def run(request: pytest.FixtureRequest, run_of: Callable[[str], Run]) -> Run:
    return run_of(request.param.stem)


def test_it_runs_from_top_to_bottom(run: Run) -> None:
    assert not failures(run.first)


def test_every_cell_may_be_run_again(run: Run) -> None:
    assert not failures(run.again)


def test_no_cell_writes_to_stderr(run: Run) -> None:
    assert not printed([cell for cell in run.everything if "raises-exception" not in tags(cell)], "stderr")


def test_the_kernel_itself_has_nothing_to_complain_of(run: Run) -> None:
    assert not TROUBLE.search(run.kernel_said), run.kernel_said


def test_every_panel_that_it_shows_has_a_view(run: Run) -> None:
    shown = [out.data for cell in run.first for out in cell.outputs if out.output_type == "execute_result"]
    plain = [data["text/plain"] for data in shown if "application/vnd.jupyter.widget-view+json" not in data]
    assert not [text for text in plain if re.match(r"<.*(Panel|Server|BothSides)", text)]
