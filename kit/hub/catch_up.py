"""How the end of a room's history and what came live meanwhile become one stream, without a hole and without a double. Pure."""

from __future__ import annotations

from kit.hub.delivery import Delivery
from kit.hub.message import Gap, Position

__all__ = ["caught_up"]


def caught_up(room: str, since: Position | None, missed: list[Delivery] | None, held: list[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
    """What comes first, and what of ``held`` comes after it.

    Args:
        since: where the history was to begin; None when none was asked for.
        missed: the history after ``since``, or None when a part of it is gone: then a `Gap` comes first.
        held: what came live while the history was fetched; some of it may be in the history as well.
    """
    if since is not None and missed is None:
        return [Delivery(Gap(room, "the history no longer holds everything after since="))], held
    if not missed:
        return [], held
    last = missed[-1].position
    return missed, [each for each in held if not _is_known(each.position, last)]


def _is_known(position: Position | None, last: Position | None) -> bool:
    return position is not None and last is not None and position.epoch == last.epoch and position.offset <= last.offset
