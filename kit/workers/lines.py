"""What comes from a process through pipes: cut into lines, and what it writes past its handlers told in the Timeline, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kit import loops
from kit.timeline import Timeline
from kit.waiting import count_of

__all__ = ["LINES_A_SECOND", "LINE_CHARACTERS", "Lines", "Output"]

LINE_CHARACTERS = 4_096
LINES_A_SECOND = 200


class Lines(asyncio.Protocol):
    """Cuts what comes through a pipe into lines; a longer one than ``limit`` comes in parts.

    Attributes:
        over: done when the other end has closed the pipe.
        heard: whether anything has come since somebody set it to False.
    """

    def __init__(self, take: Callable[[bytes], None], *, limit: int) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard = False
        self._take = take
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0

    def data_received(self, data: bytes) -> None:
        self.heard = True
        *lines, rest = data.split(b"\n")
        with loops.giving_way():
            for line in lines:
                self._parts.append(line)
                self._whole()
        self._parts.append(rest)
        self._length += len(rest)
        if self._length > self._limit:
            self._whole()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._length:
            self._whole()
        if not self.over.done():
            self.over.set_result(None)

    def _whole(self) -> None:
        line, self._parts, self._length = b"".join(self._parts), [], 0
        self._take(line)


class Output:
    """What a process writes past its handlers, line by line, at most so many a second. Lives on the server's own loop."""

    def __init__(self, timeline: Timeline, label: str, stream: str) -> None:
        self._timeline = timeline
        self._label = label
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._second_ends = 0.0
        self._lines = 0  # in this second
        self._timer: asyncio.TimerHandle | None = None

    def line(self, line: bytes) -> None:
        """Record a line, unless there are too many; those are counted."""
        if self._loop.time() >= self._second_ends:
            self.say_what_is_missing()
            self._second_ends = self._loop.time() + 1.0
        self._lines += 1
        if self._lines > LINES_A_SECOND:
            self._timer = self._timer or self._loop.call_at(self._second_ends, self.say_what_is_missing)
            return
        text = line[:LINE_CHARACTERS].decode("utf-8", "replace").rstrip("\r")
        self._timeline.note(text, kind="print", stream=self._stream, process=self._label)

    def say_what_is_missing(self) -> None:
        """Tell how many lines were not shown; to be called when the process has ended, else it is told after a second."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        missing, self._lines = self._lines - LINES_A_SECOND, 0
        if missing > 0:
            words = f"{count_of(missing, 'more line')} that {self._label} wrote {'is' if missing == 1 else 'are'} not shown"
            self._timeline.note(words, what="skipped", process=self._label)
