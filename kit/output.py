"""Prints and log records made while serving a connection, recorded in its Timeline instead of a passing cell."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
from typing import Any, TextIO

from kit.connection import Connection
from kit.timeline import Timeline

__all__ = ["Serving", "capture_output", "serving"]

_LINE_CHARACTERS = 4096  # a longer line without an end is recorded in parts


class Serving:
    """What the code of this context serves: a Timeline and, inside a handler, one of its connections.

    Context variables follow ``await``, ``run_in_threadpool`` and ``asyncio.to_thread``. They do not follow
    ``run_in_executor``, whose prints are recorded without a connection, nor ``threading.Thread``, whose prints stay
    where Python sends them.
    """

    __slots__ = ("_line", "connection", "timeline")

    def __init__(self, timeline: Timeline, connection: Connection | None = None) -> None:
        self.timeline = timeline
        self.connection = connection
        self._line = ""

    def write(self, text: str, stream: str) -> None:
        """Record each line of ``text`` that is complete, and remember the rest."""
        *lines, self._line = (self._line + text).split("\n")
        if len(self._line) > _LINE_CHARACTERS:
            lines, self._line = [*lines, self._line], ""
        for line in lines:
            self.timeline.note(line, kind="print", connection=self.connection, stream=stream)

    def flush(self) -> None:
        """Record what was printed without a line end."""
        if self._line:
            self.write("\n", "stdout")


serving: contextvars.ContextVar[Serving | None] = contextvars.ContextVar("serving", default=None)


class _Stream:
    """Stands in for ``sys.stdout``: what a handler prints is recorded, everything else goes where it went before."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name = name
        self.original = stream

    def write(self, text: str) -> int:
        here = serving.get()
        if here is None:
            return self.original.write(text)
        here.write(text, self._name)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class _Capture:
    """Puts the stand-ins in place while at least one server runs, and takes them away after the last."""

    def __init__(self) -> None:
        self._holders = 0
        self._factory: Any = None

    def acquire(self) -> None:
        self._holders += 1
        if self._holders == 1:
            self._factory = _RecordFactory(logging.getLogRecordFactory())
            logging.setLogRecordFactory(self._factory)
            if logging.lastResort:
                logging.lastResort.addFilter(_not_serving)
        for name in ("stdout", "stderr"):  # at every start: a notebook or a test may have put its own in place since
            if not isinstance(getattr(sys, name), _Stream):
                setattr(sys, name, _Stream(name, getattr(sys, name)))

    def release(self) -> None:
        self._holders -= 1
        if self._holders:
            return
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, _Stream):
                setattr(sys, name, stream.original)
        self._factory.active = False  # a factory of the reader's may go on calling it
        if logging.getLogRecordFactory() is self._factory:
            logging.setLogRecordFactory(self._factory.original)
        if logging.lastResort:
            logging.lastResort.removeFilter(_not_serving)


class _RecordFactory:
    """Makes log records as before and, while ``active``, records in the Timeline those made inside a handler."""

    def __init__(self, original: Any) -> None:
        self.original = original
        self.active = True

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.original(*args, **kwargs)
        here = serving.get()
        recorded_by_its_tap = record.name == "uvicorn.error" and record.exc_info
        if self.active and here is not None and not recorded_by_its_tap:
            with contextlib.suppress(Exception):  # a bad format string must not break the handler that logs
                text = f"{record.levelname} {record.name}: {record.getMessage()}"
                here.timeline.note(text, kind="log", connection=here.connection, level=record.levelname)
        return record


def _not_serving(record: logging.LogRecord) -> bool:
    """Keep Python's handler of last resort from printing a handler's warnings into a passing cell."""
    return serving.get() is None


capture_output = _Capture()
