"""What a future that somebody waits for stands for: the tasks that will end the wait, or a thread's work. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

__all__ = ["awaited_tasks", "source_futures"]

_WAITING_FUNCTIONS = ("wait_for", "_wait", "__aexit__", "_wait_for_one")


def awaited_tasks(frames: Iterable[FrameType], end: Any) -> list[asyncio.Task[Any]]:
    """The tasks that end the wait for ``end``: awaited themselves, gathered, of a task group, waited for together, or shielded.

    ``frames`` are the libraries' frames in which the task waits: some of asyncio's functions keep in their variables whom they wait for.
    """
    if isinstance(end, asyncio.Task):
        return [end]
    found = [child for child in getattr(end, "_children", ()) if isinstance(child, asyncio.Task)]
    for frame in frames:
        module = str(frame.f_globals.get("__name__"))
        if module.startswith(("asyncio.", "anyio.")) and frame.f_code.co_name in _WAITING_FUNCTIONS:
            found += _tasks_in(frame) if frame.f_code.co_name != "_wait_for_one" else _tasks_to_complete(frame, end)
    return list(dict.fromkeys(found or (held for held in _held_by_callbacks(end) if isinstance(held, asyncio.Task))))


def source_futures(end: Any) -> set[int]:
    """The ids of the futures of a thread's work whose result asyncio hands on to ``end``."""
    return {id(held) for held in _held_by_callbacks(end) if hasattr(held, "set_running_or_notify_cancel")}


def _tasks_in(frame: FrameType) -> list[asyncio.Task[Any]]:
    variables = frame.f_locals
    limited = variables.get("fut")
    if asyncio.isfuture(limited):
        return awaited_tasks((), limited)
    held = getattr(variables.get("self"), "_tasks", None) or variables.get("fs") or ()
    return [task for task in list(held) if isinstance(task, asyncio.Task)]


def _tasks_to_complete(frame: FrameType, end: Any) -> list[asyncio.Task[Any]]:
    """The tasks of an `asyncio.as_completed`: each calls, when it is done, a method of what gives out results, or a function that holds its queue."""
    collector = frame.f_locals.get("self", frame.f_locals.get("done"))
    return [task for task in asyncio.all_tasks(end.get_loop()) if any(held is collector for held in (*_called_when_done(task), *_held_by_callbacks(task)))]


def _called_when_done(end: Any) -> Iterator[Any]:
    """The objects whose methods are called when a future is done."""
    for callback, _context in getattr(end, "_callbacks", None) or ():
        if hasattr(callback, "__self__"):
            yield callback.__self__


def _held_by_callbacks(end: Any) -> Iterator[Any]:
    """What the functions hold that are called when a future is done: the other end of a shield, or of a thread's work."""
    for callback, _context in getattr(end, "_callbacks", None) or ():
        for cell in getattr(callback, "__closure__", None) or ():
            try:
                yield cell.cell_contents
            except ValueError:  # emptied meanwhile
                continue
