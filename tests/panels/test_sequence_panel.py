"""SequencePanel: what its front end is told of every way a connection can go, and on demand of one event."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect as dial

from kit import Hub, Server, connect, serve
from kit.errors import HandshakeRefused
from kit.panels.sequence import SequencePanel
from tests.hub.rooms_app import joining_app
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]

RESET_BYTES = 1_500_000

waiting = FastAPI()


@waiting.websocket("/late")
async def late(websocket: WebSocket) -> None:
    """Receives only once it has sent three messages, each by request of the app."""
    await websocket.accept()
    await websocket.app.state.go.wait()
    await websocket.receive_text()
    await websocket.receive()


@waiting.websocket("/blocking")
async def blocking(websocket: WebSocket) -> None:
    await websocket.accept()
    async for _ in websocket.iter_text():
        websocket.app.state.go_on.wait(60)  # blocking the loop is what is tested


def broadcasting() -> FastAPI:
    """The documentation's broadcast, in short."""
    app = FastAPI()
    members: list[WebSocket] = []

    @app.websocket("/ws")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        members.append(websocket)
        try:
            while True:
                text = await websocket.receive_text()
                for member in members:
                    await member.send_text(text)
        except WebSocketDisconnect:
            members.remove(websocket)

    return app


@pytest.fixture
def front_end(server: Server, show: Show) -> FrontEnd:
    return show(SequencePanel(server))


def rows(front_end: FrontEnd, **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in front_end.shown if wanted.items() <= row.items()]


def lane(front_end: FrontEnd, number: int = 1) -> dict[str, Any]:
    told = [lane for message in front_end.messages for lane in message.get("lanes", ()) if lane["n"] == number]
    return told[-1] if told else {}


def stalled(front_end: FrontEnd) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The send that waits and the frames that are unread, once there are some of both."""
    shown = front_end.shown
    sends = [row for row in shown if row.get("waits") == "wire"]
    unread = [row for row in shown if row.get("waits") == "client"]
    return (sends[0], unread) if len(sends) == 1 and sum(row["size"] for row in unread) > 100_000 else None


def told(front_end: FrontEnd, label: str) -> bool:
    """Whether the newest rows that a view was told have a message down that begins so."""
    return any(row["label"].startswith(label) and row["way"] == "down" for message in front_end.messages[-3:] for row in message.get("rows", ()))


def in_order(row: dict[str, Any], *places: str) -> bool:
    moments = [row.get(place) for place in places]
    return None not in moments and moments == sorted(moments)


async def test_an_echo_is_an_arrow_each_way_seen_at_three_places(server: Server, front_end: FrontEnd, eventually: Eventually) -> None:
    async with connect(server, "/ws", name="Ana") as client:
        await client.send_text("hello")
        await client.receive_text(timeout=5)
        await eventually(lambda: len([row for row in rows(front_end, kind="message") if {"client", "wire", "handler"} <= row.keys()]) == 2)
    up, down = rows(front_end, kind="message")
    assert (up["way"], up["label"], down["way"], down["label"]) == ("up", "“hello”", "down", "“hello”")
    assert in_order(up, "client", "wire", "handler")
    assert in_order(down, "handler", "wire", "client")
    assert not {"waits", "lost"} & (up.keys() | down.keys())


async def test_a_connection_has_two_lanes_from_its_beginning_to_its_end(server: Server, front_end: FrontEnd, eventually: Eventually) -> None:
    async with connect(server, "/ws", name="Ana"):
        await eventually(lambda: "handlerFrom" in lane(front_end))
        assert {"n": 1, "name": "Ana", "path": "/ws", "ours": True, "served": True}.items() <= lane(front_end).items()
        assert "clientEnd" not in lane(front_end)
    await eventually(lambda: {"clientEnd", "handlerEnd"} <= lane(front_end).keys())
    close, answer = rows(front_end, kind="close")
    assert (close["way"], close["label"], close["first"], answer["way"]) == ("up", "close 1000", True, "down")
    assert "first" not in answer


@pytest.mark.parametrize(
    ("path", "label", "also"),
    [
        ("/refuse/policy", "refused: 403 Forbidden", "close 1008 before accept"),
        ("/refuse/http", "refused: 401 Unauthorized", "answer HTTP 401"),
        ("/refuse/denial", "refused: 503 Service Unavailable", "answer HTTP 503"),
        ("/refuse/raising", "refused: 500 Internal Server Error", None),
        ("/nowhere", "refused: 403 Forbidden", "close 1000 before accept"),
    ],
)
async def test_a_refusal_says_its_status_and_what_the_handler_did(
    server: Server, front_end: FrontEnd, eventually: Eventually, path: str, label: str, also: str | None
) -> None:
    with pytest.raises(HandshakeRefused):
        await connect(server, path)
    await eventually(lambda: rows(front_end, kind="response", label=label) and lane(front_end).get("clientEnd"))
    (row,) = rows(front_end, kind="response")
    assert (row.get("also"), row["tone"], row["way"]) == (also, "bad", "down")
    assert rows(front_end, kind="dropped") == []


async def test_a_broadcast_is_one_arrow_up_and_five_down(show: Show, eventually: Eventually) -> None:
    async with serve(broadcasting(), port=0) as server:
        front_end = show(SequencePanel(server))
        clients = [await connect(server, "/ws", name=name) for name in ("Ana", "Ben", "Cleo", "Dan", "Eve")]
        await clients[0].send_text("hi all")
        for client in clients:
            await client.receive_text(timeout=5)
        await eventually(lambda: len([row for row in rows(front_end, way="down", kind="message") if in_order(row, "handler", "wire", "client")]) == 5)
        assert sorted(row["n"] for row in rows(front_end, way="down", kind="message")) == [1, 2, 3, 4, 5]
        assert [row["n"] for row in rows(front_end, way="up", kind="message")] == [1]
        assert [lane(front_end, number)["name"] for number in range(1, 6)] == ["Ana", "Ben", "Cleo", "Dan", "Eve"]


async def test_a_hub_has_its_own_lane_between_who_publishes_and_who_hears(show: Show, eventually: Eventually) -> None:
    hub = Hub()
    async with serve(joining_app(hub, opens_hub=True), port=0) as server:
        front_end = show(SequencePanel(server))
        ana, ben = [await connect(server, "/join/lobby", name=name) for name in ("Ana", "Ben")]
        for client in (ana, ben):
            assert await client.receive_text(timeout=5) == "ready"
        await ana.send_text("hi all")
        await eventually(lambda: [in_order(row, "wire", "client") for row in rows(front_end, hub=True)] == [True, True])
    heard = rows(front_end, hub=True)
    assert sorted((row["n"], row["way"], row["label"]) for row in heard) == [(1, "down", "“hi all”"), (2, "down", "“hi all”")]
    assert [row["label"] for row in rows(front_end, way="hub", n=1)][:2] == ["join “lobby”", "publish “hi all” to “lobby”"]
    assert all("hub" not in row for row in rows(front_end, label="“ready”"))


async def test_a_client_that_stops_reading_leaves_frames_unread_and_a_send_that_waits(server: Server, front_end: FrontEnd, eventually: Eventually) -> None:
    async with connect(server, "/flood", name="Ben") as client:
        send, unread = await eventually(lambda: stalled(front_end))
        assert "handler" in send
        assert not {"wire", "client"} & send.keys()
        assert all("wire" in row and "client" not in row for row in unread)
        await client.abort()
        await eventually(lambda: not rows(front_end, waits="client") and not rows(front_end, waits="wire"))
        assert rows(front_end, kind="message", lost=True)


async def test_a_message_that_arrived_waits_for_receive(show: Show, eventually: Eventually) -> None:
    async with serve(waiting, port=0) as server:
        waiting.state.go = asyncio.Event()
        front_end = show(SequencePanel(server))
        async with connect(server, "/late") as client:
            await client.send_text("anybody?")
            await eventually(lambda: rows(front_end, label="“anybody?”", waits="handler"))
            (row,) = rows(front_end, label="“anybody?”")
            assert in_order(row, "client", "wire")
            assert "handler" not in row
            server._life.loop.call_soon(waiting.state.go.set)
            await eventually(lambda: rows(front_end, label="“anybody?”")[0].get("handler"))
            assert "waits" not in rows(front_end, label="“anybody?”")[0]


async def test_a_handler_that_blocks_the_loop_lets_messages_wait_on_their_way(show: Show, eventually: Eventually) -> None:
    async with serve(waiting, port=0) as server:
        waiting.state.go_on = threading.Event()
        front_end = show(SequencePanel(server))
        async with connect(server, "/blocking") as busy, connect(server, "/blocking") as other:
            await busy.send_text("block")
            await eventually(lambda: rows(front_end, label="“block”") and "handler" in rows(front_end, label="“block”")[0])
            await other.send_text("and me?")
            await eventually(lambda: rows(front_end, label="“and me?”", waits="arrival"))
            let_go = time.perf_counter() - server.timeline.began
            waiting.state.go_on.set()
            await eventually(lambda: "handler" in rows(front_end, label="“and me?”")[0])
            (row,) = rows(front_end, label="“and me?”")
            assert row["client"] < let_go < row["handler"]


async def test_an_exception_is_a_note_at_the_handler_and_the_line_is_dropped(server: Server, front_end: FrontEnd, eventually: Eventually) -> None:
    async with connect(server, "/end/raising") as client:
        await client.wait_closed()
    await eventually(lambda: rows(front_end, kind="dropped") and lane(front_end).get("handlerEnd"))
    (error,) = rows(front_end, kind="error")
    assert error["label"].startswith("ZeroDivisionError: after accept at ")
    assert (error["side"], error["tone"]) == ("server", "bad")
    assert rows(front_end, kind="dropped")[0]["way"] == "down"


async def test_a_client_that_vanishes_is_a_dropped_line_of_its_own(server: Server, front_end: FrontEnd, eventually: Eventually) -> None:
    client = await connect(server, "/listening")
    await client.abort()
    await eventually(lambda: rows(front_end, kind="dropped") and rows(front_end, kind="disconnect"))
    assert {"way": "up", "tone": "bad", "label": "dropped, no Close frame"}.items() <= rows(front_end, kind="dropped")[0].items()


async def test_a_strangers_messages_begin_at_the_servers_end(server: Server, front_end: FrontEnd, eventually: Eventually) -> None:
    async with dial(f"{server.ws_url}/ws", proxy=None) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await eventually(lambda: len([row for row in rows(front_end, kind="message") if "wire" in row and "handler" in row]) == 2)
        assert all("client" not in row and "waits" not in row for row in rows(front_end, kind="message"))
        assert (lane(front_end)["name"], "ours" in lane(front_end)) == ("stranger", False)


async def test_faults_and_notices_have_their_place(server: Server, front_end: FrontEnd, eventually: Eventually) -> None:
    async with connect(server, "/ws", name="Ana") as client:
        server.timeline.note("Ana stops reading", kind="fault", connection=client.connection, side="client", what="stall", phase="begins")
        await eventually(lambda: rows(front_end, kind="fault"))
    assert {"way": "here", "side": "client", "n": 1, "label": "Ana stops reading"}.items() <= rows(front_end, kind="fault")[0].items()
    assert rows(front_end, kind="notice", way="divider")[0]["label"].startswith("serving at")


@pytest.fixture
def inspected(front_end: FrontEnd, eventually: Eventually) -> Iterator[Callable[..., Any]]:
    async def ask(**wanted: Any) -> dict[str, str]:
        (row,) = rows(front_end, **wanted)
        front_end.do("inspect", key=row["key"])
        answer = await eventually(lambda: next((message for message in front_end.messages if message.get("key") == row["key"]), None))
        return dict(answer["details"])

    return ask


async def test_a_row_that_is_opened_shows_both_ends_and_its_payload(
    server: Server, front_end: FrontEnd, inspected: Callable[..., Any], eventually: Eventually
) -> None:
    payload = {"text": "long " * 2_000, "more": [1, 2]}
    async with connect(server, "/ws") as client:
        await client.send_text(json.dumps(payload))
        await client.receive_text(timeout=5)
        await eventually(lambda: [row for row in rows(front_end, way="up", kind="message") if "handler" in row])
        details = await inspected(way="up", kind="message")
    assert '"more": [\n    1,\n    2\n  ]' in details["payload, 9.8 KiB"]
    assert details["seen"].startswith("the client's end at +")
    assert "the handler +" in details["seen"]
    assert [name.partition(" at ")[0] for name in details if ", in at" in name or ", out at" in name] == ["client, out", "server, in"]


async def test_an_opened_refusal_shows_its_headers_and_why(server: Server, front_end: FrontEnd, inspected: Callable[..., Any], eventually: Eventually) -> None:
    with pytest.raises(HandshakeRefused):
        await connect(server, "/refuse/http")
    await eventually(lambda: [row for row in rows(front_end, kind="response") if "client" in row])
    details = await inspected(kind="response")
    assert details["www-authenticate"] == "Bearer"
    assert "who is calling" in details["why it ended"]


async def test_what_has_fallen_out_says_so_when_it_is_opened(front_end: FrontEnd, eventually: Eventually) -> None:
    front_end.do("inspect", key="1:up message 1")
    await eventually(lambda: any("Only the newest 5,000" in str(message.get("details")) for message in front_end.messages))


async def test_a_full_view_is_told_in_less_than_one_and_a_half_megabytes(show: Show, eventually: Eventually) -> None:
    async with serve(broadcasting(), port=0) as server:
        async with connect(server, "/ws", name="a client with a name") as client:
            for number in range(2_000):
                await client.send_text(f"message {number} " + "x" * 100)
                await client.receive_text(timeout=5)
        late = show(SequencePanel(server))
        await eventually(lambda: late.messages)
        reset = late.messages[0]
    assert len(reset["rows"]) > 3_000
    assert len(json.dumps(reset["rows"]).encode()) / len(reset["rows"]) < RESET_BYTES / 5_000


async def test_its_snapshot_is_static_and_has_no_secrets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda data, raw: shown.append(data))
    async with connect(server, "/ws?token=spring-rain") as client:
        await client.send_text("<img src=x> token=spring-rain")
        await client.receive_text(timeout=5)
    SequencePanel(server).snapshot()
    assert "“<img src=x> token=[redacted]”" in shown[0]["text/plain"]
    assert "<img" not in shown[0]["text/html"]
    assert "spring-rain" not in "".join(shown[0].values())


async def test_it_follows_a_server_a_client_or_a_timeline_and_nothing_else(server: Server) -> None:
    async with connect(server, "/ws", name="Ana") as client:
        titles = [SequencePanel(source).title for source in (server, client, server.timeline)]
        assert all(SequencePanel(source).timeline is server.timeline for source in (server, client))
    assert titles == ["Sequence of server main", "Sequence of client Ana", "Sequence"]
    with pytest.raises(TypeError, match="expected a server"):
        SequencePanel("ws://here")


async def test_an_event_can_be_inspected_although_the_panel_is_not_displayed(server: Server) -> None:
    async with connect(server, "/ws") as client:
        await client.send_text("hello")
        await client.receive_text(timeout=5)
        assert ("payload, 5 B", "hello") in await SequencePanel(server).inspect("1:up message 1")
