"""ConversationPanel: one conversation seen from both ends, each event on one row from client over wire to handler."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kit.conversation import Conversation, Row
from kit.panels.base import Panel, front_end
from kit.panels.snapshot import show_snapshot
from kit.server import Server
from kit.timeline import Entry

__all__ = ["ConversationPanel"]


class ConversationPanel(Panel):
    """Client, wire and handler beside each other, the same event on the same row: ``ConversationPanel(server)``."""

    _esm, _css = front_end("conversation").values()

    def __init__(self, server: Server) -> None:
        super().__init__(server.timeline, title=f"Conversations of server {server.name}")
        self._name = server.name
        self._begin()

    def snapshot(self) -> None:
        """Put a static copy into this cell's output, as HTML and text, with secrets blotted out."""
        fold = Conversation()
        fold.feed(entry.redacted() for entry in self.timeline.entries())
        rows = [("log", f"+{row.at_seconds:.3f} [{row.connection or '–'}] {row.client:<30} | {row.wire:<18} | {row.handler}") for row in fold.rows]
        show_snapshot(f"Both sides of server {self._name}", rows)

    def _begin(self) -> None:
        self._fold = Conversation()

    def _reset(self) -> dict[str, Any]:
        return {"rows": [_plain(row) for row in self._fold.rows], "names": self._names()}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        rows = self._fold.feed(entries)
        if not rows and not skipped:
            return None
        return {"rows": [_plain(row) for row in rows], "skipped": skipped, "names": self._names()}

    def _names(self) -> dict[str, str]:
        return {str(connection.number): connection.name for connection in self.timeline.connections[-200:]}


def _plain(row: Row) -> dict[str, Any]:
    return asdict(row)
