"""What a HandlerPanel shows beside the source: suspensions turned into marks on lines, with a sentence and a time each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kit import closing
from kit.connection import Connection
from kit.printable import visible
from kit.suspension import Line, Suspension
from kit.waiting import plural, words_for

__all__ = ["Endings", "Mark", "Stopwatch", "grouped", "marks_of", "name_of"]

_ALONE_LIMITS = {"here": 3, "ended": 3}  # as many connections on one line have a sentence each; more of them share one
_BADGES_LIMIT = 16
_ENDED_SECONDS = 20.0  # how long an ended handler stays in sight
_ENDED_LIMIT = 8
_TONES = {"send": "warning", "blocks": "bad"}


class Mark(NamedTuple):
    """One connection on one line.

    Attributes:
        line: the reader's line, or None where no line of the reader's is involved.
        role: ``"here"`` where it waits or runs, ``"through"`` on the lines that led there, ``"held"`` at the ``yield`` of
            a dependency, ``"ended"`` where the handler has ended.
        number: the connection's, and its name.
        who: the subject of the sentence, and ``words`` the rest of it.
        since_seconds: when it got there, in seconds since the Timeline began; None where no time is told.
        after: the end of the sentence, behind the time.
        tone: ``"plain"``, ``"warning"``, ``"bad"``, ``"good"`` or ``"muted"``.
    """

    line: Line | None
    role: str
    number: int
    name: str
    who: str
    words: str
    since_seconds: float | None = None
    after: str = ""
    tone: str = "plain"


class Stopwatch:
    """For how long each task has been on its line in the same call, told from one look to the next."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[tuple[Line, ...], Any, float]] = {}
        self._looked_at: set[Any] = set()

    def since(self, key: Any, suspension: Suspension, now: float, earliest: float) -> float:
        """When the task ``key`` got to where it is: now if it has moved since the last look, ``earliest`` if this is the first."""
        lines, witness = suspension.lines, suspension.witness
        known_lines, known_witness, since = self._known.get(key, (lines, witness, earliest))
        since = since if known_lines == lines and known_witness is witness else now
        self._known[key] = (lines, witness, since)
        self._looked_at.add(key)
        return since

    def forget_the_rest(self) -> None:
        """Forget the tasks that have not been looked at since the last call of this."""
        self._known = {key: known for key, known in self._known.items() if key in self._looked_at}
        self._looked_at.clear()


def name_of(connection: Connection) -> str:
    """What a sentence calls a connection."""
    return f"stranger {connection.number}" if connection.name == "stranger" else visible(connection.name)[:40] or f"connection {connection.number}"


def marks_of(connection: Connection, suspensions: list[Suspension], stopwatch: Stopwatch, now: float, earliest: float) -> list[Mark]:
    """All marks of one connection: where its handler is, how it got there, and the tasks that belong to it."""
    name = name_of(connection)
    marks: list[Mark] = []
    for index, suspension in enumerate(suspensions):
        who = f"{name}'s handler" if index == 0 else f"a task of {name}'s handler"
        _add(marks, connection, suspension, who, (connection.number, index), stopwatch, now, earliest)
    return list(dict.fromkeys(marks))


def _add(marks: list[Mark], connection: Connection, suspension: Suspension, who: str, key: Any, stopwatch: Stopwatch, now: float, earliest: float) -> None:
    number, name = connection.number, name_of(connection)
    innermost = suspension.lines[-1] if suspension.lines else None
    since = stopwatch.since(key, suspension, now, earliest)
    words = words_for(suspension.wait) + _remark(connection, suspension)
    marks.append(Mark(innermost, "here", number, name, who, words, since, _after(suspension), _TONES.get(suspension.wait.kind, "plain")))
    for outer, inner in zip(suspension.lines, suspension.lines[1:], strict=False):
        if outer != innermost:
            marks.append(Mark(outer, "through", number, name, who, f"is in {_function(inner)}, line {innermost.number}", tone="muted"))
    for held in suspension.held:
        marks.append(Mark(held, "held", number, name, "this dependency", f"stays open until {name}'s handler ends", tone="muted"))
    for index, branch in enumerate(suspension.branches):
        _add(marks, connection, branch, f"a task of {name}'s handler", (*key, index), stopwatch, now, earliest)


def _function(line: Line) -> str:
    return visible(line.code.co_qualname.rpartition("<locals>.")[2])


def _remark(connection: Connection, suspension: Suspension) -> str:
    """What makes this wait a trap: its client is gone, and it will not hear of it here."""
    if connection.open or suspension.wait.kind in ("message", "runs", "ready"):
        return ""
    return " and does not know that its client has left"


def _after(suspension: Suspension) -> str:
    if suspension.wait.kind == "sleep" and suspension.wait.limit_seconds is not None:
        return f" of {suspension.wait.limit_seconds:g} s"
    return ""


class Endings:
    """The handlers that have ended of late, each with its reason at the line where it was last seen, or that raised."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[Connection, Line | None]] = {}  # where each living handler was last
        self._ended: dict[int, tuple[Connection, Line | None, float]] = {}
        self._newest = 0

    def lives(self, connection: Connection, line: Line | None) -> None:
        """Say that a handler has been seen, and where."""
        self._last[connection.number] = connection, line

    def fold(self, connections: Iterable[Connection], now: float) -> list[Mark]:
        """The marks of the newest that have ended in the last 20 seconds, those among ``connections`` that nobody saw alive included."""
        for connection in connections:
            if connection.number > self._newest and now - (connection.ended_seconds or now) < _ENDED_SECONDS:
                self._newest = connection.number
                self._last.setdefault(connection.number, (connection, None))
        for connection, line in list(self._last.values()):
            if connection.handler_task is None and (connection.handler_returned or connection.handler_error):
                del self._last[connection.number]
                raised_at = connection.handler_raised_at
                self._ended[connection.number] = connection, Line(*raised_at) if raised_at else line, now
        kept = [ended for ended in self._ended.values() if now - ended[2] < _ENDED_SECONDS][-_ENDED_LIMIT:]
        self._ended = {ended[0].number: ended for ended in kept}
        return [_ended_mark(connection, line) for connection, line, _ in kept]


def _ended_mark(connection: Connection, line: Line | None) -> Mark:
    words, tone, where = "has returned", "muted", ", last seen here" if line else ""
    if connection.handler_error:
        where = " on this line" if connection.handler_raised_at else where
        words, tone = f"raised {visible(connection.handler_error[:120].rstrip('. '))}", "bad"
    words += where
    if connection.refused_status is not None or not connection.open:
        explanation = closing.explain(connection)
        words = f"{words}: {explanation.pill}"
        tone = explanation.severity if tone == "muted" and explanation.severity != "good" else tone
    name = name_of(connection)
    return Mark(line, "ended", connection.number, name, f"{name}'s handler", words, tone=tone)


def grouped(marks: Iterable[Mark], place: Any) -> list[dict[str, Any]]:
    """Marks as a view shows them: ``place(mark)`` gives section and line; many that say the same on one line share a sentence."""
    together: dict[Any, list[Mark]] = {}
    for mark in marks:
        section, number = place(mark)
        words = mark.words.replace(mark.name, "\0") if mark.role == "held" else mark.words
        kind = "a task" if mark.who.startswith("a task") else ""
        together.setdefault((section, number, mark.role, words, kind, mark.after, mark.tone), []).append(mark)
    shown = []
    for (section, number, *_), alike in together.items():
        rows = [[mark] for mark in alike] if len(alike) <= _ALONE_LIMITS.get(alike[0].role, 1) else [alike]
        shown += [{"section": section, "line": number, **_row(row)} for row in rows]
    return shown


def _row(marks: list[Mark]) -> dict[str, Any]:
    first = marks[0]
    times = [mark.since_seconds for mark in marks if mark.since_seconds is not None]
    return {
        "role": first.role,
        "tone": first.tone,
        "numbers": [mark.number for mark in marks[:_BADGES_LIMIT]],
        "more": max(0, len(marks) - _BADGES_LIMIT),
        "text": f"{first.who} {first.words}" if len(marks) == 1 else _together(marks),
        "since": sorted({min(times), max(times)}) if times else [],
        "after": first.after,
        "label": f"connection {first.number}, {first.name}: {first.words}" if len(marks) == 1 else _together(marks),
    }


def _together(marks: list[Mark]) -> str:
    if marks[0].role == "held":
        return f"this dependency stays open for {len(marks)} handlers until they end"
    noun = "tasks" if marks[0].who.startswith("a task") else "handlers"
    return f"{len(marks)} {noun} {plural(marks[0].words)}"
