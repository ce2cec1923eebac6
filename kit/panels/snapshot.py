"""Static copies of what a panel shows, for saved and exported notebooks: HTML without scripts, and text."""

from __future__ import annotations

import html

from IPython.display import display

__all__ = ["show_snapshot"]

_LOOKS = {
    "me": "margin:4px 0 4px 20%;padding:6px 10px;border-radius:8px;background:#1d6fe822;",
    "server": "margin:4px 20% 4px 0;padding:6px 10px;border-radius:8px;border:1px solid #8884;",
    "ended": "margin:6px 0;padding:6px 10px;border-left:3px solid #b3261e;",
    "error": "margin:6px 0;padding:6px 10px;border-left:3px solid #b3261e;",
}
_PLAIN = "margin:4px 0;opacity:.75;"
_SPEAKERS = {"me": "→", "server": "←", "ended": "■", "error": "!"}


def show_snapshot(title: str, rows: list[tuple[str, str]]) -> None:
    """Display rows of (kind, text) under a title in the running cell's output."""
    display({"text/html": _as_html(title, rows), "text/plain": _as_text(title, rows)}, raw=True)


def _as_html(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f'<div style="{_LOOKS.get(kind, _PLAIN)}white-space:pre-wrap;overflow-wrap:anywhere">{html.escape(text)}</div>' for kind, text in rows]
    head = f'<div style="font-weight:600;margin-bottom:6px">{html.escape(title)}</div>'
    return f'<div style="max-width:640px;border:1px solid #8884;border-radius:8px;padding:10px 14px;font-size:13px">{head}{"".join(lines)}</div>'


def _as_text(title: str, rows: list[tuple[str, str]]) -> str:
    return "\n".join([title, *(f"  {_SPEAKERS.get(kind, '·')} {text}" for kind, text in rows)])
