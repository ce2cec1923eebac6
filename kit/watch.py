"""Noticing, from another loop, that a server's loop has stopped turning, and on which line of the reader's."""

from __future__ import annotations

import asyncio
import math
import time
from typing import NamedTuple

from kit import source
from kit.loops import HostLoop, LoopThread
from kit.source import Place
from kit.taps import connection_in
from kit.timeline import Timeline

__all__ = ["Blocked", "LoopWatch"]

WATCH_SECONDS = 0.25
LOOKS_IN_VAIN = 2  # where the whole process is held up, so is whoever looks: one late look says nothing
BLOCKED_AFTER_SECONDS = LOOKS_IN_VAIN * WATCH_SECONDS


class Blocked(NamedTuple):
    """A server's loop that runs one piece of code without ever awaiting.

    Attributes:
        since_seconds: how long it has been blocked.
        place: the reader's line that it is on.
        connection: the number of the connection whose handler that line belongs to, if it is one.
    """

    since_seconds: float
    place: Place | None
    connection: int | None


class LoopWatch:
    """Asks a loop again and again whether it turns, and notes in the Timeline when it does not."""

    def __init__(self, loop: LoopThread | HostLoop, timeline: Timeline) -> None:
        self._loop = loop
        self._timeline = timeline
        self._asked: float | None = None  # when the loop was asked whether it turns, until it answers
        self._looks = 0  # for that answer, in vain
        self._noted = False

    @property
    def blocked(self) -> Blocked | None:
        """Where the loop is stuck, or None while it answers; readable while it is stuck."""
        asked = self._asked
        if asked is None or self._looks < LOOKS_IN_VAIN:
            return None
        frame = self._loop.frame()
        return Blocked(time.monotonic() - asked, source.innermost_place(frame), connection_in(frame))

    async def run(self) -> None:
        """On another loop, until cancelled."""
        while True:
            if self._asked is None:
                self._looks, self._asked = 0, time.monotonic()
                self._loop.call_soon(self._answer)
            await asyncio.sleep(WATCH_SECONDS)
            self._looks += 1
            blocked = self.blocked
            if blocked and not self._noted:
                self._noted = True
                text = f"the server's loop is blocked; nothing else is served until this line ends: {blocked.place}"
                self._timeline.note(text, what="blocked", number=blocked.connection)

    def _answer(self) -> None:
        """On the watched loop: it turns."""
        if self._noted and self._asked:
            self._noted = False
            # It was blocked before it was asked: what is measured is the least that it can have been, and is told so.
            silent_seconds = math.floor(10 * (time.monotonic() - self._asked)) / 10
            self._timeline.note(f"the server's loop answers again, after at least {silent_seconds:.1f} s", what="unblocked")
        self._asked = None
