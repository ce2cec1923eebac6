"""05_beyond_one_process: a list is cut in two by two processes, a hub is not; a killed broker loses nothing, and what is lost is said."""

from __future__ import annotations

import re

import pytest

from kit.services import PrivatePostgres, PrivateRedis
from tests.notebooks.execution import ROOT, Run, printed, read

pytestmark = pytest.mark.broker
NOTEBOOK = ROOT / "notebooks/05_beyond_one_process.ipynb"
QUESTIONS = {
    "what Ben heard": "[entry.text for entry in hub_server.timeline.entries(connection=people['Ben'].client.number)"
    " if (entry.side, entry.kind, entry.details.get('opcode')) == ('client', 'frame-in', 'TEXT')]",
}
AVAILABLE = [kind for kind in (PrivateRedis, PrivatePostgres) if kind.missing() is None]
EVERYBODY = [f"Client #{n} in process {1 + (n - 1) % 2} heard 'says: hello'" for n in (1, 2, 3, 4)]
HALF = [line if n % 2 else f"Client #{n} in process 2 heard nothing" for n, line in enumerate(EVERYBODY, 1)]
needs_a_service = pytest.mark.skipif(not AVAILABLE, reason=PrivateRedis.missing() or "")


def test_it_has_32_to_42_cells() -> None:
    assert 32 <= len(read(NOTEBOOK).cells) <= 42


def test_two_processes_are_started_and_each_has_its_share(run: Run) -> None:
    assert re.fullmatch(r"process 1 has the process id \d+\nprocess 2 has the process id \d+\n", run.printed_by("for process in chat_server.processes"))


def test_a_list_in_memory_is_cut_in_two(run: Run) -> None:
    assert run.printed_by("async def who_hears(server)").splitlines() == HALF


def test_a_hub_in_memory_too_and_a_broker_joins_them(run: Run) -> None:
    first, *rest = run.printed_by("async def who_hears_with").splitlines()
    assert [first, *rest[:4]] == ["memory://", *HALF]
    assert rest[4].startswith("local://lesson-")
    assert rest[5:] == EVERYBODY


def test_the_notebook_joins_as_a_third_process_and_sees_who_is_there(run: Run) -> None:
    said = run.printed_by('"hello from the notebook"').splitlines()
    assert said[:2] == ["Ana is in process 1", "Ben is in process 2"]
    assert [re.search(r"data='([^']*)', epoch='\w+', offset=(\d)", line).groups() for line in said[3:5]] == [
        ("hello from the notebook", "1"),
        ("Ana says: hello from Ana", "2"),
    ]
    assert said[2] == "in the room: ['Ana', 'Ben']"
    assert run.answers["what Ben heard"] == ["hello from the notebook", "Ana says: hello from Ana"]


def test_every_service_that_is_installed_joins_them_and_one_that_is_not_says_how(run: Run) -> None:
    started = [line for line in run.printed_by("for service in (PrivateRedis(), PrivatePostgres())").splitlines() if ":" in line]
    assert [line.startswith("running: ") for line in started] == [kind in AVAILABLE for kind in (PrivateRedis, PrivatePostgres)]
    assert [line for line in run.printed_by("who_hears_with(service.url)").splitlines() if "Client" in line] == EVERYBODY * len(AVAILABLE)
    assert "@" not in printed(run.everything), "no password is printed"


def test_the_way_through_each_broker_is_measured(run: Run) -> None:
    measured = [line.split()[0] for line in run.printed_by("async def median_ms").splitlines()]
    assert measured == ["local", *(kind.__name__.removeprefix("Private").lower().replace("postgres", "postgresql") for kind in AVAILABLE)]


@needs_a_service
def test_a_broker_that_is_killed_and_comes_back_loses_nothing(run: Run) -> None:
    said = run.printed_by("await survive(watching").splitlines()
    assert said == ["without its broker the hub is reconnecting", f"Ana heard {list(range(20))}"]


def test_what_was_really_lost_is_a_gap_in_its_place(run: Run) -> None:
    one, gap, two = run.printed_by('-gap"').splitlines()
    assert (one[:7], gap[:4], two[:7]) == ("Message", "Gap(", "Message")
    assert two.endswith("offset=1)")
    assert re.search("epoch='[^']*'", one)[0] != re.search("epoch='[^']*'", two)[0]


def test_each_policy_lets_somebody_else_pay(run: Run) -> None:
    said = run.printed_by("await publish_20_mb(reader)").splitlines()
    assert [said[0], said[4], said[8]] == ["disconnect", "drop_oldest", "block"]
    disconnected, dropped, blocked = (list(map(int, re.findall(r"\d+", line))) for line in (said[2], said[6], said[10]))
    assert (disconnected[0], disconnected[-1] < 299, len(disconnected)) == (0, True, 2), "a beginning without a hole"
    assert (dropped[0], dropped[-2:], len(dropped)) == (0, [250, 299], 4), "a beginning, a jump, and the newest fifty"
    assert (blocked[0], blocked[-1] < 299, len(blocked)) == (0, True, 2)
    assert [line.strip()[:4] for line in (said[3], said[11])] == ["1013", "1013"]
    assert said[7] == "  It is still connected."


def test_who_comes_back_gets_all_or_a_gap(run: Run) -> None:
    *all_five, gap = run.printed_by("async def come_back_after").splitlines()
    assert all_five == [f"message missed {number}" for number in range(5)]
    assert gap == "gap more was missed than is kept: begin with the whole state"
