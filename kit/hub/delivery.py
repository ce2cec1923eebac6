"""One message or notice on its way to everyone in a room: decoded once, and framed once for all WebSockets."""

from __future__ import annotations

import json
from typing import Any

from kit.frames import PreparedFrame, prepared
from kit.hub.message import Gap, Joined, Left, Message, Notice, Position, Stored, as_json, decode, on_the_wire

__all__ = ["Delivery"]

_NOTICE_BYTES = 256


class Delivery:
    """What a room passes on.

    Attributes:
        item: what a subscriber gets.
        size: its bytes, as queues count them.
        payload: the message as the broker carried it; None for a notice.
        plain: what a WebSocket gets, text or bytes; None for a notice, which only an envelope can carry.
    """

    __slots__ = ("_enveloped", "_enveloped_frame", "_plain_frame", "item", "payload", "plain", "size")

    def __init__(self, item: Message | Notice, payload: bytes | None = None) -> None:
        self.item = item
        self.size = _NOTICE_BYTES if payload is None else len(payload)
        self.plain = None if payload is None else on_the_wire(payload)
        self.payload = payload
        self._enveloped: str | None = None
        self._plain_frame: Any = None
        self._enveloped_frame: Any = None

    @classmethod
    def of(cls, room: str, stored: Stored) -> Delivery:
        """The delivery of what a broker brought.

        Raises:
            ValueError: no hub wrote it.
        """
        return cls(Message(room, decode(stored.payload), stored.epoch, stored.offset), stored.payload)

    @property
    def position(self) -> Position | None:
        """The place of a message in its room; None for a notice."""
        return self.item.position if isinstance(self.item, Message) else None

    def data(self, enveloped: bool) -> str | bytes | None:
        """What goes to a WebSocket, in an envelope or without; None when there is nothing for it."""
        if not enveloped:
            return self.plain
        if self._enveloped is None:
            self._enveloped = self._envelope()
        return self._enveloped

    def frame(self, enveloped: bool) -> PreparedFrame | None:
        """The same as a frame for all receivers, prepared at first use; two loops that ask at once both prepare it."""
        frame = self._enveloped_frame if enveloped else self._plain_frame
        if frame is None and (data := self.data(enveloped)) is not None:
            frame = prepared(data)
            if enveloped:
                self._enveloped_frame = frame
            else:
                self._plain_frame = frame
        return frame

    def _envelope(self) -> str:
        """The JSON text that ``envelope=True`` sends: what `Hub.join` says of it."""
        match self.item:
            case Message(room, _, epoch, offset):
                head = json.dumps({"type": "message", "room": room, "epoch": epoch, "offset": offset}, separators=(",", ":"))
                return f"{head[:-1]},{as_json(self.payload)}}}"  # JSON goes in as it came: dumping it again would cost more than all the rest
            case Gap(room, reason, count):
                content = {"type": "gap", "room": room, "reason": reason, "count": count}
            case Joined(room, identity, name, metadata) | Left(room, identity, name, metadata):
                kind = "joined" if isinstance(self.item, Joined) else "left"
                content = {"type": kind, "room": room, "id": identity, "name": name, "metadata": dict(metadata)}
        return json.dumps(content, separators=(",", ":"))
