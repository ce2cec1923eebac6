"""What brokers do when their service is killed, frozen, cut off or written to by others: everything in order, or a Gap; and nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import pytest

from kit.hub import Gap, Hub, HubError, Message, PublishFailed, Subscriber, link
from kit.services import PrivateRedis
from tests.hub.conftest import running, served
from tests.hub.services import ForgetfulRedis, Postgres, Redis, Service

pytestmark = pytest.mark.broker
Eventually = Callable[..., Any]


class SlowlyReadingRedis(Redis):
    """One that takes its time to read its file when it starts, and answers questions meanwhile."""

    settings: ClassVar = PrivateRedis.settings | {"key-load-delay": "100"}


SERVICES: dict[str, Callable[[], Service]] = {"redis": Redis, "postgres": Postgres}


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A server that tests may hurt, as long as it runs again when they end."""
    yield from served(SERVICES[request.param])


@pytest.fixture
async def hub(service: Service) -> AsyncIterator[Hub]:
    async with Hub(service.url) as opened:
        yield opened


@pytest.fixture
async def elsewhere(service: Service) -> AsyncIterator[Hub]:
    async with Hub(service.url) as opened:
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


async def publish_until_taken(hub: Hub, room: str, message: Any) -> None:
    async with asyncio.timeout(20.0):
        while True:
            try:
                await hub.publish(room, message)
                return
            except PublishFailed:
                await asyncio.sleep(0.05)


async def take_until(subscriber: Subscriber, last: Any) -> list[Message | Gap]:
    """Everything up to the message ``last``."""
    items = [await subscriber.get(timeout=20.0)]
    while not (isinstance(items[-1], Message) and items[-1].data == last):
        items.append(await subscriber.get(timeout=20.0))
    return items


def numbers_of(items: list[Message | Gap]) -> list[int]:
    return [item.data for item in items if isinstance(item, Message) and isinstance(item.data, int)]


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
        await eventually(lambda: hub.state == "connected", within_seconds=10.0)


async def test_a_frozen_server_is_found_within_ten_seconds_and_nothing_is_lost_and_hubs_can_be_closed(
    hub: Hub, elsewhere: Hub, service: Service, room: str, eventually: Eventually
) -> None:
    async with hub.subscribe(room) as subscriber:
        await elsewhere.publish(room, 1)
        left = await Hub(service.url).__aenter__()
        with service.frozen():
            async with asyncio.timeout(2.0):
                await left.close()
            publishing = asyncio.create_task(elsewhere.publish(room, 2))
            await eventually(lambda: hub.state == elsewhere.state == "reconnecting", within_seconds=10.0)
            assert "frozen" in hub.statistics().detail
            with pytest.raises(PublishFailed, match=r"did not take the message within 5 s; it is"):
                await publishing
        await eventually(lambda: hub.state == elsewhere.state == "connected", within_seconds=15.0)
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


async def test_what_the_service_refuses_is_said_in_its_words(redis_server: Redis, postgres_server: Postgres) -> None:
    with pytest.raises(HubError, match=r"cannot be used: .*invalid username-password pair.* Check the address, the password") as caught:
        await Hub(redis_server.url.replace("redis://", "redis://:secret@")).open()
    assert "secret" not in str(caught.value)
    with pytest.raises(HubError, match=r'cannot be used: .*database "nowhere" does not exist'):
        await Hub(postgres_server.url.replace("/postgres", "/nowhere")).open()


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
    await eventually(lambda: hub.state == "connected", within_seconds=10.0)
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


class LateRedis(Redis):
    """One that writes when it has time, as Redis does unless told: what it has taken last may be gone."""

    settings: ClassVar = PrivateRedis.settings | {"appendfsync": "everysec"}


@pytest.mark.parametrize("kind", [ForgetfulRedis, LateRedis])
async def test_a_restart_that_may_have_lost_something_is_a_gap(kind: type[Redis], room: str) -> None:
    async with running(kind) as service, Hub(service.url) as hub, hub.subscribe(room) as subscriber:
        await hub.publish(room, 1)
        before = await take_until(subscriber, 1)
        await service.killed_for(0.0)
        await publish_until_taken(hub, room, 2)
        items = before + await take_until(subscriber, 2)
        assert [type(item) for item in items] == [Message, Gap, Message]


async def test_a_redis_that_still_reads_its_file_is_not_taken_for_one_that_forgets(room: str) -> None:
    """While it reads, it says of itself that it keeps no such file."""
    async with running(SlowlyReadingRedis) as service, Hub(service.url) as hub:
        for first in range(0, 1500, 100):
            await asyncio.gather(*(hub.publish(room, number) for number in range(first, first + 100)))
        async with hub.subscribe(room) as subscriber:
            for last in ("once", "twice"):
                await service.killed_for(0.0)
                await publish_until_taken(hub, room, last)
                assert not [item for item in await take_until(subscriber, last) if isinstance(item, Gap)]


async def test_an_entry_from_the_far_future_ends_the_stream_s_epoch_and_not_the_room(redis_server: Redis, room: str) -> None:
    """Redis takes no id that is smaller than the last one."""
    async with Hub(redis_server.url) as hub, hub.subscribe(room) as subscriber:
        await hub.publish(room, 1)
        await redis_server.run("XADD", f"kit:stream:{room}", f"{2**63}-5", "foreign", "entry")
        await redis_server.run("SET", f"kit:room:{room} 2", "not a hash")
        await hub.publish(room, 2)
        await hub.publish(f"{room} 2", 3)
        assert numbers_of(await take_until(subscriber, 2)) == [1, 2]


BAD_URLS = [
    ("redis://localhost/notanumber", "a Redis database is a number"),
    ("redis://localhost:port", 'expects a URL such as "redis://localhost:6379/0"'),
    ("redis://localhost?protocol=3", "version 2 of the protocol only"),
    ("postgresql://localhost/?nonsense=1", 'expects a URL such as "postgresql://user@localhost/database"'),
    ("postgresql://localhost:port/x", 'expects a URL such as "postgresql://user@localhost/database"'),
]


@pytest.mark.parametrize(("url", "words"), BAD_URLS)
def test_a_url_that_cannot_be_right_is_refused_before_anything_is_opened(url: str, words: str) -> None:
    with pytest.raises(HubError, match=words):
        Hub(url)


@pytest.mark.parametrize(("scheme", "module", "package"), [("redis", "kit.hub.redis", "redis"), ("postgresql", "kit.hub.postgres", r"'psycopg\[binary\]'")])
def test_a_missing_package_is_named_with_what_to_install(scheme: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("redis", "psycopg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, {"redis": "redis", "postgresql": "psycopg"}[scheme], None)
    with pytest.raises(HubError, match=f"{scheme}:// needs a Python package that is not installed here: pip install {package}"):
        Hub(f"{scheme}://localhost/0")


async def test_scripts_that_somebody_flushes_are_loaded_again(redis_server: Redis, room: str) -> None:
    async with Hub(redis_server.url) as hub, hub.subscribe(room) as subscriber:
        await redis_server.run("SCRIPT", "FLUSH")
        await asyncio.gather(*(hub.publish(room, number) for number in range(5)))
        assert [(await subscriber.get(timeout=10.0)).data for _ in range(5)] == list(range(5))
        assert hub.statistics().reconnects == 0


async def test_many_rooms_are_not_named_again_for_each_one_more_nor_for_each_message(redis_server: Redis, room: str) -> None:
    async def input_bytes() -> int:
        return (await redis_server.run("INFO", "stats"))["total_net_input_bytes"]

    async with Hub(redis_server.url, timeout_seconds=60.0) as hub, contextlib.AsyncExitStack() as stack:
        rooms = [f"{room} {number}" for number in range(1000)]
        before = await input_bytes()
        subscribers = await asyncio.gather(*(stack.enter_async_context(hub.subscribe(each)) for each in rooms))
        joined = await input_bytes()
        assert joined - before < 1e6
        for name, subscriber in zip(rooms[:20], subscribers, strict=False):
            await hub.publish(name, "there")
            assert (await subscriber.get(timeout=10.0)).data == "there"
        assert await input_bytes() - joined < 100e3  # 1.2 MB if all were


async def test_what_is_told_in_a_room_s_channel_by_somebody_else_is_counted_and_skipped(redis_server: Redis, room: str) -> None:
    async with Hub(redis_server.url) as hub, hub.subscribe(room) as subscriber:
        epoch, _ = await hub.publish(room, 1)
        await redis_server.run("PUBLISH", f"kit:stream:{room}", "nonsense")
        await redis_server.run("PUBLISH", f"kit:stream:{room}", f"{epoch.partition('.')[0]}-9")  # and this is only looked for
        await hub.publish(room, 2)
        assert numbers_of(await take_until(subscriber, 2)) == [1, 2]
        assert (hub.statistics().poison, hub.statistics().gaps) == (1, 0)


async def test_a_message_that_postgres_took_is_published_also_when_old_ones_cannot_be_deleted(postgres_server: Postgres, room: str) -> None:
    function = "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'deadlock'; END $$ LANGUAGE plpgsql"
    async with Hub(postgres_server.url) as hub, hub.subscribe(room) as subscriber:
        await postgres_server.run(function)
        await postgres_server.run("CREATE TRIGGER refuse BEFORE DELETE ON kit_hub_messages EXECUTE FUNCTION refuse()")
        try:
            await hub.publish(room, "x" * 500_000)
            assert len((await subscriber.get(timeout=10.0)).data) == 500_000
        finally:
            await postgres_server.run("DROP TRIGGER refuse ON kit_hub_messages")


async def test_a_redis_that_is_out_of_memory_says_so_itself_and_loses_no_epoch() -> None:
    async with running(Redis) as service, Hub(service.url) as hub, hub.subscribe("room") as subscriber:
        before = await hub.publish("room", "before")
        await service.run("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(PublishFailed, match=r"Redis refused the message: .*command not allowed when used memory > 'maxmemory'\.$"):
            await hub.publish("room", "too much")
        await service.run("CONFIG", "SET", "maxmemory", "0")
        assert await hub.publish("room", "after") == (before.epoch, before.offset + 1)
        assert [(await subscriber.get(timeout=5.0)).data for _ in range(2)] == ["before", "after"]
