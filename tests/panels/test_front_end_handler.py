"""The pure helpers of HandlerPanel's front end, run under Node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.panels.test_front_end import node_path, run  # noqa: F401, the fixtures

MARK = {"section": "s", "line": 3, "role": "here", "tone": "plain", "numbers": [2], "more": 0, "text": "Ben's handler waits <b>", "since": [1.0], "after": ""}
MARK |= {"label": "connection 2, Ben: waits <b>"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "0.0 s"), (0.44, "0.4 s"), (8.24, "8.2 s"), (9.97, "10 s"), (11.4, "11 s"), (119.6, "1 min 59 s"), (200, "3 min 20 s")],
)
def test_a_duration_is_as_people_say_it(run: Any, seconds: float, words: str) -> None:  # noqa: F811
    assert run("handler", f"kit.duration({seconds})") == words


def test_several_times_are_told_from_the_shortest_to_the_longest(run: Any) -> None:  # noqa: F811
    assert run("handler", "[kit.timeWords([], 9), kit.timeWords([1], 9), kit.timeWords([1, 6], 9), kit.timeWords([1, 1.01], 9)]") == [
        *("", ", 8.0 s", ", 3.0 s to 8.0 s", ", 8.0 s")
    ]


def test_a_mark_is_text_with_a_label_for_who_cannot_see_it(run: Any) -> None:  # noqa: F811
    made = run("handler", f"kit.markElement({json.dumps(MARK)})")
    assert made["aria-label"] == "connection 2, Ben: waits <b>"
    assert made["text"] == "2Ben's handler waits <b>"
    assert "kit-c2" in made["class"]


def test_a_mark_stays_the_same_while_only_its_time_changes(run: Any) -> None:  # noqa: F811
    later, elsewhere = MARK | {"since": [5.0]}, MARK | {"line": 4}
    assert run("handler", f"[{json.dumps(later)}, {json.dumps(elsewhere)}].map((it) => kit.keyOf(it) === kit.keyOf({json.dumps(MARK)}))") == [True, False]


def test_the_mark_to_look_at_is_of_whoever_is_in_trouble_else_who_came_last(run: Any) -> None:  # noqa: F811
    marks = [MARK | {"since": [1.0]}, MARK | {"since": [1.0, 6.0]}, MARK | {"since": [3.0]}, MARK | {"role": "through", "since": []}]
    looked_at = "kit.newestOf({}.map((mark, element) => ({{ mark, element }}))) ?? null"
    assert run("handler", looked_at.format(json.dumps(marks))) == 1
    assert run("handler", looked_at.format(json.dumps([*marks, MARK | {"tone": "bad", "since": [0.5]}, MARK | {"tone": "warning"}]))) == 4
    assert run("handler", looked_at.format(json.dumps(marks[3:]))) is None


def test_the_source_is_text_in_coloured_pieces_with_its_own_line_numbers(run: Any) -> None:  # noqa: F811
    section = {"key": "s", "title": "chat", "path": "/ws", "where": "cell [7]", "first": 21, "note": ""}
    section["lines"] = [[["decorator", "@app"], ["", ".websocket(<b>)"]], [["keyword", "async"], ["", " def"]]]
    made = run("handler", f"kit.sectionElement({json.dumps(section)}, new Set()).element")
    heading, _, body = made["children"]
    assert (heading["tag"], heading["aria-expanded"], heading["text"]) == ("button", "true", "chat/wscell [7]")
    lines = body["children"][0]["children"]
    assert [line["aria-label"] for line in lines] == ["line 21", "line 22"]
    assert lines[0]["text"] == "21@app.websocket(<b>)\n"


def test_the_gutter_shows_who_is_here_first_and_how_many_more_there_are(run: Any) -> None:  # noqa: F811
    marks = [{"dataset": {"role": role}, "numbers": numbers, "more": more} for role, numbers, more in (("through", [1], 0), ("here", [2, 3], 4))]
    assert [badge["text"] for badge in run("handler", f"kit.gutterBadges({json.dumps(marks)})")] == ["2", "+6"]
    assert [badge["text"] for badge in run("handler", f"kit.gutterBadges({json.dumps(marks[:1])})")] == ["1"]
