"""Messages come back as they were sent, and the wrong argument is refused with the right method's name."""

from __future__ import annotations

import json

import pytest

from kit import Client, connect, serve
from kit.errors import WrongMessageType
from tests.client.apps import counting_then_closing


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


async def test_json_that_is_none_is_said_to_be(client: Client) -> None:
    """The message is taken: whoever wants to see it receives text."""
    await client.send_text("no json")
    with pytest.raises(json.JSONDecodeError):
        await client.receive_json(timeout=5.0)
