"""The reporter of a server's process: it tells the kernel what is new there, soon and never faster than the kernel reads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

from kit import loops
from kit.workers.relay import Relay, RelayedTimeline, line_of

__all__ = ["Reporter"]

_FLUSH_SECONDS = 0.006
_WAITING_BYTES = 1 << 20  # lines that the kernel has not read yet; more are not made
_LINES_AT_ONCE = 10
_REST = 9  # for each second of telling, seconds of rest: the app needs the processor, and the kernel twice as much to take it in


class Reporter:
    """Tells the kernel what is new, soon and never faster than it reads. Lives on the loop beside the app's."""

    def __init__(self, timeline: RelayedTimeline, pipe: int) -> None:
        self._timeline = timeline
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._relay = Relay(timeline, self._wake)
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._told = False  # since the last look

    async def open(self) -> None:
        """Begin to tell."""
        file = os.fdopen(self._pipe, "wb", buffering=0)
        self._transport, _ = await self._loop.connect_write_pipe(asyncio.BaseProtocol, file)
        self._due()

    def say(self, kind: str, value: Any) -> None:
        """Tell one thing now, behind what has been told."""
        if not self._transport.is_closing():
            self._transport.write(line_of(kind, value))

    def look(self) -> None:
        """Tell what has changed without an Entry that says so; if nothing was told since the last look, tell that this process lives."""
        self._flush(everything=True)
        if not self._told and not self._transport.get_write_buffer_size():
            self.say("alive", None)
        self._told = False

    async def finish(self) -> None:
        """Tell the rest; returns once the kernel has read it, or does not for too long."""
        self._flush(everything=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while (self._timer or self._transport.get_write_buffer_size()) and not self._transport.is_closing():
                    await asyncio.sleep(0.002)
                    self._flush()

    def _wake(self) -> None:
        """From any thread, even a tap's."""
        with contextlib.suppress(RuntimeError):  # at the very end
            self._loop.call_soon_threadsafe(self._due)

    def _due(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(max(_FLUSH_SECONDS, self._not_before - time.monotonic()), self._flush)

    def _flush(self, *, everything: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        began, more = time.thread_time(), True
        with loops.giving_way():
            for _ in range(_LINES_AT_ONCE):
                if self._transport.get_write_buffer_size() > _WAITING_BYTES or self._transport.is_closing():
                    break
                line = self._relay.next_line(everything=everything)
                everything, more = False, line is not None
                if line is None:
                    break
                self._transport.write(line)
                self._told = True
        self._not_before = time.monotonic() + _REST * (time.thread_time() - began)
        if more:
            self._due()
