"""One conversation seen from both ends, folded from Entries made by hand."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from kit.conversation import Conversation
from kit.rows import Row
from kit.timeline import Entry

_numbers = itertools.count(1)


def entry(side: str, kind: str, text: str = "", *, connection: int | None = 1, ordinal: int | None = None, payload: Any = None, **details: Any) -> Entry:
    number = next(_numbers)
    payload = text if payload is None else payload
    return Entry(number, number / 1000, connection, side, kind, text, len(payload), payload, ordinal, details)


def frame(side: str, way: str, text: str = "", *, opcode: str = "TEXT", ordinal: int | None = 1, connection: int = 1, **more: Any) -> Entry:
    details = {"opcode": opcode, "fin": True, "masked": False, "compressed": False, "code": None, "reason": "", **more}
    return entry(side, f"frame-{way}", text, connection=connection, ordinal=ordinal, **details)


def asgi(
    way: str, kind: str, text: str = "", *, ordinal: int | None = None, connection: int = 1, states: tuple[str, str] = ("CONNECTED", "CONNECTED"), **more: Any
) -> Entry:
    return entry(
        "server",
        f"asgi-{way}",
        text,
        connection=connection,
        ordinal=ordinal,
        type=f"websocket.{kind}",
        client_state=states[0],
        application_state=states[1],
        **more,
    )


def handshake() -> list[Entry]:
    headers = {"headers": [("Host", "here")]}
    return [
        entry("client", "request", "GET /ws", start_line="GET /ws HTTP/1.1", **headers),
        entry("server", "request", "GET /ws", start_line="GET /ws HTTP/1.1", **headers),
        asgi("receive", "connect", states=("CONNECTED", "CONNECTING")),
        asgi("send", "accept"),
        entry("server", "response", "101", start_line="HTTP/1.1 101 Switching Protocols", status=101, payload=b"", **headers),
        entry("client", "response", "101", start_line="HTTP/1.1 101 Switching Protocols", status=101, payload=b"", **headers),
    ]


def message_up(text: str, ordinal: int, connection: int = 1) -> list[Entry]:
    return [
        frame("client", "out", text, ordinal=ordinal, connection=connection),
        frame("server", "in", text, ordinal=ordinal, connection=connection),
        asgi("receive", "receive", text, ordinal=ordinal, connection=connection),
    ]


def cells(row: Row) -> tuple[str, str, str, str]:
    return row.direction, row.client, row.wire, row.handler


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


@pytest.mark.parametrize("limit", [1, 7, 500])
def test_only_the_newest_rows_stay_and_nothing_else_is_told(limit: int) -> None:
    conversation = Conversation(rows_limit=limit)
    for start in range(0, 2_000, 100):
        told = conversation.feed(entry("server", "print", str(number)) for number in range(start, start + 100))
        assert told == conversation.rows[-len(told) :]
    assert [row.handler for row in conversation.rows] == [f"print {number}" for number in range(2_000)][-limit:]


def key_row(conversation: Conversation, key: str) -> Row:
    row = conversation.row(key)
    assert row is not None, key
    return row


def request_seen_by_both() -> list[Entry]:
    return handshake()[:3]


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


def test_what_is_remembered_of_connections_is_bounded_like_the_lanes() -> None:
    fold = Conversation()
    for number in range(1, 3_001):
        fold.feed([asgi("receive", "connect", connection=number), frame("server", "out", opcode="PING", ordinal=None, connection=number)])
    assert max(len(kept) for kept in vars(fold).values() if hasattr(kept, "__len__")) == 1_000


# A server in another process: what it did is told after what it brought about at the client.


def late(entries: list[Entry]) -> list[Entry]:
    """The same Entries in the order in which they come when the server's end is told later, with their own times."""
    return [each for each in entries if each.side == "client"] + [each for each in entries if each.side == "server"]


def told(entries: list[Entry]) -> list[tuple[Any, ...]]:
    """What the rows say, in the order of time."""
    fold = Conversation()
    fold.feed(entries)
    rows = sorted(fold.rows, key=lambda row: row.at_seconds)
    return [(row.kind, row.direction, row.label, row.first, row.lost, row.waits, row.at_seconds, row.moments, row.client, row.handler) for row in rows]


def control(opcode: str, sender: str, receiver: str) -> list[Entry]:
    return [frame(sender, "out", opcode=opcode, ordinal=None), frame(receiver, "in", opcode=opcode, ordinal=None)]


@pytest.mark.parametrize("dropped_by", ["client", "server", None])
def test_a_server_that_is_told_of_later_changes_no_row(dropped_by: str | None) -> None:
    entries = [*handshake(), *message_up("hello", 1), *control("PING", "client", "server"), *control("PONG", "server", "client")]
    entries += [asgi("send", "send", "answer", ordinal=1), frame("server", "out", "answer"), frame("client", "in", "answer")]
    entries += [*control("PING", "server", "client"), *control("PONG", "client", "server"), *control("PING", "client", "server")]
    if dropped_by is None:
        closes = [("server", "out"), ("client", "in"), ("client", "out"), ("server", "in")]
        entries += [frame(side, way, opcode="CLOSE", ordinal=None, code=1000) for side, way in closes]
    ends = ["server", "client"] if dropped_by != "client" else ["client", "server"]
    entries += [entry(side, "end", "the socket closed", what="socket") for side in ends]
    assert told(late(entries)) == told(entries)


def test_whether_a_process_that_ended_had_received_a_message_is_not_known() -> None:
    fold = Conversation()
    fold.feed([*handshake(), frame("client", "out", "exit"), entry("client", "end", "the socket closed", what="socket")])
    ended = [entry("server", "error", "process 1 ended with exit code 3", what="process-ended"), entry("server", "end", "the socket closed", what="socket")]
    fold.feed(ended)
    (row,) = [row for row in fold.rows if row.kind == "message"]
    assert (row.waits, row.lost, row.details[-1]) == ("", False, ("at the server", "not known: the process ended before it told"))
