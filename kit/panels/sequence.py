"""SequencePanel: a live sequence diagram of every connection, from the clients' lanes over the wire to the handlers' bars."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Coroutine
from typing import Any

from kit import closing, loops
from kit.connection import Connection
from kit.panels.base import front_end
from kit.panels.rows import RowsPanel
from kit.printable import human_bytes, visible
from kit.rows import Lane, Row
from kit.timeline import Entry

__all__ = ["SequencePanel"]

_LANES_MOST = 200
_PAYLOAD_CHARACTERS = 20_000
_PLACES = {"client": "the client's end", "wire": "the server's end of the wire", "handler": "the handler"}


class SequencePanel(RowsPanel):
    """Who said what to whom, when, and who waits: ``SequencePanel(server)``.

    Time goes down. Clients have their lanes on the left, handlers theirs on the right, in the colour of their connection; once
    a handler has to do with a hub, that has the last lane: what is published goes there, and comes from there to the clients.
    An arrow is as slanted as its message was slow; what has arrived and is not received, or is written and not read, is
    drawn as waiting. The newest 5,000 events stay; what an arrow stands for is asked for when it is opened.

    Args:
        source: a server, a client or a Timeline.
    """

    rows_limit = 5_000
    _esm, _css = front_end("sequence").values()

    def __init__(self, source: Any) -> None:
        super().__init__(source, "Sequence")

    async def inspect(self, key: str) -> list[tuple[str, str]]:
        """What the details strip shows of the row ``key``, as (label, value) pairs; an empty list when it has fallen out."""
        return await loops.panels().run(self._inspected(key))

    # The panel's side of the conversation with its front end.

    def _action(self, what: str, form: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
        return self._tell_details(str(form.get("key")), form["view"]) if what == "inspect" else None

    async def _tell_details(self, key: str, view: str) -> None:
        details = await self.inspect(key) or [("gone", f"Only the newest {self.rows_limit:,} events are kept.")]
        self._tell({"details": details, "key": key, "to": view})

    def _begin(self) -> None:
        super()._begin()
        self._lanes_said: dict[int, dict[str, Any]] = {}

    def _plain(self, row: Row) -> dict[str, Any]:
        told = {"key": row.key, "n": row.connection, "kind": row.kind, "way": row.direction, "at": round(row.at_seconds, 6), "label": row.label}
        more = {
            "side": row.side if row.direction == "here" else "",
            "waits": row.waits,
            "size": row.size,
            "first": row.first,
            "lost": row.lost,
            "hub": row.from_hub,
            "also": self._also(row),
        }
        more["tone"] = row.tone if row.tone != "plain" else ""
        return told | {name: value for name, value in more.items() if value} | {place: round(at, 6) for place, at in row.moments.items()}

    def _also(self, row: Row) -> str:
        """What the handler did, where the label does not say it: the answer it meant before it accepted."""
        return row.handler if row.kind == "response" and row.handler != "accept" else ""

    def _about(self, *, whole: bool) -> dict[str, Any]:
        connections = self.timeline.connections[-_LANES_MOST:]
        lanes = {connection.number: _plain_lane(connection, self._fold.lanes.get(connection.number)) for connection in connections}
        new = [lane for number, lane in lanes.items() if whole or self._lanes_said.get(number) != lane]
        if not whole:
            self._lanes_said = lanes
        return {"lanes": new, "now": round(time.perf_counter() - self.timeline.began, 6), "dropped": self._fold.dropped}

    # Details, on demand.

    async def _inspected(self, key: str) -> list[tuple[str, str]]:
        if self._follower is None:
            self._begin()
            self._fold.feed(self.timeline.entries())
        row = self._fold.row(key)
        return [] if row is None else self._details(row)

    def _details(self, row: Row) -> list[tuple[str, str]]:
        pairs = _moments(row)
        if row.kind in ("dropped", "close") or (row.kind == "response" and row.tone == "bad"):
            pairs += self._explanation(row)
        payload = self._payload(row) if row.kind == "message" else ""
        if payload:
            pairs.append((f"payload, {human_bytes(row.size)}", payload))
        cells = [("client", row.client), ("on the wire", row.wire), ("handler", row.handler), ("states after it", row.states)]
        known = self._connection(row)
        cells.append(("process", visible(known.process or "") if known else ""))
        return pairs + [(label, value) for label, value in cells if value] + row.details

    def _connection(self, row: Row) -> Connection | None:
        return next((connection for connection in self.timeline.connections if connection.number == row.connection), None)

    def _explanation(self, row: Row) -> list[tuple[str, str]]:
        known = self._connection(row)
        return [("why it ended", str(closing.explain(known)))] if known else []

    def _payload(self, row: Row) -> str:
        """As much of the message as is still there, JSON over several lines."""
        if not row.entries:
            return ""
        mine = [entry for entry in self.timeline.entries(since=row.entries[0] - 1, connection=row.connection) if entry.number in row.entries]
        best = max(mine, key=_worth, default=None)
        return "" if best is None else _pretty(best.payload if best.payload is not None else best.text)


def _plain_lane(connection: Connection, lane: Lane | None) -> dict[str, Any]:
    """A connection's two lanes; what the fold could not see is taken from the connection itself."""
    lane = lane or Lane(connection.number, connection.opened_seconds)
    over = connection.ended_seconds
    handler_over = over if connection.handler_returned or connection.handler_error or connection.process_ended else None
    ours = {name: True for name, so in (("ours", lane.client_began is not None), ("served", lane.server_seen)) if so}
    ends = {
        "from": connection.opened_seconds,
        "clientEnd": lane.client_ended or lane.server_ended or over,
        "handlerFrom": lane.handler_began,
        "handlerEnd": lane.handler_ended or handler_over,
    }
    told = {"n": connection.number, "name": visible(connection.name[:80]) or "stranger", "path": visible(connection.path[:200])}
    if connection.process:
        told["process"] = visible(connection.process[:40])
    return told | ours | {name: round(at, 6) for name, at in ends.items() if at is not None}


def _moments(row: Row) -> list[tuple[str, str]]:
    """When each place saw it, and how long it took from one to the next."""
    if not row.moments:
        return [("at", f"+{row.at_seconds:.6f} s")]
    places = ("client", "wire", "handler") if row.direction == "up" else ("handler", "wire", "client")
    seen = sorted(((place, row.moments[place]) for place in places if place in row.moments), key=lambda pair: pair[1])
    first = seen[0][1]
    later = [f"{_PLACES[place]} +{(at - first) * 1000:.3f} ms" for place, at in seen[1:]]
    return [("seen", f"{_PLACES[seen[0][0]]} at +{first:.6f} s" + "".join(f", then {words}" for words in later))]


def _worth(entry: Entry) -> tuple[bool, bool, int]:
    """How well an Entry shows its message: whole and as the handler saw it, before a compressed frame."""
    return entry.payload is not None and not entry.details.get("compressed"), entry.kind.startswith("asgi"), len(entry.text)


def _pretty(payload: str | bytes) -> str:
    if isinstance(payload, bytes):
        return _cut(payload[: _PAYLOAD_CHARACTERS // 3].hex(" "), len(payload) * 3 > _PAYLOAD_CHARACTERS)
    text = payload[:_PAYLOAD_CHARACTERS]
    if text[:1] in ("{", "[") and len(payload) <= _PAYLOAD_CHARACTERS:
        with contextlib.suppress(ValueError, RecursionError):
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)[: 2 * _PAYLOAD_CHARACTERS]
    return _cut(visible(text, keep="\n"), len(payload) > _PAYLOAD_CHARACTERS)


def _cut(text: str, cut: bool) -> str:
    return f"{text} … cut here" if cut else text
