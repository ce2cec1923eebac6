"""How the end of a room's history and what came live meanwhile become one stream, without a hole and without a double. Pure."""

from __future__ import annotations

from kit.hub.delivery import Delivery
from kit.hub.message import Gap, Position

__all__ = ["HELD_MESSAGES", "caught_up", "is_known"]

HELD_MESSAGES = 1000  # that may come while somebody enters a room, however short its queue is: only then do policies count


def caught_up(
    room: str, since: Position | None, missed: list[Delivery] | None, held: list[Delivery], position: Position
) -> tuple[list[Delivery], list[Delivery], Position]:
    """What comes first, what of ``held`` comes after it, and the last place that is known then.

    Args:
        since: where the history was to begin; None when none was asked for.
        missed: the history after ``since``, or None when a part of it is gone: then a `Gap` comes first.
        held: what came live while the history was fetched; it may be in the history as well, or still older.
        position: where the room was when the stream begins.
    """
    first = missed or []
    last = position
    if since is not None and missed is None:
        first = [Delivery(Gap(room, "more was missed than is kept: begin with the whole state"))]
    elif since is not None:
        last = missed[-1].position if missed else since
    return first, [each for each in held if not is_known(each.position, last)], last


def is_known(position: Position | None, last: Position | None) -> bool:
    """Whether a message at ``position`` came already, when ``last`` was the last one; notices have no position."""
    return position is not None and last is not None and position.epoch == last.epoch and position.offset <= last.offset
