"""Whatever a peer sends, the server, its process and the other clients go on, and the Timeline says what happened.

Every test runs with the server in a thread of its own and on the loop of its caller. Around each of them an innocent client is
connected: afterwards it still gets its echo, and a new one connects (see `innocent`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, WebSocket

from kit import Client, Server, connect, serve
from kit.closing import explain
from kit.connection import Connection
from kit.timeline import Entry
from tests.apps import app as echo_app

LIMIT_BYTES = 100_000
SLOW_SECONDS = 0.6  # how long a request may take to come whole
TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9

app = FastAPI()
app.include_router(echo_app.router)


@app.websocket("/json")
async def echo_json(websocket: WebSocket) -> None:
    await websocket.accept()
    async for value in websocket.iter_json():
        await websocket.send_text(repr(value))


# Around every test.


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("place", ["thread", "kernel"], indirect=True)


@pytest.fixture
async def server(place: str) -> AsyncIterator[Server]:
    limits = {"max_message_bytes": LIMIT_BYTES, "handshake_timeout_seconds": SLOW_SECONDS, "max_connections": 400}
    async with serve(app, port=0, runs_in=place, **limits) as serving:
        yield serving


@pytest.fixture(autouse=True)
async def innocent(server: Server, eventually: Callable) -> AsyncIterator[Client]:
    """A client that was there before: it gets its echo, a new one connects, and no peer or handler is left behind."""
    async with connect(server, "/ws", name="innocent") as client:
        yield client
        for one in (client, await connect(server, "/ws", name="newcomer")):
            await one.send_text("still here")
            assert await one.receive_text(timeout=5.0) == "still here"
            await one.close()
    assert server.state == "serving"
    await eventually(lambda: server.connections == [])


# What a peer sends.


def request(method: str = "GET", target: str = "/ws", version: str = "HTTP/1.1", *, without: str = "", more: str = "", **changed: str) -> bytes:
    """A handshake, or what is wrong with one."""
    headers = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
        "Sec-WebSocket-Version": "13",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if name != without]
    return f"{method} {target} {version}\r\n{''.join(lines)}{more}\r\n".encode("latin-1")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True, length: int | None = None) -> bytes:
    """A frame as a client sends it (RFC 6455 §5.2), masked with zeros, or what is wrong with one."""
    length = len(payload) if length is None else length
    mask_bit = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | reserved | opcode])
    if length < 126:
        head += bytes([mask_bit | length])
    elif length < 1 << 16:
        head += struct.pack("!BH", mask_bit | 126, length)
    else:
        head += struct.pack("!BQ", mask_bit | 127, length)
    return head + (bytes(4) if masked else b"") + payload


class Peer:
    """A socket that says what it is told to, and hears what comes back until the server hangs up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the server need not listen to the end
            self.writer.write(data)
            async with asyncio.timeout(20.0):
                await self.writer.drain()

    async def head(self) -> bytes:
        async with asyncio.timeout(20.0):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        heard = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20.0):
                while data := await self.reader.read(65_536):
                    heard += data
        return heard


@contextlib.asynccontextmanager
async def stranger(server: Server, path: str | None = None, *, receive_buffer_bytes: int | None = None) -> AsyncIterator[Peer]:
    """A peer of no library; with a path it has shaken hands there."""
    sock = socket.socket()
    if receive_buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    peer = Peer(*await asyncio.open_connection(sock=sock))
    try:
        if path is not None:
            await peer.say(request(target=path))
            assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        yield peer
    finally:
        peer.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await peer.writer.wait_closed()


def over(connection: Connection) -> bool:
    return not connection.open and bool(connection.handler_error or connection.handler_returned)


def said(server: Server, words: str, since: int = 0) -> list[Entry]:
    """The Entries of the ServerPanel's log that say so."""
    return [entry for entry in server.timeline.entries(since=since) if entry.kind in ("notice", "log", "error") and words in entry.text]


# Messages and frames that nobody may send.

START = frame(TEXT, b"a", fin=False)
BAD_FRAMES = {
    "an unmasked frame": (frame(TEXT, b"hi", masked=False), 1002, "incorrect masking"),
    "reserved bit 1": (frame(TEXT, b"hi", reserved=0x40), 1002, "reserved bits must be 0"),
    "reserved bit 2": (frame(TEXT, b"hi", reserved=0x20), 1002, "reserved bits must be 0"),
    "reserved bit 3": (frame(TEXT, b"hi", reserved=0x10), 1002, "reserved bits must be 0"),
    "a reserved opcode": (frame(0x3, b"hi"), 1002, "invalid opcode"),
    "a reserved control opcode": (frame(0xF), 1002, "invalid opcode"),
    "a fragmented ping": (frame(PING, b"x", fin=False), 1002, "fragmented control frame"),
    "a fragmented Close": (frame(CLOSE, fin=False), 1002, "fragmented control frame"),
    "a ping over 125 bytes": (frame(PING, bytes(126)), 1002, "control frame too long"),
    "a Close over 125 bytes": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002, "control frame too long"),
    "a continuation of nothing": (frame(0x0, b"x"), 1002, "unexpected continuation frame"),
    "a message inside a message": (START + frame(TEXT, b"b"), 1002, "expected a continuation frame"),
    "a length of 2**63 - 1": (frame(TEXT, b"x", length=2**63 - 1), 1009, "9223372036854775807 bytes"),
    "a length of 2**63": (frame(TEXT, b"x", length=2**63), 1009, "9223372036854775808 bytes"),
    "a length just over the limit": (frame(BINARY, length=LIMIT_BYTES + 1), 1009, f"exceeds limit of {LIMIT_BYTES} bytes"),
    "a message over the limit": (frame(BINARY, bytes(LIMIT_BYTES + 1)), 1009, "`max_message_bytes`"),
    "fragments over the limit": (frame(BINARY, bytes(60_000), fin=False) + frame(0x0, bytes(60_000)), 1009, "`max_message_bytes`"),
    "text that is no UTF-8": (frame(TEXT, b"\xff\xfe"), 1007, "not valid UTF-8"),
    "text with half a surrogate pair": (frame(TEXT, b"\xed\xa0\x80"), 1007, "not valid UTF-8"),
    "text that ends inside a character": (frame(TEXT, b"\xe2\x82", fin=False) + frame(0x0, b"x"), 1007, "not valid UTF-8"),
    "a close reason that is no UTF-8": (frame(CLOSE, b"\x03\xe8\xff\xff"), 1007, "invalid start byte"),
    "a Close of one byte": (frame(CLOSE, b"\x03"), 1002, "close frame too short"),
    **{
        f"close code {code}": (frame(CLOSE, struct.pack("!H", code)), 1002, "invalid status code")
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535)
    },
    "binary garbage": (random.Random(6455).randbytes(5_000), 1002, "protocol"),
}


@pytest.mark.parametrize(("sent", "code", "words"), BAD_FRAMES.values(), ids=BAD_FRAMES)
async def test_a_frame_that_breaks_the_rules_closes_its_own_connection_with_the_reason(
    server: Server, sent: bytes, code: int, words: str, eventually: Callable
) -> None:
    async with stranger(server, "/ws") as peer:
        connection = server.timeline.connections[-1]
        await peer.say(sent)
        heard = await peer.rest()
        assert not heard or (heard[:1], heard[2:4]) == (b"\x88", struct.pack("!H", code)), "nothing is heard where TCP resets first"
        await eventually(lambda: over(connection))
    text = str(explain(connection))
    assert text.startswith(f"{code}, ")
    assert "The server closed first" in text
    assert words in text
    entries = server.timeline.entries(connection=connection.number)
    assert [int(entry.details["code"]) for entry in entries if entry.kind == "frame-out"] == [code]
    assert [int(entry.details["code"]) for entry in entries if entry.details.get("type") == "websocket.disconnect"] == [code]


async def test_a_length_that_never_comes_is_only_waited_for(server: Server, innocent: Client, eventually: Callable) -> None:
    async with stranger(server, "/ws") as peer:
        connection = server.timeline.connections[-1]
        await peer.say(frame(BINARY, b"only these", length=LIMIT_BYTES - 1))
        await innocent.send_text("meanwhile")
        assert await innocent.receive_text(timeout=5.0) == "meanwhile"
        assert connection.open
    await eventually(lambda: over(connection))
    assert "The client dropped the line" in str(explain(connection))


async def test_a_stranger_that_closes_is_known_to_have_closed_first(server: Server, eventually: Callable) -> None:
    """A browser's page is a stranger: nothing records its own side."""
    async with stranger(server, "/ws") as peer:
        connection = server.timeline.connections[-1]
        await peer.say(frame(CLOSE, b"\x0f\xa0bye") + frame(TEXT, b"and another thing"))
        assert await peer.rest() == b"\x88\x05\x0f\xa0bye"
        await eventually(lambda: over(connection))
    assert "The client closed first, with code 4000 and the reason “bye”" in str(explain(connection))


async def test_a_server_that_closes_on_a_stranger_is_known_to_have_closed_first(server: Server, eventually: Callable) -> None:
    async with stranger(server, "/end/closing?code=4001") as peer:
        connection = server.timeline.connections[-1]
        await peer.say(frame(CLOSE, b"\x0f\xa1"))
        await peer.rest()
        await eventually(lambda: over(connection))
    assert "The server closed first, with code 4001" in str(explain(connection))


@pytest.mark.parametrize(
    ("text", "error"),
    [("[" * 50_000 + "]" * 49_000, "RecursionError"), ("[" * 99_000, "RecursionError"), ("{", "JSONDecodeError"), ("9" * 5_000, "ValueError")],
    ids=["deep", "deeper", "half", "a long number"],
)
async def test_json_that_cannot_be_read_ends_its_own_handler(server: Server, text: str, error: str, eventually: Callable) -> None:
    async with connect(server, "/json") as client:
        await client.send_text(text)
        await asyncio.wait_for(client.wait_closed(), 5.0)
        await eventually(lambda: over(client.connection))
        assert client.close_code == 1006
    assert f"The handler raised {error}" in str(explain(client.connection))
    assert said(server, error)


async def test_nan_and_infinity_are_json_to_python(server: Server) -> None:
    async with connect(server, "/json") as client:
        for text, value in (("NaN", "nan"), ("-Infinity", "-inf"), ('{"a": NaN}', "{'a': nan}")):
            await client.send_text(text)
            assert await client.receive_text(timeout=5.0) == value


# Handshakes that are none.

KEY = "Sec-WebSocket-Key"
NO_HTTP = "Invalid HTTP request received"
NO_HANDSHAKE = {
    "the method POST": (request("POST"), 405, "HTTP 405"),
    "the method CONNECT": (request("CONNECT"), 405, "HTTP 405"),
    "a method of its own": (request("BREW"), 405, "HTTP 405"),
    "the method PUT and a long header": (request("PUT", X="x" * 10_000), 405, "HTTP 405"),
    "no key": (request(without=KEY), 400, "HTTP 400"),
    "a short key": (request(Sec_WebSocket_Key="c2hvcnQ="), 400, "HTTP 400"),
    "a key that is no base64": (request(Sec_WebSocket_Key="#" * 24), 400, "HTTP 400"),
    "a key of ten thousand letters": (request(Sec_WebSocket_Key="a" * 10_000), 431, "HTTP 431"),
    "two keys": (request(more=f"{KEY}: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"), 400, "HTTP 400"),
    "version 12": (request(Sec_WebSocket_Version="12"), 400, "HTTP 400"),
    "no version": (request(without="Sec-WebSocket-Version"), 400, "HTTP 400"),
    "subprotocols that are no tokens": (request(Sec_WebSocket_Protocol=",,;@"), 400, "HTTP 400"),
    "150 lines of subprotocols": (request(more="".join(f"Sec-WebSocket-Protocol: p{n}\r\n" for n in range(150))), 431, "HTTP 431"),
    "a body": (request(more="Content-Length: 5\r\n") + b"hello", 400, "HTTP 400"),
    "a chunked body": (request(more="Transfer-Encoding: chunked\r\n"), 400, "HTTP 400"),
    "a foreign origin": (request(Origin="http://evil.example"), 403, "http://evil.example"),
    "the origin null": (request(Origin="null"), 403, "'null'"),
    "a foreign host": (request(Host="evil.example"), 403, "evil.example"),
}


@pytest.mark.parametrize(("sent", "status", "words"), NO_HANDSHAKE.values(), ids=NO_HANDSHAKE)
async def test_a_handshake_that_is_none_is_refused_and_explained(server: Server, sent: bytes, status: int, words: str, eventually: Callable) -> None:
    async with stranger(server) as peer:
        await peer.say(sent)
        heard = await peer.rest()
        assert heard.startswith(f"HTTP/1.1 {status} ".encode())
    connection = server.timeline.connections[-1]
    await eventually(lambda: not connection.open)
    assert connection.refused_status == status
    assert words in str(explain(connection))
    assert not connection.accepted


NOT_HTTP = {
    "HTTP/9": request(version="HTTP/9"),
    "no host": request(without="Host"),
    "a NUL in a header": request(X="a\0b"),
    "a path outside ASCII": request(target="/w\xe9"),
    "a negative length": request(more="Content-Length: -1\r\n"),
    "zeros": bytes(1_000),
    "empty lines": b"\r\n" * 4,
    "binary garbage": b"\x00\xff" + random.Random(6455).randbytes(500),
    "a TLS ClientHello": bytes.fromhex("1603010200010001fc0303") + random.Random(8446).randbytes(507),
    "a megabyte of headers": request(more="".join(f"X-{n}: {'x' * 1_000}\r\n" for n in range(1_000))),
    "a request line of 700 kB": request(target="/ws?" + "a" * 700_000),
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_is_not_http_is_answered_and_noted(server: Server, sent: bytes, eventually: Callable) -> None:
    async with stranger(server) as peer:
        await peer.say(sent)
        heard = await peer.rest()
        assert not heard or heard.startswith(b"HTTP/1.1 400 "), "nothing is heard where TCP resets first"
        await eventually(lambda: said(server, NO_HTTP))
    assert [connection.name for connection in server.timeline.connections] == ["innocent"]


@pytest.mark.parametrize("without", ["Upgrade", "Connection"])
async def test_a_handshake_without_its_upgrade_is_noted_and_served_as_http(server: Server, without: str) -> None:
    async with stranger(server) as peer:
        await peer.say(request(without=without))
        assert (await peer.head()).startswith(b"HTTP/1.1 404 ")
    assert said(server, "without an upgrade")


FLOODS_OF_HEADERS = {
    "a thousand headers": request(more="".join(f"X-{n}: x\r\n" for n in range(1_000))),
    "a header of 200 kB": request(X="x" * 200_000),
    "a request line of 64 kB": request(target="/ws?" + "a" * 65_536),
    "long headers outside ASCII": request(X="\xe9" * 10_000),
    "a folded header": request(more="X: a\r\n b\r\n"),
    "a thousand cookies": request(Cookie="; ".join(f"c{n}=v" for n in range(1_000))),
    "extensions that nobody knows": request(Sec_WebSocket_Extensions="permessage-deflate; foo=;;;, x"),
}


@pytest.mark.parametrize("sent", FLOODS_OF_HEADERS.values(), ids=FLOODS_OF_HEADERS)
async def test_headers_that_are_only_many_or_long_are_let_in(server: Server, sent: bytes, eventually: Callable) -> None:
    """A browser with JupyterHub's cookies comes near to it."""
    async with stranger(server) as peer:
        await peer.say(sent)
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        connection = server.timeline.connections[-1]
        await peer.say(frame(TEXT, b"hello"))
        async with asyncio.timeout(20.0):
            assert await peer.reader.readexactly(7) == b"\x81\x05hello"
    await eventually(lambda: over(connection))
    assert connection.path == "/ws"


# Handshakes that do not come to their end.


async def test_many_half_open_handshakes_are_given_up_and_noted_each(server: Server, innocent: Client, eventually: Callable) -> None:
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for number in range(50):
            peers.append(await stack.enter_async_context(stranger(server)))
            await peers[-1].say(request()[: number % 3 * 40])  # nothing, a part of a line, a line and a half
        await innocent.send_text("meanwhile")
        assert await innocent.receive_text(timeout=5.0) == "meanwhile"
        answers = [await peer.rest() for peer in peers]
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 408 "}
    assert len(said(server, f"handshake_timeout_seconds={SLOW_SECONDS:g}")) == 50


async def test_a_handshake_byte_by_byte_is_let_in_when_it_is_quick_enough(server: Server, eventually: Callable) -> None:
    async with stranger(server) as peer:
        for byte in request():
            await peer.say(bytes([byte]))
            await asyncio.sleep(0)
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")


async def test_a_handshake_that_drips_for_ever_is_given_up(server: Server, eventually: Callable) -> None:
    async with stranger(server) as peer:

        async def drip() -> None:
            while not said(server, "handshake_timeout_seconds"):
                await peer.say(b"X")
                await asyncio.sleep(0.01)

        await peer.say(b"GET /ws HTTP/1.1\r\n")
        await asyncio.wait_for(drip(), 5.0)


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_a_peer_that_leaves_right_after_its_request_is_said_to_have_left(server: Server, how: str, eventually: Callable) -> None:
    async with stranger(server) as peer:
        await peer.say(request())
        if how == "FIN":
            peer.writer.write_eof()
        else:
            peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.writer.transport.abort()
        await eventually(lambda: len(server.timeline.connections) == 2)
        connection = server.timeline.connections[-1]
        await eventually(lambda: over(connection))
    assert "The client dropped the line" in str(explain(connection))


@pytest.mark.parametrize("sent", [b"", b"GET", request()[:-2]], ids=["nothing", "a word", "all but the last line"])
async def test_a_peer_that_leaves_before_its_request_is_whole_leaves_nothing(server: Server, sent: bytes, eventually: Callable) -> None:
    async with stranger(server) as peer:
        await peer.say(sent)
        peer.writer.write_eof()
        await peer.rest()
    assert [connection.name for connection in server.timeline.connections] == ["innocent"]


# Floods.


@contextlib.contextmanager
def memory_grows_less_than(megabytes: float) -> Iterator[None]:
    """This process, which is the server's too, never holds so much more than at the beginning."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_megabytes("VmRSS")
    yield
    assert memory_megabytes("VmHWM") - before < megabytes


def memory_megabytes(which: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0]) / 1024


async def in_small_change(peer: Peer, data: bytes) -> None:
    """Send so that the sender's own buffers do not count as the server's memory."""
    for start in range(0, len(data), 65_536):
        await peer.say(data[start : start + 65_536])


async def still_answers(client: Client) -> None:
    await client.send_text("meanwhile")
    assert await client.receive_text(timeout=5.0) == "meanwhile"


async def test_a_flood_of_pings_is_answered_in_bounded_memory(server: Server, innocent: Client) -> None:
    flood = frame(PING, bytes(4)) * 20_000 + frame(CLOSE, b"\x03\xe8")
    async with stranger(server, "/ws") as peer:
        with memory_grows_less_than(megabytes=30):
            hearing = asyncio.create_task(peer.rest())
            await in_small_change(peer, flood)
            await still_answers(innocent)
            heard = await hearing
    assert heard.count(b"\x8a\x04") == 20_000
    assert heard.endswith(b"\x88\x02\x03\xe8")
    assert [entry for entry in server.timeline.entries() if entry.kind == "frame-in" and entry.details["opcode"] == "PING"]


async def test_pings_of_a_peer_that_never_reads_do_not_pile_up(place: str, innocent: Client) -> None:
    """Only the last of many pings needs an answer (RFC 6455 §5.5.3), and none that nobody takes."""
    pings = 100_000  # 13 MB, which no network's buffers hold
    async with serve(app, port=0, name="quiet", runs_in=place, recording=False) as quiet, stranger(quiet, "/ws", receive_buffer_bytes=4_096) as peer:
        peer.writer.transport.pause_reading()
        await in_small_change(peer, frame(PING, bytes(125)) * pings)
        await still_answers(innocent)
        peer.writer.transport.resume_reading()
        await peer.say(frame(CLOSE, b"\x03\xe8"))
        heard = await peer.rest()
    assert 0 < heard.count(b"\x8a\x7d") < 0.8 * pings


async def test_a_flood_of_empty_fragments_is_one_message_in_bounded_memory(server: Server, innocent: Client) -> None:
    flood = frame(TEXT, b"be", fin=False) + frame(0x0, fin=False) * 100_000 + frame(0x0, b"gun")
    async with stranger(server, "/ws") as peer:
        with memory_grows_less_than(megabytes=30):
            await in_small_change(peer, flood)
            await still_answers(innocent)
            async with asyncio.timeout(10.0):
                assert await peer.reader.readexactly(7) == b"\x81\x05begun"
        connection = server.timeline.connections[-1]
    entries = server.timeline.entries(connection=connection.number)
    assert [entry for entry in entries if entry.kind == "frame-in" and entry.details["opcode"] == "CONT"]
    assert server.timeline.statistics().entries <= server.timeline.entries_limit


async def test_a_flood_of_messages_to_a_handler_that_takes_none_stays_in_the_network(place: str, innocent: Client, eventually: Callable) -> None:
    """While nothing is read from it, only a ping finds out that the peer has left."""
    flood = frame(TEXT, bytes(1_000)) * 20_000
    pings = {"ping_interval_seconds": 0.3, "ping_timeout_seconds": 0.3}
    async with serve(app, port=0, name="deaf", runs_in=place, **pings) as deaf:
        async with stranger(deaf, "/silent") as peer:
            with memory_grows_less_than(megabytes=30), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await in_small_change(peer, flood)
            await still_answers(innocent)
        await eventually(lambda: deaf.connections == [])


async def test_a_peer_that_never_reads_is_given_up_when_it_answers_no_ping(place: str, innocent: Client, eventually: Callable) -> None:
    pings = {"ping_interval_seconds": 0.1, "ping_timeout_seconds": 0.1}
    async with serve(app, port=0, name="pinging", runs_in=place, **pings) as pinging, stranger(pinging, "/listening") as peer:
        peer.writer.transport.pause_reading()
        connection = pinging.timeline.connections[-1]
        await eventually(lambda: over(connection))
        assert connection.close_frames == [("server", 1011, "keepalive ping timeout")]
        assert "a ping got no answer in time" in str(explain(connection))
        await still_answers(innocent)


async def test_200_connections_that_come_and_vanish_leave_nothing(server: Server, innocent: Client, eventually: Callable) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            await stack.enter_async_context(stranger(server, "/ws"))
        assert len(server.connections) == 201
        await still_answers(innocent)
    await eventually(lambda: len(server.connections) == 1)
    vanished = [connection for connection in server.timeline.connections if connection.name == "stranger"]
    await eventually(lambda: all(map(over, vanished)))
    assert len(vanished) == 200
    assert {explain(connection).sentence for connection in vanished} == {"The client dropped the line without saying goodbye."}


async def test_no_task_of_a_hostile_peer_is_left(server: Server, innocent: Client, eventually: Callable) -> None:
    async def tasks() -> int:
        return len([task for task in asyncio.all_tasks() if "asgi" in repr(task.get_coro()).lower()])

    for sent, _, _ in BAD_FRAMES.values():
        async with stranger(server, "/ws") as peer:
            await peer.say(sent)
            await peer.rest()
    await eventually(lambda: len(server.connections) == 1)
    assert await server.run(tasks()) == 1, "the innocent client's"
