"""Hops between loops: a coroutine that runs on another loop, and takes cancellation there and its result back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kit.errors import LoopStopped

__all__ = ["aside", "current_loop", "forsake", "run_on"]

T = TypeVar("T")

_pending: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, set[concurrent.futures.Future[Any]]] = weakref.WeakKeyDictionary()


def current_loop() -> asyncio.AbstractEventLoop | None:
    """The loop running in this thread, or None outside any loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def run_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on ``loop`` and return its result; awaitable from any loop.

    Cancelling this cancels the coroutine. Exceptions pass through.

    Raises:
        LoopStopped: ``loop`` has ended, or ends before the coroutine does.
    """
    contained = _contain_exit(coroutine)
    if asyncio.get_running_loop() is loop:
        return await contained
    pending = _pending.setdefault(loop, set())
    try:
        future = asyncio.run_coroutine_threadsafe(contained, loop)
    except RuntimeError:
        contained.close()
        coroutine.close()
        raise LoopStopped("the server or client that this call belongs to has stopped. Start it again, then repeat the call.") from None
    pending.add(future)
    future.add_done_callback(pending.discard)
    if loop.is_closed():  # it ended between these lines
        future.cancel()
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise LoopStopped("the server stopped, or the task was cancelled, before this call came to its end.") from None


async def aside(function: Callable[[], T]) -> T:
    """Call ``function``, which takes long, in a worker thread of the running loop; the loop goes on meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(None, function)


def forsake(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what was handed to ``loop`` too late: it has ended, and will neither run nor cancel it."""
    for future in list(_pending.pop(loop, ())):
        future.cancel()


async def _contain_exit(coroutine: Coroutine[Any, Any, T]) -> T:
    """Keep ``sys.exit()`` in a reader's coroutine from ending the loop's thread."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as exit_request:
        raise RuntimeError(f"{exit_request!r} was raised on the server's loop; it ends this call only.") from exit_request
