"""One reader of a Timeline for all panels: in order, nothing twice, in bounded time, and no panel's fault is another's."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable

import pytest

from kit import loops
from kit.panels.follower import MOST_A_SECOND, MOST_AT_A_STRETCH, MOST_ENTRIES, Follower, follower_of
from kit.timeline import Entry, Timeline

Eventually = Callable[..., object]


class Listener:
    """Keeps the numbers of what it was told."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.skipped = 0
        self.ticks = 0

    def on_tick(self, entries: list[Entry], skipped: int) -> None:
        self.ticks += 1
        self.skipped += skipped
        self.numbers += [entry.number for entry in entries]


class Broken(Listener):
    def on_tick(self, entries: list[Entry], skipped: int) -> None:
        super().on_tick(entries, skipped)
        raise RuntimeError("this panel is broken")


async def joined(timeline: Timeline, *listeners: Listener) -> Follower:
    async def join() -> Follower:
        follower = follower_of(timeline)
        for listener in listeners:
            before, skipped = follower.join(listener)
            listener.numbers += [entry.number for entry in before]
            listener.skipped += skipped
        return follower

    return await loops.panels().run(join())


async def test_who_joins_gets_what_was_before_and_then_what_is_new_each_once_and_in_order(eventually: Eventually) -> None:
    timeline, early, late = Timeline(), Listener(), Listener()
    timeline.note("before")
    follower = await joined(timeline, early)
    for number in range(50):
        timeline.note(f"line {number}")
    await eventually(lambda: len(early.numbers) == 51)
    assert await joined(timeline, late) is follower
    timeline.note("after")
    await eventually(lambda: late.numbers == early.numbers == list(range(1, 53)))
    assert (early.skipped, late.skipped) == (0, 0)


async def test_who_joins_while_others_are_being_told_misses_nothing(eventually: Eventually) -> None:
    timeline, listeners = Timeline(), [Listener() for _ in range(20)]
    followers = []
    for number, listener in enumerate(listeners):
        for line in range(25):
            timeline.note(f"{number} {line}")
        followers.append(await joined(timeline, listener))
    await eventually(lambda: all(listener.numbers[-1:] == [500] for listener in listeners))
    assert all(listener.numbers == list(range(1, 501)) for listener in listeners)


async def test_a_burst_is_told_whole_in_several_ticks(eventually: Eventually) -> None:
    timeline, listener = Timeline(), Listener()
    follower = await joined(timeline, listener)
    for number in range(MOST_AT_A_STRETCH):
        timeline.note(str(number))
    await eventually(lambda: listener.numbers[-1:] == [MOST_AT_A_STRETCH])
    assert follower is not None
    assert (listener.numbers, listener.skipped) == (list(range(1, MOST_AT_A_STRETCH + 1)), 0)
    assert listener.ticks >= MOST_AT_A_STRETCH / MOST_ENTRIES


async def test_a_flood_is_passed_over_for_all_alike_and_counted(eventually: Eventually) -> None:
    timeline, one, other = Timeline(), Listener(), Listener()
    began = time.monotonic()
    follower = await joined(timeline, one, other)
    for number in range(20_000):
        timeline.note(str(number))
    await eventually(lambda: one.numbers[-1:] == [20_000])
    await eventually(lambda: other.numbers == one.numbers)
    assert follower is not None
    assert one.skipped == other.skipped == 20_000 - len(one.numbers)
    assert len(one.numbers) <= MOST_AT_A_STRETCH + MOST_A_SECOND * (time.monotonic() - began)


async def test_a_tick_that_is_asked_for_comes_although_nothing_is_new(eventually: Eventually) -> None:
    timeline, listener = Timeline(), Listener()
    follower = await joined(timeline, listener)
    loops.panels().call_soon(follower.tick_in, 0.1)
    await eventually(lambda: listener.ticks == 1)


async def test_a_tick_that_is_due_later_holds_up_nothing_new(eventually: Eventually) -> None:
    timeline, listener = Timeline(), Listener()
    follower = await joined(timeline, listener)
    loops.panels().call_soon(follower.tick_in, 600.0)
    timeline.note("new")
    await eventually(lambda: listener.numbers == [1])


async def test_there_are_at_most_twenty_ticks_a_second(eventually: Eventually) -> None:
    timeline, listener = Timeline(), Listener()
    follower = await joined(timeline, listener)
    began = time.monotonic()
    while listener.ticks < 6:
        timeline.note("again")
        await asyncio.sleep(0.001)
        assert time.monotonic() - began < 10
    assert follower is not None
    assert time.monotonic() - began >= 5 * 0.05 - 0.01


async def test_one_panels_fault_is_reported_and_not_the_others(eventually: Eventually) -> None:
    timeline, broken, healthy = Timeline(), Broken(), Listener()
    reports: list[dict] = []
    loops.panels().loop.set_exception_handler(lambda _loop, context: reports.append(context))
    try:
        follower = await joined(timeline, broken, healthy)
        timeline.note("one")
        await eventually(lambda: healthy.numbers == [1])
    finally:
        loops.panels().loop.set_exception_handler(None)
    assert follower is not None
    assert "this panel is broken" in str(reports[0]["exception"])


async def test_an_event_that_cannot_be_put_into_words_is_counted_and_what_follows_is_told(eventually: Eventually) -> None:
    """Otherwise every panel would stand still, for ever and without a word."""

    def describe(_payload: object, _more: object) -> dict:
        raise RuntimeError("nobody can say this")

    timeline, listener = Timeline(), Listener()
    reports: list[dict] = []
    loops.panels().loop.set_exception_handler(lambda _loop, context: reports.append(context))
    try:
        follower = await joined(timeline, listener)
        timeline.recorder(None, "server", describe)("?")
        await eventually(lambda: follower._last_tick > 0)
        timeline.note("after it")
        await eventually(lambda: listener.numbers == [2])
        gc.collect()
        await eventually(lambda: "nobody can say this" in str([report.get("exception") for report in reports]))
    finally:
        loops.panels().loop.set_exception_handler(None)
    assert listener.skipped == 1


async def test_who_has_left_is_told_nothing_and_a_timeline_that_nobody_follows_wakes_nobody(eventually: Eventually) -> None:
    timeline, listener, stays = Timeline(), Listener(), Listener()
    follower = await joined(timeline, listener, stays)
    loops.panels().call_soon(follower.leave, listener)
    timeline.note("one")
    await eventually(lambda: stays.numbers == [1])
    assert listener.numbers == []


@pytest.mark.parametrize("readers", [1, 5])
async def test_work_is_followed_by_rest_however_many_panels_there_are(eventually: Eventually, readers: int) -> None:
    """The panels' share of the processor is bounded, so that the server keeps its own."""

    class Slow(Listener):
        def on_tick(self, entries: list[Entry], skipped: int) -> None:
            super().on_tick(entries, skipped)
            until = time.thread_time() + 0.01
            while time.thread_time() < until:
                pass

    timeline, slow = Timeline(), [Slow() for _ in range(readers)]
    follower = await joined(timeline, *slow)
    began = time.monotonic()
    while slow[-1].ticks < 4:
        timeline.note("again")
        await asyncio.sleep(0.001)
        assert time.monotonic() - began < 20
    assert follower is not None
    assert time.monotonic() - began >= 3 * 8 * 0.01 * readers * 0.9
