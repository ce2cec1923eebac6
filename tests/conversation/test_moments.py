"""A row knows when each place saw it, what it waits for, and what was lost."""

from __future__ import annotations

import pytest

from kit.conversation import Conversation
from kit.timeline import Entry
from tests.conversation.entries import asgi, entry, frame, handshake, key_row, message_up, request_seen_by_both


def test_a_message_up_knows_when_each_place_saw_it() -> None:
    conversation = Conversation()
    conversation.feed(sent := message_up("hello", 1))
    assert key_row(conversation, "1:up message 1").moments == dict(zip(("client", "wire", "handler"), (one.at_seconds for one in sent), strict=True))


def test_a_message_down_knows_when_each_place_saw_it() -> None:
    conversation = Conversation()
    conversation.feed(sent := [asgi("send", "send", "hi", ordinal=1), frame("server", "out", "hi"), frame("client", "in", "hi")])
    assert key_row(conversation, "1:down message 1").moments == dict(zip(("handler", "wire", "client"), (one.at_seconds for one in sent), strict=True))


def test_a_message_in_fragments_leaves_with_the_first_and_arrives_with_the_last() -> None:
    conversation = Conversation()
    pieces = [
        frame(side, way, "x", fin=last, opcode="CONT" if last else "TEXT") for last in (False, True) for side, way in (("client", "out"), ("server", "in"))
    ]
    conversation.feed(pieces[:2])
    assert key_row(conversation, "1:up message 1").waits == "arrival"
    conversation.feed(pieces[2:])
    row = key_row(conversation, "1:up message 1")
    assert (row.moments, row.waits) == ({"client": pieces[0].at_seconds, "wire": pieces[3].at_seconds}, "handler")


def test_a_handshake_has_the_moments_of_all_three_places() -> None:
    conversation = Conversation()
    conversation.feed(handshake())
    assert [sorted(row.moments) for row in conversation.rows] == [["client", "handler", "wire"]] * 2
    lane = conversation.lanes[1]
    assert (lane.client_began, lane.handler_began) == (conversation.rows[0].moments["client"], conversation.rows[0].moments["handler"])


def test_what_waits_goes_from_place_to_place() -> None:
    conversation = Conversation()
    conversation.feed(request_seen_by_both())
    waits = [conversation.feed([one])[-1].waits for one in message_up("hello", 1)]
    down = [asgi("send", "send", "hi", ordinal=1), frame("server", "out", "hi"), frame("client", "in", "hi")]
    assert waits == ["arrival", "handler", ""]
    assert [conversation.feed([one])[-1].waits for one in down] == ["wire", "client", ""]


def test_nothing_waits_for_an_end_that_is_not_watched() -> None:
    conversation = Conversation()
    conversation.feed([asgi("send", "send", "to a stranger", ordinal=1, connection=1), frame("server", "out", "to a stranger")])
    conversation.feed([frame("client", "out", "to a server elsewhere", connection=2)])
    assert [row.waits for row in conversation.rows] == ["", ""]


@pytest.mark.parametrize(
    ("before", "end"),
    [
        ([frame("client", "out", "x"), frame("server", "in", "x")], entry("server", "end", "returned", what="handler")),
        ([frame("client", "out", "x"), frame("server", "in", "x")], entry("server", "error", "ValueError", lines=[])),
        ([asgi("send", "send", "x", ordinal=1)], entry("server", "end", "closed", what="socket")),
        ([asgi("send", "send", "x", ordinal=1), frame("server", "out", "x")], entry("client", "end", "closed", what="socket")),
        ([frame("client", "out", "x")], entry("server", "end", "closed", what="socket")),
    ],
    ids=["the handler returns", "the handler raises", "never written", "never read", "never arrived"],
)
def test_what_waits_for_an_end_that_goes_away_is_lost(before: list[Entry], end: Entry) -> None:
    conversation = Conversation()
    conversation.feed([*request_seen_by_both(), *before])
    row = conversation.rows[1]
    assert row.waits
    told = conversation.feed([end])
    assert row in told
    assert (row.waits, row.lost) == ("", True)


def test_a_message_that_arrives_after_the_handler_has_gone_is_lost() -> None:
    conversation = Conversation()
    conversation.feed([*request_seen_by_both(), entry("server", "end", "", what="handler"), *message_up("late", 1)[:2]])
    assert [(row.waits, row.lost) for row in conversation.rows if row.kind == "message"] == [("", True)]


def test_the_close_frame_that_began_the_closing_is_told_from_its_answer() -> None:
    conversation = Conversation()
    close = {"opcode": "CLOSE", "ordinal": None, "code": 1000, "reason": "done"}
    conversation.feed([*handshake(), asgi("send", "close", code=1000), frame("server", "out", **close), frame("client", "out", **close)])
    closes = [(row.direction, row.label, row.first) for row in conversation.rows if row.kind == "close"]
    assert closes == [("down", "close 1000 “done”", True), ("up", "close 1000 “done”", False)]


@pytest.mark.parametrize(("first", "second", "direction"), [("client", "server", "up"), ("server", "client", "down")])
def test_a_socket_that_ends_without_a_close_frame_was_dropped_by_the_end_that_went_first(first: str, second: str, direction: str) -> None:
    conversation = Conversation()
    ends = [entry(side, "end", "the socket closed", what="socket") for side in (first, second)]
    conversation.feed([*handshake(), *ends])
    row = key_row(conversation, "1:end")
    assert (row.kind, row.direction, row.tone) == ("dropped", direction, "bad")


def test_a_socket_that_ends_after_a_close_frame_or_a_refusal_was_not_dropped() -> None:
    conversation = Conversation()
    conversation.feed([frame("client", "out", opcode="CLOSE", ordinal=None, code=1000), entry("client", "end", "", what="socket")])
    conversation.feed([entry("client", "response", "403 Forbidden", connection=2, start_line="", status=403, headers=[], payload=b"")])
    conversation.feed([entry("client", "end", "", connection=2, what="socket")])
    assert [row.kind for row in conversation.rows if row.key.endswith(":end")] == ["end", "end"]
