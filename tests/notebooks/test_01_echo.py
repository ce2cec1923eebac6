"""01_echo: what its text explains is what its cells show, and the app that it writes runs without the kit."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from kit import Client, connect
from kit.errors import ConnectError
from tests.notebooks.execution import ROOT, Run, printed, read, shown, written_files

NOTEBOOK = ROOT / "notebooks/01_echo.ipynb"
QUESTIONS = {
    "where Ben's handler is": """where(both["Ben"].client.connection)""",
    "what Cleo did": """[e.text for e in cleo.timeline.entries(connection=cleo.number)
        if e.side == "client" and e.kind in ("frame-out", "frame-in") and e.details["opcode"] == "TEXT"]""",
    "the frames of Emil": """[(e.side, e.details["opcode"], e.details["masked"], len(bytes.fromhex(e.details["header"])), e.size)
        for e in emil.timeline.entries(connection=emil.number) if e.kind == "frame-out"]""",
}


def test_it_has_25_to_40_cells() -> None:
    assert 25 <= len(read(NOTEBOOK).cells) <= 40


@pytest.mark.parametrize(
    "text",
    [
        "Message text was: one\nMessage text was: two\nMessage text was: three\n",
        "b'Hi!'",
        "HTTP/1.1 101 Switching Protocols",
        "b'Message text was: hello'",
        "/returns\n    1006, no Close frame\n    The handler returned",
        "/raises\n    1006, no Close frame\n    The handler raised ValueError: not my day",
        "/never-accepts\n    HTTP 500",
        "tidy: passed\napp: failed with WebSocketDisconnect(1000",
        "TestClient:  closed with 1008, 'members only'\nreal client: HTTP 403, b''",
    ],
    ids=lambda text: text.splitlines()[0][:40],
)
def test_it_shows_each_time_what_its_text_explains(run: Run, text: str) -> None:
    assert printed(run.first).count(text) == 1
    assert printed(run.again).count(text) == 1


def test_silent_handlers_wait_on_the_line_that_its_text_names(run: Run) -> None:
    assert run.answers["where Ben's handler is"] == ["data = await websocket.receive_text()", "message"]


def test_a_client_may_send_three_messages_before_it_takes_an_answer(run: Run) -> None:
    """What she sent and what came back each in its order; an answer may arrive before she has sent the next, but waits until she takes it."""
    did, words = run.answers["what Cleo did"], ["one", "two", "three"]
    assert [text for text in did if text in words] == words
    assert [text for text in did if text not in words] == [f"Message text was: {word}" for word in words]


def test_client_frames_are_masked_and_server_frames_are_not(run: Run) -> None:
    hello, reply, close, answer = run.answers["the frames of Emil"]
    assert hello == ["client", "TEXT", True, 2 + 4, 5]
    assert reply == ["server", "TEXT", False, 2, 23]
    assert [close, answer] == [["client", "CLOSE", True, 2 + 4, 2], ["server", "CLOSE", False, 2, 2]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("dora.ended", ["The handler raised KeyError: 'text', so the server just dropped the line.", "Client library  Code 1006, no reason"]),
        ("fay.ended", ["1000, normal closure. The client closed first", "Handler         Raised WebSocketDisconnect(1000)"]),
    ],
)
def test_how_a_connection_ended_is_told_each_time_with_the_handlers_error(run: Run, asked: str, said: list[str]) -> None:
    told = shown([cell for cell in run.everything if cell.source.endswith(asked)])
    assert len(told) == 2
    assert all(words in text for text in told for words in said), told


def test_it_makes_everyone_wait_for_a_handler_that_blocks_and_nobody_for_one_that_awaits(run: Run) -> None:
    waited = [(word, float(seconds)) for word, seconds in re.findall(r"Ana says (\w+): Ben waited ([\d.]+) s", printed(run.everything))]
    assert [word for word, _ in waited] == ["block", "wait"] * 2
    assert all(seconds > 2.5 if word == "block" else seconds < 2.5 for word, seconds in waited), waited


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
    async with asyncio.timeout(30):
        await process.wait()


async def test_its_app_runs_at_home_without_the_kit_and_says_1012_when_edited(taken_home: tuple[str, Path], eventually: Callable[..., object]) -> None:
    address, folder = taken_home
    assert "kit" not in (folder / "main.py").read_text()
    client = await first_connection(f"ws://{address}")
    await client.send_text("hello")
    assert await client.receive_text(timeout=5) == "Message text was: hello"
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert 'role="log"' in (await http.get(f"http://{address}/")).text

    (folder / "main.py").write_text((folder / "main.py").read_text().replace("Message text", "Your text"))
    await eventually(lambda: client.close_code, within_seconds=40)
    assert client.close_code == 1012


async def first_connection(address: str) -> Client:
    deadline = time.monotonic() + 60
    while True:
        try:
            return await connect(address, "/ws")
        except ConnectError:
            assert time.monotonic() < deadline, f"nobody answers at {address}"
            await asyncio.sleep(0.1)
