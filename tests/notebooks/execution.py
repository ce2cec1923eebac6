"""Notebooks as their readers run them: top to bottom in a kernel of their own, then every cell once more."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

__all__ = [
    "CELL_SECONDS",
    "NOTEBOOKS",
    "ROOT",
    "Executions",
    "Run",
    "code_cells",
    "execute",
    "execute_cell",
    "failures",
    "printed",
    "read",
    "shown",
    "tags",
    "written_files",
]

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 30
NOTEBOOK_SECONDS = 100  # until one is there that is waited for

# What a question may use beside the notebook's own names. `where` is a handler's lines, from the outermost in, and for what it waits.
ASKING = """
import json, linecache, httpx2
from kit.closing import explain
from kit.suspension import suspension_of

def texts(lines):
    return [linecache.getline(line.code.co_filename, line.number).strip() for line in lines]

def where(connection):
    suspension = suspension_of(connection.handler_task, connection=connection)
    return [*texts(suspension.lines), suspension.wait.kind, *texts(suspension.held)]

"""


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def failures(cells: list[NotebookNode]) -> list[str]:
    unexpected = [cell for cell in cells if "raises-exception" not in tags(cell)]
    return [f"{cell.id}: {out.ename}: {out.evalue}" for cell in unexpected for out in cell.outputs if out.output_type == "error"]


def printed(cells: list[NotebookNode], stream: str = "stdout") -> str:
    return "".join(out.text for cell in cells for out in cell.outputs if out.output_type == "stream" and out.name == stream)


def shown(cells: list[NotebookNode]) -> list[str]:
    """What cells ended with and showed, as text; a widget's is only its name."""
    return [out.data["text/plain"] for cell in cells for out in cell.outputs if out.output_type == "execute_result"]


def written_files(path: Path) -> dict[str, str]:
    """What the cells that begin with ``%%writefile`` write, by file name."""
    parts = [cell.source.partition("\n") for cell in code_cells(read(path)) if cell.source.startswith("%%writefile")]
    return {magic.rpartition("/")[2].strip('" '): source + "\n" for magic, _, source in parts}


class Run(NamedTuple):
    """A notebook that was executed top to bottom, and then every code cell once more, in one kernel.

    Attributes:
        first: the code cells after it, and ``again`` after the second pass.
        answers: what the kernel answered after the first pass to the ``QUESTIONS`` of the notebook's own test module.
        kernel_said: what its process wrote to its own output.
    """

    path: Path
    first: list[NotebookNode]
    again: list[NotebookNode]
    answers: dict[str, Any]
    kernel_said: str

    @property
    def everything(self) -> list[NotebookNode]:
        return [*self.first, *self.again]

    def printed_by(self, words: str) -> str:
        """What the only code cell that contains ``words`` printed in the first pass."""
        (cell,) = [cell for cell in self.first if words in cell.source]
        return printed([cell])


class Executions:
    """The `Run` of each of these notebooks, made in the background while other tests run, because most of it is waiting.

    Several processes may share ``folder``: the first to ``begin`` has the notebooks executed for all of them.
    """

    def __init__(self, folder: Path, notebooks: list[Path], *, at_a_time: int) -> None:
        self._folder = folder
        self._notebooks = sorted(notebooks, key=lambda path: path.stem.startswith(("03", "05", "06")), reverse=True)  # the slowest first
        self._at_a_time = at_a_time
        self._runs: dict[Path, Run] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Begin to execute them, unless that has been done: in a process of their own, whose asyncio no test has patched."""
        with contextlib.suppress(FileExistsError):
            (self._folder / "begun").touch(exist_ok=False)
            self._process = subprocess.Popen([sys.executable, "-m", "tests.notebooks", self._folder, str(self._at_a_time), *self._notebooks], cwd=ROOT)

    def run_of(self, path: Path) -> Run:
        """The notebook's `Run`; waits until it is there."""
        if path not in self._runs:
            self._runs[path] = self._outcome(path)
        if isinstance(self._runs[path], Exception):
            raise self._runs[path]
        return self._runs[path]

    def close(self, *, at_once: bool) -> None:
        """Wait for the executions, or end those that are under way."""
        if self._process is not None:
            if at_once:
                self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def _outcome(self, path: Path) -> Run | Exception:
        self.begin()
        deadline = time.monotonic() + NOTEBOOK_SECONDS
        while not (finished := self._folder / f"{path.stem}.run").exists():
            assert time.monotonic() < deadline, f"{path.name} was not executed within {NOTEBOOK_SECONDS} s"
            time.sleep(0.05)
        return pickle.loads(finished.read_bytes())


async def execute(paths: list[Path], folder: Path, *, at_a_time: int) -> None:
    """Execute notebooks for all who wait for their `Run` in ``folder``; they get an exception as it is."""
    turns = asyncio.Semaphore(at_a_time)

    async def leave_outcome_of(path: Path) -> None:
        async with turns:
            try:
                outcome: Run | Exception = await _execute(path, folder / path.stem)
            except Exception as error:
                outcome = error
        unfinished = folder / f"{path.stem}.unfinished"
        unfinished.write_bytes(pickle.dumps(outcome))
        unfinished.rename(folder / f"{path.stem}.run")

    await asyncio.gather(*map(leave_outcome_of, paths))


async def _execute(path: Path, folder: Path) -> Run:
    notebook, working, said = read(path), folder / "working", folder / "kernel.txt"
    working.mkdir(parents=True)
    positions = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    questions = _questions_about(path)
    first_question = len(notebook.cells)
    notebook.cells += [new_code_cell(f"{ASKING}print(json.dumps({asked}))") for asked in questions.values()]
    scratch = _scratch()
    client = NotebookClient(notebook, timeout=CELL_SECONDS, allow_errors=True, resources={"metadata": {"path": str(working)}})
    with said.open("w") as log:
        async with client.async_setup_kernel(stdout=log, stderr=log, env={**os.environ, "TMPDIR": str(scratch)}):
            first = [await execute_cell(client, index) for index in positions]
            asked = [await execute_cell(client, index) for index in range(first_question, len(notebook.cells))]
            again = [await execute_cell(client, index) for index in positions]
    shutil.rmtree(scratch, ignore_errors=True)  # what its private services kept is being removed already
    assert not failures(asked)
    answers = {question: json.loads(printed([cell])) for question, cell in zip(questions, asked, strict=True)}
    return Run(path, first, again, answers, said.read_text())


def _scratch() -> Path:
    """A folder for temporary files that everybody may enter: a PostgreSQL that root starts runs as somebody else."""
    folder = Path(tempfile.mkdtemp(prefix="kit-notebook-"))
    folder.chmod(0o755)
    return folder


def _questions_about(path: Path) -> dict[str, str]:
    """Python expressions whose values JSON can hold, by what they ask."""
    module = f"tests.notebooks.test_{path.stem}"
    return getattr(importlib.import_module(module), "QUESTIONS", {}) if importlib.util.find_spec(module) else {}


async def execute_cell(client: NotebookClient, index: int) -> NotebookNode:
    """A copy of the cell as it looks after it has run."""
    await client.async_execute_cell(client.nb.cells[index], index)
    return nbformat.from_dict(client.nb.cells[index].copy() | {"outputs": list(client.nb.cells[index].outputs)})
