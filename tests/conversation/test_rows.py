"""One conversation seen from both ends is folded into rows, in whichever order it was seen."""

from __future__ import annotations

import random

from kit.conversation import Conversation
from kit.timeline import Entry
from tests.conversation.entries import asgi, cells, entry, frame, handshake, message_up


def test_a_handshake_is_two_rows() -> None:
    conversation = Conversation()
    conversation.feed(handshake())
    assert [cells(row) for row in conversation.rows] == [
        ("up", "GET /ws", "HTTP GET", "receive connect"),
        ("down", "connected", "HTTP 101", "accept"),
    ]
    assert [row.states for row in conversation.rows] == ["client CONNECTED · application CONNECTING", "client CONNECTED · application CONNECTED"]


def test_a_message_fills_its_row_from_one_end_to_the_other() -> None:
    conversation = Conversation()
    sent, arrived, received = message_up("hello", 1)
    assert [cells(row) for row in conversation.feed([sent])] == [("up", "“hello”", "TEXT 5 B", "")]
    assert [row.waits for row in conversation.feed([arrived])] == ["handler"]
    assert [(row.handler, row.waits) for row in conversation.feed([received])] == [("receive “hello”", "")]
    assert len(conversation.rows) == 1


def test_a_message_down_waits_on_the_wire_until_it_is_written_and_read() -> None:
    conversation = Conversation()
    assert [(row.handler, row.waits) for row in conversation.feed([asgi("send", "send", "hi", ordinal=1)])] == [("send “hi”", "wire")]
    conversation.feed([frame("server", "out", "hi"), frame("client", "in", "hi")])
    assert [(cells(row), row.waits) for row in conversation.rows] == [(("down", "“hi”", "TEXT 2 B", "send “hi”"), "")]


def test_what_arrives_is_matched_with_what_was_sent_in_any_order_of_seeing() -> None:
    source = random.Random(3)
    for _ in range(200):
        ends = [message_up(f"{connection}-{ordinal}", ordinal, connection) for connection in (1, 2) for ordinal in range(1, 6)]
        entries = [one for end in ends for one in end]
        source.shuffle(entries)
        conversation = Conversation()
        while entries:
            batch, entries = entries[: (size := source.randrange(1, 8))], entries[size:]
            conversation.feed(batch)
        assert len(conversation.rows) == 10
        for row in conversation.rows:
            assert row.handler == f"receive {row.client}"
            assert row.client.startswith(f"“{row.connection}-")
            assert row.waits == ""


def test_feeding_in_any_batches_gives_the_same_rows() -> None:
    entries = [*handshake(), *message_up("a", 1), *message_up("b", 2), entry("server", "print", "x"), frame("client", "out", opcode="PING", ordinal=None)]
    whole = Conversation()
    whole.feed(entries)
    source = random.Random(4)
    for _ in range(100):
        piecewise, rest = Conversation(), entries
        while rest:
            batch, rest = rest[: (size := source.randrange(1, 5))], rest[size:]
            assert {row.key for row in piecewise.feed(batch)} <= {row.key for row in piecewise.rows}
        assert piecewise.rows == whole.rows


def test_close_frames_and_the_disconnect_they_cause_are_one_row_each_way() -> None:
    conversation = Conversation()
    conversation.feed(handshake())
    close = {"opcode": "CLOSE", "ordinal": None, "code": 4000, "reason": "bye"}
    conversation.feed(
        [frame("client", "out", **close), frame("server", "in", **close), asgi("receive", "disconnect", code=4000, states=("DISCONNECTED", "CONNECTED"))]
    )
    conversation.feed([frame("server", "out", **close), frame("client", "in", **close)])
    assert [cells(row) for row in conversation.rows[2:]] == [
        ("up", "close 4000 “bye”", "CLOSE 4000", "receive disconnect 4000"),
        ("down", "close 4000 “bye”", "CLOSE 4000", ""),
    ]
    assert conversation.rows[2].tone == "warning"


def test_a_disconnect_without_a_close_frame_stands_alone() -> None:
    conversation = Conversation()
    conversation.feed([asgi("receive", "disconnect", code=1005, states=("DISCONNECTED", "CONNECTED"))])
    assert [(cells(row), row.tone) for row in conversation.rows] == [(("here", "", "", "receive disconnect 1005"), "warning")]


def test_a_refusal_is_said_with_what_the_handler_did() -> None:
    conversation = Conversation()
    conversation.feed([asgi("send", "close", code=1008, reason="", states=("CONNECTED", "DISCONNECTED"))])
    conversation.feed([entry("client", "response", "403 Forbidden", start_line="HTTP/1.1 403 Forbidden", status=403, headers=[], payload=b"no")])
    row = conversation.rows[0]
    assert (cells(row), row.tone) == (("down", "refused: 403 Forbidden", "HTTP 403", "close 1008 before accept"), "bad")
    assert ("body", "no") in row.details


def test_pings_meet_their_arrival_and_uvicorn_answers() -> None:
    conversation = Conversation()
    conversation.feed([frame("client", "out", opcode="PING", ordinal=None), frame("server", "in", opcode="PING", ordinal=None)])
    assert [(cells(row), row.tone) for row in conversation.rows] == [(("up", "ping", "PING 0 B", "uvicorn answers by itself"), "muted")]


def test_fragments_are_one_row() -> None:
    conversation = Conversation()
    conversation.feed([frame("client", "out", "hel", fin=False), frame("client", "out", "lo", opcode="CONT"), asgi("receive", "receive", "hello", ordinal=1)])
    assert [cells(row) for row in conversation.rows] == [("up", "“hel”", "in fragments", "receive “hello”")]


def test_prints_logs_errors_and_notices_have_rows_of_their_own() -> None:
    conversation = Conversation()
    conversation.feed(
        [
            entry("server", "print", "\x1b[31mred"),
            entry("server", "error", "ValueError: no", lines=["cell 3, line 4"]),
            entry("server", "end", "", what="handler"),
            entry("server", "notice", "blocked at line 7", connection=None, what="blocked"),
        ]
    )
    assert [(row.handler or row.wire, row.tone) for row in conversation.rows] == [
        ("print \\x1b[31mred", "muted"),
        ("ValueError: no at cell 3, line 4", "bad"),
        ("the handler returned", "muted"),
        ("blocked at line 7", "warning"),
    ]


def test_binary_is_shown_as_hex() -> None:
    conversation = Conversation()
    conversation.feed([frame("client", "out", "00 ff", opcode="BINARY"), asgi("receive", "receive", "00 ff", ordinal=1)])
    assert conversation.rows[0].client == "bytes 00 ff"
    assert conversation.rows[0].wire == "BINARY 5 B"


def test_a_fault_is_a_row_on_its_own_side() -> None:
    conversation = Conversation()
    conversation.feed([entry("client", "fault", "Ana stops reading", what="stall", phase="begins")])
    conversation.feed([entry("client", "fault", "Ana reads again", what="stall", phase="ends")])
    assert [(row.kind, cells(row), row.tone) for row in conversation.rows] == [
        ("fault", ("here", "Ana stops reading", "", ""), "warning"),
        ("fault", ("here", "Ana reads again", "", ""), "good"),
    ]


def test_a_row_knows_which_entries_made_it() -> None:
    conversation = Conversation()
    conversation.feed(sent := message_up("hello", 1))
    assert conversation.rows[0].entries == [one.number for one in sent]


def hub(what: str, text: str = "", *, binary: bool = False) -> Entry:
    return entry("server", "hub", text, what=what, room="lobby", binary=binary)


def test_what_a_handler_does_with_a_hub_is_an_arrow_to_it_or_from_it() -> None:
    conversation = Conversation()
    rows = conversation.feed([hub("join"), hub("publish", "hi"), hub("publish", "00 ff", binary=True), hub("receive", "hi"), hub("leave")])
    assert [(row.direction, row.from_hub, row.label) for row in rows] == [
        ("hub", False, "join “lobby”"),
        ("hub", False, "publish “hi” to “lobby”"),
        ("hub", False, "publish bytes 00 ff to “lobby”"),
        ("hub", True, "receive “hi” from “lobby”"),
        ("hub", False, "leave “lobby”"),
    ]


def test_a_member_s_message_that_its_handler_did_not_send_comes_from_the_hub() -> None:
    conversation = Conversation()
    conversation.feed([*handshake(), frame("server", "out", "early", ordinal=1), hub("join")])
    conversation.feed([frame("server", "out", "from the hub", ordinal=2), frame("client", "in", "from the hub", ordinal=2)])
    conversation.feed([asgi("send", "send", "own", ordinal=3), frame("server", "out", "own", ordinal=3), frame("server", "out", opcode="PONG", ordinal=None)])
    conversation.feed([hub("leave"), frame("server", "out", "late", ordinal=4)])
    told = {row.label: (row.from_hub, row.handler) for row in conversation.rows if row.direction == "down"}
    assert told["“from the hub”"] == (True, "the hub sends")
    assert {label for label, (from_hub, _) in told.items() if from_hub} == {"“from the hub”"}
    assert told["“own”"] == (False, "send “own”")


def test_a_send_of_the_handler_that_is_told_late_is_its_own_all_the_same() -> None:
    conversation = Conversation()
    conversation.feed([hub("join"), frame("server", "out", "own", ordinal=1)])
    (row,) = conversation.feed([asgi("send", "send", "own", ordinal=1)])
    assert (row.from_hub, row.handler) == (False, "send “own”")


def test_who_left_a_room_hears_nothing_from_it_although_the_join_was_skipped() -> None:
    conversation = Conversation()
    conversation.gap(3)
    conversation.feed([hub("leave"), frame("server", "out", "own", ordinal=1)])
    assert [row.from_hub for row in conversation.rows if row.direction == "down"] == [False]
