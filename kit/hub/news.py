"""Notices of other hubs on their way to those who want them: a hub that is gone takes thousands with it, and a queue holds a thousand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from kit.hub.message import ComingOrGoing

__all__ = ["News"]

AT_ONCE, PAUSE_SECONDS = 100, 0.01


class News:
    """Passes notices on in their order, some at a time, so that who takes them keeps up. Lives on the hub's loop."""

    def __init__(self, tell: Callable[[ComingOrGoing], None]) -> None:
        self._tell = tell
        self._waiting: deque[ComingOrGoing] = deque()
        self._loop = asyncio.get_running_loop()

    def put(self, notices: Iterable[ComingOrGoing]) -> None:
        """Pass these on too, the first of them at the loop's next turn."""
        begins = not self._waiting
        self._waiting.extend(notices)
        if begins and self._waiting:
            self._loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        some = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
        if self._waiting:
            self._loop.call_later(PAUSE_SECONDS, self._pass_on)
        for notice in some:
            self._tell(notice)
