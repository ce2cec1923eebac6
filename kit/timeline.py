"""The Timeline: everything that happened on both sides of every connection, in one order, bounded."""

from __future__ import annotations

import contextlib
import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import RLock
from time import perf_counter
from typing import Any, NamedTuple

from kit.connection import Connection
from kit.connection_book import ConnectionBook
from kit.payload import PREVIEW_CHARACTERS, Payload, Payloads, size_bytes
from kit.redaction import redact, redacted

__all__ = ["Entry", "Subscription", "Timeline", "TimelineStatistics"]

_RAW = (str, bytes)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened on one side of one connection.

    Attributes:
        number: its place in the Timeline's order, from 1.
        at_seconds: seconds since the Timeline began.
        connection: the connection's number, or None for what concerns the whole server.
        side: ``"client"`` or ``"server"``.
        kind: ``request``, ``response``, ``frame-in``, ``frame-out``, ``asgi-receive``, ``asgi-send``, ``print``, ``log``,
            ``error``, ``end``, ``hub`` (what a handler does with one), ``fault`` (brought about on purpose) or ``notice``.
        text: one line that says it in words; a payload's first 256 characters where there is one.
        size: the payload's true length in bytes (0 where there is none).
        payload: the payload itself, or None once it fell out of the Timeline.
        ordinal: for messages and frames, the how-manyth of its kind in its direction: the n-th out on one side is the
            n-th in on the other.
        details: what else this kind has: opcode, fin, masked, code, reason, headers, states …
    """

    number: int
    at_seconds: float
    connection: int | None
    side: str
    kind: str
    text: str
    size: int = 0
    payload: str | bytes | None = None
    ordinal: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def redacted(self) -> Entry:
        """The same Entry with cookies, credentials and tokens blotted out, for whatever is saved or exported.

        A compressed frame loses its payload: nobody can see which secrets are in it.
        """
        if self.details.get("compressed"):
            return self.without_payload()
        if not isinstance(self.payload, bytes):
            payload = redact(self.payload) if self.payload is not None else None
            return replace(self, text=redact(self.text), payload=payload, details=redacted(self.details))
        blotted = redact(self.payload.decode("latin-1")).encode("latin-1")
        text = redact(self.text) if blotted == self.payload else blotted[: PREVIEW_CHARACTERS // 3].hex(" ")
        return replace(self, text=text, payload=blotted, details=redacted(self.details))

    def without_payload(self) -> Entry:
        """The same Entry with nothing left of its payload but its size."""
        return replace(self, text="", payload=None, details=redacted(self.details))


class TimelineStatistics(NamedTuple):
    """What a Timeline holds and what fell out of it."""

    entries: int
    entries_dropped: int
    payload_bytes: int
    payloads_dropped: int
    connections: int


Describe = Callable[[Any, Any], dict[str, Any]]

# What a tap appends: number, time, connection, side, how to describe it later, its payload and more for the describer.
_Record = list[Any]


class _Recorder:
    """One tap's way into a Timeline. Every connection has some: as closures they would take four times the memory."""

    __slots__ = ("_connection", "_describe", "_side", "_timeline")

    def __init__(self, timeline: Timeline, connection: Connection | None, side: str, describe: Describe) -> None:
        self._timeline = timeline
        self._connection = connection
        self._side = side
        self._describe = describe

    def record(self, payload: Any = b"", more: Any = None) -> None:
        timeline = self._timeline
        if payload.__class__ in _RAW and len(payload) > PREVIEW_CHARACTERS:
            payload = timeline.keep(payload)
        new = [0, perf_counter(), self._connection, self._side, self._describe, payload, more]  # made before the lock: allocating may run finalizers
        timeline._append(new)


class Timeline(ConnectionBook):
    """The ordered, bounded log of Entries from both sides, with the book of its connections.

    Taps record from any thread; a record is a small tuple that only becomes an `Entry` when somebody looks. The newest
    ``entries_limit`` Entries stay. Payloads of more than 256 bytes share ``payload_limit_bytes``: the oldest are dropped
    first, and their Entries keep a preview of 256 characters and the true size. What fell out is counted.

    Args:
        entries_limit: how many Entries stay.
        payload_limit_bytes: how many bytes of payload stay in all.
        recording: False records nothing: taps are not even put in place.
    """

    def __init__(self, *, entries_limit: int = 10_000, payload_limit_bytes: int = 16 * 2**20, recording: bool = True) -> None:
        super().__init__()
        self.entries_limit = entries_limit
        self.recording = recording
        self.began_at = time.time()
        self._records: deque[_Record] = deque(maxlen=entries_limit)
        self._numbers = itertools.count(1)
        self._payloads = Payloads(payload_limit_bytes)
        self._in_order = RLock()  # numbers are given in the order of appending; reentrant: a finalizer may run while reading, print, and so record
        self._subscribing = RLock()  # reentrant: a finalizer may close a panel, and so a subscription
        self._subscriptions: tuple[weakref.ref[Subscription], ...] = ()  # replaced, never changed: taps read it while it grows
        self._someone_waits = False

    @classmethod
    def restored(cls, began_at: float, connections: Iterable[Connection], entries: Iterable[Entry]) -> Timeline:
        """A Timeline of what was recorded earlier: it can be looked at like any other, and nothing is added to it.

        Args:
            began_at: when the recorded Timeline began, in seconds since 1970.
            connections: its connections, oldest first.
            entries: its Entries; each number is one more than that of the Entry before.
        """
        timeline = cls(recording=False)
        timeline.began, timeline.began_at = 0.0, began_at
        timeline._connections.extend(connections)
        known = {connection.number: connection for connection in timeline._connections}
        records = [[entry.number, entry.at_seconds, _known_as(entry.connection, known), entry.side, _describe_stored, entry, None] for entry in entries]
        timeline.entries_limit = max(timeline.entries_limit, len(records))
        timeline._records = deque(records, maxlen=timeline.entries_limit)
        return timeline

    # Recording: what taps call, on the path of every message.

    def recorder(self, connection: Connection | None, side: str, describe: Describe) -> Callable[..., None]:
        """A function ``record(payload, more)`` for one tap, which appends one record.

        ``describe(payload, more)`` gives the Entry's fields, later and only if somebody looks. The function may be called
        from any thread, costs about half a microsecond, and never waits for a subscriber.
        """
        return _Recorder(self, connection, side, describe).record

    def _append(self, new: _Record) -> None:
        with self._in_order:
            new[0] = next(self._numbers)
            self._records.append(new)
        if self._someone_waits:
            self._someone_waits = False
            self._wake_subscribers()

    def note(self, text: str, *, kind: str = "notice", connection: Connection | None = None, side: str = "server", **details: Any) -> None:
        """Record a line of text; from any thread."""
        size = size_bytes(text)
        self.recorder(connection, side, _describe_note)(text, (kind, size, details))

    def add(self, entry: Entry, connection: Connection | None) -> None:
        """Record an Entry that another process made: under the next number, but at its own time. From any thread."""
        payload = entry.payload if entry.payload is not None else b""
        kept = self.keep(payload) if len(payload) > PREVIEW_CHARACTERS else payload
        new = [0, entry.at_seconds + self.began, connection, entry.side, _describe_added, kept, replace(entry, payload=None if entry.payload is None else "")]
        self._append(new)

    # Reading: views call these, never the taps.

    def entries(self, *, since: int = 0, connection: int | None = None) -> list[Entry]:
        """The Entries with a number above ``since``, in order; of one connection if asked for. From any thread."""
        records = self._records_since(since)
        wanted = [record for record in records if connection is None or (record[2] and record[2].number == connection)]
        return [self._entry(record) for record in wanted]

    @property
    def followed(self) -> bool:
        """Whether somebody has a place in it now, as panels have while they are shown."""
        return any(known() is not None for known in self._subscriptions)

    @property
    def last_number(self) -> int:
        """The number of the newest Entry, 0 when there is none."""
        with self._in_order:
            return self._records[-1][0] if self._records else 0

    def entry(self, number: int) -> Entry | None:
        """The Entry with this number, or None when it has fallen out or does not exist yet. From any thread."""
        with self._in_order:
            place = number - self._records[0][0] if self._records else -1
            record = self._records[place] if 0 <= place < len(self._records) else None
        return self._entry(record) if record else None

    def statistics(self) -> TimelineStatistics:
        """A snapshot of what the Timeline holds and what fell out of it."""
        held = len(self._records)
        return TimelineStatistics(
            entries=held,
            entries_dropped=max(0, self.last_number - held),
            payload_bytes=self._payloads.held_bytes,
            payloads_dropped=self._payloads.dropped,
            connections=len(self._connections),
        )

    def subscribe(self, wake: Callable[[], None], *, since: int | None = None) -> Subscription:
        """A reader's place in this Timeline, behind the Entry numbered ``since`` (by default the newest).

        ``wake`` is called, from any thread, when something new waits; not again until it has been taken.
        """
        subscription = Subscription(self, wake, self.last_number if since is None else since)
        with self._subscribing:
            self._subscriptions = (*(known for known in self._subscriptions if known() is not None), weakref.ref(subscription))
        self._someone_waits = True
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._subscribing:
            self._subscriptions = tuple(known for known in self._subscriptions if known() not in (None, subscription))

    def _wake_subscribers(self) -> None:
        for known in self._subscriptions:
            subscription = known()
            if subscription is not None:
                with contextlib.suppress(Exception):  # a subscriber's fault is not the server's
                    subscription.wake()

    def _records_since(self, since: int) -> list[_Record]:
        with self._in_order:
            while True:
                with contextlib.suppress(RuntimeError):  # a finalizer recorded between two of these calls
                    return list(itertools.islice(reversed(self._records), max(0, self.last_number - since)))[::-1]

    def _entry(self, record: _Record) -> Entry:
        number, at, connection, side, describe, payload, more = record
        fields = describe(payload, more)
        return Entry(number, at - self.began, connection.number if connection else None, side, **fields)

    def keep(self, payload: Any, *, is_frame: bool = False) -> Payload:
        """Keep a long payload for as long as the limit allows; ``is_frame`` says that it is a frame with its header. From any thread."""
        return self._payloads.keep(payload, is_frame=is_frame)


class Subscription:
    """One reader's place in a Timeline: ``take`` returns what is new since the last time.

    A reader that comes too rarely skips what has fallen out meanwhile, and is told how much: it never slows a tap.

    Attributes:
        seen: the number of the last Entry that was taken or passed over.
    """

    def __init__(self, timeline: Timeline, wake: Callable[[], None], seen: int) -> None:
        self._timeline = timeline
        self.wake = wake
        self.seen = seen

    def take(self, most: int = 2_000) -> tuple[list[Entry], int]:
        """The new Entries, the newest ``most`` of them, and how many were skipped."""
        skipped = self.pass_over(most)
        return self.next(most), skipped

    def pass_over(self, keep: int = 0) -> int:
        """Skip what is new but for the newest ``keep`` Entries; returns how many were skipped."""
        self._timeline._someone_waits = True
        with self._timeline._in_order:
            kept = min(keep, len(self._timeline._records))
            skipped = max(0, self._timeline.last_number - kept - self.seen)
        self.seen += skipped
        return skipped

    def next(self, most: int) -> list[Entry]:
        """The oldest ``most`` of the new Entries."""
        records = self._timeline._records_since(self.seen)[:most]
        if records:
            self.seen = records[-1][0]
        return [self._timeline._entry(record) for record in records]

    def close(self) -> None:
        """Stop being woken. Safe to call twice."""
        self._timeline._unsubscribe(self)


def _describe_note(payload: Any, more: tuple[str, int, dict[str, Any]]) -> dict[str, Any]:
    kind, size, details = more
    text = payload.visible if isinstance(payload, Payload) else payload
    return {"kind": kind, "text": text[:PREVIEW_CHARACTERS], "payload": text if size_bytes(text) == size else None, "size": size, "details": details}


def _known_as(number: int | None, known: dict[int, Connection]) -> Connection | None:
    """The connection with this number; one that is no longer listed still has its number."""
    return None if number is None else known.setdefault(number, Connection(number))


def _describe_added(kept: Any, entry: Entry) -> dict[str, Any]:
    """The fields of an Entry from elsewhere; its payload, if it had one, is kept or dropped like any other."""
    payload = kept.data if isinstance(kept, Payload) else kept
    return _describe_stored(entry, None) | {"payload": payload if entry.payload is not None else None}


def _describe_stored(entry: Entry, _more: None) -> dict[str, Any]:
    """The fields of an Entry that was recorded earlier."""
    stored = ("kind", "text", "size", "payload", "ordinal", "details")
    return {name: getattr(entry, name) for name in stored}
