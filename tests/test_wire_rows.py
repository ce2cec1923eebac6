"""The wire's rows: a frame out and the same frame in are one row, whatever is missing, and a row under the glass tells the truth."""

from __future__ import annotations

import base64
import json

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.utils import accept_key

from kit.connection import Connection
from kit.frames import describe_frame, describe_request, describe_response
from kit.json_tree import json_tree
from kit.taps import WireTap
from kit.timeline import Entry, Timeline
from kit.wire_inspection import accept_steps, inspected, seen_words
from kit.wire_rows import FrameRow, WireRows

REQUEST = b"GET /ws HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


def frame(payload: bytes = b"hello", opcode: Opcode = Opcode.TEXT, *, mask: bool = True, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=mask)


class Wire:
    """Both ends of one connection on one Timeline, without sockets: the same taps, fed by hand."""

    def __init__(self, **limits: int) -> None:
        self.timeline = Timeline(**limits)
        connection = self.timeline.open_connection("address", name="Ana", path="/ws")
        self.client, self.server = (WireTap(self.timeline, connection, side) for side in ("client", "server"))
        self.up(REQUEST)
        self.down(RESPONSE)

    def up(self, data: bytes) -> None:
        self.client.outgoing(data)
        self.server.incoming(data)

    def down(self, data: bytes) -> None:
        self.server.outgoing(data)
        self.client.incoming(data)

    def rows(self, **options: int) -> list[FrameRow]:
        fold = WireRows(**options)
        fold.feed(self.timeline.entries())
        return fold.rows

    def inspected(self, row: FrameRow) -> dict:
        client, server = (self.timeline.entry(number) if number else None for number in (row.client_entry, row.server_entry))
        return inspected(row, client, server, stranger=False)


def test_the_handshake_is_two_rows_that_both_ends_have_seen() -> None:
    request, response = Wire().rows()
    assert [(row.kind, row.direction, row.opcode, row.text) for row in (request, response)] == [
        ("handshake", "up", "GET", "GET /ws"),
        ("handshake", "down", "101", "101 Switching Protocols"),
    ]
    assert None not in (request.client_seconds, request.server_seconds, response.client_seconds, response.server_seconds)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_frame_is_one_row_with_its_header_at_both_ends(size: int, opcode: Opcode) -> None:
    wire, payload = Wire(), b"x" * size
    sent = frame(payload, opcode)
    wire.up(sent)
    wire.down(frame(payload, opcode, mask=False))
    _, _, up, down = wire.rows()
    header = {0: 6, 1: 6, 125: 6, 126: 8, 65_535: 8, 65_536: 14}[size]
    assert (up.direction, up.opcode, up.size, up.header) == ("up", opcode.name, size, sent[:header].hex())
    assert (down.direction, len(down.header)) == ("down", 2 * (header - 4))
    assert base64.b64decode(wire.inspected(up)["payload"]) == payload
    assert "Both ends saw the same" in wire.inspected(up)["seen"]
    assert wire.inspected(down)["seen"].startswith("Both ends saw the same")


def test_a_frame_is_written_and_then_read_and_the_row_says_so() -> None:
    wire = Wire()
    wire.server.outgoing(frame(mask=False))
    row = wire.rows()[-1]
    assert (row.server_seconds is not None, row.client_seconds) == (True, None)
    assert wire.inspected(row)["seen"] == "Written by the server, not yet read by the client."
    wire.client.incoming(frame(mask=False))
    assert "Both ends saw the same 7 bytes: 2 of header, 5 of payload. The client had it" in wire.inspected(wire.rows()[-1])["seen"]


def test_equal_frames_are_paired_in_their_order() -> None:
    wire = Wire()
    for _ in range(3):
        wire.server.outgoing(frame(b"", Opcode.PING, mask=False))
    wire.client.incoming(frame(b"", Opcode.PING, mask=False))
    assert [row.client_seconds is not None for row in wire.rows()[2:]] == [True, False, False]


def test_fragments_say_which_message_they_belong_to_and_control_frames_in_between_do_not() -> None:
    wire = Wire()
    for piece in (frame(b"a", fin=False), frame(b"?", Opcode.PING), frame(b"b", Opcode.CONT, fin=False), frame(b"c", Opcode.CONT), frame(b"d")):
        wire.up(piece)
    rows = wire.rows()[2:]
    assert [(row.opcode, row.message, row.fragment, row.last, row.kind) for row in rows] == [
        ("TEXT", 1, 1, False, "text"),
        ("PING", None, 0, True, "control"),
        ("CONT", 1, 2, False, "text"),
        ("CONT", 1, 3, True, "text"),
        ("TEXT", 2, 0, True, "text"),
    ]


def test_half_of_a_character_is_shown_as_the_bytes_that_it_is() -> None:
    wire = Wire()
    wire.up(frame("ü".encode()[:1], fin=False))
    row = wire.rows()[-1]
    assert (wire.inspected(row)["text"], base64.b64decode(wire.inspected(row)["payload"])) == (None, b"\xc3")


def test_what_a_skipping_reader_missed_does_not_shift_the_pairs() -> None:
    wire = Wire()
    for number in range(6):
        wire.up(frame(str(number).encode()))
    entries = wire.timeline.entries()
    fold = WireRows()
    fold.feed(entry for entry in entries if not (entry.side == "server" and entry.text in ("1", "2")) and not (entry.side == "client" and entry.text == "4"))
    both = {row.text: (row.client_seconds is not None, row.server_seconds is not None) for row in fold.rows[2:]}
    assert both == {"0": (True, True), "1": (True, False), "2": (True, False), "3": (True, True), "4": (False, True), "5": (True, True)}
    alone = next(row for row in fold.rows if row.text == "4")
    assert seen_words(alone, None, None, stranger=False) == "Read by the server; what the client's end saw is not in the Timeline any more."
    assert seen_words(alone, None, None, stranger=True) == "Made by a stranger: only the server's end is known."


def test_a_frame_that_was_written_before_the_list_begins_is_counted_and_not_put_at_its_end() -> None:
    wire = Wire()
    for text in ("old", "new"):
        wire.server.outgoing(frame(text.encode(), mask=False))
    begins = wire.timeline.last_number
    for text in ("old", "new"):
        wire.client.incoming(frame(text.encode(), mask=False))
    fold = WireRows()
    fold.feed(wire.timeline.entries(since=begins - 1))
    assert ([(row.text, row.client_seconds is not None) for row in fold.rows], fold.dropped) == ([("new", True)], 1)


def test_only_the_newest_rows_stay_and_the_others_are_counted() -> None:
    wire = Wire()
    for number in range(30):
        wire.up(frame(str(number).encode()))
    fold = WireRows(rows_limit=10)
    fold.feed(wire.timeline.entries())
    assert ([row.text for row in fold.rows], fold.dropped) == ([str(number) for number in range(20, 30)], 22)


def test_a_close_frame_is_decoded() -> None:
    wire = Wire()
    wire.up(frame(Close(1008, "who?").serialize(), Opcode.CLOSE))
    wire.down(frame(b"", Opcode.CLOSE, mask=False))
    coded, bare = wire.rows()[2:]
    assert (coded.text, coded.tone, bare.text) == ("1008 policy violation: who?", "warning", "no code")
    close = wire.inspected(coded)["close"]
    assert (close["code"], close["name"], close["reason"], close["sent"]) == (1008, "policy violation", "who?", True)
    assert (wire.inspected(bare)["close"]["code"], wire.inspected(bare)["close"]["sent"]) == (1005, False)


def test_a_compressed_message_says_what_the_handler_saw() -> None:
    wire = Wire()
    compressed = frame(b"\xcaH\xcd\xc9\xc9\x07\x00")
    wire.up(bytes([compressed[0] | 0x40]) + compressed[1:])  # RFC 7692 §7.2.3.1
    details = {"type": "websocket.receive", "client_state": "CONNECTED", "application_state": "CONNECTED"}
    fields = {"kind": "asgi-receive", "text": "Hello", "size": 5, "payload": "Hello", "ordinal": 1, "details": details}
    wire.timeline.recorder(wire.server.connection, "server", lambda _payload, _more: fields)()
    row = wire.rows()[-1]
    assert (row.opcode, row.inflated) == ("TEXT", "Hello")


def test_an_invalid_frame_is_a_row_too() -> None:
    wire = Wire()
    wire.up(bytes([0x83, 0x80, 1, 2, 3, 4]))
    assert (wire.rows()[-1].opcode, wire.rows()[-1].kind) == ("0x3", "binary")


def test_what_was_brought_about_and_what_failed_stand_between_the_frames() -> None:
    wire = Wire()
    wire.timeline.note("Ana stops reading", kind="fault", connection=wire.client.connection, side="client", what="stall", phase="begins")
    wire.timeline.note("ValueError: no\u202e", kind="error", connection=wire.client.connection)
    wire.client.ended("the socket closed")
    assert [(row.kind, row.text, row.tone) for row in wire.rows()[2:]] == [
        ("note", "Ana stops reading", "warning"),
        ("note", "ValueError: no\\u202e", "bad"),
        ("note", "client: the socket closed", "plain"),
    ]


# Under the glass.


def test_a_payload_that_has_fallen_out_is_said_to_be_gone() -> None:
    wire = Wire(payload_limit_bytes=10_000)
    wire.up(frame(b"old" * 1_000))
    wire.up(frame(b"new" * 3_000))
    old, new = wire.rows()[2:]
    told = wire.inspected(old)
    assert (told["payload"], told["payloadSays"]) == (None, "The payload of 2.9 KiB has fallen out of the Timeline; its beginning is in the list.")
    assert old.text.startswith("oldold")
    assert wire.inspected(new)["text"] == "new" * 3_000
    nothing = inspected(old, None, None, stranger=False)
    assert nothing["payloadSays"] == "This frame has fallen out of the Timeline: only its row is left."


def test_of_a_payload_over_1_mib_the_head_is_shown_and_its_size_said() -> None:
    wire = Wire()
    wire.up(frame(bytes(3 * 2**20), Opcode.BINARY))
    told = wire.inspected(wire.rows()[-1])
    assert (len(base64.b64decode(told["payload"])), told["payloadSays"]) == (2**20, "The first 1.0 MiB of 3.0 MiB.")


def test_what_one_copy_stands_for_is_not_called_compared() -> None:
    wire = Wire()
    wire.up(frame(b"x" * 5_000))
    assert wire.inspected(wire.rows()[-1])["seen"].startswith("Both ends saw the same header of 8 bytes. The payload is kept once for both")


def test_ends_that_saw_different_bytes_are_told_apart() -> None:
    client = Entry(1, 0.0, 1, "client", "frame-out", "a", 1, "a", 1, describe_frame(frame(b"a"), ("frame-out", 1))["details"])
    server = Entry(2, 0.0, 1, "server", "frame-in", "b", 1, "b", 1, client.details)
    row = FrameRow("up 1", "text", "up", "TEXT", client_entry=1, server_entry=2)
    assert seen_words(row, client, server, stranger=False).startswith("The ends saw different bytes")


def test_headers_that_differ_in_case_only_are_the_same_headers() -> None:
    def seen_by_the_server(head: bytes) -> str:
        fields = describe_request(REQUEST[:-4], b"")
        client = Entry(1, 0.0, 1, "client", **fields)
        server = Entry(2, 0.0, 1, "server", **describe_request(head[:-4], b""))
        return seen_words(FrameRow("request", "handshake", "up", "GET", client_entry=1, server_entry=2), client, server, stranger=False)

    assert seen_by_the_server(REQUEST).startswith("Both ends saw the same start line and headers. ")
    assert "in lower case" in seen_by_the_server(REQUEST.replace(b"Host", b"host"))
    assert "different headers" in seen_by_the_server(REQUEST.replace(b": a", b": b"))


def test_the_accept_value_is_computed_step_by_step() -> None:
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    right = accept_steps(key, accept_key(key))
    assert (right["right"], right["steps"][-1][1], right["steps"][-2][1]) == (True, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    assert right["steps"][2][1].startswith("b3 7a 4f 2c")
    assert not accept_steps(key, "nonsense")["right"]


def test_a_refusal_shows_its_body_and_no_accept() -> None:
    entry = Entry(1, 0.0, 1, "server", **describe_response(b"HTTP/1.1 403 Forbidden\r\nX-A: b", b"no \x1bentry"))
    told = inspected(FrameRow("response", "handshake", "down", "403", server_entry=1), None, entry, stranger=True, key="abc")
    assert (told["startLine"], told["headers"], told["body"], told["accept"]) == ("HTTP/1.1 403 Forbidden", [("X-A", "b")], "no \\x1bentry", None)


# JSON as a tree.


def test_a_tree_keeps_numbers_and_doubled_keys_as_they_were_written() -> None:
    tree = json_tree('{"a": 12345678901234567890, "a": 2.50, "b": [true, null, "x\\u202ey"]}')
    assert [(name, node["text"]) for name, node in tree["inside"]] == [("a", "12345678901234567890"), ("a", "2.50"), ("b", "[ ]")]
    assert [node["text"] for _, node in tree["inside"][2][1]["inside"]] == ["true", "null", '"x\\u202ey"']


@pytest.mark.parametrize("text", ["", "hello", "12", '"x"', "{", "[1,]", "[" * 100_000 + "]" * 100_000])
def test_what_is_no_object_or_array_is_no_tree(text: str) -> None:
    assert json_tree(text) is None


def test_a_tree_is_bounded_in_width_and_depth() -> None:
    wide = json_tree(json.dumps(list(range(5_000))))
    assert (len(wide["inside"]), wide["count"], wide["more"]) == (999, 5_000, 4_001)
    deep, levels = json_tree("[" * 60 + "1" + "]" * 60), 0
    while deep.get("inside"):
        deep, levels = deep["inside"][0][1], levels + 1
    assert (levels, deep["more"]) == (24, 1)


def test_a_connection_that_is_not_listed_still_has_its_number() -> None:
    restored = Timeline.restored(0.0, [Connection(1)], [Entry(1, 0.0, 7, "client", "print", "")])
    assert restored.entries(connection=7)[0].connection == 7


def test_a_frame_that_is_read_before_its_writing_is_told_of_is_one_row() -> None:
    """So it is where the server's end is in another process."""
    wire = Wire()
    ping = [frame(data, Opcode.PING, mask=False) for data in (b"1234", b"5678")]
    frames = [frame(b"one", mask=False), ping[0], frame(b"two", mask=False), ping[1], frame(b"two", mask=False)]
    for data in frames:
        wire.client.incoming(data)
    for data in frames:
        wire.server.outgoing(data)
    rows = [row for row in wire.rows() if row.kind != "handshake"]
    assert [row.text for row in rows] == ["one", "31 32 33 34", "two", "35 36 37 38", "two"]
    assert all(row.client_seconds is not None and row.server_seconds is not None for row in rows)
