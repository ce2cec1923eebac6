"""Both sides of real connections, recorded: what happened, in which order, with which states, and why it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed

from kit import Client, Server, connect, serve
from kit.errors import HandshakeRefused, LoopStopped
from kit.recording import write_recording
from kit.timeline import Entry
from tests.apps import app, keeping_app


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0) as serving:
        yield serving


def seen(server: Server, side: str, kind: str, connection: int | None = None) -> list[Entry]:
    return [entry for entry in server.timeline.entries(connection=connection) if (entry.side, entry.kind) == (side, kind)]


def both_ended(server: Server, number: int = 1) -> Callable[[], bool]:
    """Whether both ends of a connection have recorded that their socket closed, and its handler that it ended."""

    def condition() -> bool:
        entries = server.timeline.entries(connection=number)
        sockets = [entry.side for entry in entries if entry.kind == "end" and entry.details["what"] == "socket"]
        handler = [entry for entry in entries if entry.kind == "error" or entry.details.get("what") == "handler"]
        return len(sockets) == 2 and bool(handler)

    return condition


def journey(server: Server, number: int = 1) -> dict[tuple[str, str], dict[int, Entry]]:
    """The message Entries of a connection by side and kind, and then by ordinal."""
    found: dict[tuple[str, str], dict[int, Entry]] = {}
    for entry in server.timeline.entries(connection=number):
        if entry.ordinal is not None:
            found.setdefault((entry.side, entry.kind), {}).setdefault(entry.ordinal, entry)
    return found


def assert_causal(server: Server, count: int, number: int = 1) -> None:
    """Every message of an echo passed its six places in the order of cause and effect, with one ordinal on both ends."""
    places = journey(server, number)
    way = [
        ("client", "frame-out"),
        ("server", "frame-in"),
        ("server", "asgi-receive"),
        ("server", "asgi-send"),
        ("server", "frame-out"),
        ("client", "frame-in"),
    ]
    for ordinal in range(1, count + 1):
        steps = [places[place][ordinal] for place in way]
        assert [step.number for step in steps] == sorted(step.number for step in steps), ordinal
        assert len({step.size for step in steps}) == 1, ordinal
        assert len({step.text for step in steps}) == 1, ordinal
    assert {len(ordinals) for ordinals in places.values()} == {count}


# One order for both sides.


async def test_an_echo_is_recorded_from_handshake_to_end_in_the_order_of_cause_and_effect(server: Server, eventually: Callable) -> None:
    async with connect(server, "/ws?room=1") as client:
        await client.send_text("hi")
        assert await client.receive_text(timeout=5.0) == "hi"
    await eventually(both_ended(server))
    story = [(e.side, e.kind, e.details.get("opcode") or e.details.get("type") or e.text) for e in server.timeline.entries(connection=1)]
    assert story[:12] == [
        ("client", "request", "GET /ws?room=1"),
        ("server", "request", "GET /ws?room=1"),
        ("server", "asgi-receive", "websocket.connect"),
        ("server", "asgi-send", "websocket.accept"),
        ("server", "response", "101 Switching Protocols"),
        ("client", "response", "101 Switching Protocols"),
        ("client", "frame-out", "TEXT"),
        ("server", "frame-in", "TEXT"),
        ("server", "asgi-receive", "websocket.receive"),
        ("server", "asgi-send", "websocket.send"),
        ("server", "frame-out", "TEXT"),
        ("client", "frame-in", "TEXT"),
    ]
    ending = story[12:]
    assert ending[:3] == [("client", "frame-out", "CLOSE"), ("server", "frame-in", "CLOSE"), ("server", "frame-out", "CLOSE")]
    assert set(ending[3:]) == {
        ("server", "asgi-receive", "websocket.disconnect"),
        ("server", "end", "the handler returned"),
        ("server", "end", "the socket closed"),
        ("client", "frame-in", "CLOSE"),
        ("client", "end", "the socket closed"),
    }
    assert len(ending) == 8


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 65_535, 65_536, 200_000, 2_000_000])
async def test_frames_of_any_size_are_seen_whole_at_both_ends(server: Server, size_bytes: int) -> None:
    async with connect(server, "/ws") as client:
        await client.send_text("x" * size_bytes)
        await client.receive_text(timeout=5.0)
        await client.send_bytes(bytes(size_bytes))
        await client.receive_bytes(timeout=5.0)
        assert_causal(server, 2)
        for ordinals in journey(server).values():
            assert [ordinals[1].size, ordinals[2].size] == [size_bytes, size_bytes]
            assert bytes(ordinals[2].payload) == bytes(size_bytes)
            if size_bytes < 2_000_000:  # twelve records of two megabytes are more than a Timeline keeps
                assert ordinals[1].payload == "x" * size_bytes


async def test_many_small_frames_in_one_chunk_keep_their_order_and_ordinals(server: Server) -> None:
    async with connect(server, "/ws") as client:

        async def send_all() -> None:
            for number in range(1_500):
                await client.send_text(f"message {number}")

        async def take_all() -> list[str]:
            return [await client.receive_text(timeout=10.0) for _ in range(1_500)]

        _, messages = await asyncio.gather(send_all(), take_all())
        assert messages == [f"message {number}" for number in range(1_500)]
        assert_causal(server, 1_500)


async def test_two_connections_at_the_same_time_are_each_in_order(server: Server) -> None:
    async def converse(client: Client) -> None:
        for number in range(200):
            await client.send_text(f"{client.name} {number}")
            assert await client.receive_text(timeout=5.0) == f"{client.name} {number}"

    async with connect(server, "/ws", name="Ana") as ana, connect(server, "/ws", name="Ben") as ben:
        await asyncio.gather(converse(ana), asyncio.to_thread(asyncio.run, converse(ben)))
        for client in (ana, ben):
            assert_causal(server, 200, client.number)
            words = {entry.text.split()[0] for entry in server.timeline.entries(connection=client.number) if entry.ordinal}
            assert words == {client.name}


async def test_a_fragmented_message_is_one_ordinal_and_one_asgi_message(server: Server) -> None:
    """From a client that is not of this kernel: a stranger, of whom only the server's side is seen."""
    async with websockets_connect(f"{server.ws_url}/ws", proxy=None) as stranger:
        await stranger.send("one")
        assert await stranger.recv() == "one"
        await stranger.send(["frag", "x" * 70_000, "ment"])
        assert await stranger.recv() == "frag" + "x" * 70_000 + "ment"
        await stranger.send(b"three")
        assert await stranger.recv() == b"three"
    frames = [e for e in seen(server, "server", "frame-in") if e.details["opcode"] in ("TEXT", "CONT", "BINARY")]
    assert [e.ordinal for e in frames] == [1] + [2] * (len(frames) - 2) + [3]
    assert [e.details["opcode"] for e in frames] == ["TEXT", "TEXT"] + ["CONT"] * (len(frames) - 3) + ["BINARY"]
    assert [e.details["fin"] for e in frames] == [True] + [False] * (len(frames) - 3) + [True, True]
    assert sum(e.size for e in frames if e.ordinal == 2) == 70_008
    messages = [e for e in seen(server, "server", "asgi-receive") if e.ordinal]
    assert [(e.ordinal, e.size) for e in messages] == [(1, 3), (2, 70_008), (3, 5)]
    assert server.timeline.connections[0].name == "stranger"


async def test_a_frame_shows_opcode_fin_mask_and_payload(server: Server) -> None:
    async with connect(server, "/ws") as client:
        await client.send_text("grüß dich")
        await client.receive_text(timeout=5.0)
        (out,), (back,) = seen(server, "client", "frame-out"), seen(server, "client", "frame-in")
        assert (out.details["opcode"], out.details["fin"], out.details["masked"], out.size) == ("TEXT", True, True, 11)
        assert (back.details["opcode"], back.details["fin"], back.details["masked"], back.size) == ("TEXT", True, False, 11)
        assert seen(server, "server", "frame-in")[0].details["mask_key"] == out.details["mask_key"]
        assert out.payload == back.payload == "grüß dich"


async def test_ping_and_pong_are_seen_on_both_sides_and_have_no_ordinal(server: Server) -> None:
    async with connect(server, "/ws") as client:
        await client.send_text("first")
        await client.receive_text(timeout=5.0)
        await client.ping()
        controls = [(e.side, e.kind, e.details["opcode"], e.ordinal) for e in server.timeline.entries() if e.details.get("opcode") in ("PING", "PONG")]
        assert controls == [
            ("client", "frame-out", "PING", None),
            ("server", "frame-in", "PING", None),
            ("server", "frame-out", "PONG", None),
            ("client", "frame-in", "PONG", None),
        ]
        await client.send_text("second")
        await client.receive_text(timeout=5.0)
        assert_causal(server, 2)


async def test_the_keepalive_of_the_server_is_seen(eventually: Callable) -> None:
    async with serve(app, port=0, ping_interval_seconds=0.05) as server, connect(server, "/ws"):
        await eventually(lambda: any(e.details["opcode"] == "PONG" for e in seen(server, "server", "frame-in")))
        assert any(e.details["opcode"] == "PING" for e in seen(server, "client", "frame-in"))


async def test_close_frames_show_code_and_reason_at_both_ends(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/end/closing?code=4321&reason=enough")
    await client.wait_closed()
    await eventually(both_ended(server))
    closes = [(e.side, e.kind, e.details["code"], e.details["reason"]) for e in server.timeline.entries() if e.details.get("opcode") == "CLOSE"]
    assert closes[:3] == [("server", "frame-out", 4321, "enough"), ("client", "frame-in", 4321, "enough"), ("client", "frame-out", 4321, "enough")]
    assert server.timeline.connections[0].close_frames[0] == ("server", 4321, "enough")


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


# Bounds.


async def test_a_long_conversation_leaves_the_timeline_bounded(server: Server) -> None:
    async with connect(server, "/ws") as client:
        for number in range(2_500):
            await client.send_text(str(number))
            assert await client.receive_text(timeout=5.0) == str(number)
    statistics = server.timeline.statistics()
    assert statistics.entries == 10_000
    assert statistics.entries_dropped > 4_000
    assert statistics.entries + statistics.entries_dropped == server.timeline.last_number


async def test_many_long_messages_leave_their_previews_and_sizes(server: Server) -> None:
    async with connect(server, "/ws") as client:
        for number in range(40):
            await client.send_text(f"{number:06}" * 100_000)
            await client.receive_text(timeout=5.0)
        statistics = server.timeline.statistics()
        assert statistics.payload_bytes <= 16 * 2**20
        assert statistics.payloads_dropped > 0
        first, last = journey(server)["server", "frame-in"][1], journey(server)["server", "frame-in"][40]
        assert (first.payload, first.size, first.text) == (None, 600_000, ("000000" * 50)[:256])
        assert (last.payload, last.size) == ("000039" * 100_000, 600_000)
        assert_causal(server, 40)


async def test_large_bodies_of_refusals_count_as_payload_too() -> None:
    """Whatever crosses the wire is bounded: a body is no less memory than a message."""
    from starlette.responses import PlainTextResponse

    refusing = FastAPI()

    @refusing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("x" * 900_000, 429))

    async with serve(refusing, port=0) as server:
        for _ in range(30):
            with pytest.raises(HandshakeRefused):
                await connect(server, "/ws")
        kept = sum(len(str(entry.payload or "")) + len(str(entry.details)) for entry in server.timeline.entries())
        assert kept < 20 * 2**20


async def test_a_subscriber_that_never_takes_does_not_slow_the_server(server: Server) -> None:
    wakes: list[float] = []
    subscription = server.timeline.subscribe(lambda: wakes.append(time.monotonic()))
    async with connect(server, "/ws") as client:
        for number in range(500):
            await client.send_text(str(number))
            assert await client.receive_text(timeout=5.0) == str(number)
        assert len(wakes) == 1
        entries, skipped = subscription.take(100)
        assert len(entries) == 100
        assert skipped > 2_000


async def test_without_recording_nothing_is_kept_but_everything_works() -> None:
    async with serve(app, port=0, recording=False) as server, connect(server, "/ws") as client:
        await client.send_text("x")
        assert await client.receive_text(timeout=5.0) == "x"
        assert [entry.kind for entry in server.timeline.entries() if entry.connection] == []
        assert server.connections[0].application_state == "CONNECTED"


# From foreign loops.


async def test_a_cell_may_send_on_a_socket_of_the_server() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/chat") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        await websocket.send_text("from the cell")
        await websocket.send_json({"from": "the cell"})
        await websocket.send_bytes(b"from the cell")
        assert await client.receive_text(timeout=5.0) == "from the cell"
        assert await client.receive_json(timeout=5.0) == {"from": "the cell"}
        assert await client.receive_bytes(timeout=5.0) == b"from the cell"
        hops = [bool(e.details.get("hopped")) for e in seen(server, "server", "asgi-send") if e.ordinal]
        assert hops == [False, True, True, True]


async def test_a_plain_thread_with_a_loop_of_its_own_may_send_too() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/chat") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        thread = threading.Thread(target=lambda: asyncio.run(websocket.send_text("from a thread")))
        thread.start()
        assert await client.receive_text(timeout=5.0) == "from a thread"
        thread.join()


async def test_a_cell_may_send_to_many_sockets_at_once() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        clients = [await connect(server, "/chat") for _ in range(20)]
        for client in clients:
            assert await client.receive_text(timeout=5.0) == "ready"
        await asyncio.gather(*(websocket.send_text(f"{turn}") for websocket in keeping.state.sockets for turn in range(20)))
        for client in clients:
            assert [await client.receive_text(timeout=5.0) for _ in range(20)] == [str(turn) for turn in range(20)]
            await client.close()


async def test_a_cell_may_close_a_socket_of_the_server() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        client = await connect(server, "/chat")
        assert await client.receive_text(timeout=5.0) == "ready"
        await keeping.state.sockets[0].close(4444, "from the cell")
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert (client.close_code, client.close_reason) == (4444, "from the cell")


async def test_a_send_from_afar_to_a_client_that_left_raises_what_it_raises_at_home(eventually: Callable) -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        client = await connect(server, "/keep")
        assert await client.receive_text(timeout=5.0) == "ready"
        await client.close()
        await eventually(lambda: not server.connections)
        with pytest.raises(WebSocketDisconnect) as leave:
            await keeping.state.sockets[0].send_text("too late")
        assert leave.value.code == 1006


async def test_a_send_from_afar_feels_a_client_that_does_not_read() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/keep") as client:
        assert await client.receive_text(timeout=5.0) == "ready"

        async def send_for_ever() -> None:
            while True:
                await keeping.state.sockets[0].send_bytes(bytes(64 * 1024))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send_for_ever(), 0.7)
        await client.abort()


async def test_a_cell_may_receive_on_a_socket_of_the_server_and_a_timeout_loses_nothing() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/keep") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        numbers: list[int] = []
        timeouts = 0

        async def send() -> None:
            for number in range(500):
                await client.send_text(str(number))
                if number % 10 == 0:
                    await asyncio.sleep(0.001)

        sending = asyncio.create_task(send())
        while len(numbers) < 500:
            try:
                async with asyncio.timeout(0.0003):
                    text = await websocket.receive_text()
            except TimeoutError:
                timeouts += 1
            else:
                numbers.append(int(text))
        await sending
        assert numbers == list(range(500))
        assert timeouts > 0
        hops = {bool(e.details.get("hopped")) for e in seen(server, "server", "asgi-receive") if e.ordinal}
        assert hops == {True}


async def test_receives_from_afar_at_the_same_time_share_the_messages() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server, connect(server, "/keep") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        (websocket,) = keeping.state.sockets
        receives = [asyncio.create_task(websocket.receive_text()) for _ in range(3)]
        await asyncio.sleep(0)
        for number in range(3):
            await client.send_text(str(number))
        texts = await asyncio.wait_for(asyncio.gather(*receives), 5.0)
        assert sorted(texts) == ["0", "1", "2"]


async def test_a_receive_that_a_cell_gave_up_leaves_the_message_to_the_handler() -> None:
    keeping = FastAPI()

    @keeping.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        keeping.state.socket, keeping.state.go = websocket, asyncio.Event()
        await websocket.accept()
        await keeping.state.go.wait()
        await websocket.send_text(f"the handler got {await websocket.receive_text()}")
        await websocket.receive()

    async with serve(keeping, port=0) as server, connect(server, "/ws") as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keeping.state.socket.receive_text(), 0.05)
        await client.send_text("it")

        async def go() -> None:
            keeping.state.go.set()

        await server.run(go())
        assert await client.receive_text(timeout=5.0) == "the handler got it"


async def test_a_client_that_leaves_is_seen_by_a_receive_from_afar() -> None:
    keeping = keeping_app()
    async with serve(keeping, port=0) as server:
        client = await connect(server, "/keep")
        assert await client.receive_text(timeout=5.0) == "ready"
        receive = asyncio.create_task(keeping.state.sockets[0].receive_text())
        await asyncio.sleep(0)
        await client.close(4010)
        with pytest.raises(WebSocketDisconnect) as leave:
            await asyncio.wait_for(receive, 5.0)
        assert leave.value.code == 4010


async def test_a_receive_from_afar_ends_when_the_server_stops() -> None:
    keeping = keeping_app()
    server = await serve(keeping, port=0)
    client = await connect(server, "/keep")
    assert await client.receive_text(timeout=5.0) == "ready"
    receive = asyncio.create_task(keeping.state.sockets[0].receive_text())
    await asyncio.sleep(0)
    await server.stop()
    with pytest.raises(WebSocketDisconnect) as leave:
        await asyncio.wait_for(receive, 5.0)
    assert leave.value.code == 1001


async def test_a_socket_of_a_stopped_server_says_that_it_is_gone() -> None:
    keeping = keeping_app()
    server = await serve(keeping, port=0)
    client = await connect(server, "/keep")
    assert await client.receive_text(timeout=5.0) == "ready"
    await server.stop()
    with pytest.raises(LoopStopped):
        await asyncio.wait_for(keeping.state.sockets[0].send_text("too late"), 5.0)


# The app is left as it is.


async def test_the_app_is_unmodified_and_http_passes_untouched(server: Server) -> None:
    assert server.app is app
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5.0)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"FastAPI" in answer
    assert [entry for entry in server.timeline.entries() if entry.connection] == []


async def test_a_stranger_who_speaks_nonsense_harms_nobody(server: Server, eventually: Callable) -> None:
    async with websockets_connect(f"{server.ws_url}/ws", proxy=None) as stranger:
        stranger.transport.write(b"\xff\xff\xff\xff nonsense")
        with pytest.raises(ConnectionClosed):
            await stranger.recv()
    async with connect(server, "/ws") as client:
        await client.send_text("still here")
        assert await client.receive_text(timeout=5.0) == "still here"
