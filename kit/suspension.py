"""On which of the reader's lines a task is suspended, in which call, and for what it waits there. No tracing: only looking.

Everything here reads what Python keeps anyway, from any thread, while the loop goes on: what is read may be over a moment
later, so nothing is held on to but weak references.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextvars import Context
from functools import lru_cache
from types import CodeType, CoroutineType, FrameType
from typing import Any, NamedTuple

from kit.awaited import awaited_tasks, source_futures
from kit.chain import Step, follow, future_at
from kit.connection import Connection
from kit.known_calls import wait_of
from kit.output import serving
from kit.source import is_readers
from kit.waiting import Wait

__all__ = ["Line", "Suspension", "connection_of", "suspension_of", "suspensions_of", "tasks_by_connection"]

_TASKS_LIMIT = 50
_DEPTH_LIMIT = 8
_ATTEMPTS = 3
_FILES_MOST = 4_096  # every cell that is run is a file of its own

Task = asyncio.Task[Any]
Frames = Mapping[int, FrameType]


class Line(NamedTuple):
    """One line of a function."""

    code: CodeType
    number: int


class Suspension(NamedTuple):
    """Where one task is suspended, or runs.

    Attributes:
        lines: the reader's lines that it is in, from the outermost caller to the innermost; empty while it is in libraries only.
        wait: what it waits for.
        held: lines of dependencies with ``yield`` that stay open until the handler ends.
        witness: something that is replaced whenever the task goes on: as long as it lives and is the same, the task waits in the same call.
        branches: the tasks that it waits for, when there are several.
    """

    lines: tuple[Line, ...]
    wait: Wait
    held: tuple[Line, ...] = ()
    witness: weakref.ref[Any] | None = None
    branches: tuple[Suspension, ...] = ()


class _View(NamedTuple):
    """What is looked at from: whose handler it is, what its loop's thread runs now, which code is the reader's, what the threads run."""

    connection: Connection | None
    running: Callable[[], FrameType | None]
    own: Container[CodeType]
    threads: Callable[[], Frames]


def suspensions_of(
    task: Task,
    others: Iterable[Task] = (),
    *,
    connection: Connection | None = None,
    running: Callable[[], FrameType | None] = lambda: None,
    own: Container[CodeType] = (),
    threads: Callable[[], Frames] = dict,
) -> list[Suspension]:
    """Where a handler is suspended, and then where the tasks are that it has started and does not wait for.

    Args:
        task: the task that the handler runs in.
        others: all tasks that serve the same connection.
        connection: the handler's; sends to another one are then told by its name.
        running: what the loop's thread executes now, asked only when a task is not suspended at all.
        own: code that is the reader's although its file is not, for example an endpoint made by ``exec``.
        threads: what every thread executes now, asked only when a task waits for one.
    """
    view, seen = _View(connection, running, own, threads), {task}
    suspensions = [_suspension(task, view, seen)]
    for other in list(others)[:_TASKS_LIMIT]:
        if other not in seen and not other.done():
            suspensions.append(_suspension(other, view, seen))
    return [suspensions[0], *(beside for beside in suspensions[1:] if beside.lines)]


def suspension_of(task: Task, **seen_from: Any) -> Suspension:
    """Where one task is suspended; the arguments are those of `suspensions_of`."""
    return suspensions_of(task, **seen_from)[0]


def tasks_by_connection(loop: asyncio.AbstractEventLoop) -> dict[Connection, list[Task]]:
    """The tasks of a loop by the connection that they serve; a task begins in the context of the code that starts it."""
    found: dict[Connection, list[Task]] = {}
    for task in asyncio.all_tasks(loop):
        connection = connection_of(task)
        if connection is not None:
            found.setdefault(connection, []).append(task)
    return found


def connection_of(task: Task) -> Connection | None:
    """The connection that a task serves, as its context knows it."""
    context = task.get_context() if hasattr(task, "get_context") else next((held for held in gc.get_referents(task) if type(held) is Context), None)
    here = context.get(serving) if context is not None else None
    return here.connection if here is not None else None


# From a task to what it waits for.


def _suspension(task: Task, view: _View, seen: set[Task], depth: int = 0) -> Suspension:
    """Where a task is; ``seen`` gets the tasks that it waits for. What was read while it went on is read again."""
    for _ in range(_ATTEMPTS):
        waiter, found = getattr(task, "_fut_waiter", None), set(seen)
        try:
            suspension = _read(task, view, found, depth)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):  # a frame was gone before it was read
            continue
        if getattr(task, "_fut_waiter", None) is waiter:
            seen |= found
            return suspension
    return Suspension((), Wait("ready"))


def _read(task: Task, view: _View, seen: set[Task], depth: int) -> Suspension:
    root = task.get_coro()
    if getattr(root, "cr_running", False):
        return _running(root, view)
    if not getattr(root, "cr_suspended", True):
        return Suspension((), Wait("begins" if getattr(root, "cr_frame", None) is not None else "ready"))
    chain = follow(root)
    if not chain.steps:
        return Suspension((), Wait("ready"))
    lines = _readers_lines([step.frame for step in chain.steps], view)
    beneath = _beneath(chain.steps, view)
    held = tuple(_held_open(chain.steps, view))
    witness = _witness(beneath, chain.end)
    awaited = [other for other in awaited_tasks([step.frame for step in beneath or chain.steps[-1:]], chain.end) if not other.done() and other not in seen]
    awaited = awaited[:_TASKS_LIMIT]
    seen.update(awaited)
    foreign = [step for step in chain.steps if not _is_own(step.frame.f_code, view)]
    wait = wait_of(beneath, chain.end, foreign=foreign, connection=view.connection, task_count=len(awaited))
    below = [_suspension(other, view, seen, depth + 1) for other in awaited] if depth < _DEPTH_LIMIT else []
    if len(below) == 1 and wait.kind not in ("tasks", "task-group"):
        return _joined(Suspension(lines, wait, held, witness), below[0])
    if wait.kind == "thread":
        return _in_thread(Suspension(lines, wait, held, witness), chain.end, view)
    branches = tuple(branch._replace(lines=lines + branch.lines) for branch in below)
    return Suspension(lines, wait, held, witness, branches)


def _running(root: Any, view: _View) -> Suspension:
    """A task that runs right now, by what its thread executes; by the time we look it may have gone on."""
    frames = []
    frame = view.running()
    while frame is not None:
        frames.append(frame)
        if frame is root.cr_frame:
            return Suspension(_readers_lines(reversed(frames), view), Wait("runs"))
        frame = frame.f_back
    return Suspension((), Wait("ready"))


def _readers_lines(frames: Iterable[FrameType], view: _View) -> tuple[Line, ...]:
    return tuple(Line(frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno) for frame in frames if _is_own(frame.f_code, view))


def _is_own(code: CodeType, view: _View) -> bool:
    return _of_reader(code.co_filename) or code in view.own


_of_reader = lru_cache(_FILES_MOST)(is_readers)


def _beneath(steps: list[Step], view: _View) -> list[Step]:
    """The libraries' steps below the innermost line of the reader's."""
    for index in range(len(steps) - 1, -1, -1):
        if _is_own(steps[index].frame.f_code, view):
            return steps[index + 1 :]
    return steps


def _witness(beneath: list[Step], end: Any) -> weakref.ref[Any] | None:
    """Each call makes a new coroutine, or at least a new future: the first one below the reader's line tells calls apart."""
    for step in beneath:
        if type(step.owner) is CoroutineType:
            return weakref.ref(step.owner)
    future = future_at(end)
    return weakref.ref(future) if future is not None else None


# Tasks that wait for tasks, and threads that work for them.


def _joined(outer: Suspension, inner: Suspension) -> Suspension:
    """A task that waits for one other task is where that one is; the limit of ``wait_for`` stays with it."""
    wait = inner.wait if inner.wait.limit_seconds is not None or inner.wait.kind == "send" else inner.wait._replace(limit_seconds=outer.wait.limit_seconds)
    if not inner.lines and outer.wait.call:
        wait = wait._replace(call=outer.wait.call if outer.wait.kind != "task" else wait.call)
    branches = tuple(branch._replace(lines=outer.lines + branch.lines) for branch in inner.branches)
    return Suspension(outer.lines + inner.lines, wait, outer.held, inner.witness or outer.witness, branches)


def _in_thread(outer: Suspension, end: Any, view: _View) -> Suspension:
    """The same, with the reader's lines on which a thread works for it."""
    futures = {id(end), *source_futures(end)}
    for frame in view.threads().values():
        lines = _lines_of_work(frame, futures, view)
        if lines:
            return outer._replace(lines=outer.lines + lines, wait=outer.wait._replace(kind="in-thread"))
    return outer


def _lines_of_work(frame: FrameType | None, futures: set[int], view: _View) -> tuple[Line, ...]:
    """The reader's lines in a thread's frames, if it works on one of these futures."""
    frames: list[FrameType] = []
    while frame is not None:
        code = frame.f_code
        if code.co_name in ("run", "_run") and not _of_reader(code.co_filename):
            future = frame.f_locals.get("future") or getattr(frame.f_locals.get("self"), "future", None)
            if future is not None:
                return _readers_lines(reversed(frames), view) if id(future) in futures else ()
        frames.append(frame)
        frame = frame.f_back
    return ()


# Dependencies with yield, which FastAPI keeps open until the handler ends.


def _held_open(steps: list[Step], view: _View) -> Iterator[Line]:
    for step in steps:
        if step.frame.f_code.co_name == "app" and "function_stack" in step.frame.f_code.co_varnames:
            variables = step.frame.f_locals
            for name in ("request_stack", "function_stack"):
                for _, leave in list(getattr(variables.get(name), "_exit_callbacks", ())):
                    yield from _yielding_line(getattr(leave, "__self__", None), view)


def _yielding_line(manager: Any, view: _View) -> Iterator[Line]:
    """The line of the ``yield`` at which a context manager's generator stays, however often FastAPI has wrapped it."""
    for _ in range(_DEPTH_LIMIT):
        generator = getattr(manager, "gen", None)
        frame = getattr(generator, "ag_frame", None) or getattr(generator, "gi_frame", None)
        if frame is None:
            return
        if _is_own(frame.f_code, view):
            yield Line(frame.f_code, frame.f_lineno)
            return
        manager = frame.f_locals.get("cm")
