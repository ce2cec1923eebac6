"""The fields of the handshake form: what `connect` takes becomes text, and text becomes what `connect` takes."""

from __future__ import annotations

from typing import Any

import pytest

from kit.client import connect
from kit.panels.handshake_form import EXAMPLES, FIELDS, FieldError, filled_in, merged, read, secrets

ROUND_TRIPS = [
    ("query", {"token": "abc", "room": "7"}, "token=abc&room=7"),
    ("query", {"tag": ["a", "b"], "x": ""}, "tag=a&tag=b&x="),
    ("query", {"q": "a&b=c+d%20 e", "a=b?/": "?/="}, "q=a%26b=c%2Bd%2520%20e&a%3Db%3F%2F=?/="),
    ("query", {"name": "Zoë 🌍", " ": "\n\u202e"}, "name=Zoë%20🌍&%20=%0A%E2%80%AE"),
    ("cookies", {"session": "abc", "theme": "dark"}, "session=abc; theme=dark"),
    ("cookies", {"prefs": '{"a":1, "b":"x=y"}', "empty": ""}, 'prefs={"a":1, "b":"x=y"}; empty='),
    ("headers", {"X-Name": "Ana", "Authorization": "Bearer a:b", "X-Empty": ""}, "X-Name: Ana\nAuthorization: Bearer a:b\nX-Empty: "),
    ("origin", "https://example.org:8443", "https://example.org:8443"),
    ("origin", "null", "null"),
    ("subprotocols", ["chat", "v2.chat"], "chat, v2.chat"),
]


@pytest.mark.parametrize(("field", "argument", "text"), ROUND_TRIPS)
def test_an_argument_becomes_text_and_the_same_argument_again(field: str, argument: Any, text: str) -> None:
    assert filled_in({field: argument}) == {**dict.fromkeys(FIELDS, ""), field: text}
    assert read({field: text}) == {field: argument}


@pytest.mark.parametrize(
    ("field", "text", "argument"),
    [
        ("query", " ?a=1 & b=2& ", {"a": "1", "b": "2"}),
        ("query", "a=x+y&a=%c3%bc&b=1&a=", {"a": ["x y", "ü", ""], "b": "1"}),
        ("query", "next=http://x/?a=1", {"next": "http://x/?a=1"}),
        ("cookies", "a=1;b = 2 ;", {"a": "1", "b": "2"}),
        ("headers", "\r\n X-A :1\r\n\r\nX-B:  two words \n", {"X-A": "1", "X-B": "two words"}),
        ("origin", " http://127.0.0.1:8000 ", "http://127.0.0.1:8000"),
        ("subprotocols", " chat,,superchat, ", ["chat", "superchat"]),
    ],
)
def test_text_may_be_typed_as_people_type_it(field: str, text: str, argument: Any) -> None:
    assert read({field: text}) == {field: argument}


@pytest.mark.parametrize(("field", "text"), [*EXAMPLES.items(), *((field, "") for field in FIELDS), ("headers", "X: \x80é\t!"), ("cookies", "a=ÿ")])
def test_what_can_be_read_is_what_connect_takes(field: str, text: str) -> None:
    connect("ws://127.0.0.1", **read({field: text}))


def test_an_empty_field_is_an_empty_argument_and_a_missing_one_is_none() -> None:
    assert read(dict.fromkeys(FIELDS, " ")) == {"query": {}, "cookies": {}, "headers": {}, "origin": "", "subprotocols": []}
    assert read({"path": "/ws", "cookies": "a=1"}) == {"cookies": {"a": "1"}}


@pytest.mark.parametrize(
    ("field", "text", "expected", "got", "fix"),
    [
        ("query", "abc", "name=value pairs with & between them", "abc", "token=abc&room=7"),
        ("query", "a=1&=2", "name=value pairs", "=2", "token=abc"),
        ("query", "/ws?token=x", "only what follows the ?", "/ws?token=x", "Write token=x; the path has a field of its own"),
        ("query", "/ws", "only what follows the ?", "/ws", "Write token=abc"),
        ("query", "a=100%", "two digits 0-9 or a-f after each %", "%", "Write %25"),
        ("query", "a%zz=1", "two digits", "%zz", "Write %25"),
        ("query", "a=%ff", "text in UTF-8", "%ff", "Write the characters themselves"),
        ("query", "a=\ud800", "text in UTF-8", "\\ud800", "Write the characters themselves"),
        ("cookies", "session", "name=value pairs with ; between them", "session", "session=abc; theme=dark"),
        ("cookies", "Cookie: a=1", "a name of letters", "Cookie: a", "without “Cookie:”"),
        ("cookies", "=1", "a name of letters", "=1", "Write only name=value"),
        ("cookies", "a=1, b=2", "; between two cookies", "a=1, b=2", "Write ; in place of the comma"),
        ("cookies", "a=1; a=2", "each name once", "a twice", "Leave one a out"),
        ("cookies", "a=€", "characters that HTTP headers can carry", "€", "percent-encoded"),
        ("cookies", "a=b\r\nX-Forged: 1", "characters that HTTP headers can carry", "\\r", "percent-encoded"),
        ("headers", "X-Name", "Name: value in each line", "X-Name", "X-Name: Ana"),
        ("headers", "X Name: Ana", "a name of letters", "X Name", "X-Name: Ana"),
        ("headers", ": Ana", "a name of letters", ": Ana", "X-Name: Ana"),
        ("headers", "X-A: 1\nx-a: 2", "each name once", "x-a twice", "x-a: one, two"),
        ("headers", "X-A: \x00", "characters that HTTP headers can carry", "\\x00", "percent-encoded"),
        ("origin", "example.org", "a scheme and a host, or null", "example.org", "https://example.org"),
        ("origin", "https://example.org/", "a scheme and a host, or null", "https://example.org/", "Write for example https://example.org."),
        ("origin", "http://me@host:1/x?y", "a scheme and a host, or null", "http://me@host:1/x?y", "Write for example http://host:1."),
        ("origin", "http://", "a scheme and a host, or null", "http://", "http://example.org"),
        ("origin", "http://€", "characters that HTTP headers can carry", "€", "percent-encoded"),
        ("subprotocols", "chat superchat", "names of letters", "chat superchat", "chat, superchat"),
        ("subprotocols", "chat, chat", "each name once", "chat twice", "Leave one chat out"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected_what_came_and_what_to_write(field: str, text: str, expected: str, got: str, fix: str) -> None:
    with pytest.raises(FieldError) as caught:
        read({field: text})
    words = str(caught.value)
    assert caught.value.field == field
    assert words.startswith(f"{field.capitalize()}: expected {expected}")
    assert f"but got “{got}”" in words
    assert fix in words
    assert words.endswith(". Nothing was connected.")


def test_what_is_given_replaces_the_rest_stays_and_empty_clears() -> None:
    had = {"query": {"a": "1"}, "cookies": {"b": "2"}, "origin": "null", "compression": False}
    assert merged(had, {"query": {"c": "3"}, "cookies": None, "origin": ""}) == {"query": {"c": "3"}, "compression": False}
    assert merged(had, {}) == had


def test_what_was_given_is_copied() -> None:
    cookies = {"a": "1"}
    handshake = merged({}, {"cookies": cookies, "subprotocols": iter(["chat"])})
    cookies.clear()
    assert handshake == {"cookies": {"a": "1"}, "subprotocols": ["chat"]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"query": "a=1"}, r"query expects a mapping such as \{'token': 'abc'\}, but got 'a=1'"),
        ({"cookies": "a=1"}, "cookies expects a mapping"),
        ({"headers": ["X-A: 1"]}, "headers expects a mapping"),
        ({"origin": 7}, "origin expects a text"),
        ({"subprotocols": "chat"}, r"Write: subprotocols=\['chat'\]"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        merged({}, given)


def test_secrets_are_the_values_whose_names_say_so() -> None:
    handshake = {"query": {"api_key": ["k1", "k2"], "room": "7"}, "cookies": {"session": "s", "theme": "dark"}, "headers": {"X-Token": "t", "X-Name": "Ana"}}
    assert secrets("/ws?password=p&page=2", handshake) == {"k1", "k2", "s", "t", "p"}
