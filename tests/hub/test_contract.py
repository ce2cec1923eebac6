"""What every broker must do, seen through hubs: a new broker is added to PLACES in conftest.py and passes all of this."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from kit.hub import Gap, Hub, HubError, Message, Position, Subscriber
from tests.hub.conftest import Place

Eventually = Callable[..., Any]

SECONDS = 10.0


async def take(subscriber: Subscriber, count: int) -> list[Any]:
    """The data of the next ``count`` messages."""
    return [(await subscriber.get(timeout=SECONDS)).data for _ in range(count)]


async def publish_all(hub: Hub, room: str, messages: Any) -> list[Position]:
    return [await hub.publish(room, message) for message in messages]


# What arrives.


@pytest.mark.parametrize(
    "data",
    ["", "hello", "Ärger & 🎈\n", b"", b"\x00\xff", None, 7, 1.5, True, [], {"text": ["nested", {"deep": None}]}, "a\x00b"],
    ids=repr,
)
async def test_text_bytes_and_json_arrive_as_they_were_published(hub: Hub, elsewhere: Hub, room: str, data: Any) -> None:
    async with hub.subscribe(room) as subscriber:
        position = await elsewhere.publish(room, data)
        message = await subscriber.get(timeout=SECONDS)
    assert message == Message(room, data, *position)
    assert type(message.data) is type(data)


@pytest.mark.parametrize("data", ["x" * (1 << 20), bytes(1 << 20)], ids=["text", "bytes"])
async def test_a_message_of_exactly_the_limit_arrives_and_one_byte_more_is_refused(hub: Hub, elsewhere: Hub, room: str, data: Any) -> None:
    async with hub.subscribe(room) as subscriber:
        with pytest.raises(ValueError, match=r"at most 1\.0 MiB, but got"):
            await elsewhere.publish(room, data + data[:1])
        await elsewhere.publish(room, data)
        assert (await subscriber.get(timeout=SECONDS)).data == data


async def test_messages_come_in_order_each_once_in_one_epoch_with_growing_offsets(hub: Hub, elsewhere: Hub, room: str) -> None:
    async with hub.subscribe(room) as subscriber:
        positions = await publish_all(elsewhere, room, range(500))
        messages = [await subscriber.get(timeout=SECONDS) for _ in range(500)]
    assert [message.data for message in messages] == list(range(500))
    assert [message.position for message in messages] == positions
    assert len({position.epoch for position in positions}) == 1
    assert all(before.offset < after.offset for before, after in itertools.pairwise(positions))


ODD_NAMES = ["a", "A", "ä", " a", "a*", "[a]", "'; DROP TABLE messages; --", '"a"', "a:b", "🎈", "r" * 200, "r" * 199 + "s", "%s", "{a}", "\\a"]


async def test_rooms_with_any_allowed_name_are_kept_apart(hub: Hub, elsewhere: Hub, room: str) -> None:
    names = [name if len(name) > 100 else f"{room[-8:]}{name}" for name in ODD_NAMES]
    subscribers = [hub.subscribe(name) for name in names]
    for subscriber in subscribers:
        await subscriber.__aenter__()
    for name in names:
        await elsewhere.publish(name, f"to {name}")
    for name, subscriber in zip(names, subscribers, strict=True):
        message = await subscriber.get(timeout=SECONDS)
        assert (message.room, message.data) == (name, f"to {name}")
        assert subscriber.waiting == 0
        await subscriber.unsubscribe()


async def test_every_subscriber_of_a_room_gets_every_message(hub: Hub, elsewhere: Hub, room: str) -> None:
    async with hub.subscribe(room) as first, elsewhere.subscribe(room) as second, hub.subscribe(room) as third:
        await publish_all(elsewhere, room, range(20))
        assert [await take(each, 20) for each in (first, second, third)] == [list(range(20))] * 3


async def test_what_is_published_to_a_room_that_nobody_is_in_is_taken_all_the_same(elsewhere: Hub, room: str) -> None:
    first, second = await elsewhere.publish(room, "to nobody"), await elsewhere.publish(room, "again")
    assert first.epoch == second.epoch
    assert first.offset < second.offset


# Coming and going.


async def test_twenty_publishers_and_a_hundred_subscribers_find_a_new_room_at_once(hub: Hub, elsewhere: Hub, room: str) -> None:
    """And all subscribers see the same order, whoever published."""
    subscribers = [hub.subscribe(room) for _ in range(100)]
    await asyncio.gather(*(subscriber.__aenter__() for subscriber in subscribers))
    await asyncio.gather(*(publish_all(elsewhere, room, [f"{who}.{count}" for count in range(5)]) for who in range(20)))
    seen = [await take(subscriber, 100) for subscriber in subscribers]
    assert all(each == seen[0] for each in seen)
    assert sorted(seen[0]) == sorted(f"{who}.{count}" for who in range(20) for count in range(5))
    for who in range(20):
        assert [data for data in seen[0] if data.startswith(f"{who}.")] == [f"{who}.{count}" for count in range(5)]
    await asyncio.gather(*(subscriber.unsubscribe() for subscriber in subscribers))


async def test_a_room_that_was_left_by_all_can_be_joined_again_and_delivers(hub: Hub, elsewhere: Hub, room: str) -> None:
    """What was published shortly before and is still on its way may come too, once."""
    for turn in range(10):
        async with hub.subscribe(room) as subscriber:
            await elsewhere.publish(room, turn)
            seen = await take(subscriber, 1)
            assert (seen if seen == [turn] else await take(subscriber, 1)) == [turn]
            assert seen[0] in (turn, f"missed {turn - 1}")
        await elsewhere.publish(room, f"missed {turn}")


async def test_one_leaves_while_another_comes_and_nobody_loses_the_room(hub: Hub, elsewhere: Hub, room: str) -> None:
    async def visit(number: int) -> None:
        for _ in range(5):
            async with hub.subscribe(room) as subscriber:
                await elsewhere.publish(room, number)
                while (await subscriber.get(timeout=SECONDS)).data != number:
                    pass

    await asyncio.gather(*(visit(number) for number in range(10)))


async def test_cancelling_a_subscriber_while_it_enters_leaves_the_room_usable(hub: Hub, elsewhere: Hub, room: str, eventually: Eventually) -> None:
    for turns in range(10):
        entering = asyncio.create_task(hub.subscribe(room).__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)
        if not entering.cancelled():
            await entering.result().unsubscribe()
        async with hub.subscribe(room) as subscriber:
            await elsewhere.publish(room, turns)
            assert await take(subscriber, 1) == [turns]
    await eventually(lambda: hub.statistics().rooms == ())


async def test_what_is_published_while_a_room_is_being_joined_is_before_its_place_or_comes(hub: Hub, elsewhere: Hub, room: str) -> None:
    for turn in range(50):
        subscriber = hub.subscribe(f"{room} {turn}")
        position, _ = await asyncio.gather(elsewhere.publish(subscriber.room, turn), subscriber.__aenter__())
        if subscriber.position.offset < position.offset:
            assert await take(subscriber, 1) == [turn]
        await subscriber.unsubscribe()


async def test_an_idle_room_is_let_go(hub: Hub, room: str, eventually: Eventually) -> None:
    async with hub.subscribe(room):
        assert [each.name for each in hub.statistics().rooms] == [room]
    await eventually(lambda: hub.statistics().rooms == ())


# History.


async def test_what_was_missed_is_caught_up_first_and_then_the_stream_goes_on(hub: Hub, elsewhere: Hub, room: str) -> None:
    positions = await publish_all(elsewhere, room, range(10))
    async with hub.subscribe(room, since=positions[3]) as subscriber:
        assert (subscriber.recovered, subscriber.missed) == (True, 6)
        await elsewhere.publish(room, 10)
        assert await take(subscriber, 7) == [4, 5, 6, 7, 8, 9, 10]
        assert subscriber.position.offset > positions[-1].offset


async def test_nothing_missed_is_recovered_too(hub: Hub, elsewhere: Hub, room: str) -> None:
    (*_, last) = await publish_all(elsewhere, room, range(3))
    async with hub.subscribe(room, since=last) as subscriber:
        assert (subscriber.recovered, subscriber.missed) == (True, 0)
        await elsewhere.publish(room, "next")
        assert await take(subscriber, 1) == ["next"]


async def test_a_position_taken_from_an_empty_room_recovers_what_came_after_it(hub: Hub, elsewhere: Hub, room: str) -> None:
    async with hub.subscribe(room) as subscriber:
        before = subscriber.position
    await publish_all(elsewhere, room, range(3))
    async with hub.subscribe(room, since=before) as subscriber:
        assert (subscriber.recovered, subscriber.missed) == (True, 3)
        assert await take(subscriber, 3) == [0, 1, 2]


async def test_catching_up_while_others_publish_neither_loses_nor_doubles(hub: Hub, elsewhere: Hub, room: str) -> None:
    """Subscribers that leave and come back, again and again, and together see every message once."""
    start = await elsewhere.publish(room, -1)
    publishing = asyncio.create_task(publish_all(elsewhere, room, range(200)))
    seen: list[int] = []
    since = start
    while len(seen) < 200:
        async with hub.subscribe(room, since=since) as subscriber:
            assert subscriber.recovered
            seen += await take(subscriber, min(7, 200 - len(seen)))
            since = subscriber.position
    await publishing
    assert seen == list(range(200))


async def test_recovery_is_all_or_nothing_and_says_so_in_the_stream(place_of_broker: Place, room: str) -> None:
    async with Hub(place_of_broker.url, history=5) as hub:
        positions = await publish_all(hub, room, range(10))
        async with hub.subscribe(room, since=positions[4]) as subscriber:
            assert (subscriber.recovered, await take(subscriber, 5)) == (True, [5, 6, 7, 8, 9])
        async with hub.subscribe(room, since=positions[3]) as subscriber:
            assert (subscriber.recovered, subscriber.missed) == (False, None)
            assert await subscriber.get(timeout=SECONDS) == Gap(room, "more was missed than is kept: begin with the whole state")
            await hub.publish(room, "next")
            assert await take(subscriber, 1) == ["next"]


@pytest.mark.parametrize("since", [Position("another epoch", 3), ["another epoch", 0]], ids=["a position", "a pair from JSON"])
async def test_a_position_of_another_epoch_recovers_nothing(hub: Hub, elsewhere: Hub, room: str, since: Any) -> None:
    await publish_all(elsewhere, room, range(5))
    async with hub.subscribe(room, since=since) as subscriber:
        assert not subscriber.recovered
        assert isinstance(await subscriber.get(timeout=SECONDS), Gap)


async def test_a_position_that_has_not_been_reached_recovers_nothing(hub: Hub, elsewhere: Hub, room: str) -> None:
    epoch, offset = await elsewhere.publish(room, "only one")
    async with hub.subscribe(room, since=Position(epoch, offset + 1000)) as subscriber:
        assert not subscriber.recovered


# The hub's life.


async def test_closing_ends_every_stream_after_what_waits_and_is_safe_twice(place_of_broker: Place, room: str, eventually: Eventually) -> None:
    hub = Hub(place_of_broker.url)
    await hub.close()
    async with hub, hub.subscribe(room) as subscriber:
        await hub.publish(room, "last words")
        await eventually(lambda: subscriber.waiting)
        await hub.close()
        await hub.close()
        assert [message.data async for message in subscriber] == ["last words"]
        with pytest.raises(HubError, match="has ended: it was left, or the hub was closed"):
            await subscriber.get()
        assert hub.state == "closed"


async def test_a_closed_hub_says_how_to_open_it_and_can_be_opened_again(place_of_broker: Place, room: str) -> None:
    hub = Hub(place_of_broker.url)
    for _ in range(2):
        with pytest.raises(HubError, match=r"this hub is not open\. Write `async with Hub\(url\) as hub"):
            await hub.publish(room, "too early")
        with pytest.raises(HubError, match="this hub is not open"):
            await hub.subscribe(room).__aenter__()
        async with hub, hub.subscribe(room) as subscriber:
            assert hub.state == "connected"
            with pytest.raises(HubError, match="open already"):
                await hub.open()
            await hub.publish(room, "now")
            assert await take(subscriber, 1) == ["now"]


async def test_the_statistics_count_what_was_published_and_what_came(hub: Hub, elsewhere: Hub, room: str, eventually: Eventually) -> None:
    async with hub.subscribe(room) as subscriber:
        (*_, last) = await publish_all(elsewhere, room, ["a", "bc", b"d"])
        await take(subscriber, 2)
        await eventually(lambda: subscriber.waiting == 1)
        statistics, (here,) = hub.statistics(), hub.statistics().rooms
        assert (elsewhere.statistics().published, statistics.received, statistics.state) == (3, 3, "connected")
        assert (here.name, here.position, here.received, here.subscribers, here.members, here.waiting) == (room, last, 3, 1, 0, 1)
