"""Messages in fragments, frames that break a rule, and a client that vanishes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kit import Client, Server, connect
from kit.errors import Disconnected
from kit.faults import INVALID_FRAMES, half_open, send_in_fragments, send_invalid_frame, slow_network
from tests.faults.parts import Eventually, echoes, frames, noted


@pytest.mark.parametrize(
    ("message", "sizes", "lengths"),
    [
        ("hello", 2, [2, 2, 1]),
        ("hello", 5, [5]),
        ("hello", 99, [5]),
        ("hello", [1, 3], [1, 3, 1]),
        ("hello", [2, 3], [2, 3]),
        ("ä€𝄞", 1, [1] * 9),
        ("", 1, [0]),
        (b"\x00\xff", [1], [1, 1]),
    ],
)
@pytest.mark.parametrize("ping_between", [False, True])
async def test_a_message_in_fragments_arrives_whole(client: Client, message: str | bytes, sizes: Any, lengths: list[int], ping_between: bool) -> None:
    await send_in_fragments(client, message, sizes, ping_between=ping_between)
    received = await client.receive(timeout=5.0)
    assert received["text" if isinstance(message, str) else "bytes"] == message
    seen = frames(client, "server", "frame-in", "TEXT", "BINARY", "CONT")
    assert [entry.size for entry in seen] == lengths
    assert [entry.details["fin"] for entry in seen] == [False] * (len(lengths) - 1) + [True]
    assert {entry.ordinal for entry in seen} == {1}
    assert len(frames(client, "server", "frame-in", "PING")) == (len(lengths) - 1 if ping_between else 0)
    assert noted(client) == [("fragments", "once")]


async def test_messages_of_other_tasks_never_come_between_two_fragments(client: Client) -> None:
    whole = "0123456789" * 50
    await asyncio.gather(*(send_in_fragments(client, whole, 7) if number % 2 else client.send_text(str(number)) for number in range(60)))
    received = [await client.receive_text(timeout=5.0) for _ in range(60)]
    assert sorted(received) == sorted([str(number) if number % 2 == 0 else whole for number in range(60)])


@pytest.mark.parametrize("sizes", [0, -1, [1, 0], "ab", True, 1.5])
async def test_a_size_that_is_none_is_refused_and_nothing_sent(client: Client, sizes: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        await send_in_fragments(client, "hello", sizes)
    with pytest.raises(ValueError, match="at most 1,000 fragments"):
        await send_in_fragments(client, "x" * 1_002, 1)
    with pytest.raises(TypeError, match="expects str or bytes, but got dict"):
        await send_in_fragments(client, {}, 1)  # type: ignore[arg-type]
    assert frames(client, "client", "frame-out") == []


@pytest.mark.parametrize("kind", INVALID_FRAMES)
async def test_the_server_answers_an_invalid_frame_with_the_code_that_the_rule_prescribes(server: Server, eventually: Eventually, kind: str) -> None:
    async with connect(server, "/listening", name="Ana") as client, connect(server, "/ws") as other:
        await send_invalid_frame(client, kind)
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.close_code == INVALID_FRAMES[kind].code
        assert ("server", INVALID_FRAMES[kind].code) in [frame[:2] for frame in client.connection.close_frames]
        await eventually(lambda: client.connection.client_state == "DISCONNECTED")
        assert await echoes(other, "unharmed")
        assert noted(client) == [(f"invalid-frame {kind}", "once")]
        assert client.timeline.entries(connection=client.number)[-1].connection == client.number


async def test_an_unknown_kind_of_invalid_frame_is_answered_with_those_there_are(client: Client) -> None:
    with pytest.raises(ValueError, match=r"kind expects one of 'unmasked', .*, but got 'rude'"):
        await send_invalid_frame(client, "rude")


async def test_after_the_end_neither_fragments_nor_invalid_frames_are_sent(client: Client) -> None:
    await client.close()
    for action in (send_in_fragments(client, "hello", 1), send_invalid_frame(client, "unmasked")):
        with pytest.raises(Disconnected, match="Ana is not connected"):
            await action
    assert noted(client) == []


async def test_fragments_are_delayed_by_a_slow_network_and_held_by_a_dead_line(client: Client) -> None:
    async with slow_network(client, to_server_seconds=0.1):
        await send_in_fragments(client, "hello", 2)
        assert await client.receive_text(timeout=5.0) == "hello"
    sent, arrived = (frames(client, *end, "TEXT", "CONT") for end in (("client", "frame-out"), ("server", "frame-in")))
    assert all(there.at_seconds - here.at_seconds >= 0.1 for here, there in zip(sent, arrived, strict=True))
    async with half_open(client):
        await send_in_fragments(client, "world", 2)
    assert [entry.text for entry in frames(client, "server", "frame-in", "TEXT")] == ["he"]


async def test_vanishing_is_a_fault_that_happens_once(client: Client) -> None:
    await client.abort()
    await client.abort()
    assert noted(client) == [("vanishes", "once")]
