"""Coming, going, opening and closing when they meet or are cancelled halfway: nobody is left in a room, no task and no lock stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from starlette.websockets import WebSocket, WebSocketState

from kit.hub import Hub, HubError
from kit.loops import LoopThread
from tests.hub.conftest import PLACES, Place

Eventually = Callable[..., Any]

SECONDS = 5.0
HERE = [name for name in PLACES if name not in ("redis", "postgres")]


@pytest.fixture
async def thread() -> AsyncIterator[LoopThread]:
    """A second loop."""
    started = LoopThread("another loop")
    yield started
    started.stop()
    await started.ended()


@contextlib.contextmanager
def blocked(thread: LoopThread) -> Iterator[None]:
    """Its loop turns no more; what is asked of it meanwhile waits."""
    begun, goes_on = threading.Event(), threading.Event()
    thread.call_soon(lambda: (begun.set(), goes_on.wait(SECONDS)))
    assert begun.wait(SECONDS)
    try:
        yield
    finally:
        goes_on.set()


def accepted() -> WebSocket:
    """A WebSocket that takes whatever is sent."""

    async def send(_: Any) -> None:
        await asyncio.sleep(0)

    websocket = WebSocket({"type": "websocket"}, receive=None, send=send)
    websocket.client_state = websocket.application_state = WebSocketState.CONNECTED
    return websocket


async def cancelled_after(turns: int, awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(awaitable)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return task


def tasks_of_hubs() -> list[str]:
    """What runs on this loop for hubs."""
    return [name for task in asyncio.all_tasks() if "kit/hub" in (name := repr(task.get_coro())) or "Broker" in name or "Attendance" in name]


ENTERING = {"subscribe": lambda hub: hub.subscribe("room"), "join": lambda hub: hub.join(accepted(), "room")}


@pytest.mark.parametrize("entering", ENTERING.values(), ids=ENTERING)
async def test_who_is_cancelled_while_entering_from_another_loop_is_in_no_room(thread: LoopThread, entering: Any, eventually: Eventually) -> None:
    hub = Hub()
    await thread.run(hub.open())
    for turns in range(12):
        with blocked(thread):
            task = asyncio.ensure_future(entering(hub).__aenter__())
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns < 6:  # while the hub's loop has not heard of it, or when it has
                task.cancel()
        await cancelled_after(turns - 6, task)
        if not task.cancelled():
            await task.result().__aexit__()
        await thread.run(asyncio.sleep(0))
        await eventually(lambda: hub.statistics().rooms == ())
    await hub.close()


@pytest.mark.parametrize("entering", ENTERING.values(), ids=ENTERING)
async def test_who_enters_from_another_loop_while_the_hub_is_closed_is_refused_or_ended(thread: LoopThread, entering: Any) -> None:
    for _ in range(20):
        hub = Hub()
        await thread.run(hub.open())
        with blocked(thread):
            closing = asyncio.ensure_future(hub.close())
            await asyncio.sleep(0)
            coming = entering(hub)
            entered = asyncio.ensure_future(coming.__aenter__())
            await asyncio.sleep(0)
        with pytest.raises(HubError, match="this hub is not open"):
            await asyncio.wait_for(entered, SECONDS)
        await closing
        assert hub.statistics().rooms == ()


@pytest.fixture(params=HERE)
def place_of_broker(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param](request)


async def test_a_cancelled_close_still_closes(place_of_broker: Place, eventually: Eventually) -> None:
    for turns in range(12):
        hub = Hub(place_of_broker.url)
        await hub.open()
        async with hub.subscribe("room", presence=True):
            await cancelled_after(turns, hub.close())
            await hub.close()
            assert (hub.state, hub._broker.state) == ("closed", "closed")
        await eventually(lambda: not tasks_of_hubs())
        async with hub:
            await hub.publish("room", "open again")


async def test_whoever_closes_comes_back_only_when_it_is_closed_and_may_open_it_again(place_of_broker: Place, eventually: Eventually) -> None:
    hub = Hub(place_of_broker.url)
    for _ in range(3):
        await hub.open()
        async with hub.subscribe("room", presence=True):
            first = asyncio.ensure_future(hub.close())
            await asyncio.sleep(0)
            await hub.open()
            await first
            assert (hub.state, hub._broker.state) == ("connected", "connected")
            async with hub.subscribe("room") as subscriber:
                await hub.publish("room", "new")
                assert (await subscriber.get(timeout=SECONDS)).data == "new"
        await hub.close()
    await eventually(lambda: not tasks_of_hubs())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio itself forgets what it accepts while a server is closed
async def test_opening_that_is_cancelled_leaves_nothing(place_of_broker: Place, eventually: Eventually) -> None:
    for turns in range(20):
        hub = Hub(place_of_broker.url)
        task = await cancelled_after(turns, hub.open())
        if not task.cancelled():
            await hub.close()
        assert hub.state == "closed"
        await eventually(lambda: not tasks_of_hubs())
        async with hub:
            await hub.publish("room", "after all")


async def test_who_comes_while_opening_fails_is_let_go_and_nothing_runs_on(eventually: Eventually) -> None:
    hub = Hub("redis://127.0.0.1:1", timeout_seconds=0.3)
    opening = asyncio.ensure_future(hub.open())
    await asyncio.sleep(0)
    joining = asyncio.ensure_future(hub.join(accepted(), "room").__aenter__())
    assert [type(result) for result in await asyncio.gather(opening, joining, return_exceptions=True)] == [HubError, HubError]
    await eventually(lambda: not tasks_of_hubs())


async def test_a_hub_that_is_closed_while_it_opens_does_not_wait_for_an_answer(eventually: Eventually) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub = Hub(f"redis://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=60.0)
        opening = asyncio.ensure_future(hub.open())
        await asyncio.sleep(0)
        await hub.close()
        with pytest.raises(HubError, match="the hub was closed"):
            await asyncio.wait_for(opening, SECONDS)
        assert hub.state == "closed"
        await eventually(lambda: not tasks_of_hubs())


async def test_a_member_that_leaves_while_the_hub_is_closing_wakes_nothing(place_of_broker: Place, eventually: Eventually) -> None:
    for turns in range(6):
        hub, other = Hub(place_of_broker.url), Hub(place_of_broker.url)
        async with hub, other:
            member = await hub.join(accepted(), "room").__aenter__()
            await other.present("room")
            closing = asyncio.ensure_future(hub.close())
            for _ in range(turns):
                await asyncio.sleep(0)
            await member.leave()
            await closing
        await eventually(lambda: not tasks_of_hubs())


async def test_a_local_broker_whose_loop_has_ended_lets_others_serve() -> None:
    url, thread = f"local://{secrets.token_hex(8)}", LoopThread("a loop that ends")
    hub = Hub(url)
    await thread.run(hub.open())
    thread.stop()
    await thread.ended()
    async with Hub(url) as other:
        await other.publish("room", "somebody serves again")


@pytest.mark.parametrize("entering", ENTERING.values(), ids=ENTERING)
async def test_who_comes_and_goes_without_ever_waiting_leaves_no_rooms_behind(entering: Any) -> None:
    """A memory answers at once: such a loop of comers would never let the hub's own tasks run."""
    async with Hub() as hub:
        for number in range(1000):
            coming = entering(hub)
            coming.room = f"room {number}"
            async with coming:
                assert len(hub.statistics().rooms) < 200


async def test_cancelling_a_handler_whose_member_is_being_closed_cancels_it() -> None:
    """And not only the closing: a handler in a timeout of its own would go on otherwise."""

    async def send(message: Any) -> None:
        await asyncio.sleep(SECONDS if message["type"] == "websocket.close" else 0)

    websocket = accepted()
    websocket._send = send

    async def handler(hub: Hub) -> None:
        async with hub.join(websocket, "room") as member:
            member.disconnect("too slow")

    async with Hub() as hub:
        task = asyncio.ensure_future(handler(hub))
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=SECONDS)
        assert task.cancelled()
        assert not any(room.members for room in hub.statistics().rooms)
