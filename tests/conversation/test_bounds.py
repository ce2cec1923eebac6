"""What fell out or was skipped is counted, and nothing is claimed of it."""

from __future__ import annotations

import pytest

from kit.conversation import Conversation
from tests.conversation.entries import asgi, cells, entry, frame, handshake, key_row, message_up


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_only_the_newest_rows_stay_and_nothing_else_is_told(limit: int) -> None:
    conversation = Conversation(rows_limit=limit)
    for start in range(0, 2_000, 100):
        told = conversation.feed(entry("server", "print", str(number)) for number in range(start, start + 100))
        assert told == conversation.rows[-len(told) :]
    assert [row.handler for row in conversation.rows] == [f"print {number}" for number in range(2_000)][-limit:]


def test_after_a_gap_nothing_is_claimed_that_was_not_seen() -> None:
    conversation = Conversation()
    conversation.feed([*handshake(), *message_up("arrived", 1)[:2], asgi("send", "send", "x", ordinal=1)])
    assert [row.waits for row in conversation.rows[2:]] == ["handler", "wire"]
    told = conversation.gap(1234)
    assert [(row.kind, row.label) for row in told if row.direction == "divider"] == [("gap", "1,234 events not shown")]
    assert [(row.waits, row.lost) for row in conversation.rows[2:4]] == [("", False), ("", False)]
    assert {row.key for row in told} >= {"1:up message 1", "1:down message 1"}
    conversation.feed([entry("client", "end", "", what="socket"), entry("server", "end", "", what="handler")])
    assert key_row(conversation, "1:end").kind == "end", "its Close frame may have been among what was skipped"
    assert not any(row.lost for row in conversation.rows)


def test_what_is_seen_after_a_gap_still_fills_its_row() -> None:
    conversation = Conversation()
    sent, _, received = message_up("hello", 1)
    conversation.feed([sent])
    conversation.gap(1)
    conversation.feed([received])
    assert cells(conversation.rows[0]) == ("up", "“hello”", "TEXT 5 B", "receive “hello”")


def test_nothing_waits_for_an_end_whose_going_was_skipped() -> None:
    """The client's end was among the skipped Entries; what the server's end says, or what is known of the connection, is enough."""
    conversation = Conversation()
    conversation.feed(handshake())
    conversation.gap(1)
    conversation.feed([asgi("send", "send", "x", ordinal=1), frame("server", "out", "x", ordinal=1)])
    assert conversation.row("1:down message 1").waits == "client"
    conversation.feed([entry("server", "end", "", what="socket")])
    assert (conversation.row("1:down message 1").waits, conversation.row("1:down message 1").lost) == ("", True)
    conversation.feed([frame("client", "in", "x", ordinal=1)])
    assert not conversation.row("1:down message 1").lost, "it came after all"


def test_after_a_gap_nothing_waits_for_a_connection_that_is_known_to_be_over() -> None:
    conversation = Conversation()
    conversation.feed(handshake())
    conversation.gap(5, over=[1])
    conversation.feed([asgi("send", "send", "x", ordinal=1), frame("server", "out", "x", ordinal=1)])
    assert [(row.waits, row.lost) for row in conversation.rows if row.kind == "message"] == [("", True)]


def test_pings_before_and_after_a_gap_are_not_taken_for_each_other() -> None:
    conversation = Conversation()
    conversation.feed([frame("client", "out", opcode="PING", ordinal=None)])
    conversation.gap(1)
    conversation.feed([frame("server", "in", opcode="PING", ordinal=None)])
    assert [len(row.moments) for row in conversation.rows if row.kind == "ping"] == [1, 1]


def test_rows_that_fell_out_are_counted() -> None:
    conversation = Conversation(rows_limit=3)
    conversation.feed(entry("server", "print", str(number)) for number in range(10))
    assert (len(conversation.rows), conversation.dropped) == (3, 7)


def test_what_is_remembered_of_connections_is_bounded_like_the_lanes() -> None:
    fold = Conversation()
    for number in range(1, 3_001):
        fold.feed([asgi("receive", "connect", connection=number), frame("server", "out", opcode="PING", ordinal=None, connection=number)])
    assert max(len(kept) for kept in vars(fold).values() if hasattr(kept, "__len__")) == 1_000
