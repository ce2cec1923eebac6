"""What the hub's tests may use: a hub of every broker that there is, a second one that shares its broker, and rooms of their own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest

from kit.hub import Hub
from kit.hub.broker import BROKERS


class Place(NamedTuple):
    """Where a broker is for tests: its URL, and whether several hubs share what it carries."""

    url: str
    shared: bool


def distant(request: pytest.FixtureRequest) -> Place:
    """See `DistantBroker`."""
    request.getfixturevalue("monkeypatch").setitem(BROKERS, "distant", "tests.hub.distant_broker:DistantBroker")
    return Place(f"distant://{secrets.token_hex(4)}", shared=True)


# A broker joins the contract here: a function of the request, which starts the service if it needs one.
PLACES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {"memory": lambda _: Place("memory://", shared=False), "distant": distant}


@pytest.fixture(params=PLACES)
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
