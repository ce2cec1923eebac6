"""Text from the wire, made safe to look at: control, invisible and reordering characters become visible escapes. Pure."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable

__all__ = ["human_bytes", "quoted", "visible"]

_COMBINING_KEPT = 4
# C0 and C1 controls, soft hyphen, bidirectional controls, zero-width and invisible characters, line separators, interlinear
# marks, BOM, surrogates, tags and variation selectors: each can hide or reorder what a reader believes to see.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e"
    "\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
    # A zero-width joiner is seen, as one picture, only between two emoji.
    "|(?<![\U0001f000-\U0001faff\u2600-\u27bf\ufe0f])\u200d|\u200d(?![\U0001f000-\U0001faff\u2600-\u27bf])"
)
_NAMED = {"\t": "\\t", "\r": "\\r", "\n": "\\n"}


def visible(text: str, *, keep: str = "") -> str:
    """``text`` with every character that hides or reorders text as an escape, and runs of combining marks cut short.

    Args:
        keep: characters to leave as they are, for example ``"\\n"`` where lines may break.
    """
    escaped = _UNSEEN.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)
    return escaped if escaped.isascii() else _cut_combining_runs(escaped)


def quoted(text: str, most_characters: int = 60) -> str:
    """``text`` on one line in typographic quotes, at most so many characters of it."""
    shown = visible(text[: most_characters + 1])
    return f"“{shown[:most_characters]}…”" if len(text) > most_characters else f"“{shown}”"


def human_bytes(size: int) -> str:
    """A size as people say it: ``14 B``, ``2.0 KiB``, ``3.9 MiB``."""
    if size < 1024:
        return f"{size} B"
    if size < 1024 * 1024:
        return f"{size / 1024:.1f} KiB"
    return f"{size / 1024 / 1024:.1f} MiB"


def _escape(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cut_combining_runs(text: str) -> str:
    """Keep the first few marks that stack on one character, and say how many more there were."""
    return "".join(_cut(run) if marks else "".join(run) for marks, run in itertools.groupby(text, _is_mark))


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me")


def _cut(marks: Iterable[str]) -> str:
    kept, more = "".join(itertools.islice(marks, _COMBINING_KEPT)), sum(1 for _ in marks)
    return f"{kept}[{more:,} more combining marks]" if more else kept
