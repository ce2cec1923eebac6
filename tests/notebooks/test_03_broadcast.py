"""03_broadcast: the example is the documentation's, and each experiment shows what the text around it says."""

from __future__ import annotations

import asyncio
import linecache
import re
import runpy
import textwrap
from collections.abc import Callable
from pathlib import Path

from kit import Client, connect, reading_stalled, serve
from kit.suspension import Suspension, suspension_of
from kit.waiting import words_for
from tests.notebooks.execution import ROOT, Run, code_cells, read, shown

NOTEBOOK = ROOT / "notebooks/03_broadcast.ipynb"

# docs_src/websockets of FastAPI, "Handling disconnections and multiple clients", by Sebastián Ramírez, MIT licence.
THE_DOCUMENTATIONS_PYTHON = """
class ConnectionManager:
    def __init__(self):
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket):
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket):
        self.active_connections.remove(websocket)

    async def send_personal_message(self, message: str, websocket: WebSocket):
        await websocket.send_text(message)

    async def broadcast(self, message: str):
        for connection in self.active_connections:
            await connection.send_text(message)


manager = ConnectionManager()


@app.get("/")
async def get():
    return HTMLResponse(html)


@app.websocket("/ws/{client_id}")
async def websocket_endpoint(websocket: WebSocket, client_id: int):
    await manager.connect(websocket)
    try:
        while True:
            data = await websocket.receive_text()
            await manager.send_personal_message(f"You wrote: {data}", websocket)
            await manager.broadcast(f"Client #{client_id} says: {data}")
    except WebSocketDisconnect:
        manager.disconnect(websocket)
        await manager.broadcast(f"Client #{client_id} left the chat")
""".strip()

THE_DOCUMENTATIONS_PAGE = """
<!DOCTYPE html>
<html>
    <head>
        <title>Chat</title>
    </head>
    <body>
        <h1>WebSocket Chat</h1>
        <h2>Your ID: <span id="ws-id"></span></h2>
        <form action="" onsubmit="sendMessage(event)">
            <input type="text" id="messageText" autocomplete="off"/>
            <button>Send</button>
        </form>
        <ul id='messages'>
        </ul>
        <script>
            var client_id = Date.now()
            document.querySelector("#ws-id").textContent = client_id;
            var ws = new WebSocket(`ws://localhost:8000/ws/${client_id}`);
            ws.onmessage = function(event) {
                var messages = document.getElementById('messages')
                var message = document.createElement('li')
                var content = document.createTextNode(event.data)
                message.appendChild(content)
                messages.appendChild(message)
            };
            function sendMessage(event) {
                var input = document.getElementById("messageText")
                ws.send(input.value)
                input.value = ''
                event.preventDefault()
            }
        </script>
    </body>
</html>"""

# Asked of the kernel once the notebook has run: expressions whose values JSON can hold.
QUESTIONS = {
    "html": "html",
    "page of mine": "httpx2.get(mine.url, trust_env=False).text",
    "neighbour's port": "neighbour.port",
    "who got hello": """[(c.name, e.text) for c in server.timeline.connections for e in server.timeline.entries(connection=c.number)
        if e.kind == "asgi-send" and e.text.endswith(": hello")]""",
    "hops of join us": """[e.details.get("hopped", False) for e in server.timeline.entries()
        if e.kind == "asgi-send" and "join us" in e.text]""",
    "neighbour's callers": "[c.name for c in neighbour.timeline.connections]",
    "refused by chat": "[str(explain(c)) for c in server.timeline.connections if c.refused_status]",
    "speaker of stalled": "str(explain(stalled.timeline.connections[0]))",
    "close frames for the sleeper": "stalled.timeline.connections[2].close_frames",
    "faults of stalled": "[e.text for e in stalled.timeline.entries() if e.kind == 'fault'][:2]",
    "errors of the binary frame": """[(e.connection, e.text, e.details["lines"][-1]) for e in frames.timeline.entries() if e.kind == "error"]""",
    "speaker of the binary frame": "str(explain(frames.timeline.connections[0]))",
    "members left over": "[len(kept.members) for kept in (plain_room, room)]",
    "prints of patient": """[(e.connection, e.text) for e in patient.timeline.entries() if e.kind == "print"]""",
}


# What is quoted, and how it is laid out.


def test_it_has_35_to_50_cells() -> None:
    assert 35 <= len(read(NOTEBOOK).cells) <= 50


def test_the_documentations_python_is_verbatim() -> None:
    sources = [cell.source for cell in code_cells(read(NOTEBOOK))]
    assert "\n\n\n".join(sources[1:3]) == THE_DOCUMENTATIONS_PYTHON


def test_the_copy_that_it_experiments_on_is_the_documentations_endpoint() -> None:
    (factory,) = [cell.source for cell in code_cells(read(NOTEBOOK)) if "def documentation():" in cell.source]
    endpoint = THE_DOCUMENTATIONS_PYTHON[THE_DOCUMENTATIONS_PYTHON.index("@app.websocket") :]
    assert textwrap.indent(endpoint, "    ") in factory


def test_it_serves_the_kits_page_and_the_documentations(run: Run) -> None:
    assert run.answers["html"] == (ROOT / "kit/pages/broadcast.html").read_text("utf-8")
    port = run.answers["neighbour's port"]
    assert run.answers["page of mine"] == THE_DOCUMENTATIONS_PAGE.replace("8000", str(port))
    assert f"ws://localhost:{port}/ws/" in run.answers["page of mine"]


def test_each_fix_faces_all_three_experiments() -> None:
    three = "(four_of_six_leave, one_sends_bytes, one_stops_reading)"
    assert sum(three in cell.source for cell in code_cells(read(NOTEBOOK))) == 2


# What is beautiful, and how to reach into it.


def test_one_hello_is_sent_four_times(run: Run) -> None:
    says = "Client #1 says: hello"
    assert run.answers["who got hello"] == [["Ana", "You wrote: hello"], ["Ana", says], ["Ben", says], ["Cleo", says]]


def test_those_who_stay_hear_who_left(run: Run) -> None:
    assert run.printed_by("Dora heard:") == "Dora heard: Client #2 left the chat\n"


def test_a_broadcast_from_a_cell_hops_and_one_by_run_need_not(run: Run) -> None:
    rows = run.printed_by('manager.broadcast("hello from a cell")').splitlines()
    assert len(rows) == 2
    assert all(row.endswith("'hello from a cell', hopped: True") for row in rows)
    assert run.answers["hops of join us"] == [False] * 3


def test_a_queue_of_the_app_wakes_late_from_a_cell_and_refuses_to_wait_there(run: Run) -> None:
    said = run.printed_by("def slowest_seconds")
    in_the_cell, by_run = (float(re.search(rf"{how}: +([\d.]+) s", said)[1]) for how in ("put in the cell", "put by run"))
    assert in_the_cell > 0.03
    assert by_run < in_the_cell / 2
    assert "get in the cell:  RuntimeError: is bound to a different event loop\n" in said


# Whose server a page reaches.


def test_the_page_of_one_server_reaches_the_neighbour_as_a_stranger(run: Run) -> None:
    said = run.printed_by("for called in (neighbour, server)")
    assert "neighbour answers a stranger: You wrote: hello\n" in said
    assert "mine had 0 WebSocket connections\n" in said
    assert run.answers["neighbour's callers"] == ["stranger"]


def test_a_server_that_looks_at_the_origin_refuses_it_and_says_why(run: Run) -> None:
    assert "chat answers HTTP 403: Refused: the request comes from a page of the origin" in run.printed_by("for called in (neighbour, server)")
    (why,) = run.answers["refused by chat"]
    assert "HTTP 403" in why
    assert "origin" in why


def test_the_kits_warning_of_the_careless_server_is_printed(run: Run) -> None:
    assert "\nallowed_origins='*': while this server runs, any web page that you open may connect to it." in run.printed_by("warnings.catch_warnings")


# The three flaws.

ALL_FOUR = "Client #5 heard:\n" + "".join(f"  Client #{n} left the chat\n" for n in range(1, 5))
NO_ERRORS = "Errors:\n" + "  None\n" * 4
ALL_HEARD_HELLO = "".join(f"Client #{n} heard hello\n" for n in (1, 3, 4)) + "Client #1 is CONNECTED\n"


def megabytes(said: str) -> float:
    return float(re.search(r"Client #2 heard (?:all of )?([\d.]+) MB", said)[1])


def test_of_four_who_leave_together_the_survivors_hear_of_one_and_three_handlers_fail(run: Run) -> None:
    said = run.printed_by("def four_of_six_leave")
    assert said.startswith("Client #5 heard:\n  Client #4 left the chat\nErrors:\n")
    assert said.endswith("  WebSocketDisconnect(1006)\n" * 3 + "  None\n")


def test_one_that_stops_reading_stalls_everybody_after_some_4_megabytes(run: Run) -> None:
    said = run.printed_by("ping_interval_seconds")
    assert "MB, then nothing for a second.\n" in said
    assert 2 < megabytes(said) < 10


async def test_the_speakers_handler_stands_still_in_the_send_to_the_sleeper(tmp_path: Path, eventually: Callable[..., object]) -> None:
    source = f"from fastapi import FastAPI, WebSocket, WebSocketDisconnect\n\napp, html, HTMLResponse = FastAPI(), '', str\n{THE_DOCUMENTATIONS_PYTHON}\n"
    (tmp_path / "chat.py").write_text(source, "utf-8")
    chat = runpy.run_path(str(tmp_path / "chat.py"))["app"]

    async with serve(chat, port=0) as server, connect(server, "/ws/1") as speaker, connect(server, "/ws/2", name="Sleeper") as sleeper:
        hearing = asyncio.create_task(hear_all(speaker))
        async with reading_stalled(sleeper):
            for text in ("x" * 12_000_000, "is anybody there?"):
                await speaker.send_text(text)
            await eventually(lambda: where(speaker).wait.peer == "Sleeper")
            stands = where(speaker)
    await hearing

    assert [linecache.getline(line.code.co_filename, line.number).strip() for line in stands.lines] == [
        'await manager.broadcast(f"Client #{client_id} says: {data}")',
        "await connection.send_text(message)",
    ]
    assert words_for(stands.wait) == "waits in send_text to Sleeper: the client does not read"


def where(client: Client) -> Suspension:
    return suspension_of(client.connection.handler_task, connection=client.connection)


async def hear_all(client: Client) -> None:
    async for _ in client.iter_text():
        pass


def test_the_healthy_speaker_is_disconnected_and_the_sleeper_is_not(run: Run) -> None:
    said = run.printed_by("ping_interval_seconds")
    assert "Client #1 DISCONNECTED 1011 keepalive ping timeout\n" in said
    assert "Client #2 CONNECTED None None\nClient #3 CONNECTED None None\n" in said
    assert "the handler takes no messages" in run.answers["speaker of stalled"]
    assert run.answers["close frames for the sleeper"][0] == ["server", 1011, "keepalive ping timeout"]
    assert "the handler takes no messages" in shown([cell for cell in run.first if "ping_interval_seconds" in cell.source])[0]


def test_the_sleeper_is_put_to_sleep_and_woken_on_purpose(run: Run) -> None:
    assert run.answers["faults of stalled"] == ["Client #3 stops reading", "Client #3 reads again"]


def test_one_binary_frame_costs_the_next_speaker_its_connection(run: Run) -> None:
    assert run.printed_by("def one_sends_bytes") == "Client #1 heard hello\nClient #3 heard nothing\nClient #4 heard nothing\nClient #1 is DISCONNECTED\n"
    errors = {number: (text, line) for number, text, line in run.answers["errors of the binary frame"]}
    assert errors[2][0] == "KeyError: 'text'"
    assert errors[1][0].startswith("WebSocketDisconnected")
    assert errors[1][1].endswith("in broadcast: await connection.send_text(message)")
    assert "1006" in run.answers["speaker of the binary frame"]


# The steps to the fix.


def test_a_copy_and_finally_mend_two_flaws_and_leave_the_third(run: Run) -> None:
    said = run.printed_by("plain_room = Room()")
    assert said.startswith(ALL_FOUR + NO_ERRORS + ALL_HEARD_HELLO)
    assert said.endswith("MB, then nothing for a second.\n")


def test_whoever_leaves_is_off_the_list_however_its_handler_ended(run: Run) -> None:
    assert run.answers["members left over"] == [0, 0]


def test_a_queue_for_each_lets_the_others_go_on_and_grows(run: Run) -> None:
    said = run.printed_by("def what_waits_for_the_sleeper")
    assert "Client #2 heard all of 20.1 MB.\n" in said
    waiting = float(re.search(r"That is ([\d.]+) MB", said)[1])
    assert 20.1 - 10 < waiting < 20.1 - 2


def test_a_policy_bounds_what_waits(run: Run) -> None:
    said = run.printed_by("class DropOldest")
    assert said.startswith("Client #2 heard all of 20.1 MB.\n")
    assert 0 < int(re.search(r"In the longest queue: (\d+) messages", said)[1]) <= 50


def test_the_last_version_passes_all_three_experiments(run: Run) -> None:
    assert run.printed_by("class Patient") == ALL_FOUR + NO_ERRORS + ALL_HEARD_HELLO + "Client #2 heard all of 20.1 MB.\n"


def test_the_time_limit_frees_the_room_and_only_an_abort_the_socket(run: Run) -> None:
    said = run.printed_by("async def abort(")
    assert said.endswith("The handler gave up. Is the socket open? True\nHalf a second after close(): True\nAfter abort(): False\n")
    assert run.answers["prints of patient"] == [[3, "took too long"]]


# What a test without a server cannot see, and where one process ends.


def test_the_testclient_never_sees_the_stalled_reader(run: Run) -> None:
    assert run.printed_by("def test_everybody_hears") == "passed\n"


def test_two_servers_of_the_same_app_do_not_hear_each_other(run: Run) -> None:
    said = run.printed_by('name="right"')
    assert said == "Client #2 on the left server heard it.\nThe client on the right server heard nothing.\n"
