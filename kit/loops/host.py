"""The notebook's own loop, for a server that runs on it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

import nest_asyncio

from kit.errors import LoopStopped
from kit.loops.hops import current_loop, run_on

__all__ = ["HostLoop", "allow_nesting"]

T = TypeVar("T")


class HostLoop:
    """The loop that runs right now, the notebook's own, with the face of a `LoopThread`.

    It belongs to somebody else: it is never stopped or interrupted here, and ``stop`` only parts with it. While it turns
    inside `nest_asyncio`'s nested calls, what runs on it goes on.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()

    @property
    def alive(self) -> bool:
        """Whether the loop still turns."""
        return self.loop.is_running()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` on this loop and return its result; see `run_on`."""
        return await run_on(self.loop, coroutine)

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call ``callback`` on this loop soon; from any thread. Nothing happens once the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *args)

    def frame(self) -> FrameType | None:
        """What the loop's thread executes right now, as its innermost frame; readable while it blocks."""
        return sys._current_frames().get(self._thread_id)

    def interrupt(self, exception: type[BaseException]) -> None:
        """Do nothing: this thread runs the reader's cells too."""

    def stop(self) -> None:
        """Do nothing: the loop goes on without the server."""

    async def ended(self) -> None:
        """Wait until the loop has turned, so that what was asked of it before has been done; at once if it does not turn."""
        if self.alive and current_loop() is not self.loop:
            with contextlib.suppress(LoopStopped):
                await self.run(asyncio.sleep(0))

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the loop, or here once it has closed."""
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            callback()


def allow_nesting() -> None:
    """Let blocking calls such as ``asyncio.run(…)`` in a cell turn the running loop instead of failing.

    Raises:
        ValueError: the running loop cannot be nested, because it is not asyncio's own.
    """
    nest_asyncio.apply(asyncio.get_running_loop())
