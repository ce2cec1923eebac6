"""A frame for many is recorded once, and is what other libraries read."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import pytest
from fastapi import WebSocket
from websockets.asyncio.client import connect as websockets_connect

from kit import connect, serve
from kit.frames import prepared
from kit.outlet import DETAILED_CONNECTIONS, Outlet
from tests.outlet.listeners import Listeners, app_of, seen


@pytest.mark.parametrize("followed", [False, True], ids=["nobody looks", "followed"])
@pytest.mark.parametrize("count", [DETAILED_CONNECTIONS, DETAILED_CONNECTIONS + 1])
async def test_a_frame_for_many_is_recorded_once_and_the_ordinals_stay_right(followed: bool, count: int, eventually: Callable[..., Awaitable[object]]) -> None:
    """Once for all when it goes to more than a few and nobody follows; the next message's ordinal is the same at both ends either way."""
    listeners = Listeners()

    async def say_goodbye() -> None:
        for websocket in listeners.websockets:
            await websocket.send_text("goodbye")

    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server, "/ws")) for _ in range(count)]
        await eventually(lambda: len(listeners.outlets) == count)
        subscription = server.timeline.subscribe(lambda: None) if followed else None
        await server.run(listeners.tell_all("one", "two"))
        if subscription is not None:
            subscription.close()
        await server.run(say_goodbye())
        for client in clients:
            assert [await client.receive_text() for _ in range(3)] == ["one", "two", "goodbye"]
        out, notices = seen(server, "server", "frame-out"), [entry for entry in server.timeline.entries() if entry.details.get("what") == "fan-out"]
        detailed = followed or count <= DETAILED_CONNECTIONS
        told = [(entry.ordinal, entry.text) for entry in out if entry.text != "goodbye"]
        assert sorted(told) == [(1, "one")] * count + [(2, "two")] * count if detailed else told == []
        assert [(entry.payload, entry.details["times"]) for entry in notices] == ([] if detailed else [("one", count), ("two", count)])
        goodbyes = {(entry.connection, entry.ordinal) for entry in out if entry.text == "goodbye"}
        assert goodbyes == {(client.connection.number, 3) for client in clients}
        assert {entry.ordinal for entry in seen(server, "server", "asgi-send") if entry.text == "goodbye"} == {3}
        assert {entry.ordinal for entry in seen(server, "client", "frame-in") if entry.text == "goodbye"} == {3}


@pytest.mark.parametrize("count", [1, DETAILED_CONNECTIONS + 1])
async def test_long_messages_keep_their_own_payload_beside_those_of_the_app(count: int, eventually: Callable[..., Awaitable[object]]) -> None:
    """Long payloads are kept once and known by their ordinal: what the outlet wrote must not be taken for what the app sent.

    The first is flushed by the app's own, and so recorded on its connection; the last, when it goes to many, is only counted there.
    """
    listeners = Listeners()
    texts = [letter * 6_000 for letter in "abc"]

    async def work() -> None:
        await listeners.tell_all(texts[0])
        for websocket in listeners.websockets:
            await websocket.send_text(texts[1])
        await listeners.tell_all(texts[2])

    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server, "/ws")) for _ in range(count)]
        await eventually(lambda: len(listeners.outlets) == count)
        await server.run(work())
        for client in clients:
            assert [await client.receive_text() for _ in texts] == texts
            places = (("server", "frame-out"), ("server", "asgi-send"), ("client", "frame-in"))
            told = {place: {entry.ordinal: entry.payload for entry in seen(server, *place, client.connection.number) if entry.ordinal} for place in places}
            assert told["client", "frame-in"] == dict(enumerate(texts, 1))
            assert told["server", "asgi-send"] == {2: texts[1]}
            assert told["server", "frame-out"] == dict(enumerate(texts if count == 1 else texts[:2], 1))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_a_prepared_frame_is_what_other_libraries_read(size: int) -> None:
    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        outlet.write(prepared("ä" * (size // 2)))
        outlet.write(prepared(bytes(size)))
        await websocket.receive()

    async with serve(app_of(script), port=0, compression=True) as server, websockets_connect(server.ws_url + "/ws", proxy=None) as client:
        assert await client.recv() == "ä" * (size // 2)
        assert await client.recv() == bytes(size)
