"""A subscriber that does not keep up, under each policy: memory stays bounded, and nothing is lost in silence."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kit.hub import Gap, Hub, SubscriberDisconnected
from kit.hub.broker import BROKERS
from kit.loops import background

Eventually = Callable[..., Any]

MESSAGES = 100_000


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Its publishers wait for as long as a busy machine may take."""
    async with Hub(queue=50, block_seconds=60.0) as opened:
        yield opened


async def test_a_hundred_thousand_messages_to_subscribers_that_do_not_read_leave_memory_bounded_under_every_policy() -> None:
    async with (
        Hub(queue=1000, block_seconds=0.2) as hub,
        hub.subscribe("room") as disconnect,
        hub.subscribe("room", policy="drop_oldest") as drop_oldest,
        hub.subscribe("room", policy="block") as block,
    ):
        before = sys.getallocatedblocks()
        for _ in range(MESSAGES // 1000):
            for _ in range(1000):
                await hub.publish("room", "x" * 64)
            assert max(subscriber.waiting for subscriber in (disconnect, drop_oldest, block)) <= 1000
        assert sys.getallocatedblocks() - before < MESSAGES // 5
        assert (disconnect.waiting, drop_oldest.waiting, block.waiting) == (0, 1000, 0)
        statistics, (room,) = hub.statistics(), hub.statistics().rooms
        assert (room.received, room.waiting, room.dropped, statistics.disconnected) == (MESSAGES, 1000, MESSAGES - 1000, 2)
        assert 64_000 <= room.waiting_bytes < 70_000


async def test_bytes_are_bounded_as_messages_are_and_a_single_long_one_still_gets_through() -> None:
    async with Hub(queue_bytes=1000) as hub, hub.subscribe("room", policy="drop_oldest") as subscriber:
        await hub.publish("room", "x" * 5000)
        assert subscriber.waiting == 1
        for _ in range(10):
            await hub.publish("room", "x" * 300)
        assert hub.statistics().rooms[0].waiting_bytes <= 1000
        assert (subscriber.waiting, subscriber.dropped) == (3, 8)


async def test_disconnect_tells_whoever_iterates_why_and_how_to_go_on(hub: Hub) -> None:
    async with hub.subscribe("room") as subscriber, hub.subscribe("room") as other:
        await hub.publish("room", 0)
        assert (await subscriber.get()).data == 0
        for number in range(1, 52):
            await hub.publish("room", number)
            assert (await other.get()).data == number - 1
        with pytest.raises(SubscriberDisconnected, match=r"too slow: 50 messages \(\d+ B\) were waiting\. .*since=subscriber\.position") as caught:
            await subscriber.get()
        assert (caught.value.code, caught.value.reason[:8]) == (1013, "too slow")
        with pytest.raises(SubscriberDisconnected):
            async for _ in subscriber:
                pass
        async with hub.subscribe("room", since=subscriber.position, queue=100) as again:
            assert (again.recovered, again.missed) == (True, 51)


async def test_dropped_messages_leave_a_gap_in_their_place_that_counts_them(hub: Hub) -> None:
    async with hub.subscribe("room", policy="drop_oldest") as subscriber:
        for number in range(60):
            await hub.publish("room", number)
        assert await subscriber.get() == Gap("room", "too slow: the oldest made room for newer ones", 10)
        assert [(await subscriber.get()).data for _ in range(20)] == list(range(10, 30))
        for number in range(60, 90):
            await hub.publish("room", number)
        assert await subscriber.get() == Gap("room", "too slow: the oldest made room for newer ones", 10)
        assert [(await subscriber.get()).data for _ in range(50)] == list(range(40, 90))
        assert subscriber.dropped == 20


async def test_block_holds_the_publisher_until_there_is_room_and_loses_nothing(hub: Hub) -> None:
    async with hub.subscribe("room", policy="block") as subscriber, hub.subscribe("other", policy="block"):
        for number in range(50):
            await asyncio.wait_for(hub.publish("room", number), 10.0)
        waiting = asyncio.create_task(hub.publish("room", 50))
        await asyncio.sleep(0.05)
        await hub.publish("other", "not held up")
        assert not waiting.done()
        assert [(await subscriber.get()).data for _ in range(50)] == list(range(50))
        await asyncio.wait_for(waiting, 10.0)
        assert (await subscriber.get()).data == 50


async def test_many_publishers_blocked_at_once_keep_the_bound(hub: Hub) -> None:
    async with hub.subscribe("room", policy="block") as subscriber:
        publishing = asyncio.gather(*(hub.publish("room", number) for number in range(300)))
        seen = []
        while len(seen) < 300:
            seen.append((await subscriber.get(timeout=10.0)).data)
            assert subscriber.waiting <= 50
        await publishing
        assert sorted(seen) == list(range(300))


async def test_block_has_a_time_limit_after_which_publishers_go_on_without_it() -> None:
    async with Hub(queue=50, block_seconds=0.2) as hub, hub.subscribe("room", policy="block") as subscriber:
        for number in range(50):
            await hub.publish("room", number)
        began = time.monotonic()
        await hub.publish("room", 50)
        assert time.monotonic() - began >= 0.2
        for number in range(100):
            await hub.publish("room", number)
        with pytest.raises(SubscriberDisconnected, match=r"publishers waited 0\.2 s for it"):
            await subscriber.get()


async def test_cancelling_a_blocked_publisher_publishes_nothing_and_frees_the_others(hub: Hub) -> None:
    async with hub.subscribe("room", policy="block") as subscriber:
        for number in range(50):
            await hub.publish("room", number)
        blocked = asyncio.create_task(hub.publish("room", "cancelled"))
        await asyncio.sleep(0.01)
        blocked.cancel()
        await asyncio.gather(blocked, return_exceptions=True)
        assert blocked.cancelled()
        assert (await subscriber.get()).data == 0
        await hub.publish("room", "next")
        assert [(await subscriber.get()).data for _ in range(50)] == [*range(1, 50), "next"]


async def test_a_publisher_that_never_waits_does_not_starve_a_subscriber_that_reads() -> None:
    """On one loop, a cell's tight loop of publishes gives way by itself."""
    async with Hub(queue=100) as hub, hub.subscribe("room") as subscriber:

        async def read() -> int:
            return sum([1 async for _ in subscriber])

        reading = asyncio.create_task(read())
        for _ in range(2000):
            await hub.publish("room", "x")
        await hub.close()
        assert await reading == 2000


async def test_a_timed_out_or_cancelled_get_loses_nothing(hub: Hub) -> None:
    async with hub.subscribe("room") as subscriber:
        with pytest.raises(TimeoutError):
            await subscriber.get(timeout=0.01)
        getting = asyncio.create_task(subscriber.get())
        await asyncio.sleep(0)
        await hub.publish("room", "kept")
        getting.cancel()
        got = await asyncio.gather(getting, return_exceptions=True)
        if getting.cancelled():
            got = [await subscriber.get(timeout=10.0)]
        assert got[0].data == "kept"


async def test_publishers_of_one_loop_wait_for_a_blocking_subscriber_of_another(hub: Hub, eventually: Eventually) -> None:
    async def read_slowly() -> list[int]:
        async with hub.subscribe("room", policy="block", queue=5) as subscriber:
            seen = []
            while len(seen) < 100:
                seen.append((await subscriber.get(timeout=5.0)).data)
                await asyncio.sleep(0.001)
            return seen

    reading = asyncio.create_task(background().run(read_slowly()))
    await eventually(lambda: hub.statistics().rooms)
    for number in range(100):
        await hub.publish("room", number)
    assert await reading == list(range(100))


async def test_who_wants_only_the_newest_is_not_disconnected_while_it_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker takes its time, and more comes meanwhile than the queue holds."""
    monkeypatch.setitem(BROKERS, "distant", "tests.hub.distant_broker:DistantBroker")
    url = "distant://while entering"
    async with Hub(url) as hub, Hub(url) as elsewhere:

        async def publish() -> None:
            for number in itertools.count():
                await elsewhere.publish("room", number)

        publishing = asyncio.create_task(publish())
        try:
            position = await elsewhere.publish("room", "before")
            for _ in range(50):
                async with hub.subscribe("room", policy="drop_oldest", queue=1, since=position) as subscriber:
                    assert subscriber.disconnected is None
                    position = subscriber.position
        finally:
            publishing.cancel()
