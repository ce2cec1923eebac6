"""A long message passes several taps on its way, and is kept once, where the first one sees it."""

from __future__ import annotations

from typing import Any

from kit import frames
from kit.connection import Connection
from kit.payload import Payload, SamePayload
from kit.timeline import Timeline

__all__ = ["LONG_BYTES", "keep_once", "still_kept"]

LONG_BYTES = 4096


def keep_once(timeline: Timeline, connection: Connection, key: tuple[str, int], data: Any, *, is_frame: bool = False) -> Any:
    """What is recorded of a long message: it is kept where it is first seen, after that only its header is.

    What TCP delivers is what was sent, so both ends' frames and the ASGI message share one copy.
    """
    known = connection.long_payloads
    first = known.get(key)
    if first is not None:
        return SamePayload(data[: frames.HEADER_BYTES] if is_frame else data[:0], first)
    kept = known[key] = timeline.keep(data, is_frame=is_frame)
    if len(known) > 16:
        known.pop(next(iter(known)), None)
    return kept


def still_kept(kept: Any) -> str | bytes:
    """As much of a recorded payload as is still there."""
    if isinstance(kept, SamePayload):
        payload = frames.message_bytes(kept.first)
        return payload.decode("utf-8", "replace") if isinstance(kept.header, str) else payload
    return kept.visible if isinstance(kept, Payload) else kept
