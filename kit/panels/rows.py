"""RowsPanel: what every picture of a conversation shares, the one fold of a Timeline's Entries into rows."""

from __future__ import annotations

from typing import Any

from kit.conversation import Conversation
from kit.panels.base import ListPanel, followed
from kit.panels.snapshot import show_snapshot
from kit.printable import visible
from kit.recording import safe_entries
from kit.rows import Row
from kit.timeline import Entry

__all__ = ["RowsPanel"]


class RowsPanel(ListPanel):
    """A panel that shows the rows of a `Conversation`; subclasses say how a row is told to their front end.

    Args:
        source: a server, a client or a Timeline.
        what: what the panel shows, the beginning of its title.
    """

    rows_limit = 500

    def __init__(self, source: Any, what: str) -> None:
        timeline, name = followed(source), getattr(source, "name", "")
        kind = "client" if hasattr(source, "connection") else "server"
        self._of = f" of {kind} {name}" if name else ""
        super().__init__(timeline, title=f"{what}{self._of}")
        self._begin()

    def snapshot(self) -> None:
        """Put a static copy into this cell's output, as HTML and text, with secrets blotted out."""
        fold = Conversation(rows_limit=self.rows_limit)
        fold.feed(safe_entries(self.timeline.entries()))
        rows = [("log", f"+{row.at_seconds:.3f} [{row.connection or '–'}] {row.client:<30} | {row.wire:<18} | {row.handler}") for row in fold.rows]
        show_snapshot(f"Both sides{self._of}", rows)

    # What a subclass defines.

    def _plain(self, row: Row) -> dict[str, Any]:
        """A row as its front end is told it."""
        raise NotImplementedError

    def _about(self, *, whole: bool) -> dict[str, Any]:
        """What is told beside the rows: all of it for a view that has just been displayed, else what is new."""
        return {"names": {str(connection.number): visible(connection.name) for connection in self.timeline.connections[-200:]}}

    # What the panels' loop asks for.

    def _begin(self) -> None:
        self._fold = Conversation(rows_limit=self.rows_limit)

    def _reset(self) -> dict[str, Any]:
        return {"rows": [self._plain(row) for row in self._fold.rows], **self._about(whole=True)}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        over = [connection.number for connection in self.timeline.connections if not connection.open] if skipped else []
        changed = {row.key: row for row in self._fold.gap(skipped, over)} if skipped else {}
        changed |= {row.key: row for row in self._fold.feed(entries)}
        if not changed:
            return None
        return {"rows": [self._plain(row) for row in changed.values()], **self._about(whole=False)}
