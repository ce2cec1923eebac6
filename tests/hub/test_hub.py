"""The hub from a cell's point of view: calls from any loop, mistakes and their words, limits, statistics, a broker's bad news."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from kit import connect, serve
from kit.errors import LoopStopped
from kit.hub import Gap, Hub, HubError, PublishFailed
from kit.hub.broker import without_password
from kit.hub.rooms import Rooms
from kit.loops import LoopThread, background, panels

Eventually = Callable[..., Any]


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub() as opened:
        yield opened


# Any loop.


async def test_publish_subscribe_and_statistics_work_from_any_loop(hub: Hub, eventually: Eventually) -> None:
    """The hub lives here, one subscriber on a second loop, a publisher on a third."""

    async def listen() -> list[Any]:
        async with hub.subscribe("room") as subscriber:
            return [(await subscriber.get(timeout=5.0)).data for _ in range(100)]

    async def speak() -> int:
        for number in range(100):
            await hub.publish("room", number)
        return hub.statistics().published

    async with hub.subscribe("room") as here:
        listening = asyncio.create_task(background().run(listen()))
        await eventually(lambda: hub.statistics().rooms[0].subscribers == 2)
        assert await panels().run(speak()) == 100
        assert await listening == [(await here.get()).data for _ in range(100)] == list(range(100))
    await eventually(lambda: hub.statistics().rooms == ())


async def test_mistakes_come_back_to_the_loop_that_made_them(hub: Hub) -> None:
    async def publish_badly() -> None:
        with pytest.raises(ValueError, match="a room's name has 1 to 200 characters"):
            await hub.publish("", "x")
        with pytest.raises(TypeError, match="publish expects str, bytes, or what JSON can say"):
            await hub.publish("room", object())

    await background().run(publish_badly())


async def test_a_cell_publishes_to_a_hub_that_lives_in_an_app_and_learns_when_it_is_gone() -> None:
    hub = Hub()
    app = FastAPI(lifespan=lifespan_of(hub))

    @app.websocket("/ws")
    async def join(websocket: WebSocket) -> None:
        await websocket.accept()
        async with hub.join(websocket, "room"):
            await websocket.send_text("ready")
            await websocket.receive()

    async with serve(app, port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text(timeout=5.0) == "ready"
        await hub.publish("room", "from a cell")
        assert await client.receive_text(timeout=5.0) == "from a cell"
    with pytest.raises(HubError, match="this hub is not open"):
        await hub.publish("room", "too late")
    async with hub:
        await hub.publish("room", "open again, on another loop")


async def test_a_hub_whose_loop_has_ended_says_so_and_can_be_left() -> None:
    thread = LoopThread("a loop that ends")
    hub = Hub()
    await thread.run(hub.open())
    subscriber = hub.subscribe("room")
    await subscriber.__aenter__()
    thread.stop()
    await thread.ended()
    with pytest.raises(LoopStopped, match="has stopped"):
        await hub.publish("room", "x")
    await subscriber.unsubscribe()
    await hub.close()
    async with hub:
        assert hub.state == "connected"


def lifespan_of(hub: Hub) -> Any:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with hub:
            yield

    return lifespan


# Mistakes, each in words.


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", r"begins with one of memory://, .*, but got “”\. Without a service: Hub\(\"memory://\"\)"),
        ("redis", "but got “redis”"),
        ("http://localhost", "but got “http://localhost”"),
        ("memory://localhost", 'this broker\'s URL is "memory://" and nothing more, but got “memory://localhost”'),
        ("ftp://me:secret@host/x", "but got “ftp://me:…@host/x”"),
    ],
)
def test_a_wrong_url_is_refused_before_anything_is_opened(url: str, words: str) -> None:
    with pytest.raises(HubError, match=words) as caught:
        Hub(url)
    assert "secret" not in str(caught.value)


def test_what_is_no_url_at_all_is_refused() -> None:
    with pytest.raises(TypeError, match="Hub expects a URL such as"):
        Hub(None)


@pytest.mark.parametrize("limit", ["max_message_bytes", "queue", "queue_bytes", "block_seconds", "stuck_seconds", "timeout_seconds", "history_bytes"])
def test_a_limit_must_be_positive(limit: str) -> None:
    with pytest.raises(ValueError, match=f"{limit}= expects a number above 0, but got 0"):
        Hub(**{limit: 0})


BAD_ROOMS = [
    ("", ValueError, "1 to 200 characters, but got none"),
    ("r" * 201, ValueError, "but got 201 characters"),
    ("a\nb", ValueError, r"no control characters, but got U\+000A"),
    ("a\x00", ValueError, r"U\+0000"),
    ("a\x85", ValueError, r"U\+0085"),
    ("\ud800", ValueError, r"U\+D800"),
    (b"room", TypeError, "is a str, but got bytes"),
    (7, TypeError, "is a str, but got int"),
]


@pytest.mark.parametrize(("room", "error", "words"), BAD_ROOMS, ids=lambda value: repr(value)[:20])
async def test_a_bad_room_name_is_refused_everywhere(hub: Hub, room: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        await hub.publish(room, "x")
    with pytest.raises(error, match=words):
        hub.subscribe(room)
    with pytest.raises(error, match=words):
        await hub.present(room)
    assert hub.statistics().published == 0


@pytest.mark.parametrize(
    ("message", "error", "words"),
    [
        (object(), TypeError, "publish expects str, bytes, or what JSON can say, but got object"),
        ({1, 2}, TypeError, "but got set"),
        (float("nan"), ValueError, "expects what JSON can say"),
        ("\ud800", ValueError, "half of a surrogate pair"),
        (["\ud800"], ValueError, "half of a surrogate pair"),
        ("x" * 1001, ValueError, r"at most 1000 B, but got 1001 B\. .*max_message_bytes"),
        ("ü" * 501, ValueError, "but got 1002 B"),
        (b"x" * 1001, ValueError, "but got 1001 B"),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_a_message_that_cannot_be_sent_is_refused_before_anything_is_sent(message: Any, error: type[Exception], words: str) -> None:
    async with Hub(max_message_bytes=1000) as hub:
        with pytest.raises(error, match=words):
            await hub.publish("room", message)
        assert hub.statistics().published == 0


async def test_other_arguments_are_checked_at_once(hub: Hub) -> None:
    with pytest.raises(ValueError, match="policy= is one of 'disconnect', 'drop_oldest', 'block', but got “'drop'”"):
        hub.subscribe("room", policy="drop")
    with pytest.raises(ValueError, match="queue= expects a number above 0"):
        hub.subscribe("room", queue=0)
    with pytest.raises(TypeError, match="since= expects a Position"):
        hub.subscribe("room", since=7)
    with pytest.raises(TypeError, match=r"hub\.join expects the handler's WebSocket, but got str"):
        hub.join("websocket", "room")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"presence": True}, "presence=True needs envelope=True"),
        ({"name": "a\nb"}, r"a member's name has no control characters, but got U\+000A"),
        ({"metadata": "green"}, "metadata= expects a dict"),
        ({"metadata": {"a": object()}}, "metadata= expects what JSON can say, but"),
        ({"metadata": {"a": "x" * 5000}}, "metadata= has at most 4.0 KiB as JSON"),
    ],
)
def test_what_others_would_see_of_a_member_is_checked_at_once(arguments: dict[str, Any], words: str) -> None:
    websocket = WebSocket({"type": "websocket"}, None, None)
    with pytest.raises((ValueError, TypeError), match=words):
        Hub().join(websocket, "room", **arguments)


async def test_forgetting_to_enter_a_subscriber_is_said(hub: Hub) -> None:
    subscriber = hub.subscribe("room")
    with pytest.raises(HubError, match=r"Write: async with hub\.subscribe\('room'\) as subscriber"):
        async for _ in subscriber:
            pass
    async with subscriber:
        with pytest.raises(HubError, match="entered before"):
            await subscriber.__aenter__()


# A broker's news.


async def test_poison_is_counted_and_skipped(hub: Hub) -> None:
    rooms: Rooms = hub._rooms
    async with hub.subscribe("room") as subscriber:
        for payload in (b"", b"xforeign", b"t\xff", b"j{", b"jNaN", b"j" + b"[" * 100_000):
            rooms.message("room", "epoch", 1, payload)
        await hub.publish("room", "good")
        assert (await subscriber.get()).data == "good"
    assert hub.statistics().poison == 6


async def test_what_a_broker_brings_twice_or_from_before_the_joining_is_delivered_once_or_not_at_all(hub: Hub) -> None:
    before = await hub.publish("room", "before")
    rooms: Rooms = hub._rooms
    async with hub.subscribe("room") as subscriber:
        rooms.message("room", *before, b"tbefore")
        first = await hub.publish("room", "first")
        rooms.message("room", *first, b"tfirst")
        rooms.message("room", "another epoch", 1, b"tof another epoch")
        assert [(await subscriber.get(timeout=10.0)).data for _ in range(2)] == ["first", "of another epoch"]
        assert (subscriber.waiting, hub.statistics().received) == (0, 2)


async def test_a_gap_stands_among_the_messages_where_the_broker_lost_some(hub: Hub) -> None:
    rooms: Rooms = hub._rooms
    async with hub.subscribe("room") as subscriber, hub.subscribe("other") as other:
        await hub.publish("room", 1)
        rooms.gap("room", "the stream was cut")
        await hub.publish("room", 2)
        rooms.gap(None, "everything is gone")
        seen = [await subscriber.get() for _ in range(4)]
        assert [seen[0].data, seen[1], seen[2].data, seen[3]] == [1, Gap("room", "the stream was cut"), 2, Gap("room", "everything is gone")]
        assert await other.get() == Gap("other", "everything is gone")
    assert hub.statistics().gaps == 2


async def test_the_broker_s_state_is_the_hub_s_and_reconnects_are_counted(hub: Hub) -> None:
    hub._rooms.state("reconnecting", "connection refused")
    assert (hub.state, hub.statistics().state, hub.statistics().detail) == ("reconnecting", "reconnecting", "connection refused")
    hub._rooms.state("connected", "")
    assert (hub.state, hub.statistics().reconnects) == ("connected", 1)


async def test_a_message_that_the_broker_does_not_take_is_counted(hub: Hub) -> None:
    await hub._broker.close()
    with pytest.raises(PublishFailed) as caught:
        await hub.publish("room", "x")
    assert (caught.value.room, hub.statistics().failed, hub.statistics().published) == ("room", 1, 0)


async def test_presence_of_subscribers_and_strangers_is_empty(hub: Hub) -> None:
    async with hub.subscribe("room"):
        assert await hub.present("room") == await hub.present("never seen") == []


async def test_the_password_is_shown_nowhere() -> None:
    assert without_password("redis://me:secret@host:6379/0") == "redis://me:…@host:6379/0"
    assert without_password("redis://:secret@host") == "redis://:…@host"
    assert without_password("memory://") == "memory://"
    assert without_password("redis://host/0?client_name=me&password=secret#x") == "redis://host/0?client_name=me&password=…#x"


REVEALING = [
    "postgresql://me:secret@[host/x",
    "postgresql://me:100%secret@host/x",
    "postgresql://me:not@secret@host/x",
    "postgresql://me:not/secret@host/x",
    "postgresql://me:not?secret@host/x",
    "postgresql://host/x?user=me&password=secret",
    "postgresql://host/x?sslpassword=secret&password=100%secret",
    "redis://:not/secret@host",
    "redis://:secret#not@host",
    "redis://:secret?not@host",
    "redis://host?ssl_password=secret&Password=secret",
    "redis://me:secret@host?protocol=3",
    "ftp://me:not/secret@host",
    "redis:/me:secret@host",
    "me:secret@host",
]


@pytest.mark.parametrize("url", REVEALING)
async def test_a_password_is_shown_nowhere_however_it_is_written(url: str) -> None:
    """Neither by the hub nor in the words of the library that takes the URL apart."""
    try:
        shown = f"{(hub := Hub(url, timeout_seconds=0.5))!r} {hub.statistics()}"
    except HubError as error:
        shown = str(error)
    assert "secret" not in shown
