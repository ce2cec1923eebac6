"""The pure helpers of HubPanel's front end, run under Node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.panels.test_front_end import node_path, run  # noqa: F401, the fixtures

MEMBER = {"id": "a-1", "name": "Ana <b>", "kind": "member", "waiting": 20, "capacity": 40, "waits": "20 of 40, 1.0 KiB", "dropped": "0", "policy": "block"}
MEMBER |= {"state": "behind", "tone": "warning", "reason": "", "ended": False, "gone": False}


@pytest.mark.parametrize(("waiting", "capacity", "percent"), [(0, 40, 0), (1, 1000, 3), (20, 40, 50), (40, 40, 100), (80, 40, 100)])
def test_a_bar_is_as_long_as_the_queue_is_full_and_never_longer(run: Any, waiting: int, capacity: int, percent: int) -> None:  # noqa: F811
    assert run("hub", f"kit.fullness({waiting}, {capacity})") == percent


def test_the_arrow_keys_stop_at_both_ends_and_other_keys_do_nothing(run: Any) -> None:  # noqa: F811
    keys = [(0, "ArrowDown"), (2, "ArrowDown"), (0, "ArrowUp"), (1, "Home"), (0, "End"), (1, "a")]
    assert run("hub", f"{json.dumps(keys)}.map(([index, key]) => kit.stepped(index, key, 3))") == [1, 2, 0, 0, 2, None]


def test_a_member_is_text_and_its_bar_says_its_numbers(run: Any) -> None:  # noqa: F811
    made = run("hub", f"kit.memberElement({json.dumps(MEMBER)})")
    assert made["text"] == "Ana <b>20 of 40, 1.0 KiB0blockbehind"
    meter = made["children"][1]["children"][0]["children"][0]
    assert (meter["role"], meter["aria-valuenow"], meter["aria-valuemax"]) == ("meter", "20", "40")
    assert meter["aria-label"] == "20 of at most 40 messages wait for Ana <b>"


def test_one_that_has_ended_says_why_instead_of_drawing_a_queue(run: Any) -> None:  # noqa: F811
    ended = MEMBER | {"ended": True, "state": "ended", "tone": "bad", "waits": "–", "waiting": 0, "reason": "too slow: 40 messages were waiting"}
    made = run("hub", f"kit.memberElement({json.dumps(ended)})")
    assert made["text"].endswith("endedtoo slow: 40 messages were waiting")
    assert "kit-hub-ended" in made["class"]
    assert "meter" not in json.dumps(made)


def test_one_that_is_elsewhere_has_no_queue_to_show(run: Any) -> None:  # noqa: F811
    away = MEMBER | {"kind": "elsewhere", "state": "elsewhere", "tone": "muted", "waits": "–", "dropped": "–", "policy": "–", "waiting": 0, "capacity": 0}
    made = run("hub", f"kit.memberElement({json.dumps(away)})")
    assert made["text"] == "Ana <b>–––elsewhere"
    assert "kit-hub-away" in made["class"]
    assert "meter" not in json.dumps(made)


def test_a_room_is_a_button_that_says_whether_it_is_chosen(run: Any) -> None:  # noqa: F811
    row = {"id": "lobby", "name": "lobby", "counts": [["member", "1"], ["gaps", "0"]], "chosen": True}
    made = run("hub", f"kit.roomElement({json.dumps(row)}, () => null)")
    button = made["children"][0]["children"][0]
    assert (button["tag"], button["aria-pressed"], button["text"]) == ("button", "true", "lobby")
    assert [cell["data-label"] for cell in made["children"][1:]] == ["member", "gaps"]
