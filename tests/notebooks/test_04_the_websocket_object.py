"""04_the_websocket_object: every public member of the installed classes has a cell that shows it, and what the cells show is so."""

from __future__ import annotations

import ast
import copy
import re
from typing import Any, NamedTuple

import fastapi
import pytest
from nbformat import NotebookNode
from starlette import websockets

from tests.notebooks.execution import ROOT, Run, code_cells, failures, printed, read, shown

NOTEBOOK = ROOT / "notebooks/04_the_websocket_object.ipynb"
QUESTIONS = {
    "frames of the fragments": """[(e.details["opcode"], e.details["fin"], e.size) for e in server.timeline.entries()
        if e.side == "client" and e.kind == "frame-out" and e.connection == [c.number for c in server.timeline.connections if c.name == "Fragments"][0]]""",
    "frames of the silent": """[(e.side, e.details["opcode"]) for e in limits.timeline.entries(connection=silent.number) if e.kind == "frame-out"]""",
}
ROW = re.compile(
    r"^\| `(?P<of>\w+)` \| (?:`(?P<member>\w+)`|the exception itself) \| \[(?P<section>[^]]+)\]\(#(?P<anchor>[^)]+)\) \| `(?P<cell>[\w-]+)` \|$", re.M
)
HEADING = re.compile(r"^#{1,3} (.+)$", re.M)


async def nothing(message: Any = None) -> None:
    """A ``receive`` and a ``send`` for a WebSocket that nobody uses."""


INSTANCES = {
    "WebSocket": fastapi.WebSocket({"type": "websocket"}, nothing, nothing),
    "WebSocketDisconnect": fastapi.WebSocketDisconnect(),
    "WebSocketDisconnected": websockets.WebSocketDisconnected(),
    "WebSocketException": fastapi.WebSocketException(code=1008),
    "WebSocketState": websockets.WebSocketState.CONNECTING,
}


class Row(NamedTuple):
    """One row of the notebook's table: a member of a class, the section and the cell that show it."""

    of: str
    member: str
    section: str
    anchor: str
    cell: str


def members(instance: object) -> set[str]:
    """The public members of an instance, its own attributes included, without what every exception has."""
    known = set(dir(BaseException)) if isinstance(instance, BaseException) else set()
    return {name for name in {*dir(type(instance)), *vars(instance)} - known if not name.startswith("_")}


def wanted(instances: dict[str, object]) -> set[tuple[str, str]]:
    """Every (class, member) that needs a row; an exception without members of its own needs one for itself."""
    return {(name, member) for name, instance in instances.items() for member in members(instance) or {name}}


def rows(notebook: NotebookNode) -> list[Row]:
    table = next(cell.source for cell in notebook.cells if cell.source.startswith("## Every member and its cell\n"))
    return [Row(found["of"], found["member"] or found["of"], found["section"], found["anchor"], found["cell"]) for found in ROW.finditer(table)]


def mentions(source: str) -> set[str]:
    """The names and attributes that a cell's code uses; comments and texts do not count."""
    nodes = list(ast.walk(ast.parse(source)))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {node.id for node in nodes if isinstance(node, ast.Name)}


def gaps(notebook: NotebookNode, instances: dict[str, object] = INSTANCES) -> list[str]:
    """What is missing for every public member to have a row and a code cell that uses it."""
    table = {(row.of, row.member): row.cell for row in rows(notebook)}
    sources = {cell.id: cell.source for cell in code_cells(notebook)}
    missing = [f"{of}.{member} has no row" for of, member in sorted(wanted(instances) - set(table))]
    for (of, member), cell in table.items():
        if cell not in sources:
            missing.append(f"{of}.{member}: there is no code cell {cell}")
        elif member not in mentions(sources[cell]):
            missing.append(f"{of}.{member} does not occur in {cell}")
    return missing


def sections(notebook: NotebookNode) -> dict[str, str]:
    """The heading above each code cell, by the cell's id."""
    above, heading = {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = [heading, *HEADING.findall(cell.source)][-1]
        above[cell.id] = heading
    return above


NAMED = sorted({row.cell for row in rows(read(NOTEBOOK))})


# The table.


def test_every_public_member_of_the_installed_classes_has_a_cell_that_shows_it() -> None:
    assert gaps(read(NOTEBOOK)) == []


def test_the_table_names_nothing_that_does_not_exist_and_nothing_twice() -> None:
    named = [(row.of, row.member) for row in rows(read(NOTEBOOK))]
    assert set(named) == wanted(INSTANCES)
    assert len(named) == len(set(named))


def test_introspection_finds_what_only_instances_have() -> None:
    assert {("WebSocket", "client_state"), ("WebSocket", "scope"), ("WebSocketDisconnect", "reason"), ("WebSocketException", "code")} < wanted(INSTANCES)
    assert ("WebSocketDisconnected", "WebSocketDisconnected") in wanted(INSTANCES)


@pytest.mark.parametrize("cell", NAMED)
def test_without_a_cell_of_the_table_its_members_are_missed(cell: str) -> None:
    notebook = copy.deepcopy(read(NOTEBOOK))
    notebook.cells = [kept for kept in notebook.cells if kept.id != cell]
    shown = [row for row in rows(notebook) if row.cell == cell]
    assert gaps(notebook) == [f"{row.of}.{row.member}: there is no code cell {cell}" for row in shown] != []


def test_a_cell_that_only_speaks_of_its_member_does_not_show_it() -> None:
    notebook = copy.deepcopy(read(NOTEBOOK))
    row = next(row for row in rows(notebook) if row.member == "send_denial_response")
    cell = next(cell for cell in notebook.cells if cell.id == row.cell)
    cell.source = "# websocket.send_denial_response\nprint('websocket.send_denial_response')"
    assert f"WebSocket.send_denial_response does not occur in {cell.id}" in gaps(notebook)


def test_a_lost_row_is_missed() -> None:
    notebook = copy.deepcopy(read(NOTEBOOK))
    table = next(cell for cell in notebook.cells if cell.source.startswith("## Every member and its cell\n"))
    table.source = re.sub(r"^\| `WebSocketState` \| `RESPONSE`.*\n?", "", table.source, flags=re.M)
    assert gaps(notebook) == ["WebSocketState.RESPONSE has no row"]


def test_a_member_that_a_later_version_brings_is_missed() -> None:
    class Later(fastapi.WebSocket):
        def __init__(self) -> None:
            super().__init__({"type": "websocket"}, nothing, nothing)
            self.born_seconds = 0.0

        def send_stream(self) -> None: ...

    assert gaps(read(NOTEBOOK), INSTANCES | {"WebSocket": Later()}) == ["WebSocket.born_seconds has no row", "WebSocket.send_stream has no row"]


def test_each_row_links_to_the_heading_above_its_cell() -> None:
    notebook = read(NOTEBOOK)
    above = sections(notebook)
    linked = [(row.cell, row.section, row.anchor) for row in rows(notebook)]
    assert linked == [(cell, above[cell], above[cell].replace(" ", "-")) for cell, _, _ in linked]


def test_headings_that_are_linked_to_are_unique_and_plain() -> None:
    headings = [heading for cell in read(NOTEBOOK).cells if cell.cell_type == "markdown" for heading in HEADING.findall(cell.source)]
    linked = {row.section for row in rows(read(NOTEBOOK))}
    assert not [section for section in linked if headings.count(section) != 1 or re.search(r"[^\w ]", section)]


def test_the_cells_number_is_its_place() -> None:
    assert [cell.id for cell in read(NOTEBOOK).cells][6] == "the-websocket-object-07"


# What it shows.


def test_it_runs_and_every_cell_may_be_run_again(run: Run) -> None:
    assert not failures(run.everything)


@pytest.mark.parametrize(
    "shown",
    [
        # what a handler knows
        r"url_for     http://127\.0\.0\.1:\d+/docs\nhandler: url_for     ws://127\.0\.0\.1:\d+/other\n",
        r"handler: blue \['red', 'blue'\] None\nhandler: 43 43 None\nhandler: \{'session': 'abc', 'theme': 'dark'\}\n",
        r"found \[\] nobody True\n.*\nhandler: found \['somebody'\] nobody True\n",
        r"session -> SessionMiddleware must be installed to access request\.session\n",
        r"auth -> AuthenticationMiddleware .*\n.*user -> AuthenticationMiddleware ",
        r"handler: '' \[\]\nended: .*\nhandler: 'Ana' \['chat', 'upload'\]\n",
        r"handler: \{'basket': \['apples'\]\}\nended: .*\nhandler: \{\}\n",
        r"handler: None True\nhandler: True\n",
        r"ws://127\.0\.0\.1/\nws://bank\.example/\nFalse True\n",
        # accepting
        r"\['soup', 'chat\.v2', 'chat\.v1'\] -> chat\.v2 seen=1\n\['soup'\] -> None seen=1\n\[\] -> None seen=1\n",
        r"unsupported subprotocol: chat\.v9.*\n.*no subprotocols supported",
        # messages
        r"client got: '\{\"word\":\"grüezi\",\"number\":1\.5\}'\nclient got: b'\{\"word\":\"gr\\xc3\\xbcezi\"\}'\n",
        r"handler: 'grüezi'\nhandler: b'gr\\xfcezi'\nhandler: \{'number': 1\.5\}\nhandler: \{'number': 2\.5\}\n",
        r"\{'a': nan\}\nhandler: JSONDecodeError: .*\nhandler: RecursionError: .*\nhandler: KeyError: 'text'\nhandler: RuntimeError: The \"mode\"",
        r"'websocket\.connect'\}\n(?:.*\n){3}handler: \{'type': 'websocket\.disconnect', 'code': 1000, 'reason': ''\}\nended: 1000",
        r"handler: iter_json \[1\]\nit raised: JSONDecodeError: .*\nended: 1006.*\nit raised: KeyError: 'text'\nended: 1006",
        r"handler: 'grüezi'\nended: 1000, normal closure\n",
        # endings
        r"handler: 4000 'the oven'\nended: 4000",
        r"'code': 4002, 'reason': 'closing time'\}\nhandler: WebSocketDisconnected\('Cannot call \"receive\" once",
        r"handler: 1005 ''\nended: 1006, no Close frame\n(?:client got: 'tick'\n)*handler: sending: 1006 because of ClientDisconnected\(\)\n"
        r"handler: sending again: Cannot call \"send\" once a close message has been sent\.\n",
        r"1008 members only\nended: 1008, policy violation\nended: HTTP 403",
        r"meanwhile WebSocketState\.RESPONSE\nended: HTTP 503.*\n503 The kitchen is closed\. Come back at six\. 3600\n",
        r"ended: 4000, .*\n"
        r"handler: 1005 ProtocolError\('invalid status code'\) WebSocketState\.DISCONNECTED\nended: 1006, no Close frame\n"
        r"handler: 1006 ProtocolError\('invalid status code'\) WebSocketState\.DISCONNECTED\nended: 1006, no Close frame\n"
        r"handler: 999 ProtocolError\('invalid status code'\) WebSocketState\.DISCONNECTED\nended: 1006, no Close frame\n"
        r"handler: 1000 ProtocolError\('control frame too long'\) WebSocketState\.DISCONNECTED\nended: 1006, no Close frame\n",
        # states
        r"'code': 4000, 'reason': 'bye'\} WebSocketState\.CONNECTED\n",
        r"'code': 1005\}\nClientDisconnected\(\) became WebSocketDisconnect 1006\nWebSocketState\.DISCONNECTED WebSocketState\.DISCONNECTED\n",
        r"WebSocketDisconnected WebSocket is not connected\. Need to call \"accept\" first\.\n"
        r"RuntimeError The server doesn't support the Websocket Denial Response extension\.\nWebSocketDisconnect 1006\nWebSocketState\.DISCONNECTED\n",
        # limits
        r"handler: 500 characters\n(?:.*\n){2}handler: the end: 1009 frame with 1002 bytes exceeds limit of 1000 bytes\nended: 1009, message too big\n",
        r"sent 1009 \(message too big\) frame with 1048577 bytes exceeds limit of 1048576 bytes",
        r"handler: 1005 ''\nended: 1011",
        r"(?:0\.[3-9]|[1-9]\d*\.\d) s, 1006\n",
        # testing
        r"client      testclient 50000\n",
        r"TestClient:  closed with 1008 members only\n  real client: HandshakeRefused 403\n",
        r"TestClient:  accepted chat\.v9\n.*\n  real client: ConnectError",
        r"TestClient:  closed with 999 \n  real client: 1006, no Close frame\n",
    ],
    ids=lambda shown: re.sub(r"[^\w ]+", "", shown)[:40],
)
def test_it_shows_each_time_what_its_text_explains(run: Run, shown: str) -> None:
    assert len(re.findall(shown, printed(run.first))) == 1
    assert len(re.findall(shown, printed(run.again))) == 1


def test_one_message_in_three_frames_with_a_ping_between_reaches_the_handler_whole(run: Run) -> None:
    *sent, _close = run.answers["frames of the fragments"]
    assert sent == [["TEXT", False, 3], ["PING", True, 7], ["CONT", False, 3], ["PING", True, 7], ["CONT", True, 1]]


def test_pings_come_down_no_pong_goes_up_and_the_server_closes(run: Run) -> None:
    wire = run.answers["frames of the silent"]
    assert ["server", "PING"] in wire
    assert "PONG" not in [opcode for side, opcode in wire if side == "client"]
    assert next(side for side, opcode in wire if opcode == "CLOSE") == "server"


def test_the_table_says_what_a_test_makes_of_a_code_that_cannot_be_sent(run: Run) -> None:
    (told,) = shown([cell for cell in run.first if cell.source.endswith("client.ended")])
    assert "Handler         Asked to close with 999, then raised ProtocolError" in told
    assert "TestClient      WebSocketDisconnect with code 999, no reason; tests lie here: no client gets it" in told


def steps(run: Run, what: str) -> list[tuple[str, str, str]]:
    """The lines that the cell whose code contains ``what`` prints: state, message, outcome."""
    cell = next(cell for cell in run.first if what in cell.source)
    return re.findall(r"^([A-Z]+) +([\w.]+) +(.+)$", printed([cell]), re.M)


def test_it_shows_every_step_of_the_machine_of_what_is_sent(run: Run) -> None:
    shown = steps(run, "MESSAGES = (")
    legal = {(state, message): outcome for state, message, outcome in shown if outcome.startswith("-> ")}
    assert legal == {
        ("CONNECTING", "accept"): "-> CONNECTED",
        ("CONNECTING", "close"): "-> DISCONNECTED",
        ("CONNECTING", "http.response.start"): "-> RESPONSE",
        ("CONNECTED", "send"): "-> CONNECTED",
        ("CONNECTED", "close"): "-> DISCONNECTED",
        ("RESPONSE", "http.response.body"): "-> DISCONNECTED",
    }
    expected = {
        "CONNECTING": '"websocket.accept", "websocket.close" or "websocket.http.response.start"',
        "CONNECTED": '"websocket.send" or "websocket.close"',
        "RESPONSE": '"websocket.http.response.body"',
    }
    illegal = {(state, message): outcome for state, message, outcome in shown if (state, message) not in legal}
    assert len(illegal) == 14
    for (state, message), outcome in illegal.items():
        if state == "DISCONNECTED":
            assert outcome == 'WebSocketDisconnected: Cannot call "send" once a close message has been sent.'
        else:
            assert outcome == f"RuntimeError: Expected ASGI message {expected[state]}, but got 'websocket.{message}'"


def test_it_shows_every_step_of_the_machine_of_what_is_heard(run: Run) -> None:
    over = 'WebSocketDisconnected: Cannot call "receive" once a disconnect message has been received.'
    first = 'RuntimeError: Expected ASGI message "websocket.connect", but got \'websocket.'
    later = 'RuntimeError: Expected ASGI message "websocket.receive" or "websocket.disconnect", but got \'websocket.connect\''
    assert steps(run, "async def hear(") == [
        ("CONNECTING", "connect", "-> CONNECTED"),
        ("CONNECTING", "receive", f"{first}receive'"),
        ("CONNECTING", "disconnect", f"{first}disconnect'"),
        ("CONNECTED", "connect", later),
        ("CONNECTED", "receive", "-> CONNECTED"),
        ("CONNECTED", "disconnect", "-> DISCONNECTED"),
        ("DISCONNECTED", "connect", over),
        ("DISCONNECTED", "receive", over),
        ("DISCONNECTED", "disconnect", over),
    ]


def test_its_walks_on_a_real_websocket_go_through_every_state(run: Run) -> None:
    cell = next(cell for cell in run.first if cell.source.startswith('await walk("receive", "send"'))
    walked = re.findall(r"^([\w.]+) +([A-Z]+) +([A-Z]+) ", printed([cell]), re.M)
    assert walked == [
        ("receive", "CONNECTED", "CONNECTING"),
        ("send", "CONNECTED", "CONNECTING"),
        ("accept", "CONNECTED", "CONNECTED"),
        ("accept", "CONNECTED", "CONNECTED"),
        ("send", "CONNECTED", "CONNECTED"),
        ("close", "CONNECTED", "DISCONNECTED"),
        ("send", "CONNECTED", "DISCONNECTED"),
        ("receive", "CONNECTED", "CONNECTING"),
        ("accept", "CONNECTED", "CONNECTED"),
        ("close", "CONNECTED", "DISCONNECTED"),
        ("receive", "DISCONNECTED", "DISCONNECTED"),
        ("receive", "DISCONNECTED", "DISCONNECTED"),
        ("receive", "CONNECTED", "CONNECTING"),
        ("close", "CONNECTED", "DISCONNECTED"),
        ("accept", "CONNECTED", "DISCONNECTED"),
        ("receive", "CONNECTED", "CONNECTING"),
        ("http.response.start", "CONNECTED", "RESPONSE"),
        ("accept", "CONNECTED", "RESPONSE"),
        ("http.response.body", "CONNECTED", "DISCONNECTED"),
        ("send", "CONNECTED", "DISCONNECTED"),
    ]
