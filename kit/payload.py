"""A message's payload as a Timeline keeps it: a short one as it is, a long one until it is dropped, and then its head."""

from __future__ import annotations

from typing import Any

__all__ = ["HEAD_BYTES", "PREVIEW_CHARACTERS", "Payload", "SamePayload", "size_bytes"]

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
