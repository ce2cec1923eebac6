"""How a history and what came live meanwhile become one stream: the cases by name."""

from __future__ import annotations

from kit.hub.catch_up import caught_up
from kit.hub.delivery import Delivery
from kit.hub.message import Gap, Joined, Position, Stored, encode

SINCE, POSITION = Position("e", 1), Position("e", 3)


def messages(*offsets: int, epoch: str = "e") -> list[Delivery]:
    return [Delivery.of("room", Stored(epoch, offset, encode(offset, 100))) for offset in offsets]


def test_without_since_only_what_came_after_joining_is_delivered() -> None:
    live = messages(2, 3, 4, 5)
    assert caught_up("room", None, None, live, POSITION) == ([], live[2:], POSITION)


def test_what_is_in_the_history_and_live_as_well_comes_once() -> None:
    history, live = messages(2, 3, 4), messages(1, 3, 4, 5)
    assert caught_up("room", SINCE, history, live, POSITION) == (history, live[3:], Position("e", 4))


def test_notices_and_messages_of_a_new_epoch_are_never_taken_for_known_ones() -> None:
    live = [Delivery(Joined("room", "1", "Ana", {})), *messages(1, epoch="new")]
    history = messages(2, 3)
    assert caught_up("room", SINCE, history, live, POSITION)[:2] == (history, live)


def test_an_empty_history_leaves_what_is_live_after_since() -> None:
    live = messages(1, 2)
    assert caught_up("room", SINCE, [], live, POSITION) == ([], live[1:], SINCE)


def test_a_history_that_is_gone_is_a_gap_before_what_came_after_joining() -> None:
    live = messages(3, 7)
    (gap,), then, last = caught_up("room", SINCE, None, live, POSITION)
    assert isinstance(gap.item, Gap)
    assert (then, last) == (live[1:], POSITION)
