"""WebSockets that joined a room, over real servers: what they get, in which order, and how they come and go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from kit import connect, serve
from kit.errors import Disconnected
from kit.evidence import settled
from kit.hub import Hub, HubError
from tests.hub.rooms_app import never_reading
from tests.hub.served import SECONDS, Served, joined, texts

Eventually = Callable[..., Any]

# What they get.


async def test_the_payload_comes_unchanged(served: Served, lane: str) -> None:
    async with await joined(served, served.path(lane)) as client:
        for message in ("text", "Ärger 🎈", ""):
            await served.hub.publish("room", message)
            assert await client.receive_text(timeout=SECONDS) == message
        await served.hub.publish("room", b"\x00\xff")
        assert await client.receive_bytes(timeout=SECONDS) == b"\x00\xff"
        await served.hub.publish("room", {"a": [1, "ü"]})
        assert await client.receive_text(timeout=SECONDS) == '{"a":[1,"ü"]}'


async def test_an_envelope_says_the_room_and_the_place(served: Served, lane: str) -> None:
    async with await joined(served, served.path(lane, envelope="1")) as client:
        for data, said in (("text", {"data": "text"}), ({"a": 1}, {"data": {"a": 1}}), (b"\xff", {"base64": "/w=="})):
            epoch, offset = await served.hub.publish("room", data)
            assert await client.receive_json(timeout=SECONDS) == {"type": "message", "room": "room", "epoch": epoch, "offset": offset} | said


async def test_what_a_client_says_comes_to_all_of_its_room_and_to_nobody_else(served: Served, lane: str) -> None:
    async with (
        await joined(served, served.path(lane)) as ana,
        await joined(served, served.path(lane)) as ben,
        await joined(served, served.path(lane, room="other")) as eve,
    ):
        await ana.send_text("hello")
        assert [await each.receive_text(timeout=SECONDS) for each in (ana, ben)] == ["hello", "hello"]
        await served.hub.publish("other", "only you")
        assert await eve.receive_text(timeout=SECONDS) == "only you"


async def test_messages_come_in_order_however_they_are_written(served: Served) -> None:
    """The lanes are mixed; all get the same."""
    async with (
        await joined(served, served.path("fast lane", policy="block")) as fast,
        await joined(served, served.path("plain send", policy="block")) as plain,
        await joined(served, served.path("fast lane", policy="block", envelope="1")) as enveloped,
    ):
        reading = [asyncio.create_task(texts(each, 500)) for each in (fast, plain, enveloped)]
        for number in range(500):
            await served.hub.publish("room", str(number))
        numbers = [str(number) for number in range(500)]
        assert await reading[0] == await reading[1] == numbers
        assert [json.loads(text)["data"] for text in await reading[2]] == numbers


async def test_what_the_handler_sends_itself_comes_between(served: Served, lane: str) -> None:
    async with await joined(served, served.path(lane)) as client:
        (member,) = served.app.state.members
        await served.hub.publish("room", "before")
        assert await client.receive_text(timeout=SECONDS) == "before"
        await served.server.run(member._socket._websocket.send_text("by the handler"))
        await served.hub.publish("room", "after")
        assert await texts(client, 2) == ["by the handler", "after"]


async def test_joining_with_since_brings_what_was_missed_first(served: Served, lane: str, eventually: Eventually) -> None:
    positions = [await served.hub.publish("room", str(number)) for number in range(10)]
    since = f"{positions[6].epoch}:{positions[6].offset}"
    async with await connect(served.server, served.path(lane, since=since)) as client:
        await eventually(lambda: served.app.state.members)
        await served.hub.publish("room", "10")
        got = [text for text in await texts(client, 5) if text != "ready"]
        assert got == ["7", "8", "9", "10"]
        (member,) = served.app.state.members
        assert (member.recovered, member.missed) == (True, 3)


async def test_a_history_that_is_gone_is_said_in_the_envelope(served: Served, lane: str) -> None:
    async with await connect(served.server, served.path(lane, envelope="1", since="another:1")) as client:
        got = [text for text in await texts(client, 2) if text != "ready"]
        assert [json.loads(text)["type"] for text in got] == ["gap"]
        assert not served.app.state.members[0].recovered


# Coming and going.


async def test_presence_says_who_is_there_and_who_comes_and_goes(served: Served, lane: str, eventually: Eventually) -> None:
    async with await joined(served, served.path(lane, name="Ana", envelope="1", presence="1")) as ana:
        async with await joined(served, served.path(lane, name="Ben")):
            assert [present.name for present in await served.hub.present("room")] == ["Ana", "Ben"]
            assert await served.hub.present("other") == []
            came = await ana.receive_json(timeout=SECONDS)
        went = await ana.receive_json(timeout=SECONDS)
        (_, ben) = served.app.state.members
        assert came == {"type": "joined", "room": "room", "id": ben.id, "name": "Ben", "metadata": {}}
        assert went == came | {"type": "left"}
        await eventually(lambda: served.hub.statistics().rooms[0].members == 1)
        assert [present.name for present in await served.hub.present("room")] == ["Ana"]
    await eventually(lambda: served.hub.statistics().rooms == ())


async def test_a_client_that_vanished_is_no_longer_served(served: Served, lane: str, eventually: Eventually) -> None:
    """Also when its handler never receives, and so never learns of it."""

    @served.app.websocket("/deaf")
    async def deaf(websocket: WebSocket) -> None:
        if lane == "plain send":
            websocket.scope["extensions"].pop("kit.outlet", None)
        await websocket.accept()
        async with served.hub.join(websocket, "room") as member:
            served.app.state.members.append(member)
            await asyncio.Event().wait()

    client = await connect(served.server, "/deaf")
    await eventually(lambda: served.app.state.members)
    await client.close()
    (member,) = served.app.state.members

    async def noticed() -> None:
        while member.ended is None:
            await served.hub.publish("room", "anyone there?")
            await asyncio.sleep(0.01)

    await asyncio.wait_for(noticed(), SECONDS)
    assert member.ended == "its WebSocket is closed"


async def test_a_websocket_joins_many_rooms_but_each_only_once(served: Served, lane: str) -> None:
    said = []

    @served.app.websocket("/twice")
    async def twice(websocket: WebSocket) -> None:
        if lane == "plain send":
            websocket.scope["extensions"].pop("kit.outlet", None)
        await websocket.accept()
        async with served.hub.join(websocket, "room"), served.hub.join(websocket, "other"):
            with pytest.raises(HubError) as caught:
                await served.hub.join(websocket, "room").__aenter__()
            said.append(str(caught.value))
            await websocket.send_text("ready")
            await websocket.receive()

    async with await joined(served, "/twice") as client:
        await served.hub.publish("room", "to the room")
        await served.hub.publish("other", "to the other")
        assert await texts(client, 2) == ["to the room", "to the other"]
    assert said == ["this WebSocket has joined 'room' already, and would get every message twice. Join each room once."]


async def test_clients_that_come_and_go_in_a_hurry_leave_nothing_behind(served: Served, lane: str, eventually: Eventually) -> None:
    async def visit(number: int) -> None:
        client = await connect(served.server, served.path(lane))
        if number % 2:
            await client.send_text(f"from {number}")
        await client.close()

    for _ in range(2):
        await asyncio.gather(*(visit(number) for number in range(12)))
    await eventually(lambda: all(map(settled, served.server.timeline.connections)))  # some may not even have joined when all clients have left
    await eventually(lambda: served.hub.statistics().rooms == ())
    assert await served.hub.present("room") == []
    assert all(member.ended == "it left" or member.ended == "its WebSocket is closed" for member in served.app.state.members)


async def test_a_server_that_stops_takes_its_members_out(served: Served, lane: str, eventually: Eventually) -> None:
    async with await joined(served, served.path(lane)), never_reading(served.server, served.path(lane)):
        await eventually(lambda: len(served.app.state.members) == 2)
        await asyncio.wait_for(served.server.stop(), SECONDS)
        await eventually(lambda: served.hub.statistics().rooms == ())


async def test_closing_the_hub_leaves_the_websockets_open(served: Served, lane: str, eventually: Eventually) -> None:
    async with await joined(served, served.path(lane)) as client:
        (member,) = served.app.state.members
        await served.hub.close()
        await eventually(lambda: member.ended)
        assert member.ended == "the hub was closed"
        await served.server.run(member._socket._websocket.send_text("still here"))
        assert await client.receive_text(timeout=SECONDS) == "still here"


async def test_joining_before_accept_says_what_to_do() -> None:
    app, said = FastAPI(), []

    @app.websocket("/ws")
    async def early(websocket: WebSocket) -> None:
        async with Hub() as hub:
            with pytest.raises(HubError) as caught:
                async with hub.join(websocket, "room"):
                    pass
        said.append(str(caught.value))
        await websocket.accept()
        await websocket.close()

    async with serve(app, port=0) as server, connect(server, "/ws") as client:
        with pytest.raises(Disconnected):
            await client.receive_text(timeout=SECONDS)
    assert said == ["hub.join expects a WebSocket that has been accepted and not closed. Write `await websocket.accept()` before it."]
