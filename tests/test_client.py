"""The Client: Starlette's names on the other side of the socket, awaitable from anywhere, losing nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import random
import socket
import warnings
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import FastAPI, WebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketState
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.frames import Frame, Opcode

import kit.opening
from kit import Client, Server, connect, serve
from kit.errors import ConnectError, Disconnected, HandshakeRefused, ReceiveTimeout, WrongMessageType
from tests.apps import app
from tests.timing import within


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0) as serving:
        yield serving


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with connect(server, "/ws", name="Ana") as connected:
        yield connected


# Messages.


@pytest.mark.parametrize("text", ["", "hello", "grüß dich 🌍", "\x00\u202e\ud7ff", "x" * 200_000])
async def test_text_comes_back_as_it_was_sent(client: Client, text: str) -> None:
    await client.send_text(text)
    assert await client.receive_text(timeout=5.0) == text


@pytest.mark.parametrize("data", [b"", b"\x00\xff", bytearray(b"array"), memoryview(b"view"), bytes(2_000_000)], ids=lambda data: type(data).__name__)
async def test_bytes_come_back_as_they_were_sent(client: Client, data: bytes) -> None:
    await client.send_bytes(data)
    received = await client.receive_bytes(timeout=5.0)
    assert isinstance(received, bytes)
    assert received == bytes(data)


@pytest.mark.parametrize("mode", ["text", "binary"])
@pytest.mark.parametrize("value", [None, 1.5, "ü", [1, {"a": []}]])
async def test_json_comes_back_in_either_mode(client: Client, value: object, mode: str) -> None:
    await client.send_json(value, mode)
    assert await client.receive_json(mode, timeout=5.0) == value


async def test_json_is_sent_as_starlette_sends_it(client: Client) -> None:
    await client.send_json({"a": "ü", "b": [1, 2]})
    assert await client.receive_text(timeout=5.0) == '{"a":"ü","b":[1,2]}'
    await client.send_json(1, "binary")
    assert await client.receive_bytes(timeout=5.0) == b"1"


async def test_the_wrong_argument_is_refused_and_the_right_method_named(client: Client) -> None:
    with pytest.raises(TypeError, match="send_bytes"):
        await client.send_text(b"bytes")
    with pytest.raises(TypeError, match="send_text"):
        await client.send_bytes("text")
    with pytest.raises(ValueError, match="'text' or 'binary'"):
        await client.send_json(1, "bytes")
    with pytest.raises(ValueError, match="'text' or 'binary'"):
        await client.receive_json("bytes")
    with pytest.raises(TypeError):
        await client.send_json(object())
    await client.send_text("still fine")
    assert await client.receive_text(timeout=5.0) == "still fine"


async def test_a_message_of_the_other_type_is_refused_and_kept(client: Client) -> None:
    await client.send_bytes(b"\x01")
    await client.send_text("two")
    for receive in (client.receive_text, client.receive_json):
        with pytest.raises(WrongMessageType, match="receive_bytes"):
            await receive(timeout=5.0)
    assert await client.receive_bytes(timeout=5.0) == b"\x01"
    with pytest.raises(WrongMessageType, match="receive_text"):
        await client.receive_bytes(timeout=5.0)
    assert await client.receive_text(timeout=5.0) == "two"


async def test_receive_gives_what_an_asgi_handler_would_get(client: Client) -> None:
    await client.send_text("t")
    await client.send_bytes(b"b")
    assert await client.receive(timeout=5.0) == {"type": "websocket.receive", "text": "t"}
    assert await client.receive(timeout=5.0) == {"type": "websocket.receive", "bytes": b"b"}
    await client.close(4000, "bye")
    assert await client.receive(timeout=5.0) == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}


async def test_iterating_ends_when_the_connection_ends() -> None:
    async with serve(counting_then_closing(), port=0) as server:
        texts, blobs, values = [await connect(server, f"/{kind}") for kind in ("text", "bytes", "json")]
        assert [text async for text in texts.iter_text()] == ["0", "1", "2"]
        assert [blob async for blob in blobs.iter_bytes()] == [b"0", b"1", b"2"]
        assert [value async for value in values.iter_json()] == [0, 1, 2]


def counting_then_closing() -> FastAPI:
    counting = FastAPI()

    @counting.websocket("/{kind}")
    async def count(websocket: WebSocket, kind: str) -> None:
        await websocket.accept()
        for number in range(3):
            await (websocket.send_bytes(str(number).encode()) if kind == "bytes" else websocket.send_text(str(number)))
        await websocket.close()

    return counting


# Receives that are cancelled or time out.


async def test_a_receive_that_times_out_says_so_and_loses_nothing(client: Client) -> None:
    with pytest.raises(ReceiveTimeout, match=r"0\.01 s"):
        await client.receive_text(timeout=0.01)
    with pytest.raises(TimeoutError):
        await client.receive_json(timeout=0)
    await client.send_text("later")
    assert await client.receive_text(timeout=5.0) == "later"


async def test_twenty_thousand_messages_survive_random_timeouts_and_cancellations(server: Server) -> None:
    """From a foreign loop, the test's own; each message is received once and in order."""
    count, chance, numbers = 20_000, random.Random(20_000), []
    timeouts = cancellations = 0
    async with serve(bursting(count), port=0, name="bursts") as bursts, connect(bursts, "/bursts") as client:
        while len(numbers) < count:
            patience = chance.choice([0.0, 1e-6, 5e-5, 2e-4])
            match chance.randrange(3):
                case 0:
                    with contextlib.suppress(ReceiveTimeout):
                        numbers.append(int(await client.receive_text(timeout=patience)))
                        continue
                    timeouts += 1
                case 1:
                    try:
                        async with asyncio.timeout(patience):
                            message = await client.receive_text()
                    except TimeoutError:
                        timeouts += 1
                    else:
                        numbers.append(int(message))
                case 2:
                    task = asyncio.ensure_future(client.receive_text())
                    for _ in range(chance.randrange(4)):
                        await asyncio.sleep(0)
                    task.cancel()
                    try:
                        numbers.append(int(await task))
                    except asyncio.CancelledError:
                        cancellations += 1
        assert numbers == list(range(count))
        with pytest.raises(ReceiveTimeout):
            await client.receive_text(timeout=0.01)
    assert timeouts > 0
    assert cancellations > 0


@pytest.mark.parametrize(("count", "header_bytes"), [(2, 2), (60, 4), (30_000, 10)])
async def test_a_frame_that_comes_in_parts_is_whole_although_receives_time_out_meanwhile(count: int, header_bytes: int) -> None:
    """Wherever the network cuts it, whichever loop happens to read each part, and even if its payload looks like frames."""
    message = Frame(Opcode.TEXT, b"A").serialize(mask=False) * count

    async def send_in_parts(connection: ServerConnection) -> None:
        frame = Frame(Opcode.BINARY, message).serialize(mask=False)
        for cuts in itertools.pairwise([0, 1, header_bytes, len(frame)]), itertools.pairwise([0, header_bytes, header_bytes + 3, len(frame)]):
            for start, end in cuts:
                connection.transport.write(frame[start:end])
                await asyncio.sleep(0.02)  # so that each part comes alone
        await connection.wait_closed()

    async with websockets_serve(send_in_parts, "127.0.0.1", 0) as other, connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}", "/") as client:
        received: list[bytes] = []
        async with asyncio.timeout(10.0):
            while len(received) < 2:
                with contextlib.suppress(ReceiveTimeout):
                    received.append(await client.receive_bytes(timeout=0.003))
        assert received == [message, message]


def bursting(count: int) -> FastAPI:
    """Sends numbers in bursts of random length, with a turn of the loop or a short pause between them."""
    bursts = FastAPI()

    @bursts.websocket("/bursts")
    async def burst(websocket: WebSocket) -> None:
        await websocket.accept()
        chance, number = random.Random(1), 0
        while number < count:
            for _ in range(min(chance.randrange(1, 50), count - number)):
                await websocket.send_text(str(number))
                number += 1
            await asyncio.sleep(chance.choice([0.0, 0.0005]))
        await websocket.receive()

    return bursts


async def test_receives_at_the_same_time_share_the_messages(server: Server) -> None:
    """From this loop and from two more; nothing is lost, nothing comes twice, and each sees them in order."""
    async with connect(server, "/count/3000") as client:
        everything: list[int] = []

        async def take() -> list[int]:
            taken = []
            while len(everything) < 3000:
                with contextlib.suppress(ReceiveTimeout):
                    taken.append(int(await client.receive_text(timeout=0.5)))
                    everything.append(taken[-1])
            return taken

        shares = await asyncio.gather(take(), take(), asyncio.to_thread(asyncio.run, take()), asyncio.to_thread(asyncio.run, take()))
        assert sorted(number for share in shares for number in share) == list(range(3000))
        assert all(share == sorted(share) for share in shares)


async def test_a_client_may_be_used_from_any_thread_and_loop(client: Client) -> None:
    async def echo(text: str) -> str:
        await client.send_text(text)
        return await client.receive_text(timeout=5.0)

    assert await echo("here") == "here"
    assert await asyncio.to_thread(asyncio.run, echo("there")) == "there"


async def test_sends_from_several_threads_are_never_mixed_up(client: Client) -> None:
    """Messages of 3 MB never fit the socket at once: no other frame may get in between their parts."""
    size = 3_000_000

    async def send(letter: str) -> None:
        for _ in range(3):
            await client.send_text(letter * size)
            await client.send_text(letter)

    async def take() -> list[str]:
        return [await client.receive_text(timeout=10.0) for _ in range(24)]

    senders = [asyncio.to_thread(asyncio.run, send(letter)) for letter in "abc"]
    messages, *_ = await asyncio.gather(take(), send("d"), *senders)
    assert sorted(messages) == sorted(text for letter in "abcd" for text in (letter, letter * size) for _ in range(3))


# Back-pressure.


@pytest.mark.parametrize(("size_bytes", "total"), [(64 * 1024, 1_500), (1024, 30_000)])
async def test_a_client_that_takes_nothing_makes_the_servers_send_wait(size_bytes: int, total: int, eventually: Callable) -> None:
    """Its queue is bounded: it stops reading, the network's buffers fill, and the handler's send does not return."""
    sent, stalled = [0], []
    endless = FastAPI()

    @endless.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        for number in range(total):
            sending = asyncio.ensure_future(websocket.send_bytes(number.to_bytes(4) + bytes(size_bytes)))
            while not (await asyncio.wait([sending], timeout=0.3))[0]:
                stalled.append(number)
            sent[0] += 1
        await websocket.receive()

    async with serve(endless, port=0) as server, connect(server, "/ws") as client:
        await eventually(lambda: len(stalled) >= 2)
        assert stalled[0] == stalled[1]
        assert sent[0] * size_bytes < 24 * 2**20, "far more than the queue and the network's buffers hold"
        numbers = [int.from_bytes((await client.receive_bytes(timeout=5.0))[:4]) for _ in range(total)]
        assert numbers == list(range(total))


async def test_a_send_waits_while_the_server_does_not_read(server: Server) -> None:
    async with connect(server, "/silent") as client:

        async def send_for_ever() -> None:
            while True:
                await client.send_bytes(bytes(64 * 1024))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(send_for_ever(), 0.5)
        sent = max(e.ordinal for e in server.timeline.entries() if e.side == "client" and e.kind == "frame-out")
        assert sent * 64 * 1024 < 32 * 2**20
        await client.abort()


# The handshake.


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


async def test_a_server_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.opening, "OPEN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent, within(3.0), pytest.raises(ConnectError, match=r"did not answer the handshake within 0\.5 s"):
        await connect(f"ws://127.0.0.1:{silent.getsockname()[1]}", "/ws")


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


# Ends.


async def test_close_tells_the_server_its_code_and_reason(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.close(4001, "grüß gott")
    await eventually(lambda: any(e.details.get("type") == "websocket.disconnect" for e in server.timeline.entries()))
    (end,) = [e for e in server.timeline.entries() if e.details.get("type") == "websocket.disconnect"]
    assert (end.details["code"], end.details["reason"]) == (4001, "grüß gott")
    assert (client.state, client.close_code, client.close_reason) == (WebSocketState.DISCONNECTED, 4001, "grüß gott")


async def test_closing_twice_does_nothing(client: Client) -> None:
    await client.close(4000)
    await client.close(4001)
    assert client.close_code == 4000


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, -1])
async def test_codes_that_may_not_be_sent_are_refused(client: Client, code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        await client.close(code)
    assert client.state is WebSocketState.CONNECTED


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 3000, 3999, 4000, 4999])
async def test_codes_that_may_be_sent_are_sent(server: Server, code: int) -> None:
    client = await connect(server, "/listening")
    await client.close(code)
    assert client.close_code == code


async def test_a_reason_has_at_most_123_bytes(server: Server) -> None:
    client = await connect(server, "/listening")
    with pytest.raises(ValueError, match="124"):
        await client.close(1000, "ü" * 62)
    await client.close(1000, "ü" * 61 + "x")
    assert client.close_reason == "ü" * 61 + "x"


async def test_leaving_the_block_closes_with_1000(server: Server) -> None:
    async with connect(server, "/ws") as client:
        assert (client.state, client.close_code, client.close_reason) == (WebSocketState.CONNECTED, None, None)
    assert client.close_code == 1000


async def test_the_servers_close_arrives_with_code_and_reason(server: Server) -> None:
    client = await connect(server, "/end/closing?code=4321&reason=enough")
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert (client.close_code, client.close_reason) == (4321, "enough")
    with pytest.raises(Disconnected) as end:
        await client.receive_text()
    assert (end.value.code, end.value.reason) == (4321, "enough")
    assert isinstance(end.value, WebSocketDisconnect)
    assert "4321" in str(end.value)


@pytest.mark.parametrize("path", ["/end/returning", "/end/raising"])
async def test_a_handler_that_ends_without_closing_is_seen_as_1006(server: Server, path: str) -> None:
    client = await connect(server, path)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.close_code == 1006


async def test_sending_after_the_end_says_what_ended_it(client: Client) -> None:
    await client.close(4007, "over")
    for send in (client.send_text("x"), client.send_bytes(b"x"), client.send_json(1), client.ping()):
        with pytest.raises(Disconnected, match="4007") as end:
            await send
        assert end.value.code == 4007


async def test_messages_that_came_before_the_end_can_still_be_taken(server: Server) -> None:
    async with serve(counting_then_closing(), port=0, name="other") as other:
        client = await connect(other, "/text")
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert [await client.receive_text() for _ in range(3)] == ["0", "1", "2"]
        with pytest.raises(Disconnected):
            await client.receive_text()


async def test_a_receive_that_waits_learns_of_the_end(client: Client) -> None:
    waiting = [asyncio.create_task(client.receive_text()) for _ in range(3)]
    await asyncio.sleep(0)
    await client.close()
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5.0)
    assert [type(result) for result in results] == [Disconnected] * 3


async def test_abort_is_seen_by_the_server_as_a_vanished_client(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.abort()
    assert client.close_code == 1006
    await eventually(lambda: not server.connections)
    connection = server.timeline.connections[-1]
    assert (connection.vanished_side, connection.close_frames) == ("client", [])
    await eventually(lambda: any(e.details.get("type") == "websocket.disconnect" for e in server.timeline.entries()))
    (end,) = [e for e in server.timeline.entries() if e.details.get("type") == "websocket.disconnect"]
    assert end.details["code"] in (1005, 1006)
    await client.abort()


async def test_closing_towards_a_server_that_never_answers_takes_the_time_that_was_given() -> None:
    """The handler's loop is stuck elsewhere: a raw server that shakes hands and then never reads."""

    async def answer(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await stuck.wait()

    stuck = asyncio.Event()
    async with websockets_serve(answer, "127.0.0.1", 0, close_timeout=0.1) as other:
        client = await connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}", "/")
        with within(3.0):
            await client.close(1000, within_seconds=0.2)
        assert client.state is WebSocketState.DISCONNECTED
        stuck.set()


async def test_closing_a_client_that_has_stopped_reading_still_works(server: Server) -> None:
    """Its queue is full, so it does not read: to see the server's answer it must read on, and discard."""
    client = await connect(server, "/flood")
    await client.receive_bytes(timeout=5.0)
    with within(4.0):
        await client.close(1000)
    assert (client.state, client.close_code) == (WebSocketState.DISCONNECTED, 1000)


async def test_ping_returns_the_round_trip_in_seconds(client: Client) -> None:
    trips = await asyncio.gather(*(client.ping() for _ in range(20)))
    assert all(0 < trip < 5 for trip in trips)


async def test_a_ping_that_waits_learns_of_the_end(eventually: Callable) -> None:
    async def answer(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await stuck.wait()

    stuck = asyncio.Event()
    async with websockets_serve(answer, "127.0.0.1", 0, close_timeout=0.1) as other:
        client = await connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}", "/")
        ping = asyncio.create_task(client.ping())
        await eventually(lambda: any(entry.kind == "frame-out" for entry in client.timeline.entries()))
        await client.abort()
        with pytest.raises(Disconnected):
            await asyncio.wait_for(ping, 5.0)
        stuck.set()


async def test_a_message_over_the_clients_limit_closes_with_1009(server: Server) -> None:
    client = await connect(server, "/ws", max_message_bytes=1_000)
    await client.send_text("x" * 2_000)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    assert client.connection.close_frames[0][:2] == ("client", 1009)


async def test_text_that_is_not_utf8_closes_with_1007() -> None:
    async def answer(connection: ServerConnection) -> None:
        await connection.send(b"\xff\xfe", text=True)
        await connection.wait_closed()

    async with websockets_serve(answer, "127.0.0.1", 0) as other:
        client = await connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}", "/")
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.connection.close_frames[0][:2] == ("client", 1007)


@pytest.mark.parametrize("text", ["short", "long " * 40_000])
async def test_compression_is_off_unless_both_sides_ask_for_it(text: str) -> None:
    for on_server, on_client in ((True, True), (True, False), (False, True)):
        async with serve(app, port=0, compression=on_server) as server, connect(server, "/ws", compression=on_client) as client:
            for _ in range(3):
                await client.send_text(text)
                assert await client.receive_text(timeout=5.0) == text
            newest = [e for e in server.timeline.entries(connection=client.number) if e.kind == "frame-in"]
            assert {e.details["compressed"] for e in newest} == {on_server and on_client}


async def test_a_client_dropped_without_close_is_closed_with_a_warning(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.ping()  # another turn of the loop, which itself held the result of the one before
    with pytest.warns(ResourceWarning, match="client 1 was dropped"):  # noqa: PT031
        del client
        gc.collect()
    await eventually(lambda: not server.connections)
    assert server.timeline.connections[-1].close_frames[0][:2] == ("client", 1001)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_dropped_client_is_closed_even_where_warnings_are_errors(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.ping()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del client
        gc.collect()
    await eventually(lambda: not server.connections)


async def test_a_closed_client_is_dropped_without_a_warning(server: Server) -> None:
    client = await connect(server, "/listening")
    await client.close()
    forgotten = weakref.ref(client)
    await asyncio.sleep(0)
    del client
    gc.collect()
    assert forgotten() is None


async def test_connecting_can_be_cancelled_and_leaves_no_socket(eventually: Callable) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as silent:
        connecting = asyncio.ensure_future(_awaited(connect(f"ws://127.0.0.1:{silent.sockets[0].getsockname()[1]}", "/")))
        await asyncio.wait_for(arrived.wait(), 5.0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await asyncio.wait_for(left.wait(), 5.0)


async def _awaited(awaitable: object) -> object:
    return await awaitable


async def test_a_stopped_server_is_named_when_a_client_wants_to_connect() -> None:
    server = await serve(app, port=0, name="gone")
    await server.stop()
    with pytest.raises(ConnectError, match="'gone' is stopped"):
        await connect(server, "/ws")


async def test_a_replaced_server_leads_to_the_one_that_replaced_it() -> None:
    old = await serve(app, port=0, name="same")
    new = await serve(app, port=0, name="same")
    async with connect(old, "/ws") as client:
        assert client.url.startswith(new.ws_url)


async def test_json_that_is_none_is_said_to_be(client: Client) -> None:
    """The message is taken: whoever wants to see it receives text."""
    await client.send_text("no json")
    with pytest.raises(json.JSONDecodeError):
        await client.receive_json(timeout=5.0)
