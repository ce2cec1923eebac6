"""Which lines are the reader's own: the ones that errors and blocked loops are explained with."""

from __future__ import annotations

import asyncio
import json
import sys
from types import TracebackType

import pytest
import uvicorn

import kit
from kit.source import innermost_place, is_readers, readers_lines


def readers_function_that_fails_in_a_library() -> None:
    json.loads("{")  # the reader's line


def traceback_of(function: object) -> TracebackType | None:
    try:
        function()
    except Exception as error:
        return error.__traceback__
    raise AssertionError("it did not fail")


def test_libraries_the_kit_and_made_up_files_are_not_the_readers() -> None:
    not_readers = [json.__file__, asyncio.__file__, uvicorn.__file__, kit.__file__, "<frozen importlib._bootstrap>", "<string>"]
    assert [filename for filename in not_readers if is_readers(filename)] == []


def test_scripts_and_notebook_cells_are_the_readers() -> None:
    assert is_readers(__file__)
    assert is_readers("/srv/ana/main.py")
    assert is_readers("/tmp/ipykernel_4711/1234567.py")
    assert is_readers("<ipython-input-7-abcdef>")


def test_only_the_readers_lines_of_a_traceback_are_kept() -> None:
    places = readers_lines(traceback_of(readers_function_that_fails_in_a_library))
    assert [place.function for place in places] == ["traceback_of", "readers_function_that_fails_in_a_library"]
    assert places[-1].code == 'json.loads("{")  # the reader\'s line'
    assert str(places[-1]).startswith(f"test_source.py, line {places[-1].line}, in readers_function_that_fails_in_a_library: json.loads")


def test_no_traceback_has_no_lines() -> None:
    assert readers_lines(None) == []


def test_the_innermost_line_of_the_readers_is_found_under_library_frames() -> None:
    places = []

    class Watching(str):
        __slots__ = ()

        def __str__(self) -> str:
            places.append(innermost_place(sys._getframe()))
            return "watched"

    "".join(map(str, [Watching("x")]))
    assert (places[0].function, places[0].code) == ("__str__", "places.append(innermost_place(sys._getframe()))")


def test_a_library_that_works_for_the_reader_is_shown_at_the_readers_line() -> None:
    places = []

    def look_from_inside_json(pairs: object) -> None:
        del pairs
        frame = sys._getframe().f_back  # json's own frame
        places.append(innermost_place(frame))

    json.loads('{"a": 1}', object_pairs_hook=look_from_inside_json)  # this line
    assert places[0].code.endswith("# this line")


def test_a_stack_without_a_line_of_the_readers_gives_its_innermost_line() -> None:
    frame = sys._getframe()
    while frame is not None and is_readers(frame.f_code.co_filename):
        frame = frame.f_back
    while frame is not None and frame.f_back is not None:  # pytest's outermost frames: its script counts as a reader's
        frame = frame.f_back
    assert innermost_place(frame) is not None


def test_no_frame_has_no_place() -> None:
    assert innermost_place(None) is None


@pytest.mark.parametrize("attribute", ["filename", "line", "function", "code"])
def test_a_place_is_a_plain_value(attribute: str) -> None:
    place = readers_lines(traceback_of(readers_function_that_fails_in_a_library))[-1]
    with pytest.raises(AttributeError):
        setattr(place, attribute, None)
    assert place.cell == "test_source.py"
