"""What the panels show of a server of several processes, and where they say that they cannot look."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from kit import HandlerPanel, RoutesPanel, SequencePanel, Server, ServerPanel, connect, serve
from tests.panels.conftest import FrontEnd

Eventually = Callable[..., object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "bare.py").write_text(
        "import os\n"
        "from starlette.applications import Starlette\n"
        "from starlette.routing import WebSocketRoute\n"
        "async def ws(websocket):\n"
        "    await websocket.accept()\n"
        "    print(os.getpid())\n"
        "    await websocket.receive()\n"
        "app = Starlette(routes=[WebSocketRoute('/ws', ws)])\n"
    )
    return str(folder)


@pytest.fixture
async def server(folder: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.chdir(folder)
    async with serve("bare:app", processes=2, port=0) as server:
        yield server


async def test_connections_log_rows_and_lanes_say_their_process(server: Server, eventually: Eventually) -> None:
    panels = ServerPanel(server), SequencePanel(server)
    fronts = [FrontEnd(panel) for panel in panels]
    for front in fronts:
        front.do("hello")
    log, sequence = fronts
    async with connect(server, "/ws", name="Ana") as ana, connect(server, "/ws", name="Ben") as ben:
        printed = await eventually(lambda: (rows := [row for row in log.shown if row["mark"] == "print"])[1:] and rows)
        labels = {str(process.pid): process.label for process in server.processes}
        lanes = {row["number"]: labels[row["text"]] for row in printed}  # a process that is slow to answer may have been passed over
        assert lanes == {row["number"]: row["process"] for row in printed}
        await eventually(lambda: {row["number"]: row["process"] for row in log.state["connections"]} == lanes)
        await eventually(lambda: {lane["n"]: lane.get("process") for message in sequence.messages for lane in message.get("lanes", ())} == lanes)
        (key,) = await eventually(lambda: [row["key"] for row in sequence.shown if row["kind"] == "print" and row["n"] == ben.number])
        assert ("process", lanes[ben.number]) in await panels[1].inspect(key)
        os.kill(server.processes[0].pid, signal.SIGSTOP)
        await eventually(lambda: log.state["pill"] == "1 of 2 processes")
        os.kill(server.processes[0].pid, signal.SIGCONT)
        await eventually(lambda: log.state["pill"] == "serving")
        os.kill(server.processes[0].pid, signal.SIGKILL)
        await eventually(lambda: log.state["pill"] == "1 of 2 processes")
        os.kill(server.processes[1].pid, signal.SIGKILL)
        await eventually(lambda: (log.state["pill"], log.state["tone"]) == ("no process left", "bad"))
    why = f"{lanes[ana.number].capitalize()} was ended by signal 9 (SIGKILL)"
    await eventually(lambda: why in log.state["connections"][0]["why"])


async def test_where_a_panel_cannot_look_it_says_so(server: Server, eventually: Eventually) -> None:
    handlers, routes = HandlerPanel(server), RoutesPanel(server)
    fronts = FrontEnd(handlers), FrontEnd(routes.list)
    for front in fronts:
        front.do("hello")
    words = "These handlers run in other processes, where this panel cannot look."
    async with connect(server, "/ws"):
        await eventually(lambda: fronts[0].state.get("hint") == words)
        assert (fronts[0].state["count"], fronts[0].state["pill"]) == ("", "serving")
    (notes,) = await eventually(lambda: [message["notes"] for message in fronts[1].messages if "notes" in message])
    assert notes == ["The routes of 'bare:app' are in other processes, where this kernel cannot look. Connect by path: connect(server, '/ws')"]
