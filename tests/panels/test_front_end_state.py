"""The pure helpers of StatePanel's front end, run under Node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.panels.test_front_end import node_path, run  # noqa: F401, the fixtures

MACHINES = [{"attribute": "client_state", "movedBy": "receive"}, {"attribute": "application_state", "movedBy": "send"}]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (None, "Solid arrows are possible now. The thick one will be the last move."),
        (["client_state", "CONNECTING", "CONNECTED"], "Last move, the thick arrow: a receive took client_state from CONNECTING to CONNECTED."),
        (["application_state", "CONNECTED", "CONNECTED"], "Last move, the thick arrow: a send, after which application_state is still CONNECTED."),
    ],
)
def test_the_last_move_is_told_without_a_word_that_could_mean_the_opposite(run: Any, last: Any, words: str) -> None:  # noqa: F811
    assert run("state", f"kit.lastWords({json.dumps(last)}, {json.dumps(MACHINES)})") == words
