"""How far a broker has read every room: what comes is delivered once and in order, and what does not come is a gap."""

from __future__ import annotations

from kit.hub.broker import BrokerLimits, Deliver
from kit.hub.message import Position, Stored

__all__ = ["Book", "kept", "recovered"]

# The reader of a broker may fall behind by this much before it loses something, however short the history is that `since=` gets.
RESUMABLE_MESSAGES, RESUMABLE_BYTES = 4096, 16 << 20

_BEGUN_ANEW = "the broker has lost the room, and begun it anew: nobody knows what is missing"


class Book:
    """How far every joined room has been delivered: nothing comes twice, and nothing goes missing in silence."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._places: dict[str, Position | None] = {}

    @property
    def places(self) -> dict[str, Position]:
        """Every room that has begun, with its last message's place."""
        return {room: place for room, place in self._places.items() if place is not None}

    def get(self, room: str) -> Position | None:
        """The place of the room's last message, if it has begun."""
        return self._places.get(room)

    def want(self, room: str) -> None:
        """Somebody is about to join ``room``."""
        self._places.setdefault(room, None)

    def leave(self, room: str) -> None:
        """Deliver ``room`` no more."""
        self._places.pop(room, None)

    def begin(self, room: str, place: Position) -> None:
        """Deliver what comes after ``place``, if the room is still wanted."""
        if room in self._places:
            self._places[room] = place

    def message(self, room: str, epoch: str, offset: int, payload: bytes) -> None:
        """Deliver a message, after a gap if some before it are missing; not when it is known."""
        place = self._places.get(room)
        if place is None or (place.epoch == epoch and offset <= place.offset):
            return
        if place.epoch != epoch:
            self._deliver.gap(room, _BEGUN_ANEW)
        elif offset > place.offset + 1:
            self._deliver.gap(room, f"messages {place.offset + 1} to {offset - 1} were gone before they could be read")
        self._places[room] = Position(epoch, offset)
        self._deliver.message(room, epoch, offset, payload)

    def found(self, room: str, place: Position) -> bool:
        """The service says where ``room`` is: note a new epoch. False when it has forgotten messages of this epoch."""
        known = self._places.get(room)
        if known is None or (known.epoch == place.epoch and known.offset <= place.offset):
            return True
        if known.epoch == place.epoch:
            return False
        self._places[room] = Position(place.epoch, 0)
        self._deliver.gap(room, _BEGUN_ANEW)
        return True

    def skip(self, room: str, place: Position) -> None:
        """The service can no longer bring what came up to ``place``."""
        known = self._places.get(room)
        if known is not None and known.offset < place.offset:
            self._deliver.gap(room, f"messages {known.offset + 1} to {place.offset} were gone before they could be read")
            self._places[room] = place

    def poison(self, room: str | None, why: str) -> None:
        """Something came that no hub wrote."""
        self._deliver.poison(room, why)


def kept(limits: BrokerLimits) -> tuple[int, int]:
    """How many messages and bytes of a room a service keeps."""
    return max(limits.history, RESUMABLE_MESSAGES), max(limits.history_bytes, RESUMABLE_BYTES)


def recovered(since: Position, place: Position, stored: list[Stored], limits: BrokerLimits) -> list[Stored] | None:
    """``stored``, if it is all that came after ``since`` up to ``place``, and no more than the hub's history."""
    missed = place.offset - since.offset
    whole = since.epoch == place.epoch and 0 <= missed == len(stored) <= limits.history
    return stored if whole and sum(len(each.payload) for each in stored) <= limits.history_bytes else None
