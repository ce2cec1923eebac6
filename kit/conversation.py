"""One conversation seen from both ends: Entries folded into rows of client, wire and handler, aligned in time. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from kit.printable import visible
from kit.row_book import RowBook
from kit.rows import DATA, Lane, Lanes, Row, add_frame_details, add_headers, answer_words, frame_key, frame_words, hub_words, payload_words, wire_words
from kit.timeline import Entry

__all__ = ["Conversation"]


class Conversation:
    """Folds Entries into Rows: the n-th message out on one end is the n-th in on the other, exactly.

    Args:
        rows_limit: how many rows stay.

    Attributes:
        lanes: how long both ends of each connection were there, by its number; the newest 1,000.
    """

    def __init__(self, *, rows_limit: int = 500) -> None:
        self.lanes = Lanes()
        self._book = RowBook(rows_limit)
        self._gaps = 0
        self._seen_seconds = 0.0

    @property
    def rows(self) -> list[Row]:
        """The newest rows, oldest first."""
        return self._book.rows

    @property
    def dropped(self) -> int:
        """How many rows have fallen out."""
        return self._book.dropped

    def row(self, key: str) -> Row | None:
        """The row with this key, while it is kept."""
        return self._book.row(key)

    def feed(self, entries: Iterable[Entry]) -> list[Row]:
        """Fold ``entries`` in; returns the rows that are new or have changed, in their order."""
        for entry in entries:
            self._seen_seconds = max(self._seen_seconds, entry.at_seconds)
            row = self._fold(entry)
            if row is not None:
                row.note_entry(entry.number)
                self._book.note_change(row)
        return self._book.told()

    def gap(self, count: int, over: Iterable[int] = ()) -> list[Row]:
        """Say that ``count`` Entries were skipped before the next ones: a divider, and no row waits for what may have been among them.

        ``over`` are the numbers of the connections that have ended, which may have been skipped too. Returns the rows that are new or have changed.
        """
        self._gaps += 1
        row = Row(f"gap {self._gaps}", "gap", None, "divider", self._seen_seconds, wire=f"{count:,} events not shown", label=f"{count:,} events not shown")
        self._book.add(row)
        self._book.note_change(row)
        self._book.stop_waiting()
        for lane in self.lanes.values():
            lane.complete = False
            lane.controls.clear()
        for number in self.lanes.keys() & set(over):
            self._presume_over(self.lanes[number], self._seen_seconds)
        return self._book.told()

    def _fold(self, entry: Entry) -> Row | None:
        fold = getattr(self, f"_fold_{entry.kind.replace('-', '_')}", None)
        return fold(entry) if fold else None

    def _row(self, entry: Entry, what: str, kind: str, direction: str) -> Row:
        key = f"{entry.connection}:{what}"
        row = self._book.row(key)
        if row is None:
            row = Row(key, kind, entry.connection, direction, entry.at_seconds, entry.side)
            self._book.add(row)
        row.at_seconds = min(row.at_seconds, entry.at_seconds)  # what another process saw is told after what it brought about here
        return row

    def _alone(self, entry: Entry, kind: str, direction: str = "here") -> Row:
        return self._row(entry, f"entry {entry.number}", kind, direction)

    # The handshake.

    def _fold_request(self, entry: Entry) -> Row:
        row = self._row(entry, "request", "request", "up")
        self.lanes.of(entry)
        row.moments.setdefault("client" if entry.side == "client" else "wire", entry.at_seconds)
        if entry.side == "client":
            row.client = visible(entry.text)
        row.label = row.client or visible(entry.text)
        row.wire = "HTTP GET"
        add_headers(row, entry)
        return row

    def _fold_response(self, entry: Entry) -> Row:
        row = self._row(entry, "response", "response", "down")
        status, lane = entry.details.get("status"), self.lanes.of(entry)
        lane.refused = status != 101
        row.moments.setdefault("client" if entry.side == "client" else "wire", entry.at_seconds)
        row.wire = f"HTTP {status}"
        row.label = "101, accept" if status == 101 else f"refused: {visible(entry.text)}"
        row.tone = "good" if status == 101 else "bad"
        if entry.side == "client":
            row.client = "connected" if status == 101 else f"refused: {visible(entry.text)}"
        add_headers(row, entry)
        return row

    # Frames.

    def _fold_frame_out(self, entry: Entry) -> Row:
        return self._fold_frame(entry, "up" if entry.side == "client" else "down", sent=True)

    def _fold_frame_in(self, entry: Entry) -> Row:
        return self._fold_frame(entry, "down" if entry.side == "client" else "up", sent=False)

    def _fold_frame(self, entry: Entry, direction: str, *, sent: bool) -> Row:
        opcode, lane = entry.details["opcode"], self.lanes.of(entry)
        row = self._row(entry, frame_key(entry, lane, direction, sent), "message" if opcode in DATA else opcode.lower(), direction)
        row.wire = wire_words(entry)
        self._note_frame_moment(row, entry, sent)
        if entry.side == "client" and opcode != "CONT":
            row.client = frame_words(entry)
        if opcode in DATA:
            self._note_message(row, entry)
        else:
            self._note_control(row, entry, lane, sent)
        add_frame_details(row, entry)
        return row

    def _note_frame_moment(self, row: Row, entry: Entry, sent: bool) -> None:
        """A message leaves with its first frame and has arrived with its last."""
        place = "client" if entry.side == "client" else "wire"
        if not sent or place not in row.moments:
            row.moments[place] = entry.at_seconds

    def _note_message(self, row: Row, entry: Entry) -> None:
        if not row.label and entry.details["opcode"] != "CONT":
            row.label = frame_words(entry)
        row.size = max(row.size, entry.size)
        lane = self.lanes.of(entry)
        if lane.rooms and entry.side == "server" and row.direction == "down" and "handler" not in row.moments:
            row.from_hub, row.handler = True, "the hub sends"
        self._book.update_waits(row, lane, whole=entry.details["fin"])

    def _note_control(self, row: Row, entry: Entry, lane: Lane, sent: bool) -> None:
        opcode = entry.details["opcode"]
        row.label = frame_words(entry)
        if opcode == "CLOSE":
            row.tone = "good" if entry.details["code"] in (1000, 1001, 1005) else "warning"
            row.first = row.first or (not lane.closing and lane.complete)
            lane.closing = True
            return
        row.tone = "muted"
        if entry.side == "server":
            row.handler = "uvicorn answers by itself" if opcode == "PING" and not sent else ""

    # The handler.

    def _fold_asgi_receive(self, entry: Entry) -> Row:
        kind, lane = entry.details["type"], self.lanes.of(entry)
        if kind == "websocket.receive":
            row = self._row(entry, f"up message {entry.ordinal}", "message", "up")
            row.label = payload_words(entry)
            row.handler = f"receive {row.label}"
        elif kind == "websocket.connect":
            row = self._row(entry, "request", "request", "up")
            row.handler = "receive connect"
            lane.handler_began = entry.at_seconds
        else:
            row = self._disconnect_row(entry)
            row.handler = f"receive disconnect {entry.details.get('code', '')}"
            row.label = row.label or row.handler
        row.moments.setdefault("handler", entry.at_seconds)
        if kind == "websocket.receive":
            self._book.update_waits(row, lane)
        self._note_states(row, entry)
        return row

    def _disconnect_row(self, entry: Entry) -> Row:
        for what in ("up close", "down close"):
            if self._book.row(f"{entry.connection}:{what}") is not None:
                return self._row(entry, what, "close", "up")
        row = self._alone(entry, "disconnect")
        row.tone = "warning"
        return row

    def _fold_asgi_send(self, entry: Entry) -> Row:
        kind, lane = entry.details["type"], self.lanes.of(entry)
        response = self._book.row(f"{entry.connection}:response")
        accepted = response is not None and response.handler == "accept"
        if kind == "websocket.send":
            row = self._row(entry, f"down message {entry.ordinal}", "message", "down")
            row.label, row.size = payload_words(entry), max(row.size, entry.size)
            row.handler, row.from_hub = f"send {row.label}", False
        elif kind == "websocket.close" and accepted:
            row = self._row(entry, "down close", "close", "down")
            row.handler = f"close {entry.details.get('code', 1000)}"
            row.label = row.label or row.handler
        else:
            row = self._row(entry, "response", "response", "down")
            row.handler = row.handler or answer_words(kind, entry)
            row.label = row.label or row.handler
        row.moments.setdefault("handler", entry.at_seconds)
        if kind == "websocket.send":
            self._book.update_waits(row, lane)
        if entry.details.get("hopped"):
            row.details.append(("called from", "another loop or thread; the kit hopped to the server's"))
        self._note_states(row, entry)
        return row

    def _note_states(self, row: Row, entry: Entry) -> None:
        states = (entry.details["client_state"], entry.details["application_state"])
        lane = self.lanes.of(entry)
        if lane.states != states:
            lane.states = states
            row.states = f"client {states[0]} · application {states[1]}"

    def _fold_hub(self, entry: Entry) -> Row:
        row = self._alone(entry, "hub", "hub")
        row.label = row.handler = hub_words(entry)
        row.size, row.moments["handler"], row.from_hub = entry.size, entry.at_seconds, entry.details["what"] == "receive"
        lane = self.lanes.of(entry)
        lane.rooms = max(0, lane.rooms + {"join": 1, "leave": -1}.get(entry.details["what"], 0))  # the join may have been skipped
        return row

    def _fold_print(self, entry: Entry) -> Row:
        row = self._alone(entry, entry.kind)
        row.handler = row.label = f"{entry.kind} {visible(entry.text)}"
        row.tone = "muted"
        return row

    _fold_log = _fold_print

    def _fold_error(self, entry: Entry) -> Row:
        if entry.details.get("what") == "process-ended":
            self._book.let_go(entry.connection)
        row = self._alone(entry, "error")
        row.handler, row.tone = visible(entry.text), "bad"
        row.details = [("at", visible(line)) for line in entry.details.get("lines", ())]
        if row.details:
            row.handler += f" at {row.details[-1][1]}"
        row.label = row.handler
        if entry.connection is not None:
            self._end_handler(entry)
        return row

    # Ends, faults and notices.

    def _fold_end(self, entry: Entry) -> Row:
        if entry.details["what"] == "handler":
            self._end_handler(entry)
            row = self._alone(entry, "returned")
            row.handler = row.label = "the handler returned"
        else:
            row = self._end_socket(entry)
        row.tone = "bad" if row.kind == "dropped" else "muted"
        return row

    def _end_handler(self, entry: Entry) -> None:
        lane = self.lanes.of(entry)
        if lane.handler_ended is None:
            lane.handler_ended = entry.at_seconds
        self._book.give_up(entry.connection, "handler")

    def _end_socket(self, entry: Entry) -> Row:
        lane, text, of_client = self.lanes.of(entry), visible(entry.text), entry.side == "client"
        silent = lane.complete and not lane.closing and not lane.refused
        direction, known = ("up" if of_client else "down") if silent else "here", self._book.row(f"{entry.connection}:end")
        if known is not None and known.kind == "dropped" and entry.at_seconds < known.at_seconds:
            known.direction = direction  # it was this end that dropped the line, though the other was heard first
        row = self._row(entry, "end", "dropped" if silent else "end", direction)
        row.moments["client" if of_client else "wire"] = entry.at_seconds
        row.label = "dropped, no Close frame" if row.kind == "dropped" else row.label or text
        if of_client:
            row.client, lane.client_ended = text, entry.at_seconds
            self._book.give_up(entry.connection, "client")
        else:
            row.handler, lane.server_ended = text, entry.at_seconds
            self._book.give_up(entry.connection, "wire", "arrival")
        if not lane.complete:
            self._presume_over(lane, entry.at_seconds)
        return row

    def _presume_over(self, lane: Lane, at_seconds: float) -> None:
        """Take all ends of a connection for gone: one is, and what was said of the others may have been skipped. What comes all the same, counts."""
        lane.client_ended = lane.client_ended or at_seconds
        lane.server_ended = lane.server_ended or at_seconds
        lane.handler_ended = lane.handler_ended or at_seconds
        self._book.give_up(lane.connection, "arrival", "handler", "wire", "client")

    def _fold_fault(self, entry: Entry) -> Row:
        row = self._alone(entry, "fault", "divider" if entry.connection is None else "here")
        row.label = visible(entry.text)
        setattr(row, "wire" if entry.connection is None else "client" if entry.side == "client" else "handler", row.label)
        row.tone = "good" if entry.details.get("phase") == "ends" else "warning"
        return row

    def _fold_notice(self, entry: Entry) -> Row:
        row = self._alone(entry, "notice", "divider")
        row.wire = row.label = visible(entry.text)
        row.tone = {"blocked": "warning", "unblocked": "good"}.get(entry.details.get("what", ""), "muted")
        return row
