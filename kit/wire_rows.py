"""The wire of one connection: Entries folded into one row a frame, which pairs what each end saw of it. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from kit.closing import name_of
from kit.printable import visible
from kit.timeline import Entry

__all__ = ["FrameRow", "WireRows"]

_KINDS = {"TEXT": "text", "BINARY": "binary", "CLOSE": "control", "PING": "control", "PONG": "control"}
_UNREAD_LIMIT = 10_000
_UNWRITTEN_LIMIT = 1_000


@dataclass
class FrameRow:
    """One frame, or one half of the handshake, with what is known of it at each end.

    Attributes:
        key: what identifies the row when it changes.
        kind: ``handshake``, ``text``, ``binary``, ``control`` or ``note`` (something else that happened to the connection).
        direction: ``"up"`` from client to server, ``"down"`` the other way, ``"here"`` for a note.
        opcode: its name, ``GET`` for the request, the status for the response.
        header: the frame's header in hexadecimal digits, masking key included.
        size: the payload's length in bytes; of a handshake, that of its head.
        text: the beginning of the payload, safe to show.
        client_seconds: when the client's end saw it, or None; server_seconds likewise.
        client_entry: the number of the client's Entry, or None; server_entry likewise.
        message: for text and binary, the how-manyth message of its direction it belongs to.
        fragment: the how-manyth fragment of that message, 0 when the message is whole.
        last: whether it is the message's last frame.
        inflated: the beginning of a compressed message as the handler saw it.
        tone: ``"plain"``, ``"good"``, ``"warning"`` or ``"bad"``.
    """

    key: str
    kind: str
    direction: str
    opcode: str
    header: str = ""
    size: int = 0
    text: str = ""
    client_seconds: float | None = None
    server_seconds: float | None = None
    client_entry: int | None = None
    server_entry: int | None = None
    message: int | None = None
    fragment: int = 0
    last: bool = True
    inflated: str = ""
    tone: str = "plain"

    def saw(self, entry: Entry) -> None:
        """Take note of when this entry's end saw it."""
        if entry.side == "client":
            self.client_seconds, self.client_entry = entry.at_seconds, entry.number
        else:
            self.server_seconds, self.server_entry = entry.at_seconds, entry.number


class WireRows:
    """Folds the Entries of one connection into FrameRows: TCP keeps the order, so the n-th frame out is the n-th in.

    Attributes:
        dropped: how many rows have left, oldest first, because only ``rows_limit`` stay.
    """

    def __init__(self, *, rows_limit: int = 2_000) -> None:
        self._rows: OrderedDict[str, FrameRow] = OrderedDict()
        self._rows_limit = rows_limit
        self._unread: dict[str, deque[tuple[FrameRow, object]]] = {"up": deque(maxlen=_UNREAD_LIMIT), "down": deque(maxlen=_UNREAD_LIMIT)}
        self._unwritten: OrderedDict[object, FrameRow] = OrderedDict()  # read here before another process told that it had written them
        self._messages: dict[str, tuple[int, str, int]] = {}  # of each direction: the message, its kind, its newest fragment
        self._compressed: OrderedDict[tuple[str, int | None], FrameRow] = OrderedDict()
        self._sent: OrderedDict[int | None, str] = OrderedDict()  # what the handler has sent and is not yet on the wire
        self.dropped = 0

    @property
    def rows(self) -> list[FrameRow]:
        """The newest rows, oldest first."""
        return list(self._rows.values())

    def row(self, key: str) -> FrameRow | None:
        """The row with this key, while it is there."""
        return self._rows.get(key)

    def feed(self, entries: Iterable[Entry]) -> list[FrameRow]:
        """Fold ``entries`` in; returns the rows that are new or have changed, in their order."""
        changed: OrderedDict[str, FrameRow] = OrderedDict()
        for entry in entries:
            row = self._fold(entry)
            if row is not None:
                changed[row.key] = row
        while len(self._rows) > self._rows_limit:
            self._rows.popitem(last=False)
            self.dropped += 1
        return [row for key, row in changed.items() if key in self._rows]

    def _fold(self, entry: Entry) -> FrameRow | None:
        match entry.kind:
            case "request" | "response":
                return self._fold_handshake(entry)
            case "frame-out" | "frame-in":
                return self._fold_frame(entry)
            case "asgi-send" | "asgi-receive":
                return self._fold_message(entry)
            case "fault" | "error":
                return self._fold_note(entry, visible(entry.text), "warning" if entry.kind == "fault" else "bad")
            case "end" if entry.details["what"] == "socket":
                return self._fold_note(entry, f"{entry.side}: {visible(entry.text)}", "plain")
        return None

    def _put(self, row: FrameRow) -> FrameRow:
        return self._rows.setdefault(row.key, row)

    def _fold_note(self, entry: Entry, text: str, tone: str) -> FrameRow:
        row = self._put(FrameRow(f"note {entry.number}", "note", "here", "", text=text, tone=tone))
        row.saw(entry)
        return row

    def _fold_handshake(self, entry: Entry) -> FrameRow:
        status = entry.details.get("status")
        opcode = "GET" if entry.kind == "request" else f"{status or '?'}"
        direction, tone = ("up", "plain") if entry.kind == "request" else ("down", "good" if status == 101 else "bad")
        row = self._put(FrameRow(entry.kind, "handshake", direction, opcode, size=entry.size, text=visible(entry.text[:256]), tone=tone))
        row.saw(entry)
        return row

    # Frames: what one end writes waits until the other end has read it.

    def _fold_frame(self, entry: Entry) -> FrameRow | None:
        is_out = entry.kind == "frame-out"
        direction = "up" if (entry.side == "client") == is_out else "down"
        row = self._unwritten.pop((direction, _likeness(entry)), None) if is_out else self._written(direction, _likeness(entry))
        if row is None and not is_out and self._is_older(direction, entry):
            self.dropped += 1
            return None
        if row is None:
            row = self._put(self._new_row(entry, direction))
            self._note_half(row, entry, direction, is_out)
        row.saw(entry)
        return row

    def _note_half(self, row: FrameRow, entry: Entry, direction: str, is_out: bool) -> None:
        """Only one end has seen this frame so far."""
        if is_out:
            self._unread[direction].append((row, _likeness(entry)))
            return
        self._unwritten[direction, _likeness(entry)] = row
        if len(self._unwritten) > _UNWRITTEN_LIMIT:
            self._unwritten.popitem(last=False)

    def _is_older(self, direction: str, entry: Entry) -> bool:
        """Whether a frame comes before all that waits to be read: when it was written has fallen out of the Timeline."""
        first = self._unread[direction][0][0].message if self._unread[direction] else None
        return first is not None and entry.ordinal is not None and entry.ordinal < first

    def _written(self, direction: str, likeness: object) -> FrameRow | None:
        """The row of the frame that is now read; those written before it have been read too, though nobody saw it."""
        unread = self._unread[direction]
        if likeness not in (known for _, known in unread):
            return None
        while unread:
            row, known = unread.popleft()
            if known == likeness:
                return row
        return None

    def _new_row(self, entry: Entry, direction: str) -> FrameRow:
        details = entry.details
        row = FrameRow(f"{direction} {entry.number}", _KINDS.get(details["opcode"], "binary"), direction, visible(details["opcode"][:20]))
        row.header, row.size, row.text = details["header"], entry.size, visible(entry.text[:256])
        if entry.ordinal is not None:
            self._place_in_message(row, entry, direction)
        if details["opcode"] == "CLOSE":
            code, reason = details["code"], details["reason"]
            row.text = visible(f"{code} {name_of(code)}{f': {reason}' if reason else ''}") if entry.size else "no code"
            row.tone = "good" if code in (1000, 1001, 1005) else "warning"
        if details["compressed"]:
            row.inflated = self._sent.get(entry.ordinal, "") if direction == "down" else ""
            self._compressed[direction, entry.ordinal] = row
        return row

    def _place_in_message(self, row: FrameRow, entry: Entry, direction: str) -> None:
        message, kind, fragment = self._messages.get(direction, (None, "binary", 0))
        if message != entry.ordinal:
            kind, fragment = row.kind, 0
        row.message, row.kind, row.last = entry.ordinal, kind, entry.details["fin"]
        if entry.details["opcode"] == "CONT" or not row.last:
            fragment = row.fragment = fragment + 1
        self._messages[direction] = (entry.ordinal, kind, fragment)

    def _fold_message(self, entry: Entry) -> FrameRow | None:
        """What the handler got or sent tells what a compressed message says."""
        if entry.ordinal is None:
            return None
        direction = "down" if entry.kind == "asgi-send" else "up"
        text = visible(entry.text[:256])
        row = self._compressed.pop((direction, entry.ordinal), None)
        if direction == "down":
            self._sent[entry.ordinal] = text
        elif row is not None:
            row.inflated = text
        for kept in (self._sent, self._compressed):
            while len(kept) > 500:
                kept.popitem(last=False)
        return row if direction == "up" else None


def _likeness(entry: Entry) -> object:
    """What a frame has in common at both ends; masking keys make it the more unlike others."""
    return entry.ordinal, entry.details["header"], entry.size, entry.text
