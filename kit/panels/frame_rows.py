"""What FramePanel says of a row and of the connection that it looks at, for its front end. Pure."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from kit import closing
from kit.connection import Connection
from kit.printable import visible
from kit.wire_rows import FrameRow

__all__ = ["choice_of", "fate_of", "line_of", "plain"]

_DEFAULTS = {field.name: field.default for field in fields(FrameRow)}


def plain(row: FrameRow) -> dict[str, Any]:
    """A row without what is as usual."""
    return {name: value for name, value in asdict(row).items() if value != _DEFAULTS.get(name, ...)}


def choice_of(connection: Connection) -> dict[str, Any]:
    """A connection as the list to choose from has it."""
    return {"number": connection.number, "name": visible(connection.name[:60]), "path": visible(connection.path[:120])}


def fate_of(connection: Connection | None) -> dict[str, Any]:
    """How the connection is, or why it ended."""
    if connection is None:
        return {"pill": "", "tone": "muted", "why": "", "ended": False}
    if connection.open:
        pill, tone = ("open", "good") if connection.accepted else ("connecting", "warning")
        return {"pill": pill, "tone": tone, "why": "", "ended": False}
    told = closing.explain(connection)
    return {"pill": told.pill, "tone": told.severity, "why": visible(str(told)), "ended": True}


def line_of(row: FrameRow) -> str:
    """A row as one line of text."""
    at = min(seconds for seconds in (row.client_seconds, row.server_seconds) if seconds is not None)
    way = {"up": "client → server", "down": "client ← server"}.get(row.direction, "")
    words = row.inflated or row.text
    return f"+{at:.3f} {way:<15} {row.opcode:<7} {'' if row.kind == 'note' else f'{row.size:,} B'} {words}"
