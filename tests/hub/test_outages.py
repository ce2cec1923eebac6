"""What brokers do when their service is killed, frozen, cut off or written to by others: everything in order, or a Gap; and nothing hangs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from kit.hub import Gap, Hub, HubError, PublishFailed, link
from tests.hub.conftest import kept_running
from tests.hub.services import Postgres, Redis, Service
from tests.hub.taking import numbers_of, publish_until_taken, take_until

pytestmark = pytest.mark.broker
Eventually = Callable[..., Any]


SERVICES: dict[str, Callable[[], Service]] = {"redis": Redis, "postgres": Postgres}


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A server that tests may hurt, as long as it runs again when they end."""
    yield from kept_running(SERVICES[request.param])


@pytest.fixture
def timeout_seconds() -> float:
    """Longer than a service takes to start on a busy machine, if a test does not say otherwise."""
    return 60.0


@pytest.fixture
async def hub(service: Service, timeout_seconds: float) -> AsyncIterator[Hub]:
    async with Hub(service.url, timeout_seconds=timeout_seconds) as opened:
        yield opened


@pytest.fixture
async def elsewhere(service: Service, timeout_seconds: float) -> AsyncIterator[Hub]:
    async with Hub(service.url, timeout_seconds=timeout_seconds) as opened:
        yield opened


async def publish_numbers(hub: Hub, room: str, count: int) -> set[int]:
    """Publish every number once, ten at a time; those that the broker took."""
    taken: set[int] = set()
    for first in range(0, count, 10):
        numbers = range(first, first + 10)
        results = await asyncio.gather(*(hub.publish(room, number) for number in numbers), return_exceptions=True)
        taken |= {number for number, result in zip(numbers, results, strict=True) if not isinstance(result, PublishFailed)}
        await asyncio.sleep(0.005)
    return taken


def in_order(numbers: list[int]) -> bool:
    return all(before < after for before, after in itertools.pairwise(numbers))


async def test_killed_and_back_after_a_second_everything_that_was_taken_arrives_in_order(hub: Hub, elsewhere: Hub, service: Service, room: str) -> None:
    async with hub.subscribe(room) as subscriber:
        publishing = asyncio.create_task(publish_numbers(elsewhere, room, 1000))
        await subscriber.get(timeout=5.0)
        await service.killed_for(1.0)
        taken = await publishing
        await publish_until_taken(elsewhere, room, "the end")
        items = await take_until(subscriber, "the end")
    numbers = numbers_of(items)
    assert len(taken) >= 980, "one batch of each hub was on its way"
    assert in_order(numbers)
    assert taken - {0} <= set(numbers)
    assert not [item for item in items if isinstance(item, Gap)]
    assert (hub.state, hub.statistics().reconnects) == ("connected", 1)


async def test_the_state_says_what_happens(hub: Hub, service: Service, room: str, eventually: Eventually) -> None:
    async with hub.subscribe(room):
        service.kill()
        await eventually(lambda: hub.state == "reconnecting")
        await eventually(lambda: hub.statistics().detail)
        await service.start()
        await eventually(lambda: hub.state == "connected")


@pytest.mark.parametrize("timeout_seconds", [5.0])
async def test_a_frozen_server_is_found_and_nothing_is_lost_and_hubs_can_be_closed(
    hub: Hub, elsewhere: Hub, service: Service, room: str, eventually: Eventually
) -> None:
    async with hub.subscribe(room) as subscriber:
        await elsewhere.publish(room, 1)
        left = await Hub(service.url).__aenter__()
        with service.frozen():
            await left.close()
            assert hub.state == "connected", "closing does not wait until the silence is noticed"
            publishing = asyncio.create_task(elsewhere.publish(room, 2))
            await eventually(lambda: "frozen" in hub.statistics().detail)
            await eventually(lambda: hub.state == elsewhere.state == "reconnecting")
            with pytest.raises(PublishFailed, match=r"did not take the message within 5 s; it is"):
                await publishing
        await eventually(lambda: hub.state == elsewhere.state == "connected")
        await publish_until_taken(elsewhere, room, 3)
        items = await take_until(subscriber, 3)
    assert [number for number in numbers_of(items) if number != 2] == [1, 3], "2 was on its way: nobody knows"
    assert not [item for item in items if isinstance(item, Gap)]


async def test_what_was_published_while_a_hub_was_cut_off_is_brought_when_it_is_back(hub: Hub, elsewhere: Hub, service: Service, room: str) -> None:
    async with hub.subscribe(room) as subscriber:
        publishing = asyncio.create_task(publish_numbers(elsewhere, room, 1000))
        items = []
        for _ in range(5):
            items.append(await subscriber.get(timeout=5.0))
            await service.drop_connections()
        taken = await publishing
        await publish_until_taken(elsewhere, room, "the end")
        items += await take_until(subscriber, "the end")
    numbers = numbers_of(items)
    assert in_order(numbers)
    assert taken <= set(numbers)
    assert not [item for item in items if isinstance(item, Gap)]


async def test_a_room_that_the_service_has_lost_is_a_gap_and_goes_on(hub: Hub, elsewhere: Hub, service: Service, room: str) -> None:
    async with hub.subscribe(room) as subscriber:
        before = await elsewhere.publish(room, 1)
        assert (await subscriber.get(timeout=5.0)).data == 1
        if isinstance(service, Redis):
            await service.run("FLUSHALL")
        else:
            await service.run("TRUNCATE kit_hub_rooms, kit_hub_messages")
        after = await elsewhere.publish(room, 2)
        gap, message = await take_until(subscriber, 2)
    assert isinstance(gap, Gap)
    assert "has lost the room" in gap.reason
    assert message.position == after
    assert before.epoch != after.epoch


async def test_what_others_write_into_a_room_is_counted_and_skipped(hub: Hub, elsewhere: Hub, service: Service, room: str, eventually: Eventually) -> None:
    async with hub.subscribe(room) as subscriber:
        await elsewhere.publish(room, 1)
        if isinstance(service, Redis):
            await service.run("XADD", f"kit:stream:{room}", "*", "foreign", "entry")
            await service.run("XADD", f"kit:stream:{room}", "*", "p", b"t\xff")
        else:
            write = "UPDATE kit_hub_rooms SET last = last + 1 WHERE room = %s"
            await service.run(write, room)
            await service.run("INSERT INTO kit_hub_messages SELECT room, last, %s FROM kit_hub_rooms WHERE room = %s", b"t\xff", room)
            await service.run("SELECT pg_notify('kit_hub', 'nonsense')")
        await elsewhere.publish(room, 2)
        assert numbers_of(await take_until(subscriber, 2)) == [1, 2]
        await eventually(lambda: hub.statistics().poison == 2)


async def test_nobody_listening_is_said_at_once(service: Service) -> None:
    scheme = service.url.partition("://")[0]
    with pytest.raises(HubError, match=r"at \w+://me:…@127\.0\.0\.1:1/0 cannot be used: .*(failed|refused)") as caught:
        await Hub(f"{scheme}://me:secret@127.0.0.1:1/0").open()
    assert "secret" not in str(caught.value)


async def test_after_long_it_has_failed_and_says_so_at_once_but_goes_on_trying(
    hub: Hub, service: Service, room: str, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "FAILED_SECONDS", 0.2)
    service.kill()
    await eventually(lambda: hub.state == "failed")
    with pytest.raises(PublishFailed, match=r"nothing was published: .* is failed \("):
        await hub.publish(room, 1)
    with pytest.raises(HubError, match=r"is failed \("):
        await hub.subscribe(room).__aenter__()
    await service.start()
    await eventually(lambda: hub.state == "connected")
    assert hub.statistics().reconnects == 1
    await hub.publish(room, 2)


async def test_publishers_that_find_no_service_wait_for_it_and_their_messages_arrive_in_order(
    hub: Hub, service: Service, room: str, eventually: Eventually
) -> None:
    async with hub.subscribe(room) as subscriber:
        service.kill()
        await eventually(lambda: hub.state == "reconnecting")
        publishing = asyncio.gather(*(hub.publish(room, number) for number in range(100)))
        await service.start()
        positions = await publishing
        assert [(await subscriber.get(timeout=5.0)).data for _ in range(100)] == list(range(100))
    assert [position.offset for position in positions] == list(range(1, 101))


async def test_a_room_s_memory_in_the_service_is_bounded_by_messages_and_by_bytes(service: Service, room: str) -> None:
    async with Hub(service.url, history=10) as hub:
        for _ in range(60):
            await asyncio.gather(*(hub.publish(room, "x") for _ in range(100)))
        for _ in range(24):
            await hub.publish(f"{room} of bytes", bytes(1 << 20))
    assert await stored(service, room) <= 4096 + 300
    assert await stored(service, f"{room} of bytes") <= 17


async def stored(service: Service, room: str) -> int:
    """How many of the room's messages the service keeps."""
    if isinstance(service, Redis):
        return await service.run("XLEN", f"kit:stream:{room}")
    ((count,),) = await service.run("SELECT count(*) FROM kit_hub_messages WHERE room = %s", room)
    return count


async def test_who_falls_further_behind_than_the_service_keeps_gets_a_gap_that_says_what(hub: Hub, service: Service, room: str) -> None:
    async with hub.subscribe(room, queue=10_000) as subscriber:
        await hub.publish(room, 1)
        assert (await subscriber.get(timeout=5.0)).data == 1
        if isinstance(service, Redis):
            await service.run("HSET", f"kit:room:{room}", "offset", 9)
        else:
            await service.run("UPDATE kit_hub_rooms SET last = 9 WHERE room = %s", room)
        await hub.publish(room, "10")
        gap, message = await subscriber.get(timeout=5.0), await subscriber.get(timeout=5.0)
    assert gap == Gap(room, "messages 2 to 9 were gone before they could be read")
    assert (message.data, message.offset) == ("10", 10)


async def test_a_service_that_is_frozen_from_the_start_is_given_up_on(service: Service) -> None:
    with service.frozen(), pytest.raises(HubError, match=r"did not answer within 1 s|does not answer"):
        await Hub(service.url, timeout_seconds=1.0).open()
