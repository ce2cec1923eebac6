"""What a memory keeps of rooms that nobody is in: so much and no more, and what it has forgotten it says."""

from __future__ import annotations

import time

import pytest

from kit.hub import Hub, memory


async def test_rooms_that_nobody_is_in_are_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "BYTES_KEPT", 100_000)
    async with Hub(history_bytes=50_000) as hub, hub.subscribe("in use", queue=1000):
        positions = [await hub.publish(name, "x" * 10_000) for name in ("in use", *map(str, range(50)), "in use")]
        assert sum(room.history_bytes for room in hub._broker._rooms.values()) <= 100_000 + 50_000
        for number, recovered in ((0, True), (1, False), (40, False), (50, True)):
            name = "in use" if number == 0 else str(number - 1)
            async with hub.subscribe(name, since=positions[number]) as subscriber:
                assert subscriber.recovered == recovered, name


async def test_joining_and_leaving_forgets_no_byte_and_counts_none_twice() -> None:
    async with Hub() as hub:
        for number in range(100):
            async with hub.subscribe(f"room {number % 3}"), hub.subscribe(f"room {number % 3}"):
                await hub.publish(f"room {number % 3}", "x" * 99)
            await hub.publish(f"room {number % 3}", "x" * 99)
            await hub._rooms._close(hub._rooms.open_room(f"room {number % 3}"))
        broker = hub._broker
        assert broker._idle_bytes == sum(room.history_bytes for room in broker._rooms.values()) == 200 * 100


async def test_new_rooms_cost_no_more_where_many_are_in_use() -> None:
    async with Hub() as hub:

        async def seconds_of_new_rooms(label: str) -> float:
            began = time.thread_time()
            for number in range(10_000):
                await hub._broker.publish(f"{label} {number}", b"tx")
            return time.thread_time() - began

        alone = await seconds_of_new_rooms("alone")
        for number in range(12_000):
            await hub._broker.join(f"used {number}")
        beside_many = min([await seconds_of_new_rooms(f"{turn}") for turn in range(2)])
        assert beside_many < 10 * alone, "each new room looks at all that are in use"
        assert len(hub._broker._rooms) == 12_000 + memory.ROOMS_KEPT
