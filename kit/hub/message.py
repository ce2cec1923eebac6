"""Messages and notices as a subscriber gets them, room names, and how a message's data travels through a broker. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kit.printable import human_bytes, quoted

__all__ = [
    "ComingOrGoing",
    "Gap",
    "Joined",
    "Left",
    "Message",
    "Notice",
    "Position",
    "Stored",
    "as_json",
    "as_position",
    "check_room",
    "decode",
    "encode",
    "on_the_wire",
]

ROOM_CHARACTERS = 200
_TEXT, _BYTES, _JSON = b"t", b"b", b"j"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Position(NamedTuple):
    """A place in a room's stream of messages; give it to ``since=`` to have what came after it.

    Attributes:
        epoch: changes when a broker has lost its memory, and numbers begin again.
        offset: grows from message to message; it need not grow by one.
    """

    epoch: str
    offset: int


class Stored(NamedTuple):
    """One message of a room's history, as a broker carries it."""

    epoch: str
    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a room, as every subscriber gets it.

    All subscribers of a process share ``data``: whoever wants to change it copies it first.

    Attributes:
        room: where it was published. broadcaster says channel, Channels says group.
        data: str, bytes, or what JSON can say.
        epoch: see `Position`.
        offset: see `Position`.
    """

    room: str
    data: Any
    epoch: str
    offset: int

    @property
    def position(self) -> Position:
        """Where it stands in its room; for ``subscribe(…, since=message.position)``."""
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class Gap:
    """Says, in its place among the messages, that some are missing here.

    Attributes:
        room: whose messages.
        reason: why, in words.
        count: how many, or None when nobody knows.
    """

    room: str
    reason: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class ComingOrGoing:
    """Someone entered or left a room. Attributes: ``id`` is unique, ``name`` and ``metadata`` are what `Hub.join` was given."""

    room: str
    id: str
    name: str
    metadata: Mapping[str, Any]


class Joined(ComingOrGoing):
    """Someone entered a room."""

    __slots__ = ()


class Left(ComingOrGoing):
    """Someone left a room; the attributes are those of the `Joined` before."""

    __slots__ = ()


Notice = Gap | ComingOrGoing


def check_room(room: str) -> str:
    """``room``, if it can be the name of one: 1 to 200 characters, none of them a control character.

    Raises:
        TypeError: it is no str.
        ValueError: it is too long, empty, or has a character that some broker cuts or hides.
    """
    if not isinstance(room, str):
        raise TypeError(f"a room's name is a str, but got {type(room).__name__}: {quoted(repr(room))}. Use str(…).")
    if not 1 <= len(room) <= ROOM_CHARACTERS:
        got = f"got {len(room):,} characters: {quoted(room)}. Use a shorter key, such as an id." if room else "got none. Give it one, such as 'chat'."
        raise ValueError(f"a room's name has 1 to {ROOM_CHARACTERS} characters, but {got}")
    if found := _CONTROL.search(room):
        raise ValueError(f"a room's name has no control characters, but got U+{ord(found[0]):04X} in {quoted(room)}. Leave it out.")
    return room


def as_position(since: Any) -> Position | None:
    """``since=`` as a `Position`: one, a pair that came back from JSON, or None.

    Raises:
        TypeError: it is none of these.
    """
    match since:
        case None:
            return None
        case [str() as epoch, int() as offset]:
            return Position(epoch, offset)
    raise TypeError(f"since= expects a Position such as message.position or subscriber.position, but got {type(since).__name__}: {quoted(repr(since))}.")


def encode(data: Any, max_bytes: int) -> bytes:
    """``data`` as a broker carries it: one byte that says text, bytes or JSON, then the data in UTF-8.

    Raises:
        TypeError: it is neither str, bytes nor what JSON can say.
        ValueError: it has more than ``max_bytes``, or JSON or UTF-8 have no way to say it.
    """
    kind, content = _content(data)
    if len(content) > max_bytes:
        size = f"a message has at most {human_bytes(max_bytes)}, but got {human_bytes(len(content))}"
        raise ValueError(f"{size}. Publish where the data can be fetched, or raise the limit: Hub(url, max_message_bytes=…).")
    return kind + content


def decode(payload: bytes) -> Any:
    """The data of a payload that `encode` made.

    Raises:
        ValueError: it was not made by `encode`, and says in words what is wrong with it.
    """
    kind, content = payload[:1], payload[1:]
    if kind == _BYTES:
        return content
    if kind not in (_TEXT, _JSON):
        raise ValueError(f"it begins with {kind!r}, which no hub writes")
    try:
        text = content.decode()
        return text if kind == _TEXT else json.loads(text, parse_constant=_refuse)
    except UnicodeDecodeError:
        raise ValueError("it is not valid UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("it is not valid JSON") from None


def on_the_wire(payload: bytes) -> str | bytes:
    """What a WebSocket gets of a payload that `decode` took: JSON goes as its text."""
    return payload[1:] if payload[:1] == _BYTES else payload[1:].decode()


def as_json(payload: bytes) -> str:
    """The member of a JSON object that holds the data of a payload: ``"data":…``, or ``"base64":…`` for bytes."""
    kind, content = payload[:1], payload[1:]
    if kind == _BYTES:
        return f'"base64":"{base64.b64encode(content).decode()}"'
    text = content.decode()
    return f'"data":{text if kind == _JSON else json.dumps(text, ensure_ascii=False)}'


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _content(data: Any) -> tuple[bytes, bytes]:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return _BYTES, bytes(data)
    try:
        if isinstance(data, str):
            return _TEXT, data.encode()
        return _JSON, json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a message must be text that UTF-8 can say, but it holds half of a surrogate pair. Publish it as bytes.") from None
    except TypeError as error:
        raise TypeError(f"publish expects str, bytes, or what JSON can say, but got {type(data).__name__}: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"publish expects what JSON can say, but: {error}. Replace that value, for example by None.") from None
