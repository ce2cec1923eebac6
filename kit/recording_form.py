"""What a recording may hold, line by line: every field with its check, whose words the error says. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from kit.connection import Connection
from kit.timeline import Entry

__all__ = [
    "CONNECTION_FIELDS",
    "DETAILS_DEPTH",
    "FIX",
    "FORMAT",
    "VERSION",
    "RecordingError",
    "changes_from",
    "connection_from",
    "entry_from",
    "expect",
    "is_number",
    "left_out",
    "shown",
    "start_from",
]

FORMAT, VERSION = "websockets-from-both-sides", 1
DETAILS_DEPTH = 8
FIX = "Open a file that a panel's Export button or `write_recording(server.timeline)` has made."


class RecordingError(ValueError):
    """What was to be opened is no recording.

    Attributes:
        line: the number of the line at fault, from 1, or None when the file as a whole is.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.line = line


def start_from(header: dict[str, Any]) -> float:
    """When the recorded Timeline began, out of a recording's first line; RecordingError when it is none."""
    expect(header.get("format") == FORMAT, f'"format": "{FORMAT}"', header.get("format"))
    known = f"version {VERSION}"
    expect(header.get("version") == VERSION and header["version"] is not True, known, header.get("version"), "A newer kit wrote it: update this one.")
    _has(
        header,
        {"format": _is_text, "version": _is_count, "began_at": _is_seconds, "entries_left_out": _is_count, "payloads_left_out": _is_count},
        "the first line",
    )
    return header["began_at"]


# What each field may hold: a check for every one, whose docstring says in the error what was expected.

Check = Callable[[Any], bool]


def is_number(value: Any) -> bool:
    """a number"""
    return not isinstance(value, bool) and ((isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value)))


def _is_seconds(value: Any) -> bool:
    """seconds, 0 or more"""
    return is_number(value) and 0 <= value < 1e12


def _is_count(value: Any) -> bool:
    """a whole number, 0 or more"""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    """text"""
    return isinstance(value, str)


def _is_truth(value: Any) -> bool:
    """true or false"""
    return isinstance(value, bool)


def _is_side(value: Any) -> bool:
    """ "client" or "server" """
    return value in ("client", "server")


def _is_kind(value: Any) -> bool:
    """a kind of Entry that this kit knows"""
    return isinstance(value, str) and value in _NEEDED


def _is_payload(value: Any) -> bool:
    """text, or an object with "hex" """
    return _is_text(value) or (isinstance(value, dict) and value.keys() == {"hex"} and _is_hex(value["hex"]))


def _is_hex(value: Any) -> bool:
    """hexadecimal digits, two a byte"""
    return isinstance(value, str) and re.fullmatch(r"(?:[0-9a-f]{2})*", value) is not None


def _is_header(value: Any) -> bool:
    """the hexadecimal digits of a frame's header"""
    return _is_hex(value) and 2 <= len(value) // 2 <= 14


def _is_details(value: Any) -> bool:
    """an object that is not nested deeply"""
    return isinstance(value, dict) and _nested_at_most(DETAILS_DEPTH, value)


def _is_headers(value: Any) -> bool:
    """pairs of texts"""
    return isinstance(value, list) and all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in value)


def _is_texts(value: Any) -> bool:
    """a list of texts"""
    return isinstance(value, list) and all(map(_is_text, value))


def _are_close_frames(value: Any) -> bool:
    """a list of [side, code, reason]"""
    return isinstance(value, list) and all(isinstance(each, list) and len(each) == 3 and _is_side(each[0]) and _is_meant(each[1:]) for each in value)


def _is_meant(value: Any) -> bool:
    """[code, reason]"""
    return isinstance(value, list) and len(value) == 2 and _is_count(value[0]) and _is_text(value[1])


def _or_none(check: Check) -> Check:
    def allows(value: Any) -> bool:
        return value is None or check(value)

    allows.__doc__ = f"{check.__doc__}, or null"
    return allows


_ENTRY: dict[str, Check] = {
    "number": _is_count,
    "at_seconds": _is_seconds,
    "connection": _or_none(_is_count),
    "side": _is_side,
    "kind": _is_kind,
    "text": _is_text,
    "size": _is_count,
    "payload": _or_none(_is_payload),
    "ordinal": _or_none(_is_count),
    "details": _is_details,
}
_CONNECTION: dict[str, Check] = {
    "number": _is_count,
    "name": _is_text,
    "path": _is_text,
    "client_state": _or_none(_is_text),
    "application_state": _or_none(_is_text),
    "opened_seconds": _is_seconds,
    "ended_seconds": _or_none(_is_seconds),
    "client_here": _is_truth,
    "server_here": _is_truth,
    "closed_both_ways": _is_truth,
    "client_reports": _or_none(_is_meant),
    "handler_answered": _or_none(_is_count),
    "handler_closed": _or_none(_is_meant),
    "close_frames": _are_close_frames,
    "accepted": _is_truth,
    "refused_status": _or_none(_is_count),
    "refused_because": _or_none(_is_text),
    "meant": _or_none(_is_meant),
    "aborted": _is_truth,
    "client_refused": _or_none(_is_text),
    "handler_error": _or_none(_is_text),
    "handler_returned": _is_truth,
    "server_stopped": _is_truth,
    "vanished_side": _or_none(_is_side),
    "process": _or_none(_is_text),
    "process_ended": _or_none(_is_text),
}
_LATER = {"process": None, "process_ended": None}  # fields that older recordings do not have, and that are only written where they say something
_PAIRS = ("meant", "client_reports", "handler_closed")
_FRAME = ("opcode", "fin", "masked", "compressed", "header")
_MESSAGE = ("type", "client_state", "application_state")
_NEEDED: dict[str, tuple[str, ...]] = {  # what views rely on in each kind's details
    "request": ("headers", "start_line"),
    "response": ("headers", "start_line", "status"),
    "frame-in": _FRAME,
    "frame-out": _FRAME,
    "asgi-receive": _MESSAGE,
    "asgi-send": _MESSAGE,
    "end": ("what",),
    "hub": ("what", "room", "binary"),
    **dict.fromkeys(("print", "log", "error", "fault", "notice"), ()),
}
_DETAILS: dict[str, Check] = {  # and of what type, wherever it appears
    "headers": _is_headers,
    "start_line": _is_text,
    "status": _or_none(_is_count),
    "opcode": _is_text,
    "fin": _is_truth,
    "masked": _is_truth,
    "compressed": _is_truth,
    "header": _is_header,
    "mask_key": _is_hex,
    "kept_once": _is_truth,
    "code": _or_none(_is_count),
    "reason": _or_none(_is_text),
    "type": _is_text,
    "client_state": _or_none(_is_text),
    "application_state": _or_none(_is_text),
    "what": _is_text,
    "room": _is_text,
    "binary": _is_truth,
    "phase": _is_text,
    "process": _is_text,
    "exception": _is_text,
    "lines": _is_texts,
}


def entry_from(value: Any) -> Entry:
    """The Entry of a line; RecordingError names the field at fault."""
    _has(value, _ENTRY, "an Entry")
    details, kind = dict(value["details"]), value["kind"]
    needed = (*_NEEDED[kind], *(("code", "reason") if details.get("opcode") == "CLOSE" else ()))
    missing = [name for name in needed if name not in details]
    expect(not missing, f"{', '.join(needed)} in the details of a {kind}", sorted(details))
    for name, check in _DETAILS.items():
        expect(name not in details or check(details[name]), f"{name} to be {(check.__doc__ or '').strip()}", details.get(name))
    if "headers" in details:
        details["headers"] = [tuple(pair) for pair in details["headers"]]
    payload = value["payload"]
    return Entry(**{**value, "payload": bytes.fromhex(payload["hex"]) if isinstance(payload, dict) else payload, "details": details})


CONNECTION_FIELDS = frozenset(_CONNECTION)


def left_out(connection: Connection) -> set[str]:
    """The fields of ``connection`` that are not written, because they say nothing: versions before them can read it."""
    return {name for name, default in _LATER.items() if getattr(connection, name) == default}


def connection_from(value: Any) -> Connection:
    """The connection of a line; RecordingError names the field at fault."""
    value = _LATER | value if isinstance(value, dict) else value
    _has(value, _CONNECTION, "a connection")
    return Connection(**_with_tuples(value))


def changes_from(value: Any) -> dict[str, Any]:
    """Some fields of a connection by their names; RecordingError names the field at fault."""
    expect(isinstance(value, dict) and value.keys() <= CONNECTION_FIELDS, "fields of a connection", sorted(value) if isinstance(value, dict) else value)
    _has(value, {name: _CONNECTION[name] for name in value}, "a connection")
    return _with_tuples(value)


def _with_tuples(value: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    pairs = {name: tuple(value[name]) for name in _PAIRS if value.get(name)}
    frames = {"close_frames": [tuple(each) for each in value["close_frames"]]} if "close_frames" in value else {}
    return value | pairs | frames


def _has(value: Any, checks: dict[str, Check], what: str) -> None:
    """Check that ``value`` has exactly these fields, and in each what belongs there."""
    expect(isinstance(value, dict), f"{what} to be an object", value)
    expect(value.keys() == checks.keys(), f"{what} with the fields {', '.join(checks)}", sorted(value))
    for name, check in checks.items():
        expect(check(value[name]), f"{name} to be {(check.__doc__ or '').strip()}", value[name])


def expect(holds: bool, expected: str, got: Any, fix: str = FIX) -> None:
    """Raise RecordingError with what was expected, what came and how to fix it, unless it ``holds``."""
    if not holds:
        raise RecordingError(f"expected {expected}, got {shown(got)}. {fix}")


def shown(value: Any, most_characters: int = 60) -> str:
    """A value as ASCII, short enough for an error."""
    text = ascii(value[: most_characters + 1] if isinstance(value, (str, list)) else value)
    return text if len(text) <= most_characters else f"{text[:most_characters]}…"


def _nested_at_most(levels: int, value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is None or (levels > 0 and all(_nested_at_most(levels - 1, each) for each in inner))
