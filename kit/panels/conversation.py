"""ConversationPanel: one conversation seen from both ends, each event on one row from client over wire to handler."""

from __future__ import annotations

from typing import Any

from kit.panels.base import front_end
from kit.panels.rows import RowsPanel
from kit.rows import Row

__all__ = ["ConversationPanel"]

_TOLD = ("key", "connection", "direction", "at_seconds", "client", "wire", "handler", "waits", "tone", "states", "details")


class ConversationPanel(RowsPanel):
    """Client, wire and handler beside each other, the same event on the same row: ``ConversationPanel(server)``.

    Args:
        source: a server, a client or a Timeline.
    """

    _esm, _css = front_end("conversation").values()

    def __init__(self, source: Any) -> None:
        super().__init__(source, "Conversations")

    def _plain(self, row: Row) -> dict[str, Any]:
        return {name: getattr(row, name) for name in _TOLD}
