"""A message's payload as a Timeline keeps it: a short one as it is, a long one until it is dropped, and then its head."""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import Any

__all__ = ["HEAD_BYTES", "PREVIEW_CHARACTERS", "Payload", "Payloads", "SamePayload", "size_bytes"]

PREVIEW_CHARACTERS = 256
HEAD_BYTES = 4 * PREVIEW_CHARACTERS + 64  # 256 characters of UTF-8 and the longest frame header


class Payload:
    """A payload too long to be its own preview; the Timeline may drop it and keep its head."""

    __slots__ = ("data", "head", "is_frame", "size")

    def __init__(self, data: Any, size: int, *, is_frame: bool = False) -> None:
        self.data: Any = data  # str, bytes, or what bytes() makes bytes of
        self.size = size
        self.is_frame = is_frame  # a whole frame with its header, not only what it carries
        self.head: str | bytes = ""

    def drop(self) -> None:
        """Forget the payload but for what a preview needs."""
        if self.data is not None:
            self.head, self.data = self.data[:HEAD_BYTES], None

    @property
    def visible(self) -> str | bytes:
        """The payload, or its head when it has been dropped."""
        data = self.data if self.data is not None else self.head
        return data if isinstance(data, (str, bytes)) else bytes(data)


class Payloads:
    """Long payloads that share a number of bytes: the oldest are dropped for the newest. From any thread.

    Args:
        limit_bytes: how many bytes of payload stay in all.

    Attributes:
        held_bytes: how many stay now.
        dropped: how many payloads have been dropped.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.held_bytes = 0
        self.dropped = 0
        self._limit_bytes = limit_bytes
        self._held: deque[Payload] = deque()
        self._lock = RLock()  # a finalizer may run in the middle, print a long line, and so keep a payload

    def keep(self, data: Any, *, is_frame: bool) -> Payload:
        """Keep a payload for as long as the limit allows."""
        kept = Payload(data, size_bytes(data), is_frame=is_frame)
        with self._lock:
            self._held.append(kept)
            self.held_bytes += kept.size
            while self.held_bytes > self._limit_bytes:
                oldest = self._held.popleft()
                self.held_bytes -= oldest.size
                self.dropped += 1
                oldest.drop()  # last: what keeps a payload meanwhile finds the numbers right
        return kept


class SamePayload:
    """The payload of a long message, seen again further on its way: its own header, and where its payload is kept.

    What TCP delivers is what was sent, so a long message is kept once, where it was first seen.
    """

    __slots__ = ("first", "header")

    def __init__(self, header: str | bytes, first: Payload) -> None:
        self.header = header
        self.first = first


def size_bytes(payload: str | bytes) -> int:
    """The size of ``payload`` on the wire: its length in bytes, text as UTF-8."""
    if isinstance(payload, str) and not payload.isascii():
        return len(payload.encode("utf-8", "surrogatepass"))
    return len(payload)
