"""WebSockets that join the hubs of tests, and what is asked about them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from kit import Client, Server, connect
from kit.hub import Hub, Subscriber
from tests.hub.conftest import PLACES

__all__ = ["SECONDS", "acquainted", "everywhere", "joined", "names_in", "notices", "over", "until_present"]

SECONDS = 10.0
SERVED = {"redis", "postgres"}
BETWEEN_PROCESSES = [pytest.param(name, marks=pytest.mark.broker if name in SERVED else ()) for name in PLACES if name not in ("memory", "distant")]


def over(*places: Any) -> pytest.MarkDecorator:
    """Run a test over these brokers."""
    return pytest.mark.parametrize("place_of_broker", places, indirect=True)


everywhere = over(*BETWEEN_PROCESSES)


async def joined(server: Server | str, room: str, name: str = "") -> Client:
    """A client that is in ``room`` of a server or another process."""
    path = f"/join/{room}?name={name}"
    client = await (connect(f"{server}{path}") if isinstance(server, str) else connect(server, path, handshake_timeout_seconds=30.0))
    assert await client.receive_text(timeout=SECONDS) == "ready"
    return client


async def names_in(hub: Hub, room: str) -> list[str]:
    """Who is in ``room``, as ``hub`` says."""
    return [present.name for present in await hub.present(room)]


async def acquainted(hub: Hub) -> None:
    """Have ``hub`` greet the others, and wait until it has heard one of them, although that may be later than its question waits."""
    assert await names_in(hub, "room of nobody") == []
    async with asyncio.timeout(SECONDS):
        while not hub._rooms._attendance._peers.known:  # noqa: ASYNC110, it tells nobody
            await asyncio.sleep(0.005)


async def until_present(hub: Hub, room: str, names: list[str], within_seconds: float = SECONDS) -> float:
    """Wait until exactly these are in the room, in any order; how long it took."""
    began = time.monotonic()
    while sorted(found := await names_in(hub, room)) != sorted(names):
        assert time.monotonic() - began < within_seconds, f"{found}, but not {names}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def notices(subscriber: Subscriber, count: int, timeout: float = SECONDS) -> list[Any]:
    """The next ones of what comes."""
    return [await subscriber.get(timeout=timeout) for _ in range(count)]
