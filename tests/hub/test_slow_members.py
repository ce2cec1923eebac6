"""WebSockets that joined a room, over real servers: what becomes of one that does not read, or not fast enough."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from kit import Client, serve
from kit.errors import Disconnected
from kit.hub import Hub, Member, member_socket
from tests.hub.rooms_app import joining_app, never_reading
from tests.hub.served import SECONDS, Served, joined, texts

Eventually = Callable[..., Any]

a_busy_machine_is_not_stuck = pytest.mark.parametrize("stuck_seconds", [60.0])  # whoever reads on may do so late


async def flood(served: Served, healthy: Client, member: Member) -> None:
    """Publish 16 KiB at a time, no faster than ``healthy`` takes it, until ``member`` has ended."""
    count, began = 0, time.monotonic()
    while member.ended is None:
        assert time.monotonic() - began < 20.0, "it is served for ever"
        numbered = [f"{number:>8}" + "x" * 16376 for number in range(count, count + 8)]
        for text in numbered:
            await served.hub.publish("room", text)
        assert await texts(healthy, 8) == numbered
        count += 8


@pytest.mark.parametrize("stuck_seconds", [0.3])
@pytest.mark.parametrize("policy", ["disconnect", "drop_oldest", "block"])
async def test_a_stuck_client_is_aborted_and_its_memory_freed_and_the_others_lose_nothing(
    served: Served, lane: str, policy: str, eventually: Eventually
) -> None:
    async with await joined(served, served.path(lane)) as healthy, never_reading(served.server, served.path(lane, policy=policy, name="Stuck")):
        await eventually(lambda: len(served.app.state.members) == 2)
        stuck = served.app.state.members[1]
        await flood(served, healthy, stuck)
        await eventually(lambda: stuck in served.app.state.left)
        statistics = served.hub.statistics()
        assert (stuck.waiting, stuck.waiting_bytes, statistics.aborted) == (0, 0, 1)
        assert [present.id for present in await served.hub.present("room")] == [served.app.state.members[0].id]
        await served.hub.publish("room", "and on")
        assert await healthy.receive_text(timeout=SECONDS) == "and on"


async def test_with_the_usual_limits_a_stuck_client_is_dropped_too(eventually: Eventually) -> None:
    hub = Hub()
    app = joining_app(hub, opens_hub=True)
    async with serve(app, port=0) as server:
        served = Served(hub, app, server)
        async with await joined(served, served.path("fast lane")) as healthy, never_reading(server, served.path("fast lane", policy="drop_oldest")):
            await eventually(lambda: len(app.state.members) == 2)
            await flood(served, healthy, app.state.members[1])
            await eventually(lambda: len(app.state.left) == 1)


@a_busy_machine_is_not_stuck
async def test_a_slow_client_that_reads_on_is_told_why_it_is_closed(served: Served, lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads nothing until its queue is full, then everything: the Close frame gets through."""
    monkeypatch.setattr(member_socket, "_CLOSE_SECONDS", 60.0)
    async with await joined(served, served.path(lane)) as healthy, await joined(served, served.path(lane)) as slow:
        member = served.app.state.members[1]
        await flood(served, healthy, member)
        with pytest.raises(Disconnected) as caught:
            await texts(slow, 1_000_000)
        assert (caught.value.code, slow.close_reason) == (1013, member.ended)
        assert member.ended.startswith("too slow: ")
        assert served.hub.statistics().disconnected == 1


@a_busy_machine_is_not_stuck
async def test_dropping_the_oldest_is_counted_and_said_in_the_envelope(served: Served, lane: str) -> None:
    async with (
        await joined(served, served.path(lane)) as healthy,
        await joined(served, served.path(lane, policy="drop_oldest", envelope="1")) as slow,
    ):
        member: Member = served.app.state.members[1]
        count = 0
        while member.dropped == 0:
            await served.hub.publish("room", f"{count:>8}" + "x" * 65536)
            await texts(healthy, 1)
            count += 1
        await served.hub.publish("room", "the end")
        seen, gaps = [], 0
        while (message := await slow.receive_json(timeout=SECONDS)).get("data") != "the end":
            if message["type"] == "gap":
                gaps += message["count"]
            else:
                seen.append(int(message["data"][:8]))
        assert gaps == member.dropped > 0
        assert len(seen) + gaps == count
        assert seen == sorted(seen)


@a_busy_machine_is_not_stuck
async def test_publishers_wait_for_one_that_blocks_and_it_loses_nothing(served: Served, lane: str, eventually: Eventually) -> None:
    async with await joined(served, served.path(lane, policy="block")) as slow:
        (member,) = served.app.state.members

        async def publish_all() -> None:
            for number in range(256):
                await served.hub.publish("room", f"{number:>8}" + "x" * 65536)

        publishing = asyncio.create_task(publish_all())
        await eventually(lambda: member.full)
        assert not publishing.done()
        assert [int(text[:8]) for text in await texts(slow, 256)] == list(range(256))
        await publishing
        assert member.ended is None
