"""The handshake: what it carries, how a refusal arrives, and which mistakes are named."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest
from fastapi import FastAPI, WebSocket
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

from kit import Server, connect, loops, serve
from kit.errors import ConnectError, Disconnected, HandshakeRefused
from tests.apps import app
from tests.timing import within


async def test_what_the_handshake_carries_arrives(server: Server) -> None:
    async with connect(
        server,
        "/mirror?a=1",
        subprotocols=["v2.chat", "v1.chat"],
        headers={"X-Extra": "yes", "Authorization": "Bearer abc"},
        cookies={"session": "s1", "theme": "dark"},
        query={"token": "a b&c=ü", "tag": ["x", "y"]},
        origin=server.url,
    ) as client:
        seen = await client.receive_json(timeout=5.0)
        headers = dict(seen["headers"])
        assert seen["subprotocols"] == ["v2.chat", "v1.chat"]
        assert (headers["x-extra"], headers["authorization"], headers["origin"]) == ("yes", "Bearer abc", server.url)
        assert seen["cookies"] == {"session": "s1", "theme": "dark"}
        assert seen["query"] == [["a", "1"], ["token", "a b&c=ü"], ["tag", "x"], ["tag", "y"]]
        assert client.subprotocol == "v2.chat"
        assert client.response.status_code == 101
        assert client.response.headers["x-answer"] == "42"


async def test_a_plain_handshake_offers_nothing_that_was_not_asked_for(server: Server) -> None:
    async with connect(server, "/mirror") as client:
        names = {name for name, _ in (await client.receive_json(timeout=5.0))["headers"]}
        assert not names & {"origin", "cookie", "sec-websocket-protocol", "sec-websocket-extensions"}
        assert client.subprotocol is None


async def test_a_path_outside_ascii_is_percent_encoded(server: Server) -> None:
    with pytest.raises(HandshakeRefused):
        await connect(server, "/grüß dich")
    assert server.timeline.connections[-1].path == "/gr%C3%BC%C3%9F%20dich"


async def test_the_proxy_settings_of_the_environment_are_not_obeyed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with connect(server, "/ws") as client:
        await client.send_text("direct")
        assert await client.receive_text(timeout=5.0) == "direct"


@pytest.mark.parametrize(
    ("path", "status", "body", "header"),
    [
        ("/refuse/closing", 403, b"", None),
        ("/refuse/policy", 403, b"", None),
        ("/nowhere", 403, b"", None),
        ("/end/closing?code=not-a-number", 403, b"", None),
        ("/refuse/http", 401, b'{"detail":"who are you?"}', ("www-authenticate", "Bearer")),
        ("/refuse/denial", 503, b'{"why":"full"}', ("retry-after", "7")),
        ("/refuse/raising", 500, b"Internal Server Error", None),
    ],
)
async def test_a_refusal_carries_status_headers_and_body(server: Server, path: str, status: int, body: bytes, header: tuple[str, str] | None) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        await connect(server, path)
    error = refused.value
    assert (error.status, error.body) == (status, body)
    assert header is None or header in [(name.lower(), value) for name, value in error.headers]
    assert str(status) in str(error)


async def test_a_large_refusal_body_arrives_whole() -> None:
    refusing = FastAPI()

    @refusing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        from starlette.responses import PlainTextResponse

        await websocket.send_denial_response(PlainTextResponse("why " * 100_000, 429))

    async with serve(refusing, port=0) as server:
        with pytest.raises(HandshakeRefused) as refused:
            await connect(server, "/ws")
        assert (refused.value.status, len(refused.value.body)) == (429, 400_000)


async def test_nobody_at_the_address_is_said_at_once() -> None:
    with socket.socket() as bound:  # bound but not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectError, match=r"nobody answers at 127\.0\.0\.1:\d+"):
            await connect(f"ws://127.0.0.1:{bound.getsockname()[1]}", "/ws")


async def test_a_server_that_speaks_something_else_is_said_to() -> None:
    async def speak_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak_ssh, "127.0.0.1", 0) as other:
        with pytest.raises(ConnectError, match="WebSocket protocol") as failed:
            await connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}", "/")
        assert not isinstance(failed.value, HandshakeRefused)


async def test_a_server_that_never_answers_is_given_up_after_the_time_that_the_caller_allows() -> None:
    words = r"did not answer the handshake within 0\.5 s.*handshake_timeout_seconds=60"
    with socket.create_server(("127.0.0.1", 0)) as silent, within(3.0), pytest.raises(ConnectError, match=words):
        await connect(f"ws://127.0.0.1:{silent.getsockname()[1]}", "/ws", handshake_timeout_seconds=0.5)


async def test_without_a_limit_a_handshake_is_answered_however_late() -> None:
    may_answer = asyncio.Event()
    slow = FastAPI()

    @slow.websocket("/ws")
    async def answer_late(websocket: WebSocket) -> None:
        await may_answer.wait()
        await websocket.accept()

    async with serve(slow, port=0, name="slow") as server:
        with pytest.raises(ConnectError):
            await connect(server, "/ws", handshake_timeout_seconds=0.1)
        connecting = asyncio.ensure_future(connect(server, "/ws", handshake_timeout_seconds=None))
        await server.run(_set(may_answer))
        client = await asyncio.wait_for(connecting, 10.0)
        assert client.response.status_code == 101
        await client.close()


async def _set(event: asyncio.Event) -> None:
    event.set()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"cookies": {"a": "b\r\nX-Forged: 1"}}, ValueError, "'a': .* cannot be sent as a cookie"),
        ({"cookies": {"a": "b; session=stolen"}}, ValueError, "neither a semicolon"),
        ({"cookies": {"a b": "c"}}, ValueError, "names are words"),
        ({"cookies": {"a": "€"}}, ValueError, "Percent-encode"),
        ({"cookies": ["a=b"]}, TypeError, "cookies expects a mapping"),
        ({"headers": ["X-Name: Ana"]}, TypeError, "headers expects a mapping"),
        ({"headers": {"X-Näme": "Ana"}}, ValueError, "cannot be sent as a header"),
        ({"headers": {"X-Name": "€"}}, ValueError, "cannot be sent as a header"),
        ({"origin": "http://€"}, ValueError, "'Origin': .* cannot be sent as a header"),
        ({"subprotocols": ["v1 chat"]}, ValueError, "'v1 chat' cannot be offered as a subprotocol"),
        ({"subprotocols": ["a\r\nX-Forged: 1"]}, ValueError, "cannot be offered as a subprotocol"),
        ({"subprotocols": ["a", "b", "a"]}, ValueError, "'a' is offered twice"),
        ({"subprotocols": [1]}, ValueError, "1 cannot be offered as a subprotocol"),
        ({"max_message_bytes": 0}, ValueError, "at least 1, but got 0"),
        ({"handshake_timeout_seconds": 0}, ValueError, "above 0, or None"),
        ({"handshake_timeout_seconds": float("nan")}, ValueError, "above 0, or None"),
        ({"handshake_timeout_seconds": "5"}, ValueError, "above 0, or None"),
    ],
)
def test_arguments_that_cannot_make_a_request_are_refused_by_name_before_anything_is_sent(arguments: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        connect("ws://127.0.0.1:9", "/ws", **arguments)


async def test_cancelling_a_connect_whose_handshake_has_just_been_answered_leaves_no_connection(server: Server, eventually: Callable) -> None:
    """The answer is there, and nobody has taken it yet: the loop that waits for it is held meanwhile."""
    connecting = asyncio.ensure_future(connect(server, "/ws"))
    deadline = time.monotonic() + 10.0
    await asyncio.sleep(0)
    while not any((entry.kind, entry.side) == ("response", "client") for entry in server.timeline.entries()) and time.monotonic() < deadline:
        time.sleep(0.001)  # noqa: ASYNC251, the point is that this loop does not turn
    for _ in range(5):
        loops.background().submit(asyncio.sleep(0)).result(5.0)  # by then the clients' loop has finished what it does with the answer
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await eventually(lambda: not server.connections)
    assert server.timeline.connections[-1].accepted


async def test_a_subprotocol_that_was_not_offered_is_refused() -> None:
    choosing = FastAPI()

    @choosing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="v9")
        await websocket.receive()

    async with serve(choosing, port=0) as server:
        with pytest.raises(ConnectError, match="subprotocols"):
            await connect(server, "/ws", subprotocols=["v1"])


@pytest.mark.parametrize("times", range(10))
async def test_a_handler_that_accepts_sends_and_returns_at_once_has_accepted(server: Server, times: int) -> None:
    """Response, message and end of the socket may come in one go: it is a connection that ended, not a failed handshake."""
    brief = FastAPI()

    @brief.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("only this")

    async with serve(brief, port=0, name="brief") as other:
        client = await connect(other, "/ws")
        assert await client.receive_text(timeout=5.0) == "only this"
        with pytest.raises(Disconnected) as end:
            await client.receive_text(timeout=5.0)
        assert end.value.code == 1006


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda server: connect(server, "ws"), ValueError, "connect\\(server, '/ws'\\)"),
        (lambda server: connect(server, f"{server.ws_url}/ws"), ValueError, "Pass it alone"),
        (lambda server: connect(server, None), ValueError, "begins with '/'"),
        (lambda server: connect("127.0.0.1:8000", "/ws"), ValueError, "ws://127.0.0.1"),
        (lambda server: connect("ftp://127.0.0.1", "/ws"), ValueError, "ws://"),
        (lambda server: connect(app, "/ws"), TypeError, "await serve"),
        (lambda server: connect(serve(app, port=0), "/ws"), TypeError, "forget await"),
    ],
)
async def test_common_mistakes_are_named(server: Server, make: Callable, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await make(server)


async def test_using_a_client_that_was_not_awaited_names_the_mistake(server: Server) -> None:
    with pytest.raises(AttributeError, match="forget await"):
        connect(server, "/ws").send_text  # noqa: B018


async def test_a_cell_that_ends_with_a_client_that_was_not_awaited_shows_what_to_write(server: Server) -> None:
    assert repr(connect(server, "/ws")) == "<this client is not connected yet. Did you forget await? Write: client = await connect(server, …)>"


async def test_an_address_reaches_the_same_server_and_its_timeline(server: Server) -> None:
    for address in (server.ws_url, server.url, f"ws://localhost:{server.port}"):
        async with connect(address, "/ws") as client:
            await client.send_text("hi")
            assert await client.receive_text(timeout=5.0) == "hi"
            assert client.timeline is server.timeline
    async with connect(f"{server.ws_url}/ws?x=1") as client:
        assert client.url == f"{server.ws_url}/ws?x=1"


async def test_a_server_of_another_program_gets_a_timeline_of_its_own(server: Server) -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.send(["frag", "men", "ted"])
        await connection.wait_closed()

    async with websockets_serve(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", "/ws") as client:
            assert await client.receive_text(timeout=5.0) == "fragmented"
            assert client.timeline is not server.timeline
            frames = [e for e in client.timeline.entries() if e.kind == "frame-in"]
            assert "".join(e.payload if e.details["opcode"] == "TEXT" else e.payload.decode() for e in frames) == "fragmented"
            assert [e.details["opcode"] for e in frames] == ["TEXT"] + ["CONT"] * (len(frames) - 1)
            assert [e.details["fin"] for e in frames] == [False] * (len(frames) - 1) + [True]
            assert {e.ordinal for e in frames} == {1}


async def test_the_connection_has_its_number_and_name_on_both_ends(server: Server) -> None:
    async with connect(server, "/ws", name="Ana") as ana, connect(server, "/ws") as second:
        assert (ana.number, ana.name, second.number) == (1, "Ana", 2)
        assert second.name
        assert [connection.name for connection in server.connections] == ["Ana", second.name]
        assert ana.connection is server.connections[0]
        assert "Ana" in repr(ana)
