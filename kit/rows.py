"""What a conversation is folded into: Rows, one an event, and Lanes, one a connection; and the words on them. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from kit.printable import human_bytes, quoted, visible
from kit.timeline import Entry

__all__ = [
    "DATA",
    "Lane",
    "Lanes",
    "Row",
    "add_frame_details",
    "add_headers",
    "answer_words",
    "frame_key",
    "frame_words",
    "hub_words",
    "payload_words",
    "wire_words",
]

DATA = ("TEXT", "BINARY", "CONT")
_DETAILS_MOST = 40
_LANES_MOST = 1_000  # as many connections as a Timeline remembers
_CONTROLS_MOST = 100  # pings, or pongs, of one direction of one connection that are on their way


@dataclass
class Row:
    """One event, with a cell for each place where it was seen; empty cells fill up as it gets there.

    Attributes:
        key: what identifies the row when it changes.
        kind: ``request``, ``response``, ``message``, ``ping``, ``pong``, ``close``, ``disconnect``, ``dropped``, ``print``, ``log``,
            ``error``, ``returned`` (the handler did), ``end`` (of a socket), ``hub``, ``fault``, ``notice`` or ``gap``.
        direction: ``"up"`` from client to handler, ``"down"`` the other way, ``"hub"`` between handler and hub, ``"here"`` at one end only, ``"divider"``.
        at_seconds: when it was first seen.
        side: for ``"here"``, at which end.
        label: the event in a few words, as they stand on an arrow.
        moments: when each place saw it: ``"client"``, ``"wire"`` (the server's end of it) and ``"handler"``.
        size: the payload's length in bytes.
        first: for a Close frame, whether it is the one that began the closing.
        client: what the client did or got.
        wire: what crossed the wire.
        handler: what the handler got or did.
        waits: what it waits for now: ``"arrival"`` at the server, ``"handler"`` until ``receive`` is called, ``"wire"`` until
            uvicorn writes it, ``"client"`` until the client's socket is read, else "".
        lost: whether it waited for an end that went away.
        from_hub: whether it comes from a hub: to the handler, or past it onto the wire.
        tone: ``"plain"``, ``"good"``, ``"warning"``, ``"bad"`` or ``"muted"``.
        states: both states after it, when it changed one.
        details: (label, value) pairs for whoever wants to know more.
        entries: the numbers of the Entries that made it, the first 40.
    """

    key: str
    kind: str
    connection: int | None
    direction: str
    at_seconds: float
    side: str = ""
    label: str = ""
    moments: dict[str, float] = field(default_factory=dict)
    size: int = 0
    first: bool = False
    client: str = ""
    wire: str = ""
    handler: str = ""
    waits: str = ""
    lost: bool = False
    from_hub: bool = False
    tone: str = "plain"
    states: str = ""
    details: list[tuple[str, str]] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)

    def note_entry(self, number: int) -> None:
        """Remember one of the Entries that made this row."""
        if len(self.entries) < _DETAILS_MOST:
            self.entries.append(number)


@dataclass
class Lane:
    """How long each end of a connection was there, in seconds since the Timeline began; None is not yet, or not known.

    Attributes:
        server_seen: whether the server's end is seen at all; of a server elsewhere it is not.
        closing: whether a Close frame was seen.
        refused: whether the handshake was answered with something else than 101.
        complete: False once Entries were skipped: what was not seen may have happened all the same.
        rooms: how many rooms of hubs its handler has joined and not left.
        states: both states of the handler's WebSocket, as last seen.
        controls: the rows of pings and pongs that only one end has seen yet, oldest first, by direction, opcode and whether it was the sender.
    """

    connection: int
    began: float
    client_began: float | None = None
    client_ended: float | None = None
    server_ended: float | None = None
    handler_began: float | None = None
    handler_ended: float | None = None
    server_seen: bool = False
    closing: bool = False
    refused: bool = False
    complete: bool = True
    rooms: int = 0
    states: tuple[str, str] | None = None
    controls: dict[tuple[str, str, bool], deque[str]] = field(default_factory=dict)


class Lanes(dict[int, Lane]):
    """The lanes of the newest 1,000 connections, by their numbers; what concerns no connection is in lane 0."""

    def of(self, entry: Entry) -> Lane:
        """The lane that an Entry belongs to, which has now seen it."""
        number = entry.connection or 0
        lane = self.get(number)
        if lane is None:
            lane = self[number] = Lane(number, entry.at_seconds)
            if len(self) > _LANES_MOST:
                del self[next(iter(self))]
        if entry.side == "server":
            lane.server_seen = True
        elif lane.client_began is None:
            lane.client_began = entry.at_seconds
        return lane


def frame_key(entry: Entry, lane: Lane, direction: str, sent: bool) -> str:
    """What tells a frame's row from the others of its connection, the same at both ends."""
    opcode = entry.details["opcode"]
    if opcode in DATA:
        return f"{direction} message {entry.ordinal}"
    if opcode == "CLOSE":
        return f"{direction} close"
    mine, others = (lane.controls.setdefault((direction, opcode, seen), deque(maxlen=_CONTROLS_MOST)) for seen in (sent, not sent))
    if others:
        return others.popleft()
    key = f"{direction} {opcode} {entry.number}"
    if sent or lane.complete:  # after a gap nobody knows whether a frame that is read first was written in it
        mine.append(key)
    return key


def payload_words(entry: Entry) -> str:
    """A message's payload, cut short: text in quotes, bytes as hex."""
    if entry.size and isinstance(entry.payload, bytes):
        return f"bytes {entry.text[:47]}"
    return quoted(entry.text)


def frame_words(entry: Entry) -> str:
    """What a frame says."""
    opcode = entry.details["opcode"]
    if opcode == "CLOSE":
        code, reason = entry.details["code"], entry.details["reason"]
        return f"close {code}{' ' + quoted(reason) if reason else ''}"
    if opcode in ("PING", "PONG"):
        return opcode.lower()
    if entry.details["compressed"]:
        return "compressed"
    return quoted(entry.text) if opcode == "TEXT" else f"bytes {entry.text[:47]}"


def hub_words(entry: Entry) -> str:
    """What a handler does with a hub."""
    what, room = visible(entry.details["what"]), quoted(entry.details["room"])
    if what not in ("publish", "receive"):
        return f"{what} {room}"
    payload = f"bytes {entry.text[:47]}" if entry.details["binary"] else quoted(entry.text)
    return f"{what} {payload} {'to' if what == 'publish' else 'from'} {room}"


def wire_words(entry: Entry) -> str:
    """What a frame is on the wire."""
    opcode = entry.details["opcode"]
    if opcode == "CLOSE":
        return f"CLOSE {entry.details['code']}"
    if opcode == "CONT" or (opcode in ("TEXT", "BINARY") and not entry.details["fin"]):
        return "in fragments"
    return f"{opcode} {human_bytes(entry.size)}"


def answer_words(kind: str, entry: Entry) -> str:
    """What a handler answers to a handshake."""
    if kind == "websocket.accept":
        return "accept"
    if kind == "websocket.close":
        return f"close {entry.details.get('code', 1000)} before accept"
    return f"answer HTTP {entry.details.get('status', '')}"


def add_headers(row: Row, entry: Entry) -> None:
    """Add a handshake's start line, headers and body, once."""
    if any(label in ("request", "response") for label, _ in row.details):
        return
    row.details.append(("request" if entry.kind == "request" else "response", visible(entry.details["start_line"][:2000])))
    row.details += [(visible(name), visible(value[:2000])) for name, value in entry.details["headers"][:60]]
    if entry.kind == "response" and entry.payload:
        row.details.append(("body", visible(entry.payload[:2000].decode("utf-8", "replace"))))


def add_frame_details(row: Row, entry: Entry) -> None:
    """Add what one end saw of a frame."""
    details: dict[str, Any] = dict(entry.details)
    words = [f"{details['opcode']}, FIN {int(details['fin'])}"]
    words.append(f"masked with {details['mask_key']}" if details["masked"] else "not masked")
    words.append(f"{entry.size:,} B of payload")
    if details["compressed"]:
        words.append("compressed (RSV1)")
    if len(row.details) < _DETAILS_MOST:
        row.details.append((f"{entry.side}, {entry.kind.removeprefix('frame-')} at +{entry.at_seconds:.4f} s", ", ".join(words)))
