"""Event loops in threads of their own, and the hops between them: the only module that knows threads."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import ctypes
import functools
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import FrameType
from typing import Any, Generic, TypeVar

import nest_asyncio

from kit.errors import LoopStopped

__all__ = [
    "HostLoop",
    "LoopThread",
    "Mailbox",
    "allow_nesting",
    "aside",
    "background",
    "current_loop",
    "daemon_executor",
    "giving_way",
    "new_event_loop",
    "panels",
    "run_on",
    "stop_shared_loops",
    "thread_frames",
]

T = TypeVar("T")

_SWITCH_SECONDS = 0.0001


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop event loop where uvloop exists, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop()
    return uvloop.new_event_loop()


def current_loop() -> asyncio.AbstractEventLoop | None:
    """The loop running in this thread, or None outside any loop."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def thread_frames() -> dict[int, FrameType]:
    """What every thread executes right now, as its innermost frame; it may have gone on by the time one looks."""
    return sys._current_frames()


class _GivingWay:
    """How many parts of such work are under way, and the interpreter's switch interval before the first began."""

    lock = threading.Lock()
    parts = 0
    usual_seconds = 0.0


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """While this is entered, any thread that wants the interpreter has it within a tenth of a millisecond, not within Python's usual 5.

    For work of the panels' that must not keep a server or a client waiting; it may be entered again meanwhile, by other
    tasks and threads.
    """
    with _GivingWay.lock:
        if _GivingWay.parts == 0:
            _GivingWay.usual_seconds = sys.getswitchinterval()
            sys.setswitchinterval(min(_GivingWay.usual_seconds, _SWITCH_SECONDS))
        _GivingWay.parts += 1
    try:
        yield
    finally:
        with _GivingWay.lock:
            _GivingWay.parts -= 1
            if _GivingWay.parts == 0:
                sys.setswitchinterval(_GivingWay.usual_seconds)


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


_pending: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, set[concurrent.futures.Future[Any]]] = weakref.WeakKeyDictionary()


async def _contain_exit(coroutine: Coroutine[Any, Any, T]) -> T:
    """Keep ``sys.exit()`` in a reader's coroutine from ending the loop's thread."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as exit_request:
        raise RuntimeError(f"{exit_request!r} was raised on the server's loop; it ends this call only.") from exit_request


class _DaemonExecutor(concurrent.futures.ThreadPoolExecutor):
    """A loop's executor whose threads do not hold up the end of the process, as the standard library's do.

    At most 32 calls run at a time; the others wait, each in a thread of its own.
    """

    def __init__(self, name: str, enter: Callable[[], None]) -> None:
        super().__init__()
        self._name = name
        self._enter = enter
        self._places = threading.Semaphore(32)

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        work = functools.partial(function, *args, **kwargs)
        threading.Thread(target=self._run, args=(future, work), name=f"{self._name}-worker", daemon=True).start()
        return future

    def _run(self, future: concurrent.futures.Future[T], work: Callable[[], T]) -> None:
        self._enter()
        with self._places:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = work()
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
            for future in list(_pending.pop(self.loop, ())):  # submitted too late to be run or cancelled
                future.cancel()
            self._ended.set_result(None)


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


async def _cancel_everything(grace_seconds: float = 0.2) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=grace_seconds)
    for task in tasks:
        task._log_destroy_pending = False  # it did not end in time, and was reported by whoever stopped the loop
    await asyncio.get_running_loop().shutdown_asyncgens()


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


class _Shared:
    """The two loops that all clients and all panels share, started at first use."""

    def __init__(self) -> None:
        self._threads: dict[str, LoopThread] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> LoopThread:
        thread = self._threads.get(name)
        if thread is not None and thread.alive:
            return thread
        with self._lock:
            if name not in self._threads or not self._threads[name].alive:
                self._threads[name] = LoopThread(f"kit-{name}")
            return self._threads[name]

    def stop(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, {}
        for thread in threads.values():
            thread.stop()
        for thread in threads.values():
            thread.join(1.0)


_shared = _Shared()


def background() -> LoopThread:
    """The loop on which clients live and servers are started and stopped."""
    return _shared.get("clients")


def panels() -> LoopThread:
    """The loop from which Timelines tell their subscribers what is new."""
    return _shared.get("panels")


def stop_shared_loops() -> None:
    """End the shared loops' threads; the next use starts new ones."""
    _shared.stop()


atexit.register(stop_shared_loops)
