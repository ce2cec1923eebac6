"""The rows of the StatePanel's log: what was called and what came of it, and what reached the client."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from starlette.websockets import WebSocketDisconnect

from kit.printable import quoted, visible
from kit.timeline import Entry
from kit.websocket_states import Machine

__all__ = ["Log", "Row", "described", "moved", "row_of_the_client", "short", "shown"]

_ROWS_LIMIT = 500
_SHOWN_CHARACTERS = 120


@dataclass
class Row:
    """One row of the log."""

    id: str
    at: float
    who: str
    call: str
    result: str = ""
    meaning: str = ""
    tone: str = "plain"


class Log:
    """The newest 500 rows, by the ids under which the front end knows them, and those that it has still to be told."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._unshown: deque[Row] = deque(maxlen=_ROWS_LIMIT)
        self._numbers = itertools.count(1)

    def new(self, at: float, who: str, call: str, result: str = "", meaning: str = "", tone: str = "plain") -> Row:
        """A row for a call, under a number of its own."""
        return Row(f"call {next(self._numbers)}", at, who, call, result, meaning, tone)

    def put(self, row: Row) -> None:
        """Have a row told that is new or has changed; from any thread."""
        self._unshown.append(row)

    def take(self, came: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the front end has to add or to change: the rows that were put and those that ``came``, in order of their time."""
        rows = [*came]
        while self._unshown:
            rows.append(_plain(self._unshown.popleft()))
        rows.sort(key=lambda row: row["at"])
        for row in rows:
            self._keep(row)
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """All that are kept, in order of their time."""
        return sorted(self._rows.values(), key=lambda row: row["at"])

    def clear(self) -> None:
        """Forget what is kept; what has still to be told stays."""
        self._rows = OrderedDict()

    def forget_entries(self) -> None:
        """Forget the rows that were made of Entries: they will come again."""
        for key in [key for key in self._rows if key.startswith("entry")]:
            del self._rows[key]

    def _keep(self, row: dict[str, Any]) -> None:
        self._rows[row["id"]] = row
        while len(self._rows) > _ROWS_LIMIT:
            self._rows.popitem(last=False)


def _plain(row: Row) -> dict[str, Any]:
    return {**asdict(row), **{key: visible(getattr(row, key)) for key in ("call", "result", "meaning")}}


def row_of_the_client(entry: Entry) -> dict[str, Any] | None:
    """A row for what reached the client, as its end recorded it."""
    if entry.side != "client":
        return None
    if entry.kind == "response":
        got = f"HTTP {entry.text}"
    elif entry.kind == "frame-in" and entry.details["opcode"] == "TEXT":
        got = f"text {quoted(entry.text)}"
    elif entry.kind == "frame-in" and entry.details["opcode"] == "BINARY":
        got = f"bytes {entry.text[:60]}"
    elif entry.kind == "frame-in" and entry.details["opcode"] == "CLOSE":
        got = f"Close {entry.details['code']} {quoted(entry.details['reason'])}"
    else:
        return None
    return {**asdict(Row(f"entry {entry.number}", entry.at_seconds, "client", f"gets {visible(got)}")), "number": entry.connection}


def moved(machine: Machine, before: str, after: str) -> str:
    """What a call did to a machine, in words."""
    return f"{machine.attribute} {before} → {after}" if before != after else f"{machine.attribute} stays {after}"


def described(error: BaseException) -> str:
    """An exception as type and text, exactly as it was raised."""
    name = type(error).__name__
    if type(error) is WebSocketDisconnect:
        return f"{name}(code={error.code}, reason={error.reason!r})"
    return f"{name}: {error}" if str(error) else name


def shown(message: Any) -> str:
    """An ASGI message as Python writes it, its long values cut."""
    if not isinstance(message, Mapping):
        return short(message)
    return "{" + ", ".join(f"{key!r}: {short(value)}" for key, value in message.items()) + "}"


def short(value: Any) -> str:
    """A value as Python writes it, cut when it is long."""
    if isinstance(value, (str, bytes)) and len(value) > _SHOWN_CHARACTERS:
        return f"{value[:_SHOWN_CHARACTERS]!r}… {len(value):,} in all"
    return repr(value)
