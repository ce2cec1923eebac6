"""What handlers do with a hub, in the Timeline of the server that they belong to: they join rooms, publish, receive."""

from __future__ import annotations

from typing import Any, Literal

from kit.output import serving
from kit.payload import PREVIEW_CHARACTERS

__all__ = ["note"]


def note(what: Literal["join", "leave", "subscribe", "unsubscribe", "publish", "receive"], room: str, payload: bytes = b"") -> None:
    """Record that the handler of this context does ``what``; nothing outside of handlers, or where its server records nothing.

    Args:
        payload: of what is published or received, as `encode` made it. Its beginning is kept: all of it is in the frames that clients get.
    """
    here = serving.get()
    if here is not None and here.connection is not None and here.timeline.recording:
        record = here.timeline.recorder(here.connection, "server", _describe)
        record(payload[:PREVIEW_CHARACTERS], (what, room, max(0, len(payload) - 1)))


def _describe(head: bytes, more: tuple[str, str, int]) -> dict[str, Any]:
    what, room, size = more
    binary = head[:1] == b"b"
    text = head[1 : PREVIEW_CHARACTERS // 3].hex(" ") if binary else head[1:].decode("utf-8", "ignore")
    return {"kind": "hub", "text": text, "size": size, "details": {"what": what, "room": room, "binary": binary}}
