"""Messages and frames that nobody may send."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest

from kit import Client, Server, connect
from kit.closing import explain
from tests.hostile.peers import BAD_FRAMES, BINARY, CLOSE, LIMIT_BYTES, TEXT, frame, over, said, stranger


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
