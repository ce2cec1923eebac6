"""The files of FramePanel: what a browser uploads and downloads goes through its comm in parts. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kit.recording import FILE_LIMIT_BYTES, RecordingError

__all__ = ["Uploads", "parts_of"]

_PART_CHARACTERS = 2**20


class Uploads:
    """The files that views are reading for us: at most one each, of at most 64 MiB."""

    def __init__(self) -> None:
        self._parts: dict[str, list[bytes]] = {}  # by view

    def __len__(self) -> int:
        """How many files have begun and are not whole."""
        return len(self._parts)

    def take(self, form: Mapping[str, Any]) -> bytes | None:
        """Keep one part of a file; with the last one, the whole file.

        Raises:
            RecordingError: not base64, not the next part, or too much.
        """
        view, part = form["view"], form.get("part")
        kept = self._parts[view] = [] if part == 0 else self._parts.get(view, [])
        try:
            kept.append(base64.b64decode(form.get("data", ""), validate=True))
        except (binascii.Error, TypeError, ValueError):
            raise RecordingError("expected a part of a file in base64, got something else. Open the file again.") from None
        if part != len(kept) - 1 or sum(map(len, kept)) > FILE_LIMIT_BYTES:
            del self._parts[view]
            raise RecordingError(f"expected the parts of a file of at most {FILE_LIMIT_BYTES:,} bytes in order. Open the file again.")
        return b"".join(self._parts.pop(view)) if len(kept) == form.get("parts") else None

    def keep_only(self, views: Collection[str]) -> None:
        """Forget what those began who are gone."""
        self._parts = {view: parts for view, parts in self._parts.items() if view in views}


def parts_of(name: str, text: str) -> Iterator[dict[str, Any]]:
    """A file for a view, which puts its parts together."""
    parts = [text[start : start + _PART_CHARACTERS] for start in range(0, len(text), _PART_CHARACTERS)]
    for index, part in enumerate(parts):
        yield {"part": index, "parts": len(parts), "text": part, "name": name}
