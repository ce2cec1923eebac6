"""The table of an explained close is true: each row is compared with what the real thing did or reports.

The ways of ending are those of `tests.protocol_facts`, and those that take more than one step. What a browser reports is
compared in `tests/browser/test_closes.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import InvalidStatus

from kit import Server, connect, serve
from kit.closing import explain
from kit.connection import Connection
from kit.errors import HandshakeRefused
from kit.evidence import settled
from tests.protocol_facts.clients import in_a_test, over, seen_by_a_plain_client, seen_by_the_kits_client
from tests.protocol_facts.facts import FACTS, WAITS, Fact
from tests.protocol_facts.handlers import app

Eventually = Callable[..., Any]

each_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.handler)
LABELS = ["Closed first", "Client sent", "Server sent", "Handler", "Client library", "Browser", "TestClient", "What to change"]

ways = FastAPI()
ways.mount("/facts", app)


@ways.websocket("/listens")
async def listens(websocket: WebSocket) -> None:
    await websocket.accept()
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


@ways.websocket("/lets-it-through")
async def lets_it_through(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()


@ways.websocket("/drops")
async def drops(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.scope["extensions"]["kit.abort"]["abort"]()


@ways.websocket("/deaf")
async def deaf(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.Event().wait()


@ways.websocket("/answers/{status}")
async def answers(websocket: WebSocket, status: int) -> None:
    raise HTTPException(status)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(ways, port=0, max_message_bytes=1_000) as serving:
        yield serving


@pytest.fixture
async def facts_server() -> AsyncIterator[Server]:
    async with serve(app, port=0, name="facts") as serving:
        yield serving


@pytest.fixture
async def unrecorded_server() -> AsyncIterator[Server]:
    async with serve(app, port=0, name="unrecorded", recording=False) as serving:
        yield serving


def table_of(connection: Connection) -> dict[str, str]:
    return dict(explain(connection).table)


def words_of(code: int, reason: str) -> str:
    return f"code {code}, reason “{reason}”" if reason else f"code {code}, no reason"


# Every fact of the protocol's table.


@each_fact
async def test_what_the_kits_client_reports(facts_server: Server, fact: Fact, eventually: Eventually) -> None:
    seen, connection = await seen_by_the_kits_client(facts_server, fact)
    await eventually(lambda: settled(connection))
    said = table_of(connection)["Client library"]
    if seen.status:
        assert said.startswith(f"HandshakeRefused with status {seen.status} ")
    elif seen.error:
        assert seen.error in said
    else:
        assert said.lower() == words_of(seen.code, seen.reason)


@each_fact
async def test_what_the_websockets_library_reports(facts_server: Server, fact: Fact, eventually: Eventually) -> None:
    seen, connection = await seen_by_a_plain_client(facts_server, fact)
    if seen.error:
        return  # a stranger that gives up is not known to: the kit's own client is, above
    await eventually(lambda: over(connection))
    said = table_of(connection)["Client library"]
    assert said.startswith("Not seen, for the client is a stranger")
    assert said.endswith(f"InvalidStatus with status {seen.status}" if seen.status else words_of(seen.code, seen.reason))


async def test_the_websockets_library_raises_what_the_table_of_the_kits_client_names(facts_server: Server) -> None:
    with pytest.raises(HandshakeRefused) as refusal:
        await connect(facts_server, "/closes-first")
    with pytest.raises(InvalidStatus):
        await websockets_connect(f"{facts_server.ws_url}/closes-first", proxy=None)
    assert "(the websockets library: InvalidStatus)" in dict(refusal.value.ended.table)["Client library"]


def said_of_a_test(shown: str) -> str:
    """The words in which the table says what `in_a_test` found out."""
    if shown == WAITS:
        return "Waits for ever"
    if shown.startswith("HTTP"):
        return f"WebSocketDenialResponse with status {shown.removeprefix('HTTP ')}"
    if shown.startswith("closed"):
        _, code, reason = f"{shown} ".split(" ", 2)
        return f"WebSocketDisconnect with {words_of(int(code), reason.strip())}"
    return f"Raises {shown} in the test"


@each_fact
async def test_what_testclient_would_have_said(facts_server: Server, fact: Fact, eventually: Eventually) -> None:
    seen, connection = await seen_by_the_kits_client(facts_server, fact)
    await eventually(lambda: over(connection))
    said, shown = table_of(connection)["TestClient"], in_a_test(app, fact)
    if seen.error:
        assert (said, shown) == ("Takes any subprotocol: it does not compare it with what was offered", WAITS)
        return
    expected = said_of_a_test(shown)
    if "int_parsing" in shown:  # pydantic's words are longer than the table
        expected = expected[:120]
    assert said.startswith(expected[: expected.find("RecursionError") + 14] if "RecursionError" in shown else expected), (said, expected)
    assert ("tests lie here" in said) == (shown.startswith(("closed", "HTTP")) and shown != str(seen))


@each_fact
async def test_the_close_frames_are_those_of_the_wire(facts_server: Server, fact: Fact, eventually: Eventually) -> None:
    _, connection = await seen_by_the_kits_client(facts_server, fact)
    await eventually(lambda: settled(connection))
    entries = facts_server.timeline.entries(connection=connection.number)
    sent = [(entry.side, entry.details["code"]) for entry in entries if entry.kind == "frame-out" and entry.details["opcode"] == "CLOSE"]
    table = table_of(connection)
    assert list(table) == LABELS
    for side in ("client", "server"):
        codes = [f"Close {code}" for sender, code in sent if sender == side]
        said = table[f"{side.capitalize()} sent"]
        assert said.startswith(codes[0]) if codes else said.casefold().endswith("no close frame")
    if sent:
        assert table["Closed first"] == f"The {sent[0][0]}"


@each_fact
@pytest.mark.parametrize("client", [seen_by_the_kits_client, seen_by_a_plain_client], ids=["kit", "plain"])
async def test_without_recording_the_table_is_the_same(
    facts_server: Server, unrecorded_server: Server, fact: Fact, client: Callable, eventually: Eventually
) -> None:
    tables = []
    for server in (facts_server, unrecorded_server):
        _, connection = await client(server, fact)
        await eventually(lambda: over(connection) and settled(connection))  # noqa: B023 - called before the next round
        tables.append((str(explain(connection)), table_of(connection)))
    assert tables[0] == tables[1]
    assert [entry for entry in unrecorded_server.timeline.entries() if entry.kind.startswith("frame")] == []


@each_fact
async def test_there_is_something_to_change_exactly_when_something_is_wrong(facts_server: Server, fact: Fact, eventually: Eventually) -> None:
    _, connection = await seen_by_the_kits_client(facts_server, fact)
    await eventually(lambda: over(connection))
    assert (table_of(connection)["What to change"] == "Nothing.") == (explain(connection).severity == "good")


# What takes more than one step.


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, ""), (4001, "bye"), (3000, "who?")])
@pytest.mark.parametrize("recording", [True, False], ids=["recorded", "unrecorded"])
async def test_a_client_that_closes_first_is_known_to_have(code: int, reason: str, recording: bool, eventually: Eventually) -> None:
    async with serve(ways, port=0, recording=recording) as server:
        client = await connect(server, "/listens")
        assert client.ended is None
        await client.close(code, reason)
        await eventually(lambda: settled(client.connection))
        table = dict(client.ended.table)
        sent = f"Close {code} “{reason}”" if reason else f"Close {code}"
        assert [table[label] for label in LABELS[:4]] == ["The client", sent, sent, "Returned"]
        assert table["Client library"].lower() == words_of(client.close_code, client.close_reason)
        assert table["TestClient"] == "Closes by leaving its `with` block, or with session.close(code)"


@pytest.mark.parametrize("recording", [True, False], ids=["recorded", "unrecorded"])
async def test_a_plain_client_that_closes_without_a_code_is_known_to_have(recording: bool, eventually: Eventually) -> None:
    async with serve(ways, port=0, recording=recording) as server:
        client = await websockets_connect(f"{server.ws_url}/listens", proxy=None)
        client.protocol.send_close()
        client.transport.write(b"".join(client.protocol.data_to_send()))
        await asyncio.wait_for(client.wait_closed(), 5.0)
        connection = server.timeline.connections[-1]
        await eventually(lambda: over(connection))
        table = table_of(connection)
        assert [table[label] for label in LABELS[:3]] == ["The client", "Close without a code", "Close without a code"]
        assert table["Client library"].endswith(words_of(client.close_code, client.close_reason))


async def test_a_handler_that_lets_the_disconnect_through_ends_a_test_with_it(server: Server, eventually: Eventually) -> None:
    client = await connect(server, "/lets-it-through")
    await client.close(4001, "bye")
    await eventually(lambda: over(client.connection))
    table = dict(client.ended.table)
    assert table["Handler"] == "Raised WebSocketDisconnect(4001, 'bye')"
    assert table["TestClient"].endswith("; then raises WebSocketDisconnect(4001, 'bye')")
    with pytest.raises(WebSocketDisconnect) as raised, TestClient(ways).websocket_connect("/lets-it-through") as session:
        session.close(4001, "bye")
    assert (raised.value.code, raised.value.reason) == (4001, "bye")


@pytest.mark.parametrize("recording", [True, False], ids=["recorded", "unrecorded"])
async def test_a_client_that_vanishes(recording: bool, eventually: Eventually) -> None:
    async with serve(ways, port=0, recording=recording) as server:
        client = await connect(server, "/listens")
        await client.abort()
        await eventually(lambda: over(client.connection))
        table = dict(client.ended.table)
        assert [table[label] for label in LABELS[:3]] == ["The client, by dropping the line", "No Close frame", "No Close frame"]
        assert table["Client library"].lower() == words_of(client.close_code, client.close_reason) == "code 1006, no reason"
        stranger = await websockets_connect(f"{server.ws_url}/listens", proxy=None)
        stranger.transport.abort()
        await eventually(lambda: over(server.timeline.connections[-1]))
        await stranger.wait_closed()
        assert table_of(server.timeline.connections[-1])["Closed first"] == "The client, by dropping the line"
        assert table_of(server.timeline.connections[-1])["Client library"].endswith(words_of(stranger.close_code, stranger.close_reason))


@pytest.mark.parametrize("replaced", [False, True], ids=["stopped", "replaced"])
@pytest.mark.parametrize("recording", [True, False], ids=["recorded", "unrecorded"])
async def test_a_server_that_stops_or_is_replaced(replaced: bool, recording: bool, eventually: Eventually) -> None:
    server = await serve(ways, port=0, recording=recording)
    client = await connect(server, "/listens")
    stranger = await websockets_connect(f"{server.ws_url}/listens", proxy=None)
    theirs = server.timeline.connections[-1]
    new = await serve(ways, port=0, recording=recording) if replaced else await server.stop()
    await client.wait_closed()
    await stranger.wait_closed()
    code = 1012 if replaced else 1001
    table = dict(client.ended.table)
    assert table["Closed first"] == "The server"
    assert table["Server sent"] == f"Close {code}"
    assert table["Client library"].lower() == words_of(client.close_code, client.close_reason) == f"code {code}, no reason"
    assert f"{words_of(stranger.close_code, stranger.close_reason)}, if that Close frame reached it" in table_of(theirs)["Client library"]
    assert table["TestClient"].startswith("Knows no such end")
    assert table["Browser"].startswith(f"Code {code}, no reason. wasClean is not certain")
    if new is not None:
        await new.stop()


@pytest.mark.parametrize("recording", [True, False], ids=["recorded", "unrecorded"])
async def test_a_client_that_answers_no_ping_is_closed_with_1011(recording: bool, eventually: Eventually) -> None:
    async with serve(ways, port=0, recording=recording, ping_interval_seconds=0.05, ping_timeout_seconds=0.05) as server:
        client = await websockets_connect(f"{server.ws_url}/listens", proxy=None)
        client.transport.pause_reading()
        connection = server.timeline.connections[-1]
        await eventually(lambda: over(connection))
        table = table_of(connection)
        assert table["Server sent"] == "Close 1011 “keepalive ping timeout”"
        assert table["TestClient"].startswith("Knows no such end")
        client.transport.resume_reading()
        await client.wait_closed()
        assert words_of(client.close_code, client.close_reason) in table["Client library"]


async def too_big(client: Any) -> None:
    await client.send("x" * 2_000)


async def not_utf8(client: Any) -> None:
    client.transport.write(bytes([0x81, 0x82, 0, 0, 0, 0, 0xFF, 0xFF]))


async def not_masked(client: Any) -> None:
    client.transport.write(b"\x81\x01x")


@pytest.mark.parametrize(("says", "code"), [(too_big, 1009), (not_utf8, 1007), (not_masked, 1002)], ids=lambda case: getattr(case, "__name__", case))
async def test_a_server_that_cannot_take_what_it_gets_closes_first(server: Server, says: Callable, code: int, eventually: Eventually) -> None:
    client = await websockets_connect(f"{server.ws_url}/listens", proxy=None)
    await says(client)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    connection = server.timeline.connections[-1]
    await eventually(lambda: over(connection))
    table = table_of(connection)
    assert table["Closed first"] == "The server"
    assert table["Server sent"].startswith(f"Close {code}")
    assert (client.close_code, table["TestClient"][:17]) == (code, "Knows no such end")
    assert words_of(client.close_code, client.close_reason) in table["Client library"]


async def test_a_socket_that_the_app_drops(server: Server, eventually: Eventually) -> None:
    client = await connect(server, "/drops")
    await client.wait_closed()
    await eventually(lambda: over(client.connection))
    table = dict(client.ended.table)
    assert table["Closed first"] == "The server: the app had it drop the line"
    assert table["Client library"].lower() == words_of(client.close_code, client.close_reason) == "code 1006, no reason"


async def test_a_handler_that_has_not_ended_is_said_to_go_on(server: Server) -> None:
    client = await connect(server, "/deaf")
    await client.close()
    assert dict(client.ended.table)["Handler"] == "Has not ended yet"
    assert not settled(client.connection)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 408, 422, 426, 429, 431, 500, 503, 599])
async def test_every_status_that_an_app_answers_with(server: Server, status: int, eventually: Eventually) -> None:
    with pytest.raises(HandshakeRefused) as refusal:
        await connect(server, f"/answers/{status}")
    connection = refusal.value.connection
    await eventually(lambda: over(connection))
    table = dict(refusal.value.ended.table)
    assert table["Closed first"] == "The server, by refusing the handshake"
    assert table["Server sent"] == f"HTTP {status}, no Close frame"
    assert table["Handler"] == f"Answered HTTP {status}, itself or by raising HTTPException"
    assert table["TestClient"] == f"WebSocketDenialResponse with status {status}"


async def test_what_the_kit_refused_never_reached_a_handler_and_a_test_gets_past_it(server: Server) -> None:
    with pytest.raises(HandshakeRefused) as refusal:
        await connect(server, "/listens", origin="http://evil.example")
    table = dict(refusal.value.ended.table)
    assert (table["Handler"], table["TestClient"]) == ("Did not run", "Gets past the kit's check: it calls the app itself")
    with TestClient(ways).websocket_connect("/listens", headers={"Origin": "http://evil.example"}) as session:
        session.close()


async def test_of_a_server_elsewhere_it_is_said_what_is_not_known() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.close(1008, "members only")

    async with websockets_serve(refuse, "127.0.0.1", 0) as foreign:
        client = await connect(f"ws://127.0.0.1:{foreign.sockets[0].getsockname()[1]}", "/")
        await asyncio.wait_for(client.wait_closed(), 5.0)
    table = dict(client.ended.table)
    assert (table["Closed first"], table["Server sent"]) == ("The server", "Close 1008 “members only”")
    assert table["Handler"] == "Not known: the server is not of this kernel"
    assert table["TestClient"].startswith("Not known")
    assert table["Client library"].lower() == words_of(client.close_code, client.close_reason)
    assert table["Browser"] == "Code 1008, reason “members only”, wasClean true"


# How it is shown.


async def test_at_the_end_of_a_cell_it_is_static_escaped_and_without_secrets(server: Server) -> None:
    client = await connect(server, "/listens")
    await client.close(4000, "<b>\u202ebye</b> token=spring-rain")
    shown = client.ended._repr_mimebundle_()
    assert shown["text/plain"].splitlines()[0].startswith("4000, the application's own code. The client closed first")
    assert re.findall(r"^  ([\w ]+?)  ", shown["text/plain"], re.MULTILINE) == LABELS
    assert shown["text/html"].count("<tr") == len(LABELS)
    assert "&lt;b&gt;\\u202ebye" in shown["text/html"]
    for text in shown.values():
        assert "spring-rain" not in text
        assert "\u202e" not in text
    assert "<b>" not in shown["text/html"]


def test_an_explanation_of_nothing_has_no_table() -> None:
    assert explain(Connection(1)).table[0].value == "Not known"
