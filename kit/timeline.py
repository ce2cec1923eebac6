"""The Timeline: everything that happened on both sides of every connection, in one order, bounded."""

from __future__ import annotations

import contextlib
import itertools
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock, RLock
from time import perf_counter
from types import CodeType
from typing import Any, NamedTuple

from kit.redaction import redact, redacted

__all__ = [
    "HEAD_BYTES",
    "PREVIEW_CHARACTERS",
    "Arrival",
    "Connection",
    "Entry",
    "Payload",
    "SamePayload",
    "Subscription",
    "Timeline",
    "TimelineStatistics",
    "size_bytes",
]

PREVIEW_CHARACTERS = 256
_RAW = (str, bytes)
_closing = Lock()
_ARRIVALS_MOST = 1_000
_ARRIVAL_SECONDS = 5.0  # a client learns of its socket at once; what it opens later came with another one, on the same port
HEAD_BYTES = 4 * PREVIEW_CHARACTERS + 64  # 256 characters of UTF-8 and the longest frame header


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened on one side of one connection.

    Attributes:
        number: its place in the Timeline's order, from 1.
        at_seconds: seconds since the Timeline began.
        connection: the connection's number, or None for what concerns the whole server.
        side: ``"client"`` or ``"server"``.
        kind: ``request``, ``response``, ``frame-in``, ``frame-out``, ``asgi-receive``, ``asgi-send``, ``print``, ``log``,
            ``error``, ``end``, ``fault`` (brought about on purpose) or ``notice``.
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


@dataclass(eq=False, slots=True)
class Connection:
    """One socket with its two ends, under the number that both ends show.

    Attributes:
        number: 1, 2, 3 … in the order in which the server or its clients opened them.
        name: the client's name; ``"stranger"`` when no client of this kernel made the connection.
        path: the path that the client asked for, without its query.
        client_state: what Starlette calls ``websocket.client_state``, or None while no handler has it.
        application_state: what Starlette calls ``websocket.application_state``.
        opened_seconds: when it was opened, and ended_seconds when it ended, in seconds since the Timeline began.
        client_here: whether its client end is of this kernel, and server_here whether its server end is.
        close_frames: every Close frame sent, in order, as (side, code, reason).
        closed_both_ways: whether the server has had the client's Close frame and has sent its own, or, of a server elsewhere, the client both.
        refused_status: the HTTP status of a refused handshake.
        refused_because: why the kit refused it before the app ran.
        meant: the code and reason of a close that the handler sent before it accepted; they never reach the client.
        aborted: whether the app had the server drop the socket.
        client_refused: why the client gave up although the server had accepted.
        client_reports: the code and reason that the kit's client ended up with.
        handler_answered: the HTTP status with which the handler answered the handshake, or tried to after it had accepted.
        handler_closed: the code and reason of the close that the handler sent, whether or not they reached the wire.
        handler_error: the exception that ended the handler, as text.
        handler_returned: whether the handler came to its end.
        server_stopped: whether the server closed the connection because it stopped or was replaced.
        vanished_side: the side that dropped the socket without a Close frame, where that is known.
        long_payloads: the newest long messages by direction and ordinal, for the taps.
        handler_task: the task that its handler runs in, until the handler ends.
        handler_raised_at: the code and line of the reader's that the exception came from.
        process: which of the server's processes has the server's end, for example ``"process 1"``; None where it is in this one.
        process_ended: how that process ended, where the connection ended with it.
        report_due: whether that process has still to tell how its end of the connection ended.
    """

    number: int
    name: str = "stranger"
    path: str = ""
    client_state: str | None = None
    application_state: str | None = None
    opened_seconds: float = 0.0
    ended_seconds: float | None = None
    client_here: bool = False
    server_here: bool = False
    close_frames: list[tuple[str, int, str]] = field(default_factory=list)
    closed_both_ways: bool = False
    accepted: bool = False
    refused_status: int | None = None
    refused_because: str | None = None
    meant: tuple[int, str] | None = None
    aborted: bool = False
    client_refused: str | None = None
    client_reports: tuple[int, str] | None = None
    handler_answered: int | None = None
    handler_closed: tuple[int, str] | None = None
    handler_error: str | None = None
    handler_returned: bool = False
    server_stopped: bool = False
    vanished_side: str | None = None
    long_payloads: dict[tuple[str, int], Payload] = field(default_factory=dict, repr=False)
    handler_task: Any = field(default=None, repr=False)
    handler_raised_at: tuple[CodeType, int] | None = field(default=None, repr=False)
    process: str | None = None
    process_ended: str | None = None
    report_due: bool = field(default=False, repr=False)

    @property
    def open(self) -> bool:
        """Whether the socket still exists."""
        return self.ended_seconds is None

    def note_close(self, side: str, code: int, reason: str) -> None:
        """Note the Close frame that ``side`` sent, unless its own end has noted it already; from either end's thread."""
        with _closing:
            if all(known != side for known, *_ in self.close_frames):
                self.close_frames.append((side, code, reason))


@dataclass(eq=False, slots=True)
class Arrival:
    """A socket that a server has accepted for one of its processes: which connection it is, as far as that is known.

    Attributes:
        address: of the client's end.
        process: which process has it.
        at_seconds: when it was accepted, in seconds since the Timeline began.
        connection: the connection that it is, once a client of this kernel or the process has opened one.
        reported: whether the process has told of it.
    """

    address: Any
    process: str
    at_seconds: float
    connection: Connection | None = None
    reported: bool = False


class TimelineStatistics(NamedTuple):
    """What a Timeline holds and what fell out of it."""

    entries: int
    entries_dropped: int
    payload_bytes: int
    payloads_dropped: int
    connections: int


class Payload:
    """A payload too long to be its own preview; the Timeline may drop it and keep its head."""

    __slots__ = ("data", "head", "is_frame", "size")

    def __init__(self, data: Any, size: int, *, is_frame: bool = False) -> None:
        self.data: Any = data  # str, bytes, or what bytes() makes bytes of
        self.size = size
        self.is_frame = is_frame  # a whole frame with its header, not only what it carries
        self.head: str | bytes = ""

    def drop(self) -> None:
        """Forget the payload but for what a preview needs."""
        if self.data is not None:
            self.head, self.data = self.data[:HEAD_BYTES], None

    @property
    def visible(self) -> str | bytes:
        """The payload, or its head when it has been dropped."""
        data = self.data if self.data is not None else self.head
        return data if isinstance(data, (str, bytes)) else bytes(data)


class SamePayload:
    """The payload of a long message, seen again further on its way: its own header, and where its payload is kept.

    What TCP delivers is what was sent, so a long message is kept once, where it was first seen.
    """

    __slots__ = ("first", "header")

    def __init__(self, header: str | bytes, first: Payload) -> None:
        self.header = header
        self.first = first


def size_bytes(payload: str | bytes) -> int:
    """The size of ``payload`` on the wire: its length in bytes, text as UTF-8."""
    if isinstance(payload, str) and not payload.isascii():
        return len(payload.encode("utf-8", "surrogatepass"))
    return len(payload)


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


class Timeline:
    """The ordered, bounded log of Entries from both sides.

    Taps record from any thread; a record is a small tuple that only becomes an `Entry` when somebody looks. The newest
    ``entries_limit`` Entries stay. Payloads of more than 256 bytes share ``payload_limit_bytes``: the oldest are dropped
    first, and their Entries keep a preview of 256 characters and the true size. What fell out is counted.

    Args:
        entries_limit: how many Entries stay.
        payload_limit_bytes: how many bytes of payload stay in all.
        recording: False records nothing: taps are not even put in place.
    """

    def __init__(self, *, entries_limit: int = 10_000, payload_limit_bytes: int = 16 * 2**20, recording: bool = True) -> None:
        self.entries_limit = entries_limit
        self.payload_limit_bytes = payload_limit_bytes
        self.recording = recording
        self.began = perf_counter()
        self.began_at = time.time()
        self._records: deque[_Record] = deque(maxlen=entries_limit)
        self._numbers = itertools.count(1)
        self._payloads: deque[Payload] = deque()
        self._payload_bytes = 0
        self._payloads_dropped = 0
        self._in_order = RLock()  # numbers are given in the order of appending; reentrant: a finalizer may run while reading, print, and so record
        self._lock = Lock()
        self._connections: deque[Connection] = deque(maxlen=1_000)
        self._connection_numbers = itertools.count(1)
        self._by_address: dict[Any, Connection] = {}
        self._arrivals: dict[Any, Arrival] = {}  # by address, the newest of each
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

    def open_connection(self, address: Any, *, name: str | None = None, path: str = "") -> Connection:
        """The connection of the socket whose client end has ``address``: the client's end opens it, or the server's.

        Whichever end asks first gives it the next number; the other end finds the same one.
        """
        with self._lock:
            connection = self._by_address.get(address)
            of_before = connection is not None and name is not None and connection.server_here  # a client asks before any server can know
            if connection is None or not connection.open or of_before:
                connection = self._by_address[address] = self._new_connection()
                arrival = self._arrivals.get(address)
                if arrival is not None and arrival.connection is None and connection.opened_seconds - arrival.at_seconds < _ARRIVAL_SECONDS:
                    _join(arrival, connection)
            if name is not None:
                connection.name = name
            connection.path = path or connection.path
            return connection

    def _new_connection(self) -> Connection:
        connection = Connection(next(self._connection_numbers), opened_seconds=perf_counter() - self.began)
        self._connections.append(connection)
        return connection

    def arrived(self, address: Any, process: str) -> Arrival:
        """Note that a socket with this client's address was accepted just now, for ``process``; in the order of accepting.

        A client of this kernel may open its connection before that or soon after. A connection of an earlier socket with
        the same address is not taken for it: a client ends its connection before it gives its port back.
        """
        with self._lock:
            before = self._arrivals.pop(address, None)
            arrival = self._arrivals[address] = Arrival(address, process, perf_counter() - self.began)
            if len(self._arrivals) > _ARRIVALS_MOST:
                del self._arrivals[next(iter(self._arrivals))]
            known = self._by_address.get(address)
            if before is not None and before.connection is known and not before.reported:  # taken for that of a socket that spoke no WebSocket
                before.connection, free = None, True
            else:
                free = known is not None and not known.server_here
            if known is not None and known.open and free:
                _join(arrival, known)
            return arrival

    def connection_of(self, arrival: Arrival) -> Connection:
        """The connection of a socket, now that its process tells of one; it may have ended meanwhile. A stranger's gets its number here."""
        with self._lock:
            arrival.reported = True
            if arrival.connection is None:
                stranger = self._new_connection()
                _join(arrival, stranger)
                known = self._by_address.get(arrival.address)
                if known is None or not known.open:
                    self._by_address[arrival.address] = stranger
            return arrival.connection

    def add(self, entry: Entry, connection: Connection | None) -> None:
        """Record an Entry that another process made: under the next number, but at its own time. From any thread."""
        payload = entry.payload if entry.payload is not None else b""
        kept = self.keep(payload) if len(payload) > PREVIEW_CHARACTERS else payload
        new = [0, entry.at_seconds + self.began, connection, entry.side, _describe_added, kept, replace(entry, payload=None if entry.payload is None else "")]
        self._append(new)

    def end_connection(self, address: Any, connection: Connection) -> None:
        """Say that one end of the socket is gone; safe to call from both ends."""
        with self._lock:
            if connection.ended_seconds is None:
                connection.ended_seconds = perf_counter() - self.began
            if self._by_address.get(address) is connection:
                del self._by_address[address]

    # Reading: views call these, never the taps.

    @property
    def connections(self) -> list[Connection]:
        """The newest 1,000 connections, oldest first."""
        return list(self._connections)

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
            payload_bytes=self._payload_bytes,
            payloads_dropped=self._payloads_dropped,
            connections=len(self._connections),
        )

    def subscribe(self, wake: Callable[[], None], *, since: int | None = None) -> Subscription:
        """A reader's place in this Timeline, behind the Entry numbered ``since`` (by default the newest).

        ``wake`` is called, from any thread, when something new waits; not again until it has been taken.
        """
        subscription = Subscription(self, wake, self.last_number if since is None else since)
        with self._lock:
            self._subscriptions = (*(known for known in self._subscriptions if known() is not None), weakref.ref(subscription))
        self._someone_waits = True
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._lock:
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
        """Keep a long payload for as long as the limit allows; from any thread."""
        size = size_bytes(payload)
        kept = Payload(payload, size, is_frame=is_frame)
        with self._lock:
            self._payloads.append(kept)
            self._payload_bytes += size
            while self._payload_bytes > self.payload_limit_bytes:
                oldest = self._payloads.popleft()
                oldest.drop()
                self._payload_bytes -= oldest.size
                self._payloads_dropped += 1
        return kept


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


def _join(arrival: Arrival, connection: Connection) -> None:
    """This socket is that connection."""
    arrival.connection = connection
    connection.process, connection.server_here, connection.report_due = arrival.process, True, True


def _describe_added(kept: Any, entry: Entry) -> dict[str, Any]:
    """The fields of an Entry from elsewhere; its payload, if it had one, is kept or dropped like any other."""
    payload = kept.data if isinstance(kept, Payload) else kept
    return _describe_stored(entry, None) | {"payload": payload if entry.payload is not None else None}


def _describe_stored(entry: Entry, _more: None) -> dict[str, Any]:
    """The fields of an Entry that was recorded earlier."""
    stored = ("kind", "text", "size", "payload", "ordinal", "details")
    return {name: getattr(entry, name) for name in stored}
