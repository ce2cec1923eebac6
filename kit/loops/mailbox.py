"""A queue that coroutines of any loop may wait on, and that loses nothing when one of them gives up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from typing import Generic, TypeVar

from kit.loops.hops import current_loop

__all__ = ["Mailbox"]

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A first-in, first-out queue that coroutines of any loop may wait on.

    An item is taken only by a waiter that is alive: cancelling or timing out a ``get`` loses nothing.
    ``put`` and ``close`` may be called from any thread and never wait; whoever fills the box bounds it
    by looking at ``len(box)``.
    """

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._waiters: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def closed(self) -> bool:
        """Whether no further item will come."""
        return self._closed

    @property
    def first(self) -> T:
        """The first item, which stays there; raises ``IndexError`` when there is none."""
        return self._items[0]

    def put(self, items: Iterable[T]) -> None:
        """Add ``items`` and wake one waiter for all of them."""
        self._items.extend(items)
        if self._waiters:
            self._wake_one()

    def close(self) -> None:
        """Say that nothing more will come; waiters get what is left, then ``EOFError``."""
        self._closed = True
        while self._waiters:
            self._wake_one()

    async def peek(self) -> T:
        """Wait for the first item and return it without taking it; ``take`` takes it.

        Raises:
            EOFError: the box is closed and empty.
        """
        while not self._items:
            if self._closed:
                raise EOFError
            await self._arrival()
        return self._items[0]

    def pass_on(self) -> None:
        """Wake another waiter: the one that was woken leaves the first item where it is."""
        if self._items and self._waiters:
            self._wake_one()

    def take(self) -> T:
        """Take the first item; raises ``IndexError`` when another coroutine was quicker."""
        item = self._items.popleft()
        self.pass_on()
        return item

    async def get(self) -> T:
        """Wait for the first item and take it; raises ``EOFError`` when the box is closed and empty."""
        while True:
            await self.peek()
            with contextlib.suppress(IndexError):
                return self.take()

    async def _arrival(self) -> None:
        loop = asyncio.get_running_loop()
        waiter = (loop, loop.create_future())
        self._waiters.append(waiter)
        if self._items or self._closed:  # it arrived while the waiter was being added
            self._wake_one()
        try:
            await waiter[1]
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)
            self.pass_on()  # nobody else will
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            with contextlib.suppress(IndexError, RuntimeError):  # taken by another thread; or its loop has ended
                loop, future = self._waiters.popleft()
                if loop is current_loop():
                    _resolve(future)
                else:
                    loop.call_soon_threadsafe(_resolve, future)
                return


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
