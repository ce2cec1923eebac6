"""What the taps have recorded beside frames, put into the fields of an Entry: ASGI messages, and how an end came. Pure."""

from __future__ import annotations

from typing import Any

from kit.payload import PREVIEW_CHARACTERS, size_bytes
from kit.taps.long_messages import still_kept

__all__ = ["BODY_KEPT_BYTES", "Message", "besides_payload", "describe_asgi", "describe_end"]

BODY_KEPT_BYTES = 4096  # of the body of an answer that refuses a handshake

Message = dict[str, Any]


def describe_asgi(kept: Any, more: tuple[Any, ...]) -> dict[str, Any]:
    """The fields of an Entry for an ASGI message, from its payload, or what is left of that, and what a `HandlerTap` has noted beside it."""
    kind, message_type, ordinal, size, client_state, application_state, hopped, rest = more
    payload = still_kept(kept)
    details = {"type": message_type, "client_state": client_state, "application_state": application_state}
    if hopped:
        details["hopped"] = True
    if rest:
        details |= {key: _plain(value) for key, value in rest.items()}
    is_message = message_type in ("websocket.receive", "websocket.send")
    return {
        "kind": kind,
        "text": payload[:PREVIEW_CHARACTERS] if isinstance(payload, str) else payload[: PREVIEW_CHARACTERS // 3].hex(" "),
        "size": size,
        "payload": payload if is_message and size_bytes(payload) == size else None,
        "ordinal": ordinal if is_message else None,
        "details": details,
    }


def besides_payload(message: Message) -> Message | None:
    """What an ASGI message of the handshake says beyond its type, without the end of a long body; None for nothing."""
    said = {key: value for key, value in message.items() if key != "type" and value not in (None, [], "")}
    return {key: value[:BODY_KEPT_BYTES] if isinstance(value, (bytes, str)) else value for key, value in said.items()} or None


def _plain(value: Any) -> Any:
    """ASGI headers as text, other values as they are."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (list, tuple)):
        return [tuple(_plain(part) for part in pair) if isinstance(pair, (list, tuple)) else _plain(pair) for pair in value]
    return value


def describe_end(text: str, what: str) -> dict[str, Any]:
    """The fields of an Entry for an end: how it came, in words, and of what, a ``"socket"`` or a ``"handler"``."""
    return {"kind": "end", "text": text, "details": {"what": what}}
