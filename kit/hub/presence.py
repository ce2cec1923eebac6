"""Who is in a room: the WebSockets that joined it, each with a name and metadata. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from kit.hub.message import check_room
from kit.printable import human_bytes, quoted

__all__ = ["Arrival", "Present", "check_metadata", "check_name"]

METADATA_BYTES = 4096


class Present(NamedTuple):
    """Somebody in a room.

    Attributes:
        id: unique among all members of all hubs.
        name: for people to read; two may have the same.
        metadata: what `Hub.join` was given.
    """

    id: str
    name: str
    metadata: Mapping[str, Any]


class Arrival(NamedTuple):
    """Somebody in a room, and how long ago it came."""

    present: Present
    seconds: float


def check_name(name: str) -> str:
    """``name``, if it may be a member's: empty for one of the hub's making, otherwise like a room's.

    Raises:
        TypeError, ValueError: see `check_room`.
    """
    try:
        return name if name == "" else check_room(name)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("a room's name", "a member's name")) from None


def check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of ``metadata``, if others can be told it: a small dict that JSON can say.

    Raises:
        TypeError: it is no mapping, or JSON has no way to say it.
        ValueError: it has more than 4 KiB as JSON.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f'metadata= expects a dict such as {{"colour": "green"}}, but got {type(metadata).__name__}: {quoted(repr(metadata))}.')
    try:
        text = json.dumps(dict(metadata), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"metadata= expects what JSON can say, but: {error}. Replace that value, for example by None.") from None
    size = len(text)
    if size > METADATA_BYTES:
        raise ValueError(f"metadata= has at most {human_bytes(METADATA_BYTES)} as JSON, but got {human_bytes(size)}. Put an id there, and look the rest up.")
    return json.loads(text)
