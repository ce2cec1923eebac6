"""What a ChatPanel shows of a Timeline: Entries folded into the items of a conversation."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from kit import closing
from kit.connection import Connection
from kit.payload import PREVIEW_CHARACTERS
from kit.printable import human_bytes, visible
from kit.timeline import Entry

__all__ = ["ChatFold", "ended_item"]

_ITEMS_LIMIT = 500
_SHOWN_CHARACTERS = 4_000
_FRAGMENTS_LIMIT = 1_000
_DIVIDERS = {"serving": "muted", "stopped": "muted", "blocked": "warning", "unblocked": "good"}
_COMINGS_AND_GOINGS = {"serving", "stopped"}


def ended_item(connection: Connection) -> dict[str, Any] | None:
    """The item that explains why ``connection`` ended, or None while it is open."""
    if connection.open and connection.refused_status is None:
        return None
    why = closing.explain(connection)
    words = {"text": str(why), "headline": why.headline, "sentence": why.sentence, "advice": why.advice}
    shown = {key: visible(text) for key, text in words.items()}
    return {"id": f"ended {connection.number}", "from": "ended", **shown, "tone": why.severity, "table": [list(fact) for fact in why.table]}


class ChatFold:
    """Turns Entries into the items of a conversation: bubbles, notes and dividers."""

    def __init__(self) -> None:
        self.items: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._fragments: dict[str, list[Entry]] = {}
        self._requested: dict[int | None, float] = {}

    def feed(self, entry: Entry) -> dict[str, dict[str, Any]]:
        """The items that ``entry`` adds, by id."""
        item = self._item(entry)
        if item is None:
            return {}
        return self.put({"id": self._place_of(item) or str(entry.number), "at": entry.at_seconds, "number": entry.connection, **item})

    def put(self, item: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Add an item, or replace the one with its id; returns it by its id. The newest 500 stay."""
        self.items[item["id"]] = item
        while len(self.items) > _ITEMS_LIMIT:
            self.items.popitem(last=False)
        return {item["id"]: item}

    def _place_of(self, item: dict[str, Any]) -> str | None:
        """The id of the item that ``item`` replaces: in an idle chat only the newest start or stop of the server is told."""
        last = next(reversed(self.items.values()), {})
        return last["id"] if {last.get("what"), item.get("what")} <= _COMINGS_AND_GOINGS else None

    def _item(self, entry: Entry) -> dict[str, Any] | None:
        if entry.kind == "notice":
            what = entry.details.get("what", "")
            return {"from": "divider", "what": what, "text": visible(entry.text), "tone": _DIVIDERS[what]} if what in _DIVIDERS else None
        if entry.side != "client":
            return None
        if entry.kind == "request":
            self._requested[entry.connection] = entry.at_seconds
        elif entry.kind == "response" and entry.details.get("status") == 101:
            took = (entry.at_seconds - self._requested.get(entry.connection, entry.at_seconds)) * 1000
            chosen = next((value for name, value in entry.details["headers"] if name.lower() == "sec-websocket-protocol"), "")
            return {"from": "note", "text": f"connected · {took:.1f} ms{f' · subprotocol {visible(chosen)}' if chosen else ''}"}
        elif entry.kind == "fault":
            return {"from": "note", "text": visible(entry.text)}
        elif entry.kind in ("frame-in", "frame-out"):
            return self._frame_item(entry)
        return None

    def _frame_item(self, entry: Entry) -> dict[str, Any] | None:
        opcode, source = entry.details["opcode"], "me" if entry.kind == "frame-out" else "server"
        if opcode == "PONG" and source == "server":
            return {"from": "note", "text": "pong"}
        if opcode == "PING" and source == "me":
            return {"from": "note", "text": "ping"}
        if opcode not in ("TEXT", "BINARY", "CONT"):
            return None
        before = self._fragments.pop(source, [])
        parts = [*(before if opcode == "CONT" else ()), entry]
        if not entry.details["fin"]:
            self._fragments[source] = parts[-_FRAGMENTS_LIMIT:]
            return None
        first = parts[0]
        how = "in fragments" if len(parts) > 1 else "binary" if opcode == "BINARY" else "text"
        if first.details["compressed"]:
            how += ", compressed on the wire"
        shown = _shown(entry) if len(parts) == 1 else _shown_whole(parts)
        about = f"{how} · {human_bytes(sum(part.size for part in parts))}"
        return {"from": source, "text": shown, "about": about, "mono": first.details["opcode"] == "BINARY"}


def _shown_whole(parts: list[Entry]) -> str:
    """A message that came in fragments, as it is shown; a fragment of which the payload is gone is told by its beginning."""
    if parts[0].details["opcode"] != "TEXT" or parts[0].details["compressed"] or any(part.payload is None for part in parts):
        return "".join(map(_shown, parts))[:_SHOWN_CHARACTERS]
    whole = b"".join(part.payload.encode() if isinstance(part.payload, str) else part.payload for part in parts)
    text = whole.decode("utf-8", "replace")
    more = len(text) - _SHOWN_CHARACTERS
    shown = visible(text[:_SHOWN_CHARACTERS], keep="\n\t")
    return f"{shown}… {more:,} more characters" if more > 0 else shown


def _shown(entry: Entry) -> str:
    """A message as it is shown: at most 4,000 characters of it, nothing invisible."""
    if isinstance(entry.payload, str):
        more = len(entry.payload) - _SHOWN_CHARACTERS
        text = visible(entry.payload[:_SHOWN_CHARACTERS], keep="\n\t")
        return f"{text}… {more:,} more characters" if more > 0 else text
    text = visible(entry.text, keep="\n\t")
    whole = entry.size <= (PREVIEW_CHARACTERS if entry.details["opcode"] != "BINARY" else PREVIEW_CHARACTERS // 3)
    return text if whole else f"{text}… {human_bytes(entry.size)} in all"
