"""Every notebook: how it is saved, that it runs, that every cell may be run again, and that what it says is so."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import nbformat
import pytest

from kit import Client, connect
from kit.errors import ConnectError
from tests.notebooks.execution import NOTEBOOKS, ROOT, Run, code_cells, failures, printed, read, tags

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LINES_LIMIT = 15
RUN_ALL_SECONDS = 45  # beside other tests and another notebook; alone they take 3 to 15
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
    assert text.count("**Predict.**") == text.count("<details><summary>Answer</summary>\n\n") == text.count("\n\n</details>")


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


def test_01_has_25_to_40_cells() -> None:
    assert 25 <= len(read(ROOT / "notebooks/01_echo.ipynb").cells) <= 40


def written_files(path: Path) -> dict[str, str]:
    """What the cells that begin with ``%%writefile`` write, by file name."""
    parts = [cell.source.partition("\n") for cell in code_cells(read(path)) if cell.source.startswith("%%writefile")]
    return {magic.rpartition("/")[2].strip('" '): source + "\n" for magic, _, source in parts}


# How it runs.


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def run(request: pytest.FixtureRequest, run_of: Callable[[str], Run]) -> Run:
    return run_of(request.param.stem)


def test_it_runs_from_top_to_bottom(run: Run) -> None:
    assert not failures(run.first)


def test_run_all_is_quick(run: Run) -> None:
    assert run.seconds < RUN_ALL_SECONDS


def test_every_cell_may_be_run_twice_more(run: Run) -> None:
    assert not failures(run.again)


def test_no_cell_writes_to_stderr(run: Run) -> None:
    assert not printed([cell for cell in run.everything if "raises-exception" not in tags(cell)], "stderr")


def test_the_kernel_itself_has_nothing_to_complain_of(run: Run) -> None:
    assert not TROUBLE.search(run.kernel_said), run.kernel_said


def test_every_panel_that_it_shows_has_a_view(run: Run) -> None:
    shown = [out.data for cell in run.first for out in cell.outputs if out.output_type == "execute_result"]
    plain = [data["text/plain"] for data in shown if "application/vnd.jupyter.widget-view+json" not in data]
    assert not [text for text in plain if "Panel" in text or "Server" in text or "BothSides" in text]


# What the notebooks say is so.


@pytest.fixture
def echo(run_of: Callable[[str], Run]) -> Run:
    return run_of("01_echo")


@pytest.mark.parametrize(
    "text",
    [
        "Message text was: one\nMessage text was: two\nMessage text was: three\n",
        "b'Hi!'",
        "1006, no Close frame\nThe handler raised KeyError: 'text'",
        "HTTP/1.1 101 Switching Protocols",
        "b'Message text was: hello'",
        "WebSocketDisconnect(1000)\n   at cell [",
        "/returns\n    1006, no Close frame\n    The handler returned",
        "/raises\n    1006, no Close frame\n    The handler raised ValueError: not my day",
        "/never-accepts\n    HTTP 500",
        "tidy: passed\napp: failed with WebSocketDisconnect(1000",
        "TestClient:  closed with 1008, 'members only'\nreal client: HTTP 403, b''",
    ],
    ids=lambda text: text.splitlines()[0][:40],
)
def test_01_shows_each_time_what_its_text_explains(echo: Run, text: str) -> None:
    assert printed(echo.first).count(text) == 1
    assert printed(echo.again).count(text) == 2


def test_01_shows_client_frames_masked_and_server_frames_not(echo: Run) -> None:
    table = next(printed([cell]) for cell in echo.first if "mask_key" in cell.source)
    masks = re.findall(r"^(\w+) +(frame-\w+) +\d+ B  (\w{8}|)  +(.*)$", table, re.MULTILINE)
    sent = {(side, what): bool(mask) for side, kind, mask, what in masks if kind == "frame-out"}
    assert sent == {("client", "hello"): True, ("server", "Message text was: hello"): False, ("client", "03 e8"): True, ("server", "03 e8"): False}


def test_01_makes_everyone_wait_for_a_handler_that_blocks_and_nobody_for_one_that_awaits(echo: Run) -> None:
    waited = [(word, float(seconds)) for word, seconds in re.findall(r"Ana says (\w+): Ben waited ([\d.]+) s", printed(echo.everything))]
    assert [word for word, _ in waited] == ["block", "wait"] * 3
    assert all(seconds > 2.5 if word == "block" else seconds < 1 for word, seconds in waited), waited


@pytest.fixture
async def taken_home(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """The ``main.py`` of 01_echo under ``fastapi dev``, as its reader runs it: its address and its folder."""
    (tmp_path / "main.py").write_text(written_files(ROOT / "notebooks/01_echo.ipynb")["main.py"], "utf-8")
    shutil.copy(ROOT / "kit/pages/echo.html", tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "fastapi", "dev", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=DEVNULL, stderr=DEVNULL)
    yield f"127.0.0.1:{port}", tmp_path
    process.terminate()
    async with asyncio.timeout(10):
        await process.wait()


async def test_01s_app_runs_at_home_without_the_kit_and_says_1012_when_edited(taken_home: tuple[str, Path], eventually: Callable[..., object]) -> None:
    address, folder = taken_home
    assert "kit" not in (folder / "main.py").read_text()
    client = await first_connection(f"ws://{address}")
    await client.send_text("hello")
    assert await client.receive_text(timeout=5) == "Message text was: hello"
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert 'role="log"' in (await http.get(f"http://{address}/")).text

    (folder / "main.py").write_text((folder / "main.py").read_text().replace("Message text", "Your text"))
    await eventually(lambda: client.close_code, within_seconds=20)
    assert client.close_code == 1012


async def first_connection(address: str) -> Client:
    deadline = time.monotonic() + 20
    while True:
        try:
            return await connect(address, "/ws")
        except ConnectError:
            assert time.monotonic() < deadline, f"nobody answers at {address}"
            await asyncio.sleep(0.1)
