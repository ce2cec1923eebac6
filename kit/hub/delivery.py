"""One message or notice on its way to everyone in a room: decoded once, and framed once for all WebSockets."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from kit.hub.message import Gap, Joined, Left, Message, Notice, Position, Stored, decode, on_the_wire

__all__ = ["Delivery", "envelope_of"]

_NOTICE_BYTES = 256

Prepare = Callable[[str | bytes], Any]


class Delivery:
    """What a room passes on.

    Attributes:
        item: what a subscriber gets.
        size: its bytes, as queues count them.
        plain: what a WebSocket gets, text or bytes; None for a notice, which only an envelope can carry.
    """

    __slots__ = ("_enveloped", "_enveloped_frame", "_plain_frame", "item", "plain", "size")

    def __init__(self, item: Message | Notice, size: int = _NOTICE_BYTES, plain: str | bytes | None = None) -> None:
        self.item = item
        self.size = size
        self.plain = plain
        self._enveloped: str | None = None
        self._plain_frame: Any = None
        self._enveloped_frame: Any = None

    @classmethod
    def of(cls, room: str, stored: Stored) -> Delivery:
        """The delivery of what a broker brought.

        Raises:
            ValueError: no hub wrote it.
        """
        epoch, offset, payload = stored
        return cls(Message(room, decode(payload), epoch, offset), len(payload), on_the_wire(payload))

    @property
    def position(self) -> Position | None:
        """The place of a message in its room; None for a notice."""
        return self.item.position if isinstance(self.item, Message) else None

    def data(self, enveloped: bool) -> str | bytes | None:
        """What goes to a WebSocket, in an envelope or without; None when there is nothing for it."""
        if not enveloped:
            return self.plain
        if self._enveloped is None:
            self._enveloped = envelope_of(self.item)
        return self._enveloped

    def frame(self, enveloped: bool, prepare: Prepare) -> Any:
        """The same as a frame for all receivers, prepared at first use; two loops that ask at once both prepare it."""
        frame = self._enveloped_frame if enveloped else self._plain_frame
        if frame is None and (data := self.data(enveloped)) is not None:
            frame = prepare(data)
            if enveloped:
                self._enveloped_frame = frame
            else:
                self._plain_frame = frame
        return frame


def envelope_of(item: Message | Notice) -> str:
    """The JSON text of a message with its room and place, or of a notice: what ``envelope=True`` sends.

    ``{"type": "message", "room", "epoch", "offset", "data"}``, with ``"base64"`` instead of ``"data"`` for bytes;
    ``{"type": "gap", "room", "reason", "count"}``; ``{"type": "joined" or "left", "room", "id", "name", "metadata"}``.
    """
    match item:
        case Message(room, bytes() as data, epoch, offset):
            content = {"type": "message", "room": room, "epoch": epoch, "offset": offset, "base64": base64.b64encode(data).decode()}
        case Message(room, data, epoch, offset):
            content = {"type": "message", "room": room, "epoch": epoch, "offset": offset, "data": data}
        case Gap(room, reason, count):
            content = {"type": "gap", "room": room, "reason": reason, "count": count}
        case Joined(room, identity, name, metadata) | Left(room, identity, name, metadata):
            kind = "joined" if isinstance(item, Joined) else "left"
            content = {"type": kind, "room": room, "id": identity, "name": name, "metadata": dict(metadata)}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False)
