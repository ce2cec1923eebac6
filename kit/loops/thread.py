"""A thread with an event loop of its own, in which a server or the clients live."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import ctypes
import functools
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from kit.loops.hops import forsake, run_on

__all__ = ["LoopThread", "daemon_executor", "new_event_loop", "thread_frames"]

T = TypeVar("T")

_THREADS_MOST = 32


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop event loop where uvloop exists, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop()
    return uvloop.new_event_loop()


def thread_frames() -> dict[int, FrameType]:
    """What every thread executes right now, as its innermost frame; it may have gone on by the time one looks."""
    return sys._current_frames()


class _DaemonExecutor(concurrent.futures.ThreadPoolExecutor):
    """A loop's executor whose threads do not hold up the end of the process, as the standard library's do.

    At most 32 calls run at a time, each in a thread that ends when no other call waits; the others wait in their order.
    """

    def __init__(self, name: str, enter: Callable[[], None]) -> None:
        super().__init__()
        self._name = name
        self._enter = enter
        self._lock = threading.Lock()
        self._busy = 0
        self._waiting: deque[tuple[concurrent.futures.Future[Any], Callable[[], Any]]] = deque()

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        work = functools.partial(function, *args, **kwargs)
        with self._lock:
            if self._busy >= _THREADS_MOST:
                self._waiting.append((future, work))
                return future
            self._busy += 1
        try:
            threading.Thread(target=self._run, args=(future, work), name=f"{self._name}-worker", daemon=True).start()
        except BaseException:  # the system has no thread for it
            with self._lock:
                self._busy -= 1
            raise
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False)
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            future.cancel()

    def _run(self, future: concurrent.futures.Future[Any], work: Callable[[], Any]) -> None:
        self._enter()
        following: tuple[concurrent.futures.Future[Any], Callable[[], Any]] | None = (future, work)
        while following is not None:
            future, work = following
            _settle(future, work)
            following = self._next()

    def _next(self) -> tuple[concurrent.futures.Future[Any], Callable[[], Any]] | None:
        """The call whose turn it is, for a thread that has done one; None ends the thread."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._busy -= 1
            return None


def _settle(future: concurrent.futures.Future[Any], work: Callable[[], Any]) -> None:
    """Do the work, unless nobody waits for it any more; what it sets in its context is not there for the next."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = contextvars.copy_context().run(work)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def daemon_executor(name: str, enter: Callable[[], None]) -> concurrent.futures.ThreadPoolExecutor:
    """An executor for a loop whose threads do not hold up the end of the process, as the standard library's do; each calls ``enter`` first."""
    return _DaemonExecutor(name, enter)


class LoopThread:
    """A daemon thread that runs one event loop until ``stop``.

    Args:
        name: the thread's name, seen in debuggers.
        enter: called first in each worker thread of the loop's default executor.
    """

    def __init__(self, name: str, *, enter: Callable[[], None] = lambda: None) -> None:
        self.loop = new_event_loop()
        self._executor = _DaemonExecutor(name, enter)
        self.loop.set_default_executor(self._executor)
        self._ended = concurrent.futures.Future[None]()
        self._thread = threading.Thread(target=self._run, args=(enter,), name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` here and return its result; see `run_on`."""
        return await run_on(self.loop, coroutine)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start ``coroutine`` here and return at once; from any thread, as click handlers need it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call ``callback`` on this loop soon; from any thread. Nothing happens once the loop has ended."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *args)

    def frame(self) -> FrameType | None:
        """What this thread executes right now, as its innermost frame; readable while it blocks."""
        return sys._current_frames().get(self._thread.ident or 0)

    def interrupt(self, exception: type[BaseException]) -> None:
        """Raise ``exception`` in this thread at its next bytecode; a call stuck in C gets it on return."""
        if self.alive and self._thread.ident:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(exception))

    def stop(self) -> None:
        """End the loop and its thread without waiting: every task is cancelled first. Safe to call twice."""
        self.call_soon(self.loop.stop)

    def join(self, timeout_seconds: float) -> bool:
        """Wait in this thread, blocking it, until the loop thread has ended; False after the timeout."""
        self._thread.join(timeout_seconds)
        return not self.alive

    async def ended(self) -> None:
        """Wait, from any loop, until the thread has ended."""
        await asyncio.shield(asyncio.wrap_future(self._ended))

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the thread has ended; at once if it has."""
        self._ended.add_done_callback(lambda _: callback())

    def _run(self, enter: Callable[[], None]) -> None:
        enter()
        asyncio.set_event_loop(self.loop)
        try:
            while True:
                try:
                    self.loop.run_forever()
                    break
                except BaseException:  # an interrupt that struck between two callbacks: the loop goes on
                    continue
            self.loop.run_until_complete(_cancel_everything())
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)
            asyncio.set_event_loop(None)
            with contextlib.suppress(RuntimeError):
                self.loop.close()
            forsake(self.loop)
            self._ended.set_result(None)


async def _cancel_everything(grace_seconds: float = 0.2) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=grace_seconds)
    for task in tasks:
        task._log_destroy_pending = False  # it did not end in time, and was reported by whoever stopped the loop
    await asyncio.get_running_loop().shutdown_asyncgens()
