"""What a server's process tells the kernel: the news of its own Timeline as lines of JSON, bounded. Pure.

A line is ``{"batch": {"skipped": 0, "connections": […], "entries": […]}}``. A connection has its number in this process, the ticket
of the socket that it came with, and those fields that have changed; Entries have the form that they have in a recording.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kit.connection import Connection
from kit.recording import plain_entry
from kit.timeline import Entry, Timeline

__all__ = ["Relay", "RelayedTimeline", "line_of"]

PAYLOAD_LIMIT_BYTES = 64 * 1024  # of a longer payload its preview and its true size cross
BEHIND_MOST = 3_000  # Entries that may wait to be told
_KEPT = 500  # of those that are too many, the newest
_IN_A_LINE = 20
_TICKETS_MOST = 4_096
# What the server's end knows. The name, who is here and what the client reports are the other end's.
_FIELDS = (
    *("path", "client_state", "application_state", "ended_seconds", "closed_both_ways", "close_frames", "accepted", "refused_status", "refused_because"),
    *("meant", "aborted", "handler_answered", "handler_closed", "handler_error", "handler_returned", "server_stopped", "vanished_side"),
)


def line_of(kind: str, value: Any) -> bytes:
    """One line for the kernel: what it is, and its value."""
    return json.dumps({kind: value}, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


class RelayedTimeline(Timeline):
    """A process's own Timeline. Its seconds are those of the kernel's: all processes of a machine share the clock of ``time.perf_counter``.

    Args:
        began: when the kernel's Timeline began.
        recording: as the kernel's.

    Attributes:
        shown: whether somebody follows the kernel's Timeline.
        live: the connections that have not been told to their ends, by number, each with the ticket of its socket.
    """

    def __init__(self, began: float, *, recording: bool) -> None:
        super().__init__(recording=recording)
        self.began = began
        self.shown = False
        self.live: dict[int, tuple[Connection, int | None]] = {}
        self.on_change: Callable[[], None] = lambda: None
        self._tickets: dict[Any, int] = {}
        self._changed: set[int] = set()

    @property
    def followed(self) -> bool:
        """Whether somebody has a place in the kernel's Timeline; the relay's place in this one does not count."""
        return self.shown

    def expect(self, address: Any, ticket: int) -> None:
        """The socket with this client's address came with ``ticket``."""
        self._tickets.pop(address, None)
        self._tickets[address] = ticket
        if len(self._tickets) > _TICKETS_MOST:
            del self._tickets[next(iter(self._tickets))]

    def open_connection(self, address: Any, *, name: str | None = None, path: str = "") -> Connection:
        """As in any Timeline."""
        connection = super().open_connection(address, name=name, path=path)
        self.live[connection.number] = connection, self._tickets.pop(address, None)
        self._note_change(connection)
        return connection

    def end_connection(self, address: Any, connection: Connection) -> None:
        """As in any Timeline."""
        super().end_connection(address, connection)
        self._note_change(connection)

    def take_changed(self) -> set[int]:
        """The connections that were opened or ended since the last time."""
        changed, self._changed = self._changed, set()
        return changed

    def _note_change(self, connection: Connection) -> None:
        self._changed.add(connection.number)
        self.on_change()


class Relay:
    """A reader's place in a process's Timeline, from which the kernel is told.

    Whoever reads the lines too slowly makes the relay skip Entries, oldest first, and count them; the taps never wait.

    Args:
        wake: called, from any thread, when there is something to tell.
    """

    def __init__(self, timeline: RelayedTimeline, wake: Callable[[], None]) -> None:
        self._timeline = timeline
        self._subscription = timeline.subscribe(wake, since=0)
        self._told: dict[int, dict[str, Any]] = {}
        timeline.on_change = wake

    def next_line(self, *, everything: bool = False) -> bytes | None:
        """The next line, or None when nothing is new. With ``everything`` it looks for changes in every connection, not only in those that have news."""
        skipped = self._pass_over()
        entries = self._subscription.next(_IN_A_LINE)
        numbers = self._timeline.take_changed() | {entry.connection for entry in entries if entry.connection is not None}
        if skipped or everything:
            numbers |= set(self._timeline.live)
        connections = [change for number in sorted(numbers) if (change := self._change(number)) is not None]
        if not (skipped or entries or connections):
            return None
        return line_of("batch", {"skipped": skipped, "connections": connections, "entries": [plain_entry(_cut(entry)) for entry in entries]})

    def _pass_over(self) -> int:
        """Skip what is too much; asking also has the Timeline say when something new comes."""
        behind = self._timeline.last_number - self._subscription.seen
        return self._subscription.pass_over(_KEPT if behind > BEHIND_MOST else BEHIND_MOST)

    def _change(self, number: int) -> dict[str, Any] | None:
        """What is new of a connection; one that is over is told of for the last time."""
        connection, ticket = self._timeline.live.get(number, (None, None))
        if connection is None:
            return None
        over = not connection.open and connection.handler_task is None
        known, told = {name: _plain(getattr(connection, name)) for name in _FIELDS}, self._told.get(number)
        changed = known if told is None else {name: value for name, value in known.items() if told[name] != value}
        self._told[number] = known
        if over:
            del self._timeline.live[number], self._told[number]
        return {"number": number, "ticket": ticket, "fields": changed} if changed or told is None else None


def _plain(value: Any) -> Any:
    """A field's value as JSON has it; a list is copied, because the connection's own grows."""
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _cut(entry: Entry) -> Entry:
    return replace(entry, payload=None) if entry.size > PAYLOAD_LIMIT_BYTES else entry
