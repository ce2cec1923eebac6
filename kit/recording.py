"""Recordings: a Timeline written as JSON Lines with its secrets blotted out, and read back without any server. Pure.

The first line is ``{"format": "websockets-from-both-sides", "version": 1, …}``; then one line for each connection,
``{"connection": {…}}``, and one for each Entry, ``{"entry": {…}}``, oldest first. A file is data only: whatever is not
exactly of this form is refused with the number of its line. Redaction knows the usual names of secrets, no others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from kit.connection import Connection
from kit.recording_form import (
    CONNECTION_FIELDS,
    DETAILS_DEPTH,
    FIX,
    FORMAT,
    VERSION,
    RecordingError,
    connection_from,
    entry_from,
    expect,
    is_number,
    left_out,
    shown,
    start_from,
)
from kit.redaction import redact
from kit.timeline import Entry, Timeline

__all__ = [
    "FILE_LIMIT_BYTES",
    "LINES_LIMIT",
    "RecordingError",
    "RecordingReader",
    "is_path",
    "plain_entry",
    "read_recording",
    "recording_lines",
    "safe_entries",
    "write_recording",
]

FILE_LIMIT_BYTES = 64 * 2**20
LINES_LIMIT = 100_000
LINE_LIMIT_CHARACTERS = 16 * 2**20
PAYLOAD_LIMIT_BYTES = 2**20  # of one payload; of all together:
PAYLOADS_LIMIT_CHARACTERS = 32 * 2**20
_TEXT_LIMIT_CHARACTERS = 64 * 1024  # of any text but a payload
_WRITTEN_LIMIT_CHARACTERS = 60 * 2**20


# Writing.


def safe_entries(entries: Iterable[Entry]) -> list[Entry]:
    """``entries`` with their secrets blotted out, also where a secret is spread over the fragments of one message."""
    entries = list(entries)
    whole: dict[Any, list[bytes]] = {}
    for entry in filter(_is_fragment, entries):
        whole.setdefault(_message_of(entry), []).append(_payload_bytes(entry))
    secretive = {message for message, parts in whole.items() if len(parts) > 1 and _holds_secrets(b"".join(parts))}
    return [entry.without_payload() if _is_fragment(entry) and _message_of(entry) in secretive else entry.redacted() for entry in entries]


def recording_lines(timeline: Timeline) -> Iterator[str]:
    """The lines of a recording of ``timeline``, each with its line break. What does not fit is left out, oldest first, and counted."""
    written, payloads_left_out = _fitting(safe_entries(timeline.entries()))
    held = timeline.statistics()
    yield _line(
        {
            "format": FORMAT,
            "version": VERSION,
            "began_at": timeline.began_at,
            "entries_left_out": held.entries_dropped + held.entries - len(written),
            "payloads_left_out": payloads_left_out,
        }
    )
    for connection in timeline.connections:
        yield _line({"connection": _plain_connection(connection)})
    yield from reversed(written)


def write_recording(timeline: Timeline) -> str:
    """All of ``timeline`` as JSON Lines, with cookies, credentials and tokens blotted out; from any thread.

    At most 60 MiB: longer payloads than 1 MiB, then the oldest payloads, then the oldest Entries are left out and counted in the first line.
    """
    return "".join(recording_lines(timeline))


def _fitting(entries: list[Entry]) -> tuple[list[str], int]:
    """The newest Entries' lines, newest first, and how many payloads had to be left out of them."""
    lines: list[str] = []
    payloads, room, left_out = PAYLOADS_LIMIT_CHARACTERS, _WRITTEN_LIMIT_CHARACTERS, 0
    for entry in reversed(entries[-(LINES_LIMIT - 2_000) :]):
        kept = entry.payload is not None and len(entry.payload) <= PAYLOAD_LIMIT_BYTES and payloads > 0
        line = _line({"entry": plain_entry(entry if kept else replace(entry, payload=None))})
        room -= len(line)
        if room < 0:
            break
        lines.append(line)
        left_out += entry.payload is not None and not kept
        payloads -= len(line) if kept else 0
    return lines, left_out


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n"


def plain_entry(entry: Entry) -> dict[str, Any]:
    """An Entry as JSON can hold it, and as `kit.recording_form.entry_from` reads it."""
    payload = {"hex": entry.payload.hex()} if isinstance(entry.payload, bytes) else entry.payload
    plain = {field.name: getattr(entry, field.name) for field in fields(entry)}
    return plain | {"text": entry.text[:_TEXT_LIMIT_CHARACTERS], "payload": payload, "details": _plain(entry.details)}


def _plain_connection(connection: Connection) -> dict[str, Any]:
    written = CONNECTION_FIELDS - left_out(connection)
    plain = {field.name: _plain(getattr(connection, field.name)) for field in fields(connection) if field.name in written}
    return _redacted_texts(plain)


def _redacted_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _redacted_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_redacted_texts(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def _plain(value: Any, depth: int = 1) -> Any:
    """``value`` as JSON can hold it within this format's limits; what JSON does not know becomes text."""
    if depth < DETAILS_DEPTH and hasattr(value, "items"):
        return {str(key)[:200]: _plain(inner, depth + 1) for key, inner in list(value.items())[:200]}
    if depth < DETAILS_DEPTH and isinstance(value, (list, tuple)):
        return [_plain(inner, depth + 1) for inner in value[:1_000]]
    if value is None or isinstance(value, bool) or (isinstance(value, (int, float)) and is_number(value)):
        return value
    return str(value)[:_TEXT_LIMIT_CHARACTERS]


def _is_fragment(entry: Entry) -> bool:
    return entry.kind in ("frame-in", "frame-out") and entry.ordinal is not None and (not entry.details["fin"] or entry.details["opcode"] == "CONT")


def _message_of(entry: Entry) -> Any:
    return entry.connection, entry.side, entry.kind, entry.ordinal


def _payload_bytes(entry: Entry) -> bytes:
    seen = entry.payload if entry.payload is not None else entry.text
    return seen.encode("utf-8", "replace") if isinstance(seen, str) else seen


def _holds_secrets(payload: bytes) -> bool:
    text = payload.decode("latin-1")
    return redact(text) != text


# Reading.


def read_recording(source: str | bytes | Path) -> Timeline:
    """The Timeline of a recording: its text, its bytes, or the path of its file. Every panel that takes a Timeline shows it.

    Text is told from a path by its first character, which is ``{``.

    Raises:
        RecordingError: it is no recording, or larger than 64 MiB or 100,000 lines; the error names the line.
    """
    reader = RecordingReader()
    for line in lines_of(source):
        reader.read(line)
    return reader.timeline()


def lines_of(source: str | bytes | Path) -> list[str]:
    """The lines of a recording, decoded and within the limits.

    Raises:
        RecordingError: there is no such file, it is too large, or no UTF-8.
    """
    if is_path(source):
        source = _file_bytes(Path(source))
    if len(source) > FILE_LIMIT_BYTES:
        raise RecordingError(f"expected at most {FILE_LIMIT_BYTES:,} bytes, got {len(source):,}. Record for a shorter time.")
    text = source if isinstance(source, str) else _decoded(source)
    lines = text.removeprefix("\ufeff").split("\n", LINES_LIMIT)
    if not text.strip():
        raise RecordingError(f"expected a recording, got an empty file. {FIX}")
    if len(lines) > LINES_LIMIT and lines[-1].strip():
        raise RecordingError(f"expected at most {LINES_LIMIT:,} lines, got more. Record for a shorter time.", line=LINES_LIMIT + 1)
    return lines[:LINES_LIMIT]


def is_path(source: Any) -> bool:
    """Whether ``source`` is a file's path and not a recording itself, which begins with ``{``."""
    return isinstance(source, Path) or (isinstance(source, str) and not source[:100].lstrip("\ufeff \r\n\t").startswith("{"))


def _file_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise RecordingError(f"expected a recording, but there is no file {str(path)[:200]!r}. {FIX}")
        with path.open("rb") as file:
            return file.read(FILE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"expected a file that can be read, got {error}. Check its name and its permissions.") from None


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecordingError(f"expected UTF-8 text, got the byte 0x{data[error.start]:02x}. {FIX}", line=line) from None


class RecordingReader:
    """Reads a recording line by line, so that whoever has other things to do may pause between lines."""

    def __init__(self) -> None:
        self._line_number = 0
        self._began_at: float | None = None
        self._connections: dict[int, Connection] = {}
        self._entries: list[Entry] = []

    def read(self, line: str) -> None:
        """Take the next line; an empty one says nothing.

        Raises:
            RecordingError: it is not what the format has there.
        """
        self._line_number += 1
        if line.strip():
            try:
                self._take(_parsed(line))
            except RecordingError as error:
                raise RecordingError(str(error), line=self._line_number) from None

    def timeline(self) -> Timeline:
        """What was read."""
        if self._began_at is None:
            raise RecordingError(f"expected a recording, got nothing. {FIX}")
        return Timeline.restored(self._began_at, self._connections.values(), self._entries)

    def _take(self, value: dict[str, Any]) -> None:
        if self._began_at is None:
            self._began_at = start_from(value)
        elif value.keys() == {"connection"}:
            connection = connection_from(value["connection"])
            expect(connection.number not in self._connections, "a connection's number once", connection.number)
            self._connections[connection.number] = connection
        elif value.keys() == {"entry"}:
            entry = entry_from(value["entry"])
            due = self._entries[-1].number + 1 if self._entries else entry.number
            expect(entry.number == due, f"the Entry numbered {due}", entry.number, "Lines are missing or not in their order.")
            self._entries.append(entry)
        else:
            expect(False, 'an object with "connection" or "entry" alone', sorted(value))


def _parsed(line: str) -> dict[str, Any]:
    expect(len(line) <= LINE_LIMIT_CHARACTERS, f"at most {LINE_LIMIT_CHARACTERS:,} characters in a line", len(line))
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except RecursionError:
        raise RecordingError(f"expected a JSON object, got one that is nested too deeply. {FIX}") from None
    except ValueError as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"expected a JSON object, got {shown(line)} ({shown(str(error), 120)}). {FIX}") from None
    expect(isinstance(value, dict), "a JSON object", value)
    return value


def _no_constant(name: str) -> None:
    raise RecordingError(f"expected a number, got {name}, which JSON does not have. {FIX}")
