"""The two ends of a broker, each in a process of its own: one publishes, the other notes when what was published comes.

Commands are lines of JSON on standard input, each answered with one on standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import uvloop

from kit import Hub
from tests.bench.fanout.servers import answer, pace

__all__ = ["HUB", "NOTIFY", "PUBLISH"]

HUB, PUBLISH, NOTIFY = "hub", "PUBLISH/SUBSCRIBE", "NOTIFY/LISTEN"
AT_A_TIME = 16
QUEUE = 100_000

Publish = Callable[[str], Awaitable[Any]]
Way = tuple[str, ...]  # what carries it, the broker's URL, the room or channel


@contextlib.asynccontextmanager
async def hub_publishing(url: str, room: str) -> AsyncIterator[Publish]:
    async with Hub(url) as hub:
        yield partial(hub.publish, room)


@contextlib.asynccontextmanager
async def hub_receiving(url: str, room: str) -> AsyncIterator[AsyncIterator[Any]]:
    async with Hub(url) as hub, hub.subscribe(room, queue=QUEUE) as subscriber:
        yield subscriber


@contextlib.asynccontextmanager
async def redis_publishing(url: str, room: str) -> AsyncIterator[Publish]:
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        yield partial(client.publish, room)


@contextlib.asynccontextmanager
async def redis_receiving(url: str, room: str) -> AsyncIterator[AsyncIterator[Any]]:
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(room)
        await pubsub.get_message(timeout=5.0)  # its own confirmation
        yield pubsub.listen()


@contextlib.asynccontextmanager
async def postgres_publishing(url: str, room: str) -> AsyncIterator[Publish]:
    from psycopg import AsyncConnection

    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        yield lambda message: connection.execute("SELECT pg_notify(%s, %s)", (room, message))


@contextlib.asynccontextmanager
async def postgres_receiving(url: str, room: str) -> AsyncIterator[AsyncIterator[Any]]:
    from psycopg import AsyncConnection, sql

    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(room)))
        yield connection.notifies()


PUBLISHING = {HUB: hub_publishing, PUBLISH: redis_publishing, NOTIFY: postgres_publishing}
RECEIVING = {HUB: hub_receiving, PUBLISH: redis_receiving, NOTIFY: postgres_receiving}


async def flood(publish: Publish, size: int, messages: int) -> dict[str, Any]:
    """So many messages, `AT_A_TIME` of them on their way at any time."""
    message, began = "x" * size, time.time_ns()

    async def publish_some(count: int) -> None:
        for _ in range(count):
            await publish(message)

    await asyncio.gather(*(publish_some(messages // AT_A_TIME) for _ in range(AT_A_TIME)))
    return {"began": began}


async def note(messages: AsyncIterator[Any], arrivals: asyncio.Queue[int]) -> None:
    async for _ in messages:
        arrivals.put_nowait(time.time_ns())


async def take(arrivals: asyncio.Queue[int], count: int, within_seconds: float) -> dict[str, Any]:
    """When the next ``count`` messages came, in nanoseconds since 1970."""
    taken: list[int] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_seconds):
            while len(taken) < count:
                taken.append(await arrivals.get())
    return {"arrivals": taken}


class Publishing:
    """The end that publishes, by any number of ways."""

    def __init__(self, ending: contextlib.AsyncExitStack) -> None:
        self._ending = ending
        self._ways: dict[Way, Publish] = {}

    async def open(self, kind: str, *where: str) -> dict[str, Any]:
        self._ways[kind, *where] = await self._ending.enter_async_context(PUBLISHING[kind](*where))
        return {}

    async def pace(self, way: list[str], *details: Any) -> dict[str, Any]:
        return await pace(self._ways[tuple(way)], *details)

    async def flood(self, way: list[str], *details: Any) -> dict[str, Any]:
        return await flood(self._ways[tuple(way)], *details)


class Receiving:
    """The end that receives."""

    def __init__(self, ending: contextlib.AsyncExitStack) -> None:
        self._ending = ending
        self._arrivals: dict[Way, asyncio.Queue[int]] = {}

    async def open(self, kind: str, *where: str) -> dict[str, Any]:
        messages = await self._ending.enter_async_context(RECEIVING[kind](*where))
        arrivals = self._arrivals[kind, *where] = asyncio.Queue()
        self._ending.callback(asyncio.create_task(note(messages, arrivals)).cancel)
        return {}

    async def take(self, way: list[str], count: int, within_seconds: float) -> dict[str, Any]:
        return await take(self._arrivals[tuple(way)], count, within_seconds)


async def main(role: str) -> None:
    async with contextlib.AsyncExitStack() as ending:
        end = {"publishing": Publishing, "receiving": Receiving}[role](ending)
        await answer({name: getattr(end, name) for name in ("open", "pace", "flood", "take") if hasattr(end, name)})


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
