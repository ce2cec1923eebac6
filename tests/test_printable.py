"""Text from the wire, made safe to look at."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest

from kit.printable import human_bytes, quoted, visible

BIDI = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize("text", ["", "hello", "grüß dich 🌍", "日本語", "שלום", "नमस्ते", "e\u0301", "<img src=x onerror=alert(1)>", "a \\x1b b"])
def test_ordinary_text_of_any_language_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\r\nc", "a\\tb\\r\\nc"),
        ("\x00\x1b[31m\x7f\x85", "\\x00\\x1b[31m\\x7f\\x85"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028break", "line\\u2028break"),
        ("\ud800 alone", "\\ud800 alone"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_what_hides_or_reorders_becomes_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_what_may_stay_stays() -> None:
    assert visible("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_a_tower_of_combining_marks_is_cut_and_counted() -> None:
    assert visible("a" + "\u0301" * 10_000 + "b") == "a" + "\u0301" * 4 + "[9,996 more combining marks]b"
    assert visible("a" + "\u0301" * 4) == "a" + "\u0301" * 4


def test_no_character_is_left_that_cannot_be_seen() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDI:
            assert visible(character).isascii(), f"U+{code:04X}"
            assert visible(character).isprintable(), f"U+{code:04X}"


def test_whatever_comes_it_is_printable_short_and_encodable() -> None:
    source = random.Random(2)
    alphabet = [*"ab<>&\"'\\", *BIDI, "\x00", "\x1b", "\n", "\u0301", "\u0489", "\ufe0f", "\ud83c", "🌍", "é", "\U000e0041"]
    for _ in range(2_000):
        text = "".join(source.choices(alphabet, k=source.randrange(60)))
        shown = visible(text)
        shown.encode("utf-8")
        assert not set(shown) & set(BIDI + "\x00\x1b\n\ud83c\U000e0041")
        assert len(shown) <= 30 * len(text)
        assert visible(shown) == shown, "what is safe stays as it is"


def test_a_quote_is_one_line_of_bounded_length() -> None:
    assert quoted("hello") == "“hello”"
    assert quoted("a\nb") == "“a\\nb”"
    assert quoted("x" * 60) == f"“{'x' * 60}”"
    assert quoted("x" * 61) == f"“{'x' * 60}…”"
    assert len(quoted("\u202e" * 1_000_000)) < 100


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (4 * 2**20, "4.0 MiB"), (2**40, "1048576.0 MiB")]
)
def test_sizes_are_said_as_people_say_them(size: int, words: str) -> None:
    assert human_bytes(size) == words
