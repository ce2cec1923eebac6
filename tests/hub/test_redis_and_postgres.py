"""What only Redis or only PostgreSQL does, and what is said of their addresses, packages and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import ClassVar

import pytest

from kit.hub import Gap, Hub, HubError, Message, PublishFailed
from kit.services import PrivateRedis
from tests.hub.conftest import running
from tests.hub.services import ForgetfulRedis, Postgres, Redis
from tests.hub.taking import numbers_of, publish_until_taken, take_until

pytestmark = pytest.mark.broker


class SlowlyReadingRedis(Redis):
    """One that takes its time to read its file when it starts, and answers questions meanwhile."""

    settings: ClassVar = PrivateRedis.settings | {"key-load-delay": "100"}


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


async def test_what_the_service_refuses_is_said_in_its_words(redis_server: Redis, postgres_server: Postgres) -> None:
    with pytest.raises(HubError, match=r"cannot be used: .*invalid username-password pair.* Check the address, the password") as caught:
        await Hub(redis_server.url.replace("redis://", "redis://:secret@")).open()
    assert "secret" not in str(caught.value)
    with pytest.raises(HubError, match=r'cannot be used: .*database "nowhere" does not exist'):
        await Hub(postgres_server.url.replace("/postgres", "/nowhere")).open()


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
