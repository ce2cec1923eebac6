"""Handshakes that are none, and those that do not come to their end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable

import pytest

from kit import Client, Server
from kit.closing import explain
from tests.hostile.peers import TEXT, frame, over, request, said, stranger

# Handshakes that are none.

KEY = "Sec-WebSocket-Key"
NO_HTTP = "Invalid HTTP request received"
SLOW_SECONDS = 1.5  # short enough for tests to wait until they are over
impatient = pytest.mark.parametrize("handshake_seconds", [SLOW_SECONDS])
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


@impatient
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


@impatient
async def test_a_handshake_that_drips_for_ever_is_given_up(server: Server, eventually: Callable) -> None:
    async with stranger(server) as peer:

        async def drip() -> None:
            while not said(server, "handshake_timeout_seconds"):
                await peer.say(b"X")
                await asyncio.sleep(0.01)

        await peer.say(b"GET /ws HTTP/1.1\r\n")
        await asyncio.wait_for(drip(), 20.0)


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
