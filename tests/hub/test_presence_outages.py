"""Who is in a room when processes die, hang and come back, and when the services between them do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kit import Server, serve
from kit.hub import Gap, Hub, Joined, Left, Subscriber, attendance, link
from tests.hub.another_process import another_process
from tests.hub.attending import SECONDS, acquainted, everywhere, joined, names_in, notices, over, until_present
from tests.hub.conftest import Place, running
from tests.hub.rooms_app import joining_app
from tests.hub.services import Postgres, Redis, Service

Eventually = Callable[..., Any]


# Processes that die, hang and come back.


@everywhere
async def test_who_was_in_a_process_that_is_killed_leaves_within_the_stated_time(
    hub: Hub, place_of_broker: Place, room: str, quick: Callable[[], None]
) -> None:
    """On local:// the hub of this test was there first, and serves the rooms."""
    async with another_process(place_of_broker.url) as other, hub.subscribe(room, presence=True) as subscriber, contextlib.AsyncExitStack() as clients:
        for name in ("Ana", "Ben"):
            clients.push_async_exit(await joined(other.address, room, name))
        assert [each.name for each in await notices(subscriber, 2)] == ["Ana", "Ben"]
        other.signal(signal.SIGKILL)
        quick()
        left = await notices(subscriber, 2, timeout=SECONDS + attendance.SILENT_SECONDS)
    assert [(type(each), each.name) for each in left] == [(Left, "Ana"), (Left, "Ben")]
    assert await hub.present(room) == []


@over("local")
async def test_one_late_beat_changes_nothing_and_a_process_that_was_given_up_comes_back(
    hub: Hub, place_of_broker: Place, room: str, quick: Callable[[], None]
) -> None:
    async with another_process(place_of_broker.url) as other, hub.subscribe(room, presence=True) as subscriber, await joined(other.address, room, "Ana"):
        (came,) = await notices(subscriber, 1)
        other.signal(signal.SIGSTOP)
        await asyncio.sleep(4 * attendance.BEAT_SECONDS)
        other.signal(signal.SIGCONT)
        await asyncio.sleep(8 * attendance.BEAT_SECONDS)
        assert subscriber.waiting == 0
        other.signal(signal.SIGSTOP)
        quick()
        (left,) = await notices(subscriber, 1)
        other.signal(signal.SIGCONT)
        (back,) = await notices(subscriber, 1)
    assert (type(left), type(back), back.id) == (Left, Joined, came.id)


@over("local")
async def test_a_hub_whose_own_loop_was_blocked_takes_nobody_for_dead(hub: Hub, place_of_broker: Place, room: str, quick: Callable[[], None]) -> None:
    async with (
        Hub(place_of_broker.url) as other,
        serve(joining_app(other, opens_hub=False), port=0) as server,
        hub.subscribe(room, presence=True) as subscriber,
        await joined(server, room, "Ana"),
    ):
        await notices(subscriber, 1)
        quick()
        time.sleep(attendance.SILENT_SECONDS + 0.5)  # noqa: ASYNC251, this is what is tested
        await asyncio.sleep(4 * attendance.BEAT_SECONDS)
        assert subscriber.waiting == 0
        assert await names_in(hub, room) == ["Ana"]


@over("local")
async def test_when_the_process_that_serves_a_local_broker_is_killed_only_its_own_members_leave(
    place_of_broker: Place, room: str, quick: Callable[[], None]
) -> None:
    async with (
        another_process(place_of_broker.url) as serving,
        Hub(place_of_broker.url) as hub,
        another_process(place_of_broker.url) as other,
        hub.subscribe(room, presence=True) as subscriber,
        await joined(serving.address, room, "Ana"),
        await joined(other.address, room, "Ben"),
    ):
        assert {each.name for each in await notices(subscriber, 2)} == {"Ana", "Ben"}
        serving.signal(signal.SIGKILL)
        async with await joined(other.address, room, "Cleo"):
            assert await next_of_presence(subscriber) == (Joined, "Cleo"), "the two that are left have found each other again"
            quick()
            assert await next_of_presence(subscriber) == (Left, "Ana")
            await until_present(hub, room, ["Ben", "Cleo"])


async def next_of_presence(subscriber: Subscriber) -> tuple[type, str]:
    """Who comes or goes next."""
    while isinstance(each := (await notices(subscriber, 1))[0], Gap):
        pass
    return type(each), each.name


# Services that go and come back.


@pytest.fixture(params=[pytest.param(Redis, id="redis"), pytest.param(Postgres, id="postgres")])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    """A server that is killed."""
    async with running(request.param) as service:
        yield service


@pytest.mark.broker
async def test_after_an_outage_it_heals_by_itself_and_nobody_left_who_did_not(
    service: Service, room: str, quick: Callable[[], None], monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(link, "LONGEST_PAUSE_SECONDS", 0.2)
    async with (
        Hub(service.url) as hub,
        Hub(service.url) as elsewhere,
        serve(joining_app(elsewhere, opens_hub=False), port=0) as there,
        hub.subscribe(room, presence=True) as subscriber,
        await joined(there, room, "Ana"),
    ):
        ben = await joined(there, room, "Ben")
        assert [each.name for each in await notices(subscriber, 2)] == ["Ana", "Ben"]
        service.kill()
        await eventually(lambda: hub.state == elsewhere.state == "reconnecting")
        await ben.close()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(attendance, "SILENT_SECONDS", 1.0)
            await asyncio.sleep(2.0)
        assert subscriber.waiting == 0
        assert await names_in(hub, room) == ["Ana", "Ben"]
        await service.start()
        (left,) = await notices(subscriber, 1, timeout=20.0)
        assert (type(left), left.name) == (Left, "Ben")
        async with await joined(there, room, "Cleo"):
            (came,) = await notices(subscriber, 1)
            assert (type(came), came.name) == (Joined, "Cleo")
            assert await names_in(hub, room) == ["Ana", "Cleo"]


@over("distant")
async def test_while_a_hub_could_hear_nobody_nobody_was_silent(hub: Hub, there: Server, room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "BEAT_SECONDS", 3600.0)  # no time passes but what the test lets pass
    peers = hub._rooms._attendance._peers
    async with await joined(there, room, "Ana"):
        await acquainted(hub)
        assert await names_in(hub, room) == ["Ana"]
        assert peers.age(attendance.SILENT_SECONDS - 0.1, attendance.SILENT_SECONDS) == []
        hub._rooms.state("reconnecting", "the broker is away")
        hub._rooms.state("connected", "")
        assert peers.age(attendance.SILENT_SECONDS - 0.1, attendance.SILENT_SECONDS) == []
        assert [type(each) for each in peers.age(0.2, attendance.SILENT_SECONDS)] == [Left]
