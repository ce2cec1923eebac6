"""The pure helpers of FramePanel's front end, run under Node: bits, masks, hex, trees, and what is said of a row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.panels.test_front_end import node_path, run  # noqa: F401

# ruff: noqa: F811


def test_a_header_is_read_bit_by_bit(run: Any) -> None:
    heads = run("frame", "['8105', '0185a1b2c3d4', 'c17e012c', '8a7f0000000000011170'].map(kit.readHeader)")
    assert [(head["fin"], head["opcode"], head["name"], head["masked"], head["lengthBits"]) for head in heads] == [
        *((1, 1, "TEXT", False, 7), (0, 1, "TEXT", True, 7), (1, 1, "TEXT", False, 16), (1, 10, "PONG", False, 64))
    ]
    assert (heads[1]["key"], heads[2]["rsv"], heads[2]["extended"], heads[3]["extended"]) == ("a1b2c3d4", [1, 0, 0], "012c", "0000000000011170")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("8105", "FIN:last RSV1: RSV2: RSV3: opcode:TEXT MASK: length:5 payload:68 69"),
        ("0985a1b2c3d4", "FIN:more RSV1: RSV2: RSV3: opcode:PING MASK: length:5 masking key:a1 b2 c3 d4 payload, masked:68 69"),
        ("827e1000", "FIN:last RSV1: RSV2: RSV3: opcode:BINARY MASK: length:126 = 16 bits extended length:4,096 payload:68 69"),
        ("827f0000000000011170", "FIN:last RSV1: RSV2: RSV3: opcode:BINARY MASK: length:127 = 64 bits extended length:70,000 payload:68 69"),
    ],
)
def test_the_fields_are_those_of_rfc_6455(run: Any, header: str, says: str) -> None:
    fields = run("frame", f"kit.frameFields('{header}', new Uint8Array([0x68, 0x69]))")
    assert " ".join(f"{field['name']}:{field['says']}" for field in fields) == says
    bits = "".join(field["bits"] for field in fields)
    assert int(bits, 2) == int(header + "6869", 16)


@pytest.mark.parametrize("per_row", [16, 32])
def test_the_picture_has_full_rows_and_long_fields_go_on_in_the_next(run: Any, per_row: int) -> None:
    rows = run("frame", f"kit.bitRows(kit.frameFields('82ff0000000000011170a1b2c3d4', new Uint8Array(8), {per_row}), {per_row})")
    assert {sum(len(part["bits"]) for part in row) for row in rows} == {per_row}
    assert [part["name"] for part in rows[1]] == ["extended length"] if per_row == 16 else ["extended length, continued"]
    assert rows[0][-1]["name"] == ("length" if per_row == 16 else "extended length")


def test_the_picture_says_all_of_it_to_those_who_listen(run: Any) -> None:
    picture, caption = run("frame", "kit.bitPicture('8105', new Uint8Array([1, 2, 3, 4, 5]), 5)")["children"]
    label = "The header bit by bit: FIN 1 (last), RSV1 0, RSV2 0, RSV3 0, opcode 0001 (TEXT), MASK 0, length 0000101 (5)"
    assert (picture["role"], picture["aria-label"], caption["text"]) == ("img", label, "and 3 more bytes of payload")


def test_masking_twice_gives_the_same_bytes_again(run: Any) -> None:
    script = "(() => { const key = [1, 2, 3, 4], once = kit.masked(new Uint8Array([5, 6, 7, 8, 9]), key); return [[...once], [...kit.masked(once, key)]]; })()"
    assert run("frame", script) == [[4, 4, 4, 12, 8], [5, 6, 7, 8, 9]]


def test_a_hex_dump_has_offset_bytes_and_ascii(run: Any) -> None:
    lines = run("frame", "kit.hexLines(Uint8Array.from({ length: 20 }, (_, index) => 60 + index * 4))")
    assert lines[0] == "000000  3c 40 44 48 4c 50 54 58  5c 60 64 68 6c 70 74 78  <@DHLPTX\\`dhlptx"
    assert lines[1] == f"000010  {'7c 80 84 88':<23}  {'':<23}  |..."
    assert run("frame", "kit.hexLines(new Uint8Array([0, 255]), 8)") == [f"000000  {'00 ff':<23}  .."]


ROW = {
    "key": "up 3",
    "kind": "text",
    "direction": "up",
    "opcode": "TEXT",
    "header": "8183a1b2c3d4",
    "size": 3,
    "text": "<b>",
    "client_seconds": 1,
    "client_entry": 3,
}
ROW |= {"message": 2, "fragment": 1, "last": False}


def test_a_row_says_what_it_is_and_whether_it_was_read(run: Any) -> None:
    asked = json.dumps(ROW)
    script = f"[{{}}, {{ended: true}}, {{stranger: true}}].map((state) => kit.rowSentence({asked}, state))"
    start = "client to server, TEXT, 3 B, message 2, fragment 1, <b>"
    assert run("frame", script) == [f"{start}, not yet read by the server", f"{start}, never read by the server", start]
    assert run("frame", f"kit.unreadWords({{...{asked}, server_entry: 4}}, {{}})") == ""


def test_a_row_is_made_of_text(run: Any) -> None:
    row = run("frame", f"kit.rowElement({json.dumps(ROW)}, {{}}, new Set(['up 3']))")
    assert row["role"] == "option"
    assert "kit-frame-found" in row["class"]
    assert [child["text"] for child in row["children"]][:3] == ["+1.000", "TEXT", "–"]


def test_flags_show_what_is_set(run: Any) -> None:
    assert run("frame", "kit.flagsOf({header: '8183a1b2c3d4'})") == [["FIN", True], ["RSV1", False], ["MASK", True]]
    assert run("frame", "kit.flagsOf({})") == []


def test_choices_of_direction_and_kind(run: Any) -> None:
    rows = [{"kind": "text", "direction": "up"}, {"kind": "control", "direction": "down"}, {"kind": "note", "direction": "here"}]
    asked = "[['all', 'all'], ['up', 'all'], ['all', 'control'], ['up', 'control']]"
    script = f"{asked}.map(([direction, kind]) => {json.dumps(rows)}.map((row) => kit.passes(row, {{direction, kind}})))"
    assert run("frame", script) == [[True, True, True], [True, False, True], [False, True, False], [False, False, False]]


def test_an_invalid_expression_is_explained_and_a_valid_one_is_not(run: Any) -> None:
    wrong, right = run("frame", "['a(', 'a+'].map(kit.regularProblem)")
    assert wrong.startswith("This is no regular expression: ")
    assert "switch .* off" in wrong
    assert right == ""


def test_a_tree_folds_and_counts(run: Any) -> None:
    node = {"is": "object", "text": "{ }", "count": 2, "more": 1, "inside": [["<a>", {"is": "number", "text": "2.50"}]]}
    tree = run("frame", f"kit.treeElement({json.dumps(node)})")
    assert (tree["tag"], tree["text"]) == ("details", "{ } 2 members<a>: 2.501 more are not in this tree")


def test_a_close_frame_is_put_into_words(run: Any) -> None:
    close = {"code": 1008, "name": "policy violation", "meaning": "the server does not allow this", "reason": "who?", "sent": True}
    assert run("frame", f"kit.closeElement({json.dumps(close)}).text") == "1008 policy violation: the server does not allow this. Reason: “who?”."
    assert "counts as 1005" in run("frame", f"kit.closeElement({json.dumps(close | {'sent': False})}).text")
