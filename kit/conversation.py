"""One conversation seen from both ends: Entries folded into rows of client, wire and handler, aligned in time. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kit.printable import human_bytes, quoted, visible
from kit.timeline import Entry

__all__ = ["Conversation", "Row"]

_DATA = ("TEXT", "BINARY", "CONT")


@dataclass
class Row:
    """One event, with a cell for each place where it was seen; empty cells fill up as it gets there.

    Attributes:
        key: what identifies the row when it changes.
        direction: ``"up"`` from client to handler, ``"down"`` the other way, ``"here"`` at one end only, ``"divider"``.
        at_seconds: when it was first seen.
        client: what the client did or got.
        wire: what crossed the wire.
        handler: what the handler got or did.
        waits: where it waits now: ``"handler"`` until ``receive`` is called, ``"wire"`` until the reader reads, else "".
        tone: ``"plain"``, ``"good"``, ``"warning"``, ``"bad"`` or ``"muted"``.
        states: both states after it, when it changed one.
        details: (label, value) pairs for whoever wants to know more.
    """

    key: str
    connection: int | None
    direction: str
    at_seconds: float
    client: str = ""
    wire: str = ""
    handler: str = ""
    waits: str = ""
    tone: str = "plain"
    states: str = ""
    details: list[tuple[str, str]] = field(default_factory=list)


class Conversation:
    """Folds Entries into Rows: the n-th message out on one end is the n-th in on the other, exactly.

    Args:
        rows_limit: how many rows stay.
    """

    def __init__(self, *, rows_limit: int = 500) -> None:
        self._rows: OrderedDict[str, Row] = OrderedDict()
        self._rows_limit = rows_limit
        self._states: dict[int, tuple[str, str]] = {}
        self._controls: dict[tuple[int | None, str, str], deque[str]] = {}

    @property
    def rows(self) -> list[Row]:
        """The newest rows, oldest first."""
        return list(self._rows.values())

    def feed(self, entries: Iterable[Entry]) -> list[Row]:
        """Fold ``entries`` in; returns the rows that are new or have changed, in their order."""
        changed: OrderedDict[str, Row] = OrderedDict()
        for entry in entries:
            row = self._fold(entry)
            if row is not None:
                changed[row.key] = row
        while len(self._rows) > self._rows_limit:
            self._rows.popitem(last=False)
        return [row for key, row in changed.items() if key in self._rows]

    def _fold(self, entry: Entry) -> Row | None:
        fold = getattr(self, f"_fold_{entry.kind.replace('-', '_')}", None)
        return fold(entry) if fold else None

    def _row(self, entry: Entry, what: str, direction: str) -> Row:
        key = f"{entry.connection}:{what}"
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Row(key, entry.connection, direction, entry.at_seconds)
        return row

    def _alone(self, entry: Entry, direction: str = "here") -> Row:
        return self._row(entry, f"entry {entry.number}", direction)

    # The handshake.

    def _fold_request(self, entry: Entry) -> Row:
        row = self._row(entry, "request", "up")
        if entry.side == "client":
            row.client = visible(entry.text)
        row.wire = "HTTP GET"
        _add_headers(row, entry)
        return row

    def _fold_response(self, entry: Entry) -> Row:
        row = self._row(entry, "response", "down")
        status = entry.details.get("status")
        row.wire = f"HTTP {status}"
        row.tone = "good" if status == 101 else "bad"
        if entry.side == "client":
            row.client = "connected" if status == 101 else f"refused: {visible(entry.text)}"
        _add_headers(row, entry)
        return row

    # Frames.

    def _fold_frame_out(self, entry: Entry) -> Row:
        return self._fold_frame(entry, "up" if entry.side == "client" else "down", sent=True)

    def _fold_frame_in(self, entry: Entry) -> Row:
        return self._fold_frame(entry, "down" if entry.side == "client" else "up", sent=False)

    def _fold_frame(self, entry: Entry, direction: str, *, sent: bool) -> Row:
        opcode = entry.details["opcode"]
        row = self._row(entry, self._frame_key(entry, direction, opcode, sent), direction)
        row.wire = self._wire_words(row, entry, opcode)
        words = self._frame_words(entry, opcode)
        if entry.side == "client":
            row.client = row.client if opcode == "CONT" else words
        elif opcode in ("PING", "PONG"):
            row.handler = "uvicorn answers by itself" if opcode == "PING" and not sent else ""
        if opcode in ("PING", "PONG"):
            row.tone = "muted"
        if opcode == "CLOSE":
            row.tone = "good" if entry.details["code"] in (1000, 1001, 1005) else "warning"
        self._note_waiting(row, entry, direction, opcode, sent)
        _add_frame_details(row, entry)
        return row

    def _note_waiting(self, row: Row, entry: Entry, direction: str, opcode: str, sent: bool) -> None:
        if opcode not in _DATA:
            return
        if direction == "up" and entry.side == "server" and not row.handler:
            row.waits = "handler"
        elif direction == "down":
            row.waits = "" if entry.side == "client" else row.waits if not sent else ""

    def _frame_key(self, entry: Entry, direction: str, opcode: str, sent: bool) -> str:
        if opcode in _DATA:
            return f"{direction} message {entry.ordinal}"
        if opcode == "CLOSE":
            return f"{direction} close"
        waiting = self._controls.setdefault((entry.connection, direction, opcode), deque(maxlen=100))
        if not sent and waiting:
            return waiting.popleft()
        key = f"{direction} {opcode} {entry.number}"
        if sent:
            waiting.append(key)
        return key

    def _wire_words(self, row: Row, entry: Entry, opcode: str) -> str:
        if opcode == "CLOSE":
            return f"CLOSE {entry.details['code']}"
        if opcode == "CONT" or (opcode in _DATA and not entry.details["fin"]):
            return "in fragments"
        return f"{opcode} {human_bytes(entry.size)}"

    def _frame_words(self, entry: Entry, opcode: str) -> str:
        if opcode == "CLOSE":
            code, reason = entry.details["code"], entry.details["reason"]
            return f"close {code}{' ' + quoted(reason) if reason else ''}"
        if opcode in ("PING", "PONG"):
            return opcode.lower()
        if entry.details["compressed"]:
            return "compressed"
        return quoted(entry.text) if opcode == "TEXT" else f"bytes {entry.text[:47]}"

    # The handler.

    def _fold_asgi_receive(self, entry: Entry) -> Row:
        kind = entry.details["type"]
        if kind == "websocket.receive":
            row = self._row(entry, f"up message {entry.ordinal}", "up")
            row.handler, row.waits = f"receive {_payload_words(entry)}", ""
        elif kind == "websocket.connect":
            row = self._row(entry, "request", "up")
            row.handler = "receive connect"
        else:
            row = self._disconnect_row(entry)
            row.handler = f"receive disconnect {entry.details.get('code', '')}"
        self._note_states(row, entry)
        return row

    def _disconnect_row(self, entry: Entry) -> Row:
        for what in ("up close", "down close"):
            if f"{entry.connection}:{what}" in self._rows:
                return self._row(entry, what, "up")
        row = self._alone(entry)
        row.tone = "warning"
        return row

    def _fold_asgi_send(self, entry: Entry) -> Row:
        kind = entry.details["type"]
        accepted = f"{entry.connection}:response" in self._rows and self._rows[f"{entry.connection}:response"].handler == "accept"
        if kind == "websocket.send":
            row = self._row(entry, f"down message {entry.ordinal}", "down")
            row.handler, row.waits = f"send {_payload_words(entry)}", "wire"
        elif kind == "websocket.close" and accepted:
            row = self._row(entry, "down close", "down")
            row.handler = f"close {entry.details.get('code', 1000)}"
        else:
            row = self._row(entry, "response", "down")
            row.handler = row.handler or _answer_words(kind, entry)
        if entry.details.get("hopped"):
            row.details.append(("called from", "another loop or thread; the kit hopped to the server's"))
        self._note_states(row, entry)
        return row

    def _note_states(self, row: Row, entry: Entry) -> None:
        states = (entry.details["client_state"], entry.details["application_state"])
        if self._states.get(entry.connection) != states:
            self._states[entry.connection] = states
            row.states = f"client {states[0]} · application {states[1]}"

    def _fold_print(self, entry: Entry) -> Row:
        row = self._alone(entry)
        row.handler, row.tone = f"print {visible(entry.text)}", "muted"
        return row

    def _fold_log(self, entry: Entry) -> Row:
        row = self._alone(entry)
        row.handler, row.tone = f"log {visible(entry.text)}", "muted"
        return row

    def _fold_error(self, entry: Entry) -> Row:
        row = self._alone(entry)
        row.handler, row.tone = visible(entry.text), "bad"
        row.details = [("at", visible(line)) for line in entry.details.get("lines", ())]
        if row.details:
            row.handler += f" at {row.details[-1][1]}"
        return row

    def _fold_end(self, entry: Entry) -> Row | None:
        if entry.details["what"] == "handler":
            row = self._alone(entry)
            row.handler = "the handler returned"
        else:
            row = self._row(entry, "end", "here")
            setattr(row, "client" if entry.side == "client" else "handler", visible(entry.text))
        row.tone = "muted"
        return row

    def _fold_notice(self, entry: Entry) -> Row:
        row = self._alone(entry, "divider")
        row.wire = visible(entry.text)
        row.tone = {"blocked": "warning", "unblocked": "good"}.get(entry.details.get("what", ""), "muted")
        return row


def _payload_words(entry: Entry) -> str:
    if entry.size and isinstance(entry.payload, bytes):
        return f"bytes {entry.text[:47]}"
    return quoted(entry.text)


def _answer_words(kind: str, entry: Entry) -> str:
    if kind == "websocket.accept":
        return "accept"
    if kind == "websocket.close":
        return f"close {entry.details.get('code', 1000)} before accept"
    return f"answer HTTP {entry.details.get('status', '')}"


def _add_headers(row: Row, entry: Entry) -> None:
    if row.details:
        return
    row.details.append(("request" if entry.kind == "request" else "response", visible(entry.details["start_line"][:2000])))
    row.details += [(visible(name), visible(value[:2000])) for name, value in entry.details["headers"][:60]]
    if entry.kind == "response" and entry.payload:
        row.details.append(("body", visible(entry.payload[:2000].decode("utf-8", "replace"))))


def _add_frame_details(row: Row, entry: Entry) -> None:
    details: dict[str, Any] = dict(entry.details)
    words = [f"{details['opcode']}, FIN {int(details['fin'])}"]
    words.append(f"masked with {details['mask_key']}" if details["masked"] else "not masked")
    words.append(f"{entry.size:,} B of payload")
    if details["compressed"]:
        words.append("compressed (RSV1)")
    if len(row.details) < 40:
        row.details.append((f"{entry.side}, {entry.kind.removeprefix('frame-')} at +{entry.at_seconds:.4f} s", ", ".join(words)))
