"""Who gets which connection, and what is seen of it in the kernel."""

from __future__ import annotations

import os
from typing import Any

from websockets.asyncio.client import connect as websockets_connect

from kit import Server, connect, explain
from kit.conversation import Conversation
from kit.evidence import settled
from tests.workers.towns import Eventually, seen, told


async def test_connections_are_dealt_out_in_turn(calm_town: Server) -> None:
    clients = [await seen(calm_town) for _ in range(4)]
    labels = {process.pid: process.label for process in calm_town.processes}
    dealt_to = [labels[pid] for _, pid in clients]
    assert sorted(dealt_to[:2]) == ["process 1", "process 2"]
    assert dealt_to[2:] == dealt_to[:2]
    assert [client.connection.process for client, _ in clients] == dealt_to
    assert [(process.label, process.state, process.connections_open) for process in calm_town.processes] == [
        ("process 1", "serving", 2),
        ("process 2", "serving", 2),
    ]
    assert all(os.getsid(pid) == pid for pid in labels), "the kernel's Ctrl-C is not theirs"
    for client, _ in clients:
        await client.close()


async def test_both_ends_are_in_the_kernels_timeline_under_one_number(two: Server, eventually: Eventually) -> None:
    async with connect(two, "/ws", name="Ana") as ana, connect(two, "/ws", name="Ben") as ben:
        for client in (ana, ben):
            await client.send_text(f"hello of {client.name}")
            assert await client.receive_text() == f"hello of {client.name}"
        for client in (ana, ben):
            entries = await eventually(lambda client=client: complete(two, client.number))
            assert {entry.details.get("process") for entry in entries if entry.side == "server"} == {client.connection.process}
            assert {entry.details.get("process") for entry in entries if entry.side == "client"} == {None}
            in_time = [(entry.side, entry.kind) for entry in sorted(entries, key=lambda entry: entry.at_seconds)]
            assert in_time == [
                *(("client", "request"), ("server", "request"), ("server", "asgi-receive"), ("server", "asgi-send")),
                *(("server", "response"), ("client", "response"), ("client", "frame-out"), ("server", "frame-in"), ("server", "asgi-receive")),
                *(("server", "asgi-send"), ("server", "frame-out"), ("client", "frame-in")),
            ]
            assert (client.connection.client_state, client.connection.application_state) == ("CONNECTED", "CONNECTED")


def complete(server: Server, number: int) -> list[Any]:
    entries = server.timeline.entries(connection=number)
    return entries if len(entries) == 12 else []


async def test_rows_of_a_conversation_do_not_mind_that_the_servers_part_comes_later(two: Server, threaded: Server, eventually: Eventually) -> None:
    async def rows_of(server: Server) -> list[tuple[Any, ...]]:
        async with connect(server, "/ws") as client:
            await client.send_text("one")
            await client.receive_text()
            await client.ping()
            await client.send_bytes(b"two")
            await client.receive_bytes()
        await eventually(lambda: settled(client.connection))

        def folded() -> list[tuple[Any, ...]]:
            fold = Conversation()
            fold.feed(server.timeline.entries(connection=client.number))
            rows = sorted(fold.rows, key=lambda row: row.at_seconds)
            return [(row.kind, row.direction, row.label, row.first, sorted(row.moments), row.waits, row.lost) for row in rows]

        def all_told() -> bool:
            rows = folded()
            return rows[-1][4] == ["client", "wire"] and not any(waits or lost for *_, waits, lost in rows)

        await eventually(all_told)
        return folded()

    assert await rows_of(two) == await rows_of(threaded)


async def test_a_stranger_has_a_number_and_its_process(two: Server, eventually: Eventually) -> None:
    async with websockets_connect(f"{two.ws_url}/ws", proxy=None) as stranger:
        await stranger.send("hi")
        assert await stranger.recv() == "hi"
        connection = await eventually(lambda: next((known for known in two.connections if known.name == "stranger"), None))
        assert (connection.path, connection.process in ("process 1", "process 2"), connection.server_here) == ("/ws", True, True)
    await eventually(lambda: not connection.open)
    assert explain(connection).pill == "closed 1000"


async def test_a_long_message_crosses_with_its_preview_and_its_size(two: Server, eventually: Eventually) -> None:
    async with connect(two, "/ws") as client:
        await client.send_text("x" * 100_000)
        assert len(await client.receive_text()) == 100_000
        (entry,) = await eventually(
            lambda: [entry for entry in two.timeline.entries(connection=client.number) if entry.kind == "asgi-receive" and entry.ordinal]
        )
        assert (entry.size, entry.payload, len(entry.text)) == (100_000, None, 256)


async def test_what_is_printed_and_logged_is_in_the_timeline(calm_town: Server, eventually: Eventually) -> None:
    client = await connect(calm_town, "/say")
    await eventually(lambda: told(calm_town, kind="print", text="from a thread") and told(calm_town, text="from beneath"))
    process = client.connection.process
    assert await eventually(lambda: told(calm_town, kind="print", connection=client.number, process=process)) == ["from the handler"]
    assert await eventually(lambda: told(calm_town, kind="log", connection=client.number, process=process)) == ["WARNING town: a warning"]
    assert told(calm_town, kind="print", connection=None, stream="stderr", process=process) == ["from beneath"]
    noisy = await connect(calm_town, "/noise")
    assert await eventually(lambda: len(told(calm_town, text="line", process=noisy.connection.process)) == 200)
    await noisy.close()
    await client.close()


async def test_what_a_process_tells_that_makes_no_sense_is_said(calm_town: Server, eventually: Eventually) -> None:
    client = await connect(calm_town, "/garble")
    (notice,) = await eventually(lambda: told(calm_town, what="unreadable"))
    assert notice == f"{client.connection.process} told something that makes no sense here: expected a batch, got 5."
    await client.close()
