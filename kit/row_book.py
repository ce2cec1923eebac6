"""The rows of a conversation: kept by their keys, bounded, with what each waits for and which have changed. Pure."""

from __future__ import annotations

from collections import OrderedDict

from kit.rows import Lane, Row

__all__ = ["RowBook"]


class RowBook:
    """Rows in the order in which they began.

    Args:
        rows_limit: how many rows stay.

    Attributes:
        dropped: how many rows have fallen out.
    """

    def __init__(self, rows_limit: int) -> None:
        self.dropped = 0
        self._rows: OrderedDict[str, Row] = OrderedDict()
        self._rows_limit = rows_limit
        self._waiting: dict[str, Row] = {}
        self._changed: dict[str, Row] = {}

    @property
    def rows(self) -> list[Row]:
        """The newest rows, oldest first."""
        return list(self._rows.values())

    def row(self, key: str) -> Row | None:
        """The row with this key, while it is kept."""
        return self._rows.get(key)

    def add(self, row: Row) -> None:
        """Keep a new row."""
        self._rows[row.key] = row

    def note_change(self, row: Row) -> None:
        """Have a row told with the next ones: it is new or has changed."""
        self._changed[row.key] = row

    def told(self) -> list[Row]:
        """The rows that are new or have changed since the last time, in their order; the oldest fall out where there are too many."""
        while len(self._rows) > self._rows_limit:
            key, _ = self._rows.popitem(last=False)
            self._waiting.pop(key, None)
            self.dropped += 1
        changed, self._changed = self._changed, {}
        return [row for key, row in changed.items() if key in self._rows]

    # What waits for whom.

    def update_waits(self, row: Row, lane: Lane, whole: bool = True) -> None:
        """Note what a message waits for, by the places that it has not yet reached, or that its next place is gone.

        Args:
            lane: of the message's connection.
            whole: whether its last frame has been seen.
        """
        waits, gone = _next_place(row, lane, whole)
        row.lost = bool(waits) and gone is not None
        self._set_waits(row, "" if row.lost else waits)

    def give_up(self, connection: int | None, *waits: str) -> None:
        """What waits for an end that is gone waits no more."""
        for row in self._waiting_rows(connection, waits):
            row.lost = True
            self._set_waits(row, "")

    def let_go(self, connection: int | None) -> None:
        """What the process had not told of before it ended may have arrived there or not: that is not known."""
        for row in self._waiting_rows(connection, ("arrival", "handler", "wire")):
            row.details.append(("at the server", "not known: the process ended before it told"))
            self._set_waits(row, "")

    def stop_waiting(self) -> None:
        """No row waits any more: what it waits for may have been skipped."""
        for row in list(self._waiting.values()):
            self._set_waits(row, "")

    def _waiting_rows(self, connection: int | None, waits: tuple[str, ...]) -> list[Row]:
        return [row for row in self._waiting.values() if row.connection == connection and row.waits in waits]

    def _set_waits(self, row: Row, waits: str) -> None:
        row.waits = waits
        if waits:
            self._waiting[row.key] = row
        else:
            self._waiting.pop(row.key, None)
        self._changed[row.key] = row


def _next_place(row: Row, lane: Lane, whole: bool) -> tuple[str, float | None]:
    """What a message waits for, and when the place where it should arrive next was gone."""
    seen = row.moments
    if row.direction == "up" and "handler" not in seen:
        if "wire" not in seen or not whole:
            return "arrival" if lane.server_seen else "", lane.server_ended
        return "handler", lane.handler_ended
    if row.direction == "down" and "client" not in seen:
        if "wire" not in seen:
            return "wire", lane.server_ended
        if lane.client_began is not None:
            return "client", lane.client_ended
    return "", None
