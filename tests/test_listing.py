"""A function's source as its reader wrote it, whatever it is wrapped in, in pieces that can be coloured."""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Callable
from typing import Any

import pytest

from kit.listing import code_of, listing_of
from kit.source import source_line


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


@passing_on
def decorated(count: int) -> str:
    """One line,
    and another."""
    return f"{count} times" if count else "#never"  # a remark


class Callback:
    limit = 3

    def __call__(self) -> int:
        return self.limit

    def method(self) -> int:
        def inner() -> int:
            return self.limit

        return inner()


def text_of(thing: Any) -> str:
    return "".join("".join(text for _, text in pieces) + "\n" for pieces in listing_of(thing).lines)


@pytest.mark.parametrize(
    ("thing", "title", "first", "last"),
    [
        (decorated, "decorated", "@passing_on", '    return f"{count} times" if count else "#never"  # a remark'),
        (functools.partial(decorated, 1), "decorated", "@passing_on", '    return f"{count} times" if count else "#never"  # a remark'),
        (Callback(), "Callback.__call__", "    def __call__(self) -> int:", "        return self.limit"),
        (Callback().method, "Callback.method", "    def method(self) -> int:", "        return inner()"),
        (Callback, "Callback", "class Callback:", "        return inner()"),
        (
            next(filter(inspect.iscode, Callback.method.__code__.co_consts)),
            "Callback.method.inner",
            "        def inner() -> int:",
            "            return self.limit",
        ),
    ],
)
def test_the_source_is_found_from_its_first_decorator_to_its_last_line(thing: Any, title: str, first: str, last: str) -> None:
    listing, lines = listing_of(thing), text_of(thing).splitlines()
    assert (listing.title, listing.where, lines[0], lines[-1]) == (title, "test_listing.py", first, last)
    assert inspect.getsource(inspect.getmodule(decorated)).splitlines()[listing.first_line - 1] == first


def test_pieces_have_kinds_and_make_up_the_line() -> None:
    listing = listing_of(decorated)
    assert listing.lines[0] == (("decorator", "@"), ("decorator", "passing_on"))
    assert listing.lines[1][:3] == (("keyword", "def"), ("", " "), ("name", "decorated"))
    assert listing.lines[2][1] == ("string", '"""One line,')
    assert listing.lines[3] == (("string", '    and another."""'),)
    assert {kind for kind, text in listing.lines[4] if text.strip()} >= {"keyword", "string", "comment"}
    assert listing.head_line == listing.first_line + 1


def test_it_knows_which_lines_are_its_own() -> None:
    listing, code = listing_of(decorated), code_of(decorated)
    inside = [listing.holds(code, listing.first_line + offset) for offset in (-1, 0, 4, 5)]
    assert inside == [False, True, True, False]


def test_what_has_no_source_says_so() -> None:
    made: dict[str, Any] = {}
    exec("def made():\n    pass\n", made)
    assert (listing_of(made["made"]).lines, listing_of(made["made"]).note[:38]) == ((), "Python keeps no source for this functi")
    assert listing_of(print).note.startswith("This is written in C")


def test_what_has_no_source_is_not_shown_with_that_of_another_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13.0 keeps the text of ``python -c`` under the name that it gives to whatever is executed from a string."""
    monkeypatch.setitem(linecache.cache, "<string>", (1, None, ["import another\n", "another.run()\n"], "<string>"))
    made: dict[str, Any] = {}
    exec("def made():\n    pass\n", made)
    assert listing_of(made["made"]).lines == ()
    assert source_line(made["made"].__code__.co_filename, 1) == ""


def test_characters_that_hide_others_are_made_visible() -> None:
    lines = ["def shown():\n", "    return '\u202e'\n"]
    linecache.cache["<a cell>"] = (1, None, lines, "<a cell>")
    made: dict[str, Any] = {}
    exec(compile("".join(lines), "<a cell>", "exec"), made)
    assert text_of(made["shown"]).splitlines()[1] == "    return '\\u202e'"
    del linecache.cache["<a cell>"]
