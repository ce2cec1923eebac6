"""What a ChatPanel's Faults menu offers and how what was typed there is read: the settings of each fault, in its own units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kit.faults import INVALID_FRAMES

__all__ = ["OFFERED", "pill_for", "settings_for", "size_in"]

OFFERED = {"invalidFrames": list(INVALID_FRAMES)}
"""What the front end lists."""

# The worst first: what a pill has room for.
_PILLS = {"half-open": "half-open", "reading-stalled": "not reading", "slow-network": "slow network", "pongs-delayed": "late pongs"}


def pill_for(faults: Iterable[str]) -> str | None:
    """The worst of these faults in two words, or None when there is none."""
    return next((pill for what, pill in _PILLS.items() if what in faults), None)


def settings_for(what: str, form: Mapping[str, Any]) -> dict[str, float | None]:
    """The arguments of a fault as typed into the menu.

    Raises:
        ValueError: what was typed is no number.
    """
    if what == "slow-network":
        return {f"{way}_seconds": _number(form.get(way, ""), "a latency in milliseconds, such as 300") / 1000 for way in ("to_server", "to_client")}
    if what == "pongs-delayed":
        typed = str(form.get("seconds", "")).strip()
        return {"seconds": _number(typed, "seconds such as 3, or nothing for never") if typed else None}
    return {}


def size_in(form: Mapping[str, Any]) -> int:
    """How many bytes a fragment has, as typed into the menu.

    Raises:
        ValueError: what was typed is no whole number.
    """
    typed = str(form.get("size", "")).strip()
    if not typed.isdecimal():
        raise ValueError(f"fragments expect how many bytes each has, such as 3, but got {typed!r}. Nothing was sent.")
    return int(typed)


def _number(typed: Any, expected: str) -> float:
    try:
        return float(str(typed).strip() or "0")
    except ValueError:
        raise ValueError(f"expected {expected}, but got {typed!r}. Nothing has changed.") from None
