"""Which lines are the reader's own: for tracebacks, and for the line on which a server's loop is blocked."""

from __future__ import annotations

import linecache
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

__all__ = ["Place", "innermost_line", "innermost_place", "is_readers", "readers_lines", "source_line", "source_lines"]

_LIBRARIES = tuple({str(Path(path).resolve()) for path in [*site.getsitepackages(), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))] if path})
_KIT = str(Path(__file__).parent.resolve())


@dataclass(frozen=True, slots=True)
class Place:
    """One line of source: where it stands and what it says."""

    filename: str
    line: int
    function: str
    code: str

    @property
    def cell(self) -> str:
        """``cell [7]`` for a notebook cell, else the file's name."""
        number = _cell_numbers().get(self.filename)
        return f"cell [{number}]" if number else Path(self.filename).name

    def __str__(self) -> str:
        return f"{self.cell}, line {self.line}, in {self.function}: {self.code}"


def is_readers(filename: str) -> bool:
    """Whether a file is the reader's: neither a library, nor the kit, nor made up by the interpreter."""
    if filename.startswith("<"):
        return filename.startswith("<ipython-input")
    return not filename.startswith((*_LIBRARIES, _KIT))


def source_lines(filename: str, module_globals: dict[str, Any] | None = None) -> list[str]:
    """The lines of a file or cell; none where that is not known.

    Python calls whatever ``exec`` is given ``<string>``, and 3.13.0 keeps the text of ``python -c`` under that name: not to be mistaken for it.
    """
    return linecache.getlines(filename, module_globals) if filename != "<string>" else []


def source_line(filename: str, number: int, module_globals: dict[str, Any] | None = None) -> str:
    """One line of a file or cell, from 1 on, without the spaces around it; empty where that is not known."""
    return next(iter(source_lines(filename, module_globals)[number - 1 : number]), "").strip()


def innermost_place(frame: FrameType | None) -> Place | None:
    """The innermost line of the reader's under ``frame``, or the innermost line at all if none is the reader's."""
    innermost = frame
    while frame is not None:
        if is_readers(frame.f_code.co_filename):
            return _place(frame, frame.f_lineno)
        frame = frame.f_back
    return _place(innermost, innermost.f_lineno) if innermost else None


def readers_lines(traceback: TracebackType | None) -> list[Place]:
    """The lines of a traceback that are the reader's own, outermost first."""
    places = []
    while traceback is not None:
        if is_readers(traceback.tb_frame.f_code.co_filename):
            places.append(_place(traceback.tb_frame, traceback.tb_lineno))
        traceback = traceback.tb_next
    return places


def innermost_line(traceback: TracebackType | None) -> tuple[CodeType, int] | None:
    """The innermost line of a traceback that is the reader's own, as its code and number."""
    found = None
    while traceback is not None:
        if is_readers(traceback.tb_frame.f_code.co_filename):
            found = traceback.tb_frame.f_code, traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def _place(frame: FrameType, line: int) -> Place:
    code = frame.f_code
    return Place(code.co_filename, line, code.co_name, source_line(code.co_filename, line, frame.f_globals))


def _cell_numbers() -> dict[str, int]:
    """The execution count of each notebook cell by the file name that IPython compiled it under."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(getattr(shell, "compile", None), "_filename_map", {})
