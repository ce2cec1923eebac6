"""The way from a suspended task to what it waits for: its frames, and what the innermost of them awaits. No tracing: only looking."""

from __future__ import annotations

import asyncio
import gc
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, NamedTuple

__all__ = ["Chain", "Step", "follow", "future_at"]

_STEPS_LIMIT = 200
# What Python puts between a frame and what it waits for; all of them hold what they wrap where the garbage collector finds it.
_WRAPPERS = {"async_generator_asend", "async_generator_athrow", "coroutine_wrapper", "anext_awaitable", "FutureIter"}
_SUSPENDABLE = (CoroutineType, AsyncGeneratorType, GeneratorType, asyncio.Future)


class Step(NamedTuple):
    """One frame on the way from a task to what it waits for, and the coroutine or generator that it belongs to."""

    frame: FrameType
    owner: Any


class Chain(NamedTuple):
    """The way from a task to what it waits for: its frames, outermost first, and what the innermost waits for."""

    steps: list[Step]
    end: Any


def follow(root: Any) -> Chain:
    """Every frame from ``root`` to the innermost suspended one, and what that waits for."""
    steps: list[Step] = []
    at = root
    while at is not None and len(steps) < _STEPS_LIMIT:
        kind = type(at)
        if kind is CoroutineType:
            frame, inner = at.cr_frame, at.cr_await
        elif kind is AsyncGeneratorType:
            frame, inner = at.ag_frame, at.ag_await
        elif kind is GeneratorType:
            frame, inner = at.gi_frame, at.gi_yieldfrom
        else:
            frame, inner = None, _wrapped(at)
            if inner is None:
                break
        if frame is not None:
            steps.append(Step(frame, at))
        at = inner
    return Chain(steps, at)


def _wrapped(at: Any) -> Any:
    """What a wrapper of Python's own hides, or None: then ``at`` is where the way ends."""
    if isinstance(at, asyncio.Future) or type(at).__name__ not in _WRAPPERS:
        return None
    return next((held for held in gc.get_referents(at) if isinstance(held, _SUSPENDABLE)), None)


def future_at(end: Any) -> asyncio.Future[Any] | None:
    """The end of a way, where that is a future; None where it is something else, or nothing."""
    return end if isinstance(end, asyncio.Future) else None
