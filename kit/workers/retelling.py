"""What the kernel makes of the lines of a server's processes: each is one more teller of the same Timeline. Pure."""

from __future__ import annotations

import itertools
import json
import time
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from kit.connection import Connection
from kit.connection_book import Arrival
from kit.payload import size_bytes
from kit.recording_form import RecordingError, changes_from, entry_from, expect
from kit.timeline import Entry, Timeline

__all__ = ["Retelling", "told_in"]

_ARRIVALS_MOST = 1_024  # of one process; most of them are soon told of, or ask for pages
_CONNECTIONS_MOST = 4_096  # of one process that the kernel remembers
_REPORT_SECONDS = 1.0  # what is not told by then is not told: the socket was turned away before it could be a WebSocket
_SEEN_SECONDS = 0.001  # by then a client has seen its socket end
_OVERRIDING = ("client_state", "application_state", "refused_because", "meant", "handler_answered", "handler_closed", "handler_error", "closed_both_ways")
_LASTING = ("accepted", "aborted", "handler_returned", "server_stopped")


def told_in(line: bytes) -> tuple[str, Any]:
    """What a line says: its kind and its value.

    Raises:
        RecordingError: it has not the form of a line.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise RecordingError(f"expected a line of JSON, got {line[:60]!r}.") from None
    expect(isinstance(value, dict) and len(value) == 1, "an object with one key", value)
    return next(iter(value.items()))


class Retelling:
    """Tells in the kernel's Timeline what one process has told of its own. Lives on the server's loop.

    Args:
        timeline: the kernel's.
        process: what the process is called there.
    """

    def __init__(self, timeline: Timeline, process: str) -> None:
        self._timeline = timeline
        self._process = process
        self._tickets = itertools.count(1)
        self._arrivals: OrderedDict[int, Arrival] = OrderedDict()  # sockets that the process has not told of, by ticket
        self._open: dict[int, Connection] = {}  # those of which the process has told no end, by its number
        self._known: OrderedDict[int, tuple[Connection, Any]] = OrderedDict()  # connections and their addresses, by the process's number

    @property
    def connections(self) -> list[Connection]:
        """The connections whose server's end is there now; from any thread."""
        waiting = [arrival.connection for arrival in list(self._arrivals.values()) if arrival.connection is not None]
        recently = time.perf_counter() - self._timeline.began - _REPORT_SECONDS
        here = (*list(self._open.values()), *waiting)
        return [known for known in here if known.report_due and (known.ended_seconds is None or known.ended_seconds > recently)]

    def expect(self, address: Any) -> int:
        """A socket goes to the process: note it, and return the ticket by which the process will tell of it."""
        ticket = next(self._tickets)
        self._arrivals[ticket] = self._timeline.arrived(address, self._process)
        if len(self._arrivals) > _ARRIVALS_MOST:
            self._arrivals.popitem(last=False)
        return ticket

    def connection(self, number: int | None) -> Connection | None:
        """The connection that has this number in the process."""
        return self._known[number][0] if number in self._known else None

    def take_batch(self, batch: Any) -> None:
        """Tell what a batch says: what was skipped, what has changed of connections, and the Entries.

        Raises:
            RecordingError: it is no batch; what came before in it has been told.
        """
        expect(isinstance(batch, dict) and batch.keys() == {"skipped", "connections", "entries"}, "a batch", batch)
        if batch["skipped"]:
            text = f"{batch['skipped']:,} events of {self._process} are not shown: there were more than can be told here"
            self._timeline.note(text, what="skipped", process=self._process, events=batch["skipped"])
        for change in batch["connections"]:
            self._take_change(change)
        for each in batch["entries"]:
            self._take_entry(entry_from(each))

    def end(self, how: str | None) -> list[Connection]:
        """The process is gone, and every connection's end with it; returns the connections that it still had.

        Args:
            how: how it ended, in words, or None when it was told to.
        """
        lost = self.connections
        for connection in lost:
            self._lose(connection, how)
        for connection, address in self._known.values():
            self._timeline.end_connection(address, connection)
        for arrival in self._arrivals.values():
            if arrival.connection is not None:
                self._timeline.end_connection(arrival.address, arrival.connection)
        self._arrivals.clear()
        self._open.clear()
        return lost

    def _lose(self, connection: Connection, how: str | None) -> None:
        """What the process would have told of it."""
        connection.process_ended = how
        connection.server_stopped = connection.server_stopped or how is None
        connection.vanished_side = connection.vanished_side or "server"
        connection.report_due = False
        for text, kind, what in (*([(how, "error", "process-ended")] if how else []), ("the socket closed", "end", "socket")):
            self._tell(text, kind, what, connection)

    def _tell(self, text: str, kind: str, what: str, connection: Connection) -> None:
        """Tell of the server's end of a connection, which was over before the client could see it."""
        ended = connection.ended_seconds
        now = time.perf_counter() - self._timeline.began
        at_seconds = now if ended is None else max(connection.opened_seconds, ended - _SEEN_SECONDS)
        details = {"what": what, "process": self._process}
        self._timeline.add(Entry(0, at_seconds, connection.number, "server", kind, text, size_bytes(text), text, None, details), connection)

    def _take_change(self, change: Any) -> None:
        expect(isinstance(change, dict) and change.keys() == {"number", "ticket", "fields"}, "a change of a connection", change)
        number, fields = change["number"], changes_from(change["fields"])
        if number not in self._known:
            self._known[number] = self._opened(number, change["ticket"])
            self._open[number] = self._known[number][0]
            self._forget_too_many()
        connection, address = self._known[number]
        _merge(connection, fields)
        if fields.get("ended_seconds") is not None:
            connection.report_due = False
            self._open.pop(number, None)
            connection.ended_seconds = connection.ended_seconds or fields["ended_seconds"]
            self._timeline.end_connection(address, connection)

    def _forget_too_many(self) -> None:
        """What comes late about an ended connection finds it still, unless very many have come since."""
        if len(self._known) > _CONNECTIONS_MOST:
            oldest = next((number for number in self._known if number not in self._open), None)
            self._known.pop(oldest, None)

    def _opened(self, number: int, ticket: Any) -> tuple[Connection, Any]:
        arrival = self._arrivals.pop(ticket, None) or self._timeline.arrived((self._process, number), self._process)
        return self._timeline.connection_of(arrival), arrival.address

    def _take_entry(self, entry: Entry) -> None:
        details = {**entry.details, "process": self._process}
        if isinstance(details.get("number"), int):  # of a notice about a connection
            about = self.connection(details["number"])
            details["number"] = about.number if about else None
        self._timeline.add(replace(entry, details=details), self.connection(entry.connection))


def _merge(connection: Connection, fields: dict[str, Any]) -> None:
    """Put what the server's end says beside what the client's end has said."""
    for name in _OVERRIDING:
        if name in fields:
            setattr(connection, name, fields[name])
    for name in _LASTING:
        if fields.get(name):
            setattr(connection, name, True)
    connection.path = connection.path or fields.get("path", "")
    if fields.get("refused_status") is not None:
        connection.refused_status = fields["refused_status"]
    for side, code, reason in fields.get("close_frames", ()):
        connection.note_close(side, code, reason)
    if fields.get("vanished_side") and connection.vanished_side != "client":  # a client that is of this kernel knows what it did
        connection.vanished_side = fields["vanished_side"]
