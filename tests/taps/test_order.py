"""Both sides of every connection are recorded as they are, in an order that never contradicts cause and effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from websockets.asyncio.client import connect as websockets_connect

from kit import Client, Server, connect, serve
from tests.apps import app
from tests.taps.looking import assert_causal, both_ended, journey, seen


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
