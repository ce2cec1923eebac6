"""What a suspended task waits for, by the functions that it is in below the reader's innermost line, and by what ends its way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from kit.awaited import source_futures
from kit.chain import Step, future_at
from kit.connection import Connection
from kit.taps import HandlerTap
from kit.waiting import Wait, kind_of

__all__ = ["wait_of"]

# What the reader has written, where the function that waits has another name.
_CALLS = {"__aexit__": "TaskGroup", "_wait_for_one": "as_completed"}
_LIMITS = {"wait_for": "timeout", "sleep": "delay"}
_TAP_KINDS = {HandlerTap.receive.__code__: "message", HandlerTap.send.__code__: "send"}


def wait_of(beneath: Sequence[Step], end: Any, *, foreign: Sequence[Step], connection: Connection | None, task_count: int) -> Wait:
    """What a suspended task waits for, as far as it can be known; at any time and from any thread.

    Args:
        beneath: the libraries' steps below the reader's innermost line, outermost first.
        end: what the innermost of them awaits.
        foreign: all steps of the task that are not the reader's, outermost first, with those around the reader's lines.
        connection: whose handler the task runs; a message to or from another one is then told by its name.
        task_count: for how many tasks it waits.

    Raises:
        AttributeError, KeyError, TypeError: a frame has gone on before it was read.
    """
    kind, call, peer = _known_call(beneath, connection)
    limit, work = _limit(foreign), _work(beneath) if kind == "thread" else ""
    if kind is None:
        kind = _kind_by_end(beneath, end, task_count)
    if kind == "tasks" and not beneath:
        call = "gather"
    return Wait(kind, call or _name_of(end), peer, limit, task_count, work)


def _known_call(beneath: Sequence[Step], own: Connection | None) -> tuple[str | None, str, str]:
    """The first step that is known to wait for something: what for, the name of the reader's call, and the other connection."""
    call = beneath[0].frame.f_code.co_name if beneath else ""
    for step in beneath:
        code = step.frame.f_code
        if code in _TAP_KINDS:
            connection = step.frame.f_locals["self"]._connection
            return _TAP_KINDS[code], call, connection.name if connection is not own else ""
        kind = kind_of(str(step.frame.f_globals.get("__name__")), code.co_qualname)
        if kind is not None:
            return kind, _CALLS.get(code.co_name) or (code.co_name if call.startswith("__") else call), ""
    return None, call, ""


def _kind_by_end(beneath: Sequence[Step], end: Any, task_count: int) -> str:
    """For calls that are not known by name: what the innermost of them waits for."""
    if task_count > 1 or hasattr(end, "_children"):
        return "tasks"
    if end is not None and future_at(end) is None:
        return "hidden"
    if beneath or end is None:
        return "other"
    return "task" if isinstance(end, asyncio.Task) else "thread" if source_futures(end) else "future"


def _limit(steps: Sequence[Step]) -> float | None:
    """After how many seconds the call gives up, or a sleep is over; the innermost limit, which may be set around a line of the reader's."""
    for step in reversed(steps):
        variable = _LIMITS.get(step.frame.f_code.co_name)
        limit = step.frame.f_locals.get(variable) if variable else None
        if isinstance(limit, (int, float)):
            return float(limit)
    return None


def _work(beneath: Sequence[Step]) -> str:
    """The name of the function that is run in a thread."""
    for step in beneath:
        function = step.frame.f_locals.get("func")
        while isinstance(function, partial):
            function = function.func
        if function is not None:
            return f"{getattr(function, '__name__', 'a function')}()"
    return ""


def _name_of(end: Any) -> str:
    return "" if end is None else type(end).__name__.strip("_")
