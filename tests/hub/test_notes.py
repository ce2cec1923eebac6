"""What handlers do with a hub stands in the Timeline of their server, at their connection."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, WebSocket

from kit import connect, serve
from kit.hub import Hub
from kit.timeline import Entry, Timeline
from tests.hub.rooms_app import joining_app
from tests.hub.served import Served, joined, texts

Eventually = Callable[..., object]


def notes(timeline: Timeline, number: int | None = None) -> list[tuple[str, str, str, int]]:
    found = [entry for entry in timeline.entries(connection=number) if entry.kind == "hub"]
    return [(entry.details["what"], entry.details["room"], entry.text, entry.size) for entry in found]


def is_frame_out(entry: Entry) -> bool:
    return (entry.side, entry.kind, entry.details.get("opcode")) == ("server", "frame-out", "TEXT")


async def test_joining_publishing_and_leaving_are_recorded_in_their_order_at_their_connection(served: Served, lane: str, eventually: Eventually) -> None:
    ana = await joined(served, served.path(lane, "tea"))
    ben = await joined(served, served.path(lane, "tea"))
    await ana.send_text("grüß dich")
    assert await texts(ana, 1) == await texts(ben, 1) == ["grüß dich"]
    await ana.close()
    await ben.close()
    timeline = served.server.timeline
    await eventually(lambda: notes(timeline, ana.number) == [("join", "tea", "", 0), ("publish", "tea", "grüß dich", 11), ("leave", "tea", "", 0)])
    await eventually(lambda: notes(timeline, ben.number) == [("join", "tea", "", 0), ("leave", "tea", "", 0)])
    mine = timeline.entries(connection=ana.number)
    published = next(entry for entry in mine if entry.kind == "hub" and entry.details["what"] == "publish")
    heard = next(entry for entry in mine if is_frame_out(entry) and entry.text == "grüß dich")
    assert published.number < heard.number


async def test_of_a_long_message_its_beginning_and_its_size_are_kept() -> None:
    async with Hub() as hub, serve(joining_app(hub, opens_hub=False), port=0) as server, connect(server, "/join/tea") as client:
        await client.receive_text(timeout=5)
        await client.send_text("é" * 5_000)
        await client.receive_text(timeout=5)
        (note,) = [note for note in notes(server.timeline) if note[0] == "publish"]
    assert note[2:] == ("é" * 127, 10_000)


async def test_what_is_published_outside_of_handlers_is_nobodys() -> None:
    async with Hub() as hub, serve(joining_app(hub, opens_hub=False), port=0) as server, connect(server, "/join/tea") as client:
        await client.receive_text(timeout=5)
        await hub.publish("tea", "from a cell")
        await client.receive_text(timeout=5)
        await server.run(hub.publish("tea", "on the server's loop"))
        await client.receive_text(timeout=5)
        assert [what for what, *_ in notes(server.timeline)] == ["join"]


async def test_a_publish_that_is_refused_is_not_recorded(eventually: Eventually) -> None:
    hub = Hub()
    async with serve(joining_app(hub, opens_hub=True), port=0) as server, connect(server, "/join/tea") as client:
        await client.receive_text(timeout=5)
        await hub.close()
        await client.send_text("too late")
        await client.wait_closed()
        await eventually(lambda: [what for what, *_ in notes(server.timeline)] == ["join", "leave"])


async def test_bytes_are_told_as_hex_and_json_as_its_text() -> None:
    app = FastAPI()

    @app.websocket("/ws")
    async def tell(websocket: WebSocket) -> None:
        await websocket.accept()
        async with Hub() as hub:
            await hub.publish("tea", b"\x00\xff")
            await hub.publish("tea", {"a": [1, None]})

    async with serve(app, port=0) as server, connect(server, "/ws") as client:
        await client.wait_closed()
        told = [(entry.text, entry.size, entry.details["binary"]) for entry in server.timeline.entries() if entry.kind == "hub"]
    assert told == [("00 ff", 2, True), ('{"a":[1,null]}', 14, False)]


async def test_where_nothing_is_recorded_nothing_is_noted() -> None:
    async with Hub() as hub, serve(joining_app(hub, opens_hub=False), port=0, recording=False) as server, connect(server, "/join/tea") as client:
        await client.receive_text(timeout=5)
        assert {entry.kind for entry in server.timeline.entries()} == {"notice"}


async def test_a_handler_that_subscribes_is_told_with_what_it_receives() -> None:
    app, hub = FastAPI(), Hub()

    @app.websocket("/ws")
    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        async with hub, hub.subscribe("tea", presence=True) as subscriber:
            await hub.publish("tea", "hot")
            await websocket.send_text((await subscriber.get(timeout=5)).data)

    async with serve(app, port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=5) == "hot"
        await client.wait_closed()
        assert [(what, text) for what, _, text, _ in notes(server.timeline)] == [("subscribe", ""), ("publish", "hot"), ("receive", "hot"), ("unsubscribe", "")]
