"""What hubs tell each other about who is in their rooms: messages in rooms of their own, which no reader can name. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from kit.hub.message import check_room, decode
from kit.hub.presence import Arrival, Present, check_metadata

__all__ = ["LOBBY", "MOST_BYTES", "Roll", "Word", "companion_of", "is_of_presence", "read_roll", "read_word", "roll_messages", "room_of", "word_messages"]

# A reader's room has no control characters: these two names and his can never meet.
LOBBY = "\x02"
_MARK = "\x02"

LEAST_BYTES = 8 * 1024  # a member with the longest name and all the metadata it may have
MOST_BYTES = 64 * 1024  # what a hub says in one message
_HEAD_BYTES = 128


@dataclass(frozen=True, slots=True)
class Word:
    """What a hub says to all others, in the lobby. One that says nothing more is a sign of life.

    Attributes:
        hub: who says it.
        ask: rooms that it wants to be told of, beginning with everybody in them.
        want: rooms that it wants to be told of, as it has said before.
        drop: rooms that it wants to hear of no more.
        none: rooms that somebody has asked for, and nobody of this hub is in.
        others: the hubs that it has heard, for one that is new.
        hello: it is new, or has missed something: who is there, and what do they want to be told of?
        bye: it was closed, and nobody is in it any more.
    """

    hub: str
    ask: list[str] = field(default_factory=list)
    want: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    none: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    hello: bool = False
    bye: bool = False


@dataclass(frozen=True, slots=True)
class Roll:
    """What a hub says of its members in one room, in the room's companion.

    Attributes:
        hub: who says it.
        came: who is in the room.
        gone: the ids of those who have left it.
        count: how many are in it now.
        part: 0 when it is about a change; of a whole list, which part this is, from 1.
        parts: how many there are.
    """

    hub: str
    came: list[Arrival] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    count: int = 0
    part: int = 0
    parts: int = 0


def companion_of(room: str) -> str:
    """The room in which hubs say who is in ``room``."""
    return _MARK + room


def room_of(companion: str) -> str:
    """The room that `companion_of` was given."""
    return companion.removeprefix(_MARK)


def is_of_presence(room: str) -> bool:
    """Whether ``room`` is one of these, and none of a reader's."""
    return room.startswith(_MARK)


def word_messages(hub: str, max_bytes: int, *, hello: bool = False, bye: bool = False, **rooms: Iterable[str]) -> list[bytes]:
    """A `Word`'s payloads: as many as its rooms need, at least one."""
    items = [(what, room) for what, those in rooms.items() for room in those]
    first = {"hello": True} if hello else {"bye": True} if bye else {}
    return [_payload({"hub": hub} | (first if number == 0 else {}) | _gathered(part)) for number, part in enumerate(_parts(items, max_bytes))]


def roll_messages(hub: str, max_bytes: int, count: int, members: Iterable[Arrival], gone: Iterable[str] = (), *, whole: bool) -> list[bytes]:
    """A `Roll`'s payloads, none of them longer than ``max_bytes``: of a whole list, or of a change."""
    items = [*(("came", [*member.present, round(member.seconds, 3)]) for member in members), *(("gone", identity) for identity in gone)]
    parts = _parts(items, max_bytes)
    places = [{"part": number, "parts": len(parts)} if whole else {} for number in range(1, len(parts) + 1)]
    return [_payload({"hub": hub, "count": count} | place | _gathered(part)) for place, part in zip(places, parts, strict=True)]


def read_word(payload: bytes) -> Word:
    """The `Word` of a payload.

    Raises:
        ValueError: no hub wrote it.
    """
    word = _read(Word, payload)
    for name in chain(word.ask, word.want, word.drop, word.none, word.others):
        _check_said(check_room, name)
    return word


def read_roll(payload: bytes) -> Roll:
    """The `Roll` of a payload.

    Raises:
        ValueError: no hub wrote it.
    """
    roll = _read(Roll, payload)
    if not all(isinstance(identity, str) for identity in roll.gone) or not (0 <= roll.part <= roll.parts and 0 <= roll.count < 1 << 31):
        raise ValueError("it says who is in a room as no hub does")
    roll.came[:] = [_arrival(entry) for entry in roll.came]
    return roll


def _arrival(entry: Any) -> Arrival:
    match entry:
        case [identity, name, dict() as metadata, int() | float() as seconds]:
            _check_said(check_room, identity)
            _check_said(check_room, name)
            _check_said(check_metadata, metadata)
            return Arrival(Present(identity, name, metadata), seconds)
    raise ValueError("it names somebody as no hub does")


def _check_said(check: Callable[[Any], object], value: Any) -> None:
    """What others say must be what they were allowed to say: it is kept here, and sent on to WebSockets."""
    try:
        check(value)
    except (TypeError, ValueError):
        raise ValueError("it names a room or somebody as no hub does") from None


def _read(kind: type[Any], payload: bytes) -> Any:
    if len(payload) > 2 * MOST_BYTES:
        raise ValueError("it says more of presence at once than any hub does")
    content = decode(payload)
    try:
        said = kind(**content)
    except TypeError:
        raise ValueError("it says of presence what no hub says") from None
    if not isinstance(said.hub, str) or any(type(getattr(said, name)) is not type(value) for name, value in _PLAIN[kind]):
        raise ValueError("it says of presence what no hub says")
    return said


_PLAIN = {kind: [(name, getattr(kind(""), name)) for name in kind.__slots__] for kind in (Word, Roll)}


def _payload(content: dict[str, Any]) -> bytes:
    """As `encode` would write it, but in ASCII: metadata may hold half of a surrogate pair, which UTF-8 cannot say."""
    return b"j" + _dumped(content).encode()


def _dumped(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))


def _gathered(items: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    gathered: dict[str, list[Any]] = {}
    for what, item in items:
        gathered.setdefault(what, []).append(item)
    return gathered


def _parts(items: list[tuple[str, Any]], max_bytes: int) -> list[list[tuple[str, Any]]]:
    """``items`` in their order, so many in each part as have room in a message; one part of nothing if there are none."""
    return list(_filled(items, max(max_bytes, LEAST_BYTES) - _HEAD_BYTES)) or [[]]


def _filled(items: list[tuple[str, Any]], space_bytes: int) -> Iterator[list[tuple[str, Any]]]:
    part: list[tuple[str, Any]] = []
    left_bytes = space_bytes
    for item in items:
        size = len(_dumped(item[1])) + 1
        if part and size > left_bytes:
            yield part
            part, left_bytes = [], space_bytes
        part.append(item)
        left_bytes -= size
    if part:
        yield part
