"""Frames: whatever the chunks, the same handshake and the same frames come out; the websockets library makes the samples."""

from __future__ import annotations

import random

import pytest
from websockets.frames import Close, Frame, Opcode

from kit.frames import CLOSE, FrameCutter, Pieces, close_payload, describe_frame, describe_request, describe_response, frame_bytes, payload_length
from kit.payload import PREVIEW_CHARACTERS, Payload

HEAD = b"GET /ws?room=1 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nCookie: a=b\r\n\r\n"
LENGTHS = [0, 1, 125, 126, 127, 4_095, 4_096, 65_535, 65_536, 200_000]


def frame(payload: bytes = b"hello", opcode: Opcode = Opcode.TEXT, *, mask: bool = False, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=mask)


def cut_in_chunks(stream: bytes, sizes: list[int] | int) -> tuple[bytes | None, list[bytes]]:
    """What a cutter makes of ``stream`` when it comes in chunks of these sizes, over and over."""
    cutter, head, frames, start, turn = FrameCutter(), None, [], 0, 0
    sizes = [sizes] if isinstance(sizes, int) else sizes
    while start < len(stream):
        chunk = stream[start : start + sizes[turn % len(sizes)]]
        start, turn = start + len(chunk), turn + 1
        if cutter.in_handshake:
            head = cutter.cut_head(chunk)
            chunk = b""
        if not cutter.in_handshake:
            frames += [bytes(piece) for piece in cutter.cut(chunk)]
    assert cutter.at_boundary
    return head, frames


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_frame_header_names_its_lengths(length: int, mask: bool) -> None:
    whole = frame(bytes(length), Opcode.BINARY, mask=mask)
    assert frame_bytes(whole) == len(whole)
    assert payload_length(whole) == length
    assert frame_bytes(b"ab" + whole, 2) == len(whole)


@pytest.mark.parametrize("length", [5, 126, 70_000])
def test_an_incomplete_header_has_no_length_yet(length: int) -> None:
    whole = frame(bytes(length), Opcode.BINARY, mask=True)
    assert frame_bytes(b"") is None
    assert frame_bytes(whole[:1]) is None
    if length >= 126:
        assert frame_bytes(whole[:3]) is None


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 16, 1_000, 1_000_000])
def test_any_chunking_gives_the_same_head_and_frames(chunk_bytes: int) -> None:
    frames = [frame(b"x" * length, mask=masked) for length in (0, 1, 125, 126, 5_000, 70_000) for masked in (False, True)]
    head, cut = cut_in_chunks(HEAD + b"".join(frames), chunk_bytes)
    assert head == HEAD.removesuffix(b"\r\n\r\n")
    assert cut == frames


def test_random_chunking_of_random_frames_loses_nothing() -> None:
    chance = random.Random(6455)
    for _ in range(50):
        frames = [frame(chance.randbytes(chance.choice(LENGTHS[:-1])), Opcode.BINARY, mask=chance.random() < 0.5) for _ in range(12)]
        sizes = [chance.choice([1, 2, 5, 100, 4_096, 70_000]) for _ in range(9)]
        assert cut_in_chunks(HEAD + b"".join(frames), sizes) == (HEAD[:-4], frames)


def test_frames_that_follow_the_head_in_one_chunk_are_not_lost() -> None:
    cutter = FrameCutter()
    assert cutter.cut_head(HEAD + frame() + frame()[:3]) == HEAD[:-4]
    assert [bytes(piece) for piece in cutter.cut(b"")] == [frame()]
    assert not cutter.at_boundary
    assert [bytes(piece) for piece in cutter.cut(frame()[3:])] == [frame()]
    assert cutter.at_boundary


def test_a_head_in_two_chunks_is_whole_only_after_its_blank_line() -> None:
    cutter = FrameCutter()
    assert cutter.cut_head(HEAD[:-2]) is None
    assert cutter.in_handshake
    assert cutter.cut_head(HEAD[-2:]) == HEAD[:-4]
    assert not cutter.in_handshake


def test_what_follows_a_refusals_head_is_its_body() -> None:
    cutter = FrameCutter()
    cutter.cut_head(b"HTTP/1.1 403 Forbidden\r\n\r\nno entry")
    assert cutter.rest() == b"no entry"
    assert cutter.rest() == b""


def test_a_long_frame_in_pieces_reads_like_its_bytes() -> None:
    data = bytes(range(256)) * 64
    pieces = Pieces([data[:10], data[10:5_000], data[5_000:]])
    assert len(pieces) == len(data)
    assert bytes(pieces) == data
    assert [pieces[:4], pieces[:1], pieces[:4_000], pieces[2:6], pieces[8:20]] == [data[:4], data[:1], data[:4_000], data[2:6], data[8:20]]


@pytest.mark.parametrize("mask", [False, True])
def test_a_text_frame_is_described_in_full(mask: bool) -> None:
    fields = describe_frame(frame("grüß dich 🌍".encode(), mask=mask), ("frame-in", 3))
    assert (fields["kind"], fields["ordinal"], fields["text"], fields["payload"]) == ("frame-in", 3, "grüß dich 🌍", "grüß dich 🌍")
    assert fields["size"] == len("grüß dich 🌍".encode())
    details = fields["details"]
    assert (details["opcode"], details["fin"], details["masked"], details["compressed"]) == ("TEXT", True, mask, False)
    assert ("mask_key" in details) == mask


def test_a_binary_frame_is_previewed_as_hex_and_kept_as_bytes() -> None:
    fields = describe_frame(frame(b"\x00\xff\x10", Opcode.BINARY, mask=True), ("frame-out", 1))
    assert (fields["text"], fields["payload"], fields["details"]["opcode"]) == ("00 ff 10", b"\x00\xff\x10", "BINARY")


@pytest.mark.parametrize(("opcode", "name"), [(Opcode.PING, "PING"), (Opcode.PONG, "PONG"), (Opcode.CONT, "CONT")])
def test_control_and_continuation_frames_have_their_names(opcode: Opcode, name: str) -> None:
    fields = describe_frame(frame(b"abc", opcode, fin=opcode is not Opcode.CONT), ("frame-in", None))
    assert (fields["details"]["opcode"], fields["details"]["fin"]) == (name, opcode is not Opcode.CONT)


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (4321, "grüß gott"), (1011, "x" * 123)])
def test_a_close_frame_tells_its_code_and_reason(code: int, reason: str, mask: bool) -> None:
    closing = frame(Close(code, reason).serialize(), Opcode.CLOSE, mask=mask)
    assert closing[0] & 15 == CLOSE
    assert close_payload(closing) == (code, reason)
    details = describe_frame(closing, ("frame-out", None))["details"]
    assert (details["opcode"], details["code"], details["reason"]) == ("CLOSE", code, reason)


def test_a_close_frame_without_a_code_counts_as_1005() -> None:
    """RFC 6455 §7.1.5."""
    assert close_payload(frame(b"", Opcode.CLOSE)) == (1005, "")


def test_a_close_reason_that_is_not_utf8_is_shown_all_the_same() -> None:
    assert close_payload(frame(b"\x03\xe8\xff", Opcode.CLOSE)) == (1000, "\ufffd")


def test_text_that_is_not_utf8_is_shown_with_replacements() -> None:
    assert describe_frame(frame(b"ab\xff"), ("frame-in", 1))["text"] == "ab\ufffd"


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("letter", ["x", "漢", "🌍"])
def test_a_frame_whose_payload_was_dropped_keeps_preview_and_true_size(mask: bool, letter: str) -> None:
    text = letter * 70_000
    whole = frame(text.encode(), mask=mask)
    kept = Payload(Pieces([whole[:1_000], whole[1_000:]]), len(whole))
    assert describe_frame(kept, ("frame-in", 1))["payload"] == text
    kept.drop()
    fields = describe_frame(kept, ("frame-in", 1))
    assert (fields["payload"], fields["size"], fields["text"]) == (None, len(text.encode()), letter * PREVIEW_CHARACTERS)


def test_a_long_frame_is_previewed_to_256_characters() -> None:
    text = describe_frame(frame(b"y" * 1_000), ("frame-in", 1))["text"]
    assert text == "y" * PREVIEW_CHARACTERS


def test_a_request_is_described_by_its_line_and_headers() -> None:
    fields = describe_request(HEAD[:-4], b"")
    assert (fields["kind"], fields["text"]) == ("request", "GET /ws?room=1")
    assert fields["details"]["headers"] == [("Host", "127.0.0.1:8000"), ("Cookie", "a=b")]


def test_a_response_is_described_by_its_status_headers_and_body() -> None:
    fields = describe_response(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2", b"no")
    assert (fields["kind"], fields["text"], fields["payload"], fields["details"]["status"]) == ("response", "403 Forbidden", b"no", 403)
    assert fields["details"]["headers"] == [("Content-Length", "2")]


def test_a_response_that_is_not_http_is_described_without_a_status() -> None:
    assert describe_response(b"SSH-2.0-OpenSSH", b"")["details"]["status"] is None
