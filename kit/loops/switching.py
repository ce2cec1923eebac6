"""How soon the interpreter switches to another thread, for work that gives way to others."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from threading import Lock

__all__ = ["giving_way"]

_SWITCH_SECONDS = 0.0001


class _GivingWay:
    """How many parts of such work are under way, and the interpreter's switch interval before the first began."""

    lock = Lock()
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
