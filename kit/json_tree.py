"""JSON as a tree to look at: bounded in depth and size, with numbers and doubled keys as they were written. Pure."""

from __future__ import annotations

import json
from typing import Any

from kit.printable import visible

__all__ = ["json_tree"]

NODES_LIMIT = 1_000
DEPTH_LIMIT = 24
_TEXT_LIMIT_CHARACTERS = 500


class _Pairs(list):
    """The members of an object in their order, doubled keys included."""


def json_tree(text: str) -> dict[str, Any] | None:
    """The tree of ``text``, or None when it is no JSON object or array.

    Every node is ``{"is": kind, "text": words}``; those that hold others have ``"inside"``, a list of (name, node), ``"count"``,
    and ``"more"``: how many of them are not in the tree, because it is limited to 1,000 nodes and 24 levels.
    """
    try:
        value = json.loads(text, object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except (ValueError, RecursionError):
        return None
    return _node(value, [NODES_LIMIT], DEPTH_LIMIT) if isinstance(value, list) else None


class _Number(str):
    """A number as it was written: a browser would round the long ones."""


def _node(value: Any, room: list[int], levels: int) -> dict[str, Any]:
    """One node; ``room`` counts down how many more there may be."""
    room[0] -= 1
    if isinstance(value, list):
        return _inner_node(value, room, levels)
    kind = "number" if isinstance(value, _Number) else "text" if isinstance(value, str) else "word"
    words = {True: "true", False: "false", None: "null"}[value] if kind == "word" else _shortened(value)
    return {"is": kind, "text": f'"{words}"' if kind == "text" else words}


def _inner_node(value: list[Any], room: list[int], levels: int) -> dict[str, Any]:
    members = value if isinstance(value, _Pairs) else [(str(index), member) for index, member in enumerate(value)]
    inside = []
    for name, member in members:
        if room[0] <= 0 or levels <= 0:
            break
        inside.append((_shortened(name), _node(member, room, levels - 1)))
    kind = "object" if isinstance(value, _Pairs) else "array"
    return {"is": kind, "text": "{ }" if kind == "object" else "[ ]", "inside": inside, "count": len(value), "more": len(value) - len(inside)}


def _shortened(text: str) -> str:
    shown = visible(text[:_TEXT_LIMIT_CHARACTERS])
    return f"{shown}… {len(text):,} characters in all" if len(text) > _TEXT_LIMIT_CHARACTERS else shown
