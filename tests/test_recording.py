"""Recordings: what is written is read back the same, secrets are not in it, and whatever else comes as a file is refused by its line."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kit import Server, connect, serve
from kit import recording as recording_module
from kit.closing import explain
from kit.connection import Connection
from kit.conversation import Conversation
from kit.errors import HandshakeRefused
from kit.recording import FILE_LIMIT_BYTES, RecordingError, read_recording, safe_entries, write_recording
from kit.timeline import Entry, Timeline
from tests.apps import app

HEAD = {"format": "websockets-from-both-sides", "version": 1, "began_at": 0, "entries_left_out": 0, "payloads_left_out": 0}
ENTRY = {"number": 1, "at_seconds": 0.5, "connection": None, "side": "server", "kind": "notice", "text": "hi", "size": 2, "payload": "hi"}
ENTRY |= {"ordinal": None, "details": {}}
FRAME = {"opcode": "TEXT", "fin": True, "masked": False, "compressed": False, "header": "8102"}
SECRETS = ["s3cr3t-token", "s3cr3t-cookie", "s3cr3t-bearer", "s3cr3t-setcookie", "s3cr3t-password", "s3cr3t-key"]


def file_of(*values: Any) -> str:
    return "".join(f"{value if isinstance(value, str) else json.dumps(value)}\n" for value in (HEAD, *values))


def secret_fields(_payload: object, _more: object) -> dict:
    headers = [
        ("Host", "127.0.0.1"),
        ("Cookie", "theme=dark; id=s3cr3t-cookie"),
        ("authorization", "Bearer s3cr3t-bearer"),
        ("set-cookie", "id=s3cr3t-setcookie; HttpOnly"),
        ("X-API-Key", "s3cr3t-key"),
        ("referer", "http://127.0.0.1/page?token=s3cr3t-token&page=2"),
    ]
    return {
        "kind": "request",
        "text": "GET /ws?room=1&token=s3cr3t-token",
        "payload": '{"user": "ana", "password": "s3cr3t-password"}',
        "details": {"headers": headers, "start_line": "GET /ws?access_token=s3cr3t-token HTTP/1.1"},
    }


# Writing.


def test_secrets_are_shown_live_and_blotted_out_in_a_recording() -> None:
    timeline = Timeline()
    timeline.recorder(None, "server", secret_fields)()
    live = str(timeline.entries()[0])
    assert [secret for secret in SECRETS if secret not in live] == []
    written = write_recording(timeline)
    assert [secret for secret in SECRETS if secret in written] == []
    assert all(harmless in written for harmless in ("room=1", "page=2", "127.0.0.1", "ana", "HTTP/1.1"))


def test_the_names_and_fates_of_connections_are_redacted_too() -> None:
    timeline = Timeline()
    connection = timeline.open_connection("address", name="token=abc123", path="/password=abc123")
    connection.handler_error, connection.meant = "ValueError: secret=abc123", (4001, "session=abc123")
    connection.close_frames.append(("client", 1000, "jwt=abc123"))
    assert "abc123" not in write_recording(timeline)


def test_a_secret_that_is_spread_over_fragments_is_not_written() -> None:
    timeline = Timeline()
    connection = timeline.open_connection("address")
    for part, fin, opcode, ordinal in (
        (b'{"password": "s3c', False, "TEXT", 1),
        (b'r3t"}', True, "CONT", 1),
        (b"harm", False, "TEXT", 2),
        (b"less", True, "CONT", 2),
    ):
        fields = {"kind": "frame-out", "text": part.decode(), "size": len(part), "payload": part, "ordinal": ordinal}
        fields["details"] = {**FRAME, "opcode": opcode, "fin": fin}
        timeline.recorder(connection, "client", lambda _payload, fields: fields)(b"", fields)
    written = read_recording(write_recording(timeline)).entries()
    assert [(entry.text, entry.payload) for entry in written] == [("", None), ("", None), ("harm", b"harm"), ("less", b"less")]


def test_a_recording_is_json_lines_with_a_head_then_connections_then_entries() -> None:
    timeline = Timeline()
    connection = timeline.open_connection("address", name="Ana")
    timeline.note("two\nlines \u2028 and \x00", connection=connection, what="notice")
    timeline.recorder(connection, "client", lambda payload, more: {"kind": "print", "text": "00 ff", "size": 2, "payload": payload})(b"\x00\xff")
    head, ana, note, printed = map(json.loads, write_recording(timeline).splitlines())
    assert (head["format"], head["version"]) == ("websockets-from-both-sides", 1)
    assert (ana["connection"]["number"], ana["connection"]["name"]) == (1, "Ana")
    assert (note["entry"]["number"], note["entry"]["text"], note["entry"]["connection"]) == (1, "two\nlines \u2028 and \x00", 1)
    assert printed["entry"]["payload"] == {"hex": "00ff"}
    assert write_recording(timeline).isascii()


def test_details_that_json_does_not_have_become_text() -> None:
    timeline = Timeline()
    timeline.note("odd", where=Path("/x"), ratio=float("nan"), huge=2**70, both=(1, b"b"), deep=[[[[[[[[[[1]]]]]]]]]])
    (entry,) = read_recording(write_recording(timeline)).entries()
    assert (entry.details["where"], entry.details["ratio"], entry.details["huge"], entry.details["both"]) == ("/x", "nan", str(2**70), [1, "b'b'"])


def test_what_does_not_fit_is_left_out_oldest_first_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_module, "PAYLOADS_LIMIT_CHARACTERS", 2_000)
    monkeypatch.setattr(recording_module, "_WRITTEN_LIMIT_CHARACTERS", 6_000)
    timeline = Timeline(entries_limit=50)
    for number in range(60):
        timeline.note(f"{number}" * 50)
    text = write_recording(timeline)
    head, entries = json.loads(text.splitlines()[0]), read_recording(text).entries()
    assert len(text) < 6_500
    assert entries[-1].number == 60
    assert head["entries_left_out"] == 60 - len(entries) > 10
    assert head["payloads_left_out"] == len([entry for entry in entries if entry.payload is None]) > 0
    assert entries[-1].payload
    assert entries[0].payload is None


# The round trip.


async def test_what_both_sides_really_did_is_read_back_the_same(eventually: Callable) -> None:
    async with serve(app, port=0, compression=True) as server:
        async with connect(server, "/ws?token=s3cr3t", name="Ana", compression=True, cookies={"session": "s3cr3t"}) as client:
            await client.send_text("grüß dich 🌍" * 100)
            await client.send_bytes(bytes(range(256)) * 300)
            await client.receive_text(timeout=5)
            await client.receive_bytes(timeout=5)
        for path in ("/refuse/http", "/refuse/denial", "/refuse/closing", "/refuse/raising"):
            with pytest.raises(HandshakeRefused):
                await connect(server, path)
        async with connect(server, "/end/raising"):
            pass
        await eventually(lambda: len(server.timeline.connections) == 6 and not any(connection.open for connection in server.timeline.connections))
    timeline = server.timeline
    assert {entry.kind for entry in timeline.entries()} >= {
        "request",
        "response",
        "frame-in",
        "frame-out",
        "asgi-send",
        "asgi-receive",
        "error",
        "end",
        "notice",
    }
    text = write_recording(timeline)
    again = read_recording(text)
    assert again.entries() == [as_read(entry) for entry in safe_entries(timeline.entries())]
    assert [str(explain(connection)) for connection in again.connections] == [str(explain(connection)) for connection in timeline.connections]
    assert [str(connection) for connection in again.connections] == [str(connection) for connection in timeline.connections]
    assert write_recording(again) == text
    assert again.statistics().entries == len(again.entries())
    fold = Conversation()
    fold.feed(again.entries())
    assert any(row.client == "connected" for row in fold.rows)


def as_read(entry: Entry) -> Entry:
    """An Entry whose details have been through JSON, which knows no tuples but in headers."""
    details = json.loads(json.dumps(dict(entry.details)))
    if "headers" in details:
        details["headers"] = [tuple(pair) for pair in details["headers"]]
    return Entry(**{name: getattr(entry, name) for name in Entry.__slots__} | {"details": details})


@pytest.mark.parametrize("seed", range(20))
def test_any_entries_come_back_the_same(seed: int) -> None:
    """A property: entries, written and read, are the same redacted Entries."""
    chance = random.Random(seed)
    alphabet = 'ab \x00\n\r\u2028\ud83d漢🌍\u202e"\\=:token'
    text = lambda: "".join(chance.choice(alphabet) for _ in range(chance.randrange(40)))  # noqa: E731
    connections = [Connection(number, name=text(), path=text(), close_frames=[("client", 1000, text())]) for number in range(1, 4)]
    first, entries = chance.randrange(1, 1_000), []
    for index in range(60):
        kind = chance.choice(["frame-in", "print", "error", "notice", "fault", "log", "hub"])
        payload = chance.choice([None, text(), chance.randbytes(chance.randrange(50))])
        details = {"frame-in": FRAME, "hub": {"what": "publish", "room": text(), "binary": False}}.get(kind, {"lines": [text()], "n": chance.random()})
        number = chance.choice([None, 1, 2, 3, 99])
        entries.append(Entry(first + index, chance.random() * 1e5, number, chance.choice(["client", "server"]), kind, text(), 7, payload, None, details))
    timeline = Timeline.restored(1.25, connections, entries)
    again = read_recording(write_recording(timeline))
    assert again.entries() == [entry.redacted() for entry in entries]
    assert (again.began_at, len(again.connections), again.entry(first), again.last_number) == (1.25, 3, again.entries()[0], first + 59)
    assert again.entries(since=first + 57) == again.entries()[-2:]
    assert again.entries(connection=2) == [entry for entry in again.entries() if entry.connection == 2]


async def test_text_bytes_and_files_are_read_alike(server: Server, tmp_path: Path) -> None:
    text = write_recording(server.timeline)
    (tmp_path / "live.jsonl").write_text(text, "utf-8")
    sources = [text, text.encode(), tmp_path / "live.jsonl", str(tmp_path / "live.jsonl"), "\ufeff" + text, text.replace("\n", "\r\n")]
    assert [read_recording(source).entries() == server.timeline.entries() for source in sources] == [True] * 6


# Whatever else may come as a file.


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("{}", 1, '"format": "websockets-from-both-sides"'),
        (json.dumps(HEAD | {"version": 2}), 1, "expected version 1, got 2"),
        (json.dumps(HEAD | {"version": True}), 1, "expected version 1"),
        (json.dumps(HEAD | {"more": 1}), 1, "with the fields format"),
        (file_of('{"entry": {"numb'), 2, 'expected a JSON object, got \'{"entry": {"numb'),
        (file_of("[1]"), 2, "expected a JSON object"),
        (file_of("x" * 500), 2, "…"),
        (file_of({"what": 1}), 2, '"connection" or "entry" alone'),
        (file_of({"entry": ENTRY | {"more": 1}}), 2, "with the fields number"),
        (file_of({"entry": []}), 2, "an Entry to be an object"),
        (file_of({"entry": ENTRY | {"at_seconds": float("nan")}}), 2, "got NaN, which JSON does not have"),
        (file_of('{"entry": {"number": 1e999}}'), 2, "with the fields"),
        (file_of(json.dumps({"entry": ENTRY}).replace("0.5", "1e999")), 2, "at_seconds to be seconds, 0 or more"),
        (file_of(json.dumps({"entry": ENTRY}).replace("0.5", "-1")), 2, "at_seconds"),
        (file_of({"entry": ENTRY | {"size": 10**30}}), 2, "size to be a whole number"),
        (file_of(json.dumps({"entry": ENTRY}).replace(": 2,", f": {'9' * 5000},")), 2, "expected a JSON object"),
        (file_of({"entry": ENTRY | {"number": True}}), 2, "number to be"),
        (file_of({"entry": ENTRY | {"number": "1"}}), 2, "number to be a whole number, 0 or more, got '1'"),
        (file_of({"entry": ENTRY | {"side": "middle"}}), 2, 'side to be "client" or "server", got'),
        (file_of({"entry": ENTRY | {"side": []}}), 2, "side to be"),
        (file_of({"entry": ENTRY | {"kind": "frame"}}), 2, "kind to be a kind of Entry that this kit knows"),
        (file_of({"entry": ENTRY | {"kind": {}}}), 2, "kind to be"),
        (file_of({"entry": ENTRY | {"payload": {"hex": "0g"}}}), 2, "payload to be"),
        (file_of({"entry": ENTRY | {"payload": 7}}), 2, "payload to be"),
        (file_of({"entry": ENTRY | {"details": {"a": [[[[[[[[[[]]]]]]]]]]}}}), 2, "nested deeply"),
        (file_of({"entry": ENTRY | {"kind": "frame-in"}}), 2, "opcode, fin, masked, compressed, header in the details of a frame-in"),
        (file_of({"entry": ENTRY | {"kind": "frame-in", "details": FRAME | {"header": "81"}}}), 2, "header to be the hexadecimal digits"),
        (file_of({"entry": ENTRY | {"kind": "frame-in", "details": FRAME | {"opcode": "CLOSE"}}}), 2, "code, reason in the details"),
        (file_of({"entry": ENTRY | {"kind": "request", "details": {"start_line": "", "headers": [["a"]]}}}), 2, "headers to be pairs of texts"),
        (file_of({"entry": ENTRY | {"details": {"what": []}}}), 2, "what to be text"),
        (file_of({"entry": ENTRY}, {"entry": ENTRY | {"number": 3}}), 3, "expected the Entry numbered 2, got 3. Lines are missing"),
        (file_of({"connection": {"number": 1}}), 2, "a connection with the fields"),
        (file_of('{"entry": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"), 2, "nested too deeply"),
    ],
)
def test_whatever_is_no_recording_is_refused_by_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(RecordingError) as refused:
        read_recording(text)
    assert refused.value.line == line
    assert f"line {line}: " in str(refused.value)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 700


def test_binary_garbage_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="line 3: expected UTF-8 text, got the byte 0xff"):
        read_recording(f"{json.dumps(HEAD)}\n\n".encode() + b"\xff\xfe")
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(10_000))
    with pytest.raises(RecordingError):
        read_recording(tmp_path / "noise")


def test_a_file_of_a_million_lines_or_of_64_mib_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="line 100001: expected at most 100,000 lines"):
        read_recording(file_of() + "{}\n" * 1_000_000)
    huge = tmp_path / "huge.jsonl"
    with huge.open("wb") as file:
        os.truncate(file.fileno(), FILE_LIMIT_BYTES * 4)
    with pytest.raises(RecordingError, match="expected at most 67,108,864 bytes"):
        read_recording(huge)


@pytest.mark.parametrize("source", ["", "   \n", "no such file", "\x00", "/dev/zero", "."])
def test_what_is_neither_a_file_nor_a_recording_is_said_to_be_none(source: str) -> None:
    with pytest.raises(RecordingError, match=r"Open a file that|Check its name"):
        read_recording(source)


def test_lone_surrogates_survive() -> None:
    """A handler may print what is not valid Unicode; a recording of it must still be readable."""
    timeline = Timeline()
    timeline.note("half a pair: \ud83d")
    assert read_recording(write_recording(timeline)).entries()[0].text == "half a pair: \ud83d"


def test_a_restored_timeline_says_that_it_records_nothing() -> None:
    restored = read_recording(file_of({"entry": ENTRY | {"number": 41}}))
    assert (restored.recording, restored.statistics().entries_dropped, restored.last_number) == (False, 40, 41)


@pytest.fixture
async def server() -> Any:
    async with serve(app, port=0) as serving:
        yield serving


def test_a_recording_says_of_a_process_only_where_there_is_one_and_older_ones_still_open() -> None:
    timeline = Timeline()
    timeline.open_connection("here", name="Ana")
    timeline.open_connection("there", name="Ben").process = "process 2"
    lines = [json.loads(line)["connection"] for line in write_recording(timeline).splitlines()[1:]]
    assert ["process" in line for line in lines] == [False, True]
    assert [connection.process for connection in read_recording(write_recording(timeline)).connections] == [None, "process 2"]
