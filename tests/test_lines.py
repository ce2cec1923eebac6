"""What a process writes past its handlers: shown up to a limit, and what is not shown is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kit.timeline import Timeline
from kit.workers.lines import LINES_A_SECOND, Output

Eventually = Callable[..., Any]


def told(timeline: Timeline, kind: str) -> list[str]:
    return [entry.text for entry in timeline.entries() if entry.kind == kind]


async def test_lines_beyond_the_limit_are_counted_and_told_although_no_other_line_follows(eventually: Eventually) -> None:
    timeline = Timeline()
    output = Output(timeline, "process 1", "stdout")
    for number in range(LINES_A_SECOND + 1_500):
        output.line(f"line {number}".encode())
    assert told(timeline, "print") == [f"line {number}" for number in range(LINES_A_SECOND)]
    assert await eventually(lambda: told(timeline, "notice")) == ["1,500 more lines that process 1 wrote are not shown"]
    output.line(b"calm again")
    assert told(timeline, "print")[-1] == "calm again"
    assert len(told(timeline, "notice")) == 1


async def test_what_a_process_wrote_too_much_in_its_last_second_is_told_at_its_end() -> None:
    timeline = Timeline()
    output = Output(timeline, "process 1", "stderr")
    for _ in range(LINES_A_SECOND + 1):
        output.line(b"again")
    output.say_what_is_missing()
    output.say_what_is_missing()
    assert told(timeline, "notice") == ["1 more line that process 1 wrote is not shown"]
