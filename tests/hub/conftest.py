"""What the hub's tests may use: a hub of every broker that there is, a second one that shares its broker, and rooms of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import pytest

from kit import Server, serve
from kit.hub import Hub, attendance, questions
from kit.hub.broker import BROKERS
from tests.hub.rooms_app import joining_app
from tests.hub.served import Served
from tests.hub.services import Postgres, Redis, Service


class Place(NamedTuple):
    """Where a broker is for tests: its URL, and whether several hubs share what it carries."""

    url: str
    shared: bool


def distant(request: pytest.FixtureRequest) -> Place:
    """See `DistantBroker`."""
    request.getfixturevalue("monkeypatch").setitem(BROKERS, "distant", "tests.hub.distant_broker:DistantBroker")
    return Place(f"distant://{secrets.token_hex(4)}", shared=True)


# A broker joins the contract here: a function of the request, which starts the service if it needs one.
PLACES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {
    "memory": lambda _: Place("memory://", shared=False),
    "distant": distant,
    "local": lambda _: Place(f"local://{secrets.token_hex(8)}", shared=True),
    "redis": lambda request: Place(request.getfixturevalue("redis_server").url, shared=True),
    "postgres": lambda request: Place(request.getfixturevalue("postgres_server").url, shared=True),
}


def available(kind: type[Service]) -> Service:
    """A private server, not yet started; without its programs the tests that want it are skipped, but not where all must run."""
    if (missing := kind.missing()) is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return kind()


@contextlib.asynccontextmanager
async def running(kind: type[Service]) -> AsyncIterator[Service]:
    """A private server for one test."""
    service = available(kind)
    try:
        await service.start()
        yield service
    finally:
        service.close()


def kept_running(kind: type[Service]) -> Iterator[Service]:
    """A private server for the tests of a module, or of all."""
    service = available(kind)
    try:
        with asyncio.Runner() as runner:
            runner.run(service.start())
        yield service
    finally:
        service.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """Shared by all tests that do not hurt it."""
    yield from kept_running(Redis)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Shared by all tests that do not hurt it."""
    yield from kept_running(Postgres)


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.broker if name in ("redis", "postgres") else ()) for name in PLACES])
def place_of_broker(request: pytest.FixtureRequest) -> Place:
    """Every broker in turn."""
    return PLACES[request.param](request)


@pytest.fixture
async def hub(place_of_broker: Place) -> AsyncIterator[Hub]:
    """An open hub."""
    async with Hub(place_of_broker.url) as opened:
        yield opened


@pytest.fixture
async def elsewhere(hub: Hub, place_of_broker: Place) -> AsyncIterator[Hub]:
    """Another hub that reaches the same rooms, as another process would; the same one where only one can."""
    if not place_of_broker.shared:
        yield hub
        return
    async with Hub(place_of_broker.url) as opened:
        yield opened


@pytest.fixture
def room() -> str:
    """A room that no test used before."""
    return f"room {secrets.token_hex(8)}"


@pytest.fixture
async def there(elsewhere: Hub) -> AsyncIterator[Server]:
    """A server whose WebSockets join ``elsewhere``."""
    async with serve(joining_app(elsewhere, opens_hub=False), port=0) as server:
        yield server


@pytest.fixture(autouse=True)
def brokers_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hubs ask and say of who is there gets through for as long as a busy machine may take."""
    monkeypatch.setattr(attendance, "_BYE_SECONDS", 20.0)
    monkeypatch.setattr(questions, "_PATIENCE", 50)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Signs of life come often; and from when it is called, silence is soon noticed, whoever is silent."""
    monkeypatch.setattr(attendance, "BEAT_SECONDS", 0.2)
    return lambda: monkeypatch.setattr(attendance, "SILENT_SECONDS", 1.5)


@pytest.fixture
def stuck_seconds() -> float:
    """As usual, if a test does not say otherwise."""
    return 3.0


WAYS = {
    "fast lane": ("fast lane", True),
    "plain send": ("plain send", True),
    "fast lane, hub on another loop": ("fast lane", False),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """How the hub writes, through our server's outlet or as on any other server; and whether it lives where the WebSockets do."""
    return WAYS[request.param]


@pytest.fixture
def lane(way: tuple[str, bool]) -> str:
    """How the hub writes."""
    return way[0]


@pytest.fixture
async def served(way: tuple[str, bool], stuck_seconds: float) -> AsyncIterator[Served]:
    """The hub lives where the WebSockets live, or elsewhere; its publishers wait for as long as a busy machine may take."""
    hub = Hub(stuck_seconds=stuck_seconds, block_seconds=60.0, queue_bytes=1 << 20)
    in_lifespan = way[1]
    app = joining_app(hub, opens_hub=in_lifespan)
    if not in_lifespan:
        await hub.open()
    async with serve(app, port=0) as server:
        yield Served(hub, app, server)
    await hub.close()
