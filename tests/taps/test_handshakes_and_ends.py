"""Handshakes, states and ends as both sides see them; secrets are shown live and not exported."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket

from kit import Server, connect, serve
from kit.errors import HandshakeRefused
from kit.recording import write_recording
from tests.apps import app
from tests.taps.looking import both_ended, seen

# The handshake.


async def test_the_handshake_is_shown_live_and_redacted_in_the_export(server: Server) -> None:
    headers = {"Authorization": "Bearer s3cr3t-a"}
    async with connect(server, "/ws?token=s3cr3t-b&room=7", headers=headers, cookies={"session": "s3cr3t-c"}) as client:
        await client.send_json({"password": "s3cr3t-d", "user": "ana"})
        await client.receive_text(timeout=5.0)
    for side in ("client", "server"):
        (request,) = seen(server, side, "request")
        assert request.text == "GET /ws?token=s3cr3t-b&room=7"
        shown = {name.lower(): value for name, value in request.details["headers"]}
        assert (shown["authorization"], shown["cookie"]) == ("Bearer s3cr3t-a", "session=s3cr3t-c")
        (response,) = seen(server, side, "response")
        assert response.details["status"] == 101
    exported = write_recording(server.timeline)
    assert "s3cr3t" not in exported
    assert "room=7" in exported
    entries = [json.loads(line)["entry"] for line in exported.splitlines() if '"entry"' in line]
    assert [entry["number"] for entry in entries] == [entry.number for entry in server.timeline.entries()]


async def test_secrets_in_binary_messages_are_not_exported_either(server: Server) -> None:
    async with connect(server, "/ws") as client:
        await client.send_json({"password": "s3cr3t"}, "binary")
        await client.receive_bytes(timeout=5.0)
    exported = write_recording(server.timeline)
    assert b"s3cr3t".hex() not in exported
    assert b"s3cr3t".hex(" ") not in exported


async def test_a_cookie_that_the_server_sets_is_not_exported() -> None:
    setting = FastAPI()

    @setting.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept(headers=[(b"set-cookie", b"id=s3cr3t; HttpOnly")])
        await websocket.receive()

    async with serve(setting, port=0) as server, connect(server, "/ws") as client:
        assert "s3cr3t" in client.response.headers["set-cookie"]
        assert "s3cr3t" in str(server.timeline.entries())
        assert "s3cr3t" not in write_recording(server.timeline)


async def test_cookies_that_a_handler_prints_are_not_exported(eventually: Callable) -> None:
    printing = FastAPI()

    @printing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        print(websocket.cookies)
        print(websocket.headers)
        await websocket.accept()
        await websocket.receive()

    async with serve(printing, port=0) as server:
        async with connect(server, "/ws", cookies={"session": "s3cr3t"}, headers={"Authorization": "Bearer s3cr3t"}):
            assert "s3cr3t" in str([e for e in server.timeline.entries() if e.kind == "print"])
        assert "s3cr3t" not in write_recording(server.timeline)


@pytest.mark.parametrize(("path", "status"), [("/refuse/closing", 403), ("/refuse/http", 401), ("/refuse/denial", 503), ("/nowhere", 403)])
async def test_a_refusal_is_seen_at_both_ends(server: Server, path: str, status: int, eventually: Callable) -> None:
    with pytest.raises(Exception, match=str(status)):
        await connect(server, path)
    await eventually(lambda: not server.connections)
    assert [seen(server, side, "response")[0].details["status"] for side in ("server", "client")] == [status, status]
    assert server.timeline.connections[0].refused_status == status
    assert not seen(server, "client", "frame-in")


# States and ends.


async def test_both_states_are_known_after_every_asgi_message(server: Server, eventually: Callable) -> None:
    async with connect(server, "/ws") as client:
        assert (client.connection.client_state, client.connection.application_state) == ("CONNECTED", "CONNECTED")
        await client.send_text("x")
        await client.receive_text(timeout=5.0)
    await eventually(both_ended(server))
    messages = [e for e in server.timeline.entries() if e.kind.startswith("asgi")]
    assert [(e.details["type"].removeprefix("websocket."), e.details["client_state"], e.details["application_state"]) for e in messages] == [
        ("connect", "CONNECTED", "CONNECTING"),
        ("accept", "CONNECTED", "CONNECTED"),
        ("receive", "CONNECTED", "CONNECTED"),
        ("send", "CONNECTED", "CONNECTED"),
        ("disconnect", "DISCONNECTED", "CONNECTED"),
    ]


@pytest.mark.parametrize(
    ("path", "states"),
    [
        ("/end/closing", [("CONNECTED", "CONNECTING"), ("CONNECTED", "CONNECTED"), ("CONNECTED", "DISCONNECTED")]),
        ("/refuse/closing", [("CONNECTING", "DISCONNECTED")]),
        ("/refuse/denial", [("CONNECTING", "RESPONSE"), ("CONNECTING", "DISCONNECTED")]),
    ],
)
async def test_states_follow_starlettes_when_the_handler_ends_the_connection(
    server: Server, path: str, states: list[tuple[str, str]], eventually: Callable
) -> None:
    with contextlib.suppress(HandshakeRefused):
        client = await connect(server, path)
        await client.wait_closed()
    await eventually(lambda: seen(server, "server", "end"))
    messages = [e for e in server.timeline.entries() if e.kind.startswith("asgi")]
    assert [(e.details["client_state"], e.details["application_state"]) for e in messages][-len(states) :] == states


async def test_an_exception_is_recorded_with_the_readers_own_lines(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/end/raising")
    await client.wait_closed()
    await eventually(lambda: seen(server, "server", "error"))
    (error,) = seen(server, "server", "error")
    assert (error.text, error.connection, error.details["exception"]) == ("ZeroDivisionError: after accept", 1, "ZeroDivisionError")
    assert len(error.details["lines"]) == 1
    assert error.details["lines"][0].startswith("apps.py, line ")
    assert error.details["lines"][0].endswith('in end_raising: raise ZeroDivisionError("after accept")  # this line is named')
    assert client.connection.handler_error == "ZeroDivisionError: after accept"


async def test_the_disconnect_that_the_documentations_example_does_not_catch_is_recorded(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/end/disconnect")
    await client.close(1000)
    await eventually(lambda: seen(server, "server", "error"))
    (error,) = seen(server, "server", "error")
    assert error.details["exception"] == "WebSocketDisconnect"
    assert "receive_text" in error.details["lines"][-1]


@pytest.mark.parametrize(
    ("path", "facts"),
    [
        ("/end/returning", {"handler_returned": True, "handler_error": None, "close_frames": []}),
        ("/end/raising", {"handler_returned": False, "handler_error": "ZeroDivisionError: after accept", "close_frames": []}),
    ],
)
async def test_an_end_without_a_close_frame_is_known_to_be_the_servers(server: Server, path: str, facts: dict, eventually: Callable) -> None:
    client = await connect(server, path)
    await client.wait_closed()
    await eventually(both_ended(server))
    connection = client.connection
    assert {name: getattr(connection, name) for name in facts} == facts
    assert (connection.accepted, connection.open, connection.vanished_side) == (True, False, "server")


async def test_a_stopped_server_is_known_to_have_closed(eventually: Callable) -> None:
    server = await serve(app, port=0)
    client = await connect(server, "/listening")
    await server.stop()
    await client.wait_closed()
    assert (client.close_code, client.connection.server_stopped) == (1001, True)
    assert client.connection.close_frames[0][:2] == ("server", 1001)
