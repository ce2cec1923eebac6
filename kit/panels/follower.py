"""One reader of a Timeline for all panels that show it: each Entry is put into words once, and all panels skip the same ones."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Protocol

from kit import loops
from kit.timeline import Entry, Timeline

__all__ = ["Follower", "follower_of"]

TICK_SECONDS = 0.05
FLOOD_TICK_SECONDS = 0.25  # while Entries are passed over: each tick has the browser lay out and paint the page
MOST_ENTRIES = 200  # in one tick, so that a panel is never long without news
MOST_AT_A_STRETCH = 3_000  # such a burst is shown whole, over several ticks
MOST_A_SECOND = 300  # of a flood that goes on: nobody reads faster, and the server and the browser need the processor
_REST = 7  # for each second of work, seconds of rest: panels take an eighth of one core at most


class Reader(Protocol):
    """A panel that follows a Timeline."""

    def on_tick(self, entries: list[Entry], skipped: int) -> None:
        """Take in what is new; on the panels' loop."""


class Follower:
    """Reads what is new in a Timeline, at most 20 times a second, for every panel that has joined. Lives on the panels' loop.

    When more is recorded than panels can show, it passes over the oldest Entries and tells every panel how many they were:
    a burst of up to 3,000 is shown whole, a flood that goes on at 300 a second, always the newest.

    Attributes:
        delivered: the number of the last Entry that every reader has, or gets in the tick that runs.
    """

    _rest_until = 0.0  # one for all followers, which share a loop

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._readers: dict[Reader, None] = {}
        self._subscription = timeline.subscribe(self.wake)
        self.delivered = 0
        self._told = self._subscription.seen
        self._timer: asyncio.TimerHandle | None = None
        self._wanted_at: float | None = None  # a tick that was asked for while one ran
        self._last_tick = self._not_before = 0.0
        self._budget = float(MOST_AT_A_STRETCH)
        self._ticking: asyncio.Task[None] | None = None

    def join(self, reader: Reader) -> tuple[list[Entry], int]:
        """From now on ``reader`` is told what is new; returns what was before, and how much of that has fallen out."""
        if not self._readers and self._ticking is None:
            self._subscription.pass_over()
            self.delivered = self._told = self._subscription.seen
        self._readers[reader] = None
        before = [entry for entry in self._timeline.entries() if entry.number <= self.delivered]
        return before, self.delivered - len(before)

    def leave(self, reader: Reader) -> None:
        """Tell ``reader`` no more; safe to call twice."""
        self._readers.pop(reader, None)

    def wake(self) -> None:
        """From any thread, even a tap's: something new waits."""
        loops.panels().call_soon(self.tick_in, 0.0)

    def tick_in(self, after_seconds: float) -> None:
        """Have a tick after so many seconds, or sooner; readers are called in it even if nothing is new."""
        wanted_at = time.monotonic() + max(after_seconds, 0.003)
        if self._ticking is not None:
            self._wanted_at = min(wanted_at, self._wanted_at or wanted_at)
        elif self._readers:
            self._tick_at(max(wanted_at, self._not_before, Follower._rest_until))

    def _tick_at(self, when: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + when - time.monotonic()
        if self._timer is None or due < self._timer.when() - 0.001:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(due, self._start)

    def _start(self) -> None:
        self._timer = None
        self._ticking = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        """1. pass over what is too much; 2. put the rest into words; 3. tell each reader; 4. rest."""
        began = time.thread_time()
        self._budget = min(MOST_AT_A_STRETCH, self._budget + (time.monotonic() - self._last_tick) * MOST_A_SECOND)
        self._subscription.pass_over(int(self._budget))
        skipped = self._subscription.seen - self._told  # with what a tick that failed had taken and not told
        try:
            await self._tell_all(skipped)
        finally:
            self._rest(time.thread_time() - began, flooded=skipped > 0)

    async def _tell_all(self, skipped: int) -> None:
        readers = list(self._readers)
        with loops.giving_way():
            entries = self._subscription.next(MOST_ENTRIES)
            self.delivered = self._told = self._subscription.seen
            for reader in readers:
                if reader in self._readers:
                    _tell(reader, entries, skipped)
                    await asyncio.sleep(0)
        self._budget -= len(entries)

    def _rest(self, cost_seconds: float, *, flooded: bool) -> None:
        """The tick is over: say when the next one may be, and have it if it was asked for or more has come."""
        self._last_tick, self.delivered = time.monotonic(), self._subscription.seen
        self._not_before = self._last_tick + (FLOOD_TICK_SECONDS if flooded else TICK_SECONDS)
        if self.delivered < self._timeline.last_number:
            self._wanted_at = self._last_tick
        Follower._rest_until = self._last_tick + cost_seconds * _REST
        wanted_at, self._wanted_at, self._ticking = self._wanted_at, None, None
        if wanted_at is not None:
            self.tick_in(wanted_at - time.monotonic())


def _tell(reader: Reader, entries: list[Entry], skipped: int) -> None:
    try:
        reader.on_tick(entries, skipped)
    except Exception as error:  # one panel's fault is not the others'
        asyncio.get_running_loop().call_exception_handler({"message": f"{reader!r} failed to show what is new", "exception": error})


_followers: weakref.WeakValueDictionary[Timeline, Follower] = weakref.WeakValueDictionary()


def follower_of(timeline: Timeline) -> Follower:
    """The one that all panels of ``timeline`` share; on the panels' loop. Whoever joins has to hold it."""
    follower = _followers.get(timeline)
    if follower is None:
        follower = _followers[timeline] = Follower(timeline)
    return follower
