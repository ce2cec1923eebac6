"""06_where_the_server_runs: its stopwatch shows what its text says."""

from __future__ import annotations

import re

import pytest

from tests.notebooks.execution import ROOT, Run, printed, read

NOTEBOOK = ROOT / "notebooks/06_where_the_server_runs.ipynb"
PLACES = ("in-thread", "in-kernel")


def numbers(pattern: str, text: str) -> dict[str, float]:
    """What was measured, by the words before it."""
    return {words: float(number) for words, number in re.findall(pattern, text, re.MULTILINE)}


def test_it_has_15_to_25_cells() -> None:
    assert 15 <= len(read(NOTEBOOK).cells) <= 25


def test_asyncio_run_is_refused_in_a_cell_and_await_is_not(run: Run) -> None:
    assert printed(run.first[:1]) == "RuntimeError: asyncio.run() cannot be called from a running event loop\nawait: done\n"


def test_run_again_at_the_end_that_cell_says_why_it_works_now(run: Run) -> None:
    assert printed([run.again[0]]) == "asyncio.run: done\nA cell below has changed asyncio.run. Restart the kernel for the error.\nawait: done\n"


def test_one_server_shares_thread_and_loop_with_the_cell_and_the_other_neither(run: Run) -> None:
    where = dict(re.findall(r"^(.*): (.*)$", run.printed_by("async def here"), re.MULTILINE))
    assert where["in-kernel"] == where["this cell"]
    assert where["in-kernel"].startswith("MainThread, ")
    assert where["in-thread"].startswith("kit-server-in-thread, ")


def test_a_sleeping_cell_delays_the_server_on_its_loop_and_no_other(run: Run) -> None:
    seconds = numbers(r"^(\w+ +\S+) +([\d.]+) s$", run.printed_by("def sleep_in_asyncio"))
    seconds = {" ".join(words.split()): number for words, number in seconds.items()}
    assert seconds.pop("sleep in-kernel") > 0.95
    assert set(seconds) == {"sleep in-thread", "sleep_in_asyncio in-thread", "sleep_in_asyncio in-kernel"}
    assert max(seconds.values()) < 0.95


def test_asyncio_run_gets_an_answer_from_both_and_a_call_that_does_not_turn_the_loop_from_one(run: Run) -> None:
    said = run.printed_by("import httpx2")
    assert [f"{place} to asyncio.run: Message text was: hello\n" in said for place in PLACES] == [True, True]
    assert 'in-thread to httpx2.get:  "hello"\n' in said
    assert "in-kernel to httpx2.get:  no answer for a second\n" in said


def test_a_blocking_handler_stops_the_notebook_only_on_its_loop_and_is_named_in_both(run: Run) -> None:
    said = run.printed_by("def longest_standstill")
    stood_still = numbers(r"^(\S+): the notebook stood still for ([\d.]+) s$", said)
    assert stood_still["in-kernel"] > 0.95
    assert stood_still["in-thread"] < 0.95
    assert len(re.findall(r"is blocked; .*: cell \[\d+\], line 18, in echo: time\.sleep\(1\)$", said, re.MULTILINE)) == 2


def test_the_naive_way_takes_ctrl_c_and_ends_its_process_at_a_busy_port(run: Run) -> None:
    assert run.printed_by("naive = ") == "Ctrl-C is handled by Server.handle_exit\nThe process has ended: SystemExit: 3\n"


def test_the_kits_way_leaves_ctrl_c_alone_and_says_that_the_port_is_taken(run: Run) -> None:
    said = run.printed_by('name="too-late"')
    assert said.startswith("Ctrl-C is left alone: True\nServerStartError: port ")
    assert "is taken by this kernel's own server 'in-thread'." in said


def test_a_queue_needs_server_run_in_a_thread_and_not_on_the_kernels_loop(run: Run) -> None:
    slowest = numbers(r"^server in (\w+, put by \S+) +([\d.]+) s$", run.printed_by("def slowest_seconds"))
    assert set(slowest) == {f"{place}, put by {how}" for place in ("thread", "kernel") for how in ("cell", "server.run")}
    from_a_cell = slowest.pop("thread, put by cell")
    assert from_a_cell > 0.03
    assert max(slowest.values()) < from_a_cell / 2


def test_what_nest_asyncio_replaces_is_what_the_text_names(run: Run) -> None:
    said = run.printed_by("import nest_asyncio\n")
    assert dict(re.findall(r"^(\w+) +comes from (\S+)$", said, re.MULTILINE)) == {
        "run": "nest_asyncio",
        "run_until_complete": "nest_asyncio",
        "_run_once": "nest_asyncio",
        "Task": "asyncio.tasks",
    }


def test_nest_asyncio_refuses_uvloop(run: Run) -> None:
    if "uvloop" not in run.printed_by("async def here"):
        pytest.skip("no uvloop on this machine")
    assert "ValueError: Can't patch loop of type <class 'uvloop.Loop'>\n" in run.printed_by("import nest_asyncio\n")


def test_it_measures_a_task_without_and_with_it(run: Run) -> None:
    assert len(re.findall(r"^([\d.]+) µs", run.printed_by("tasks = "), re.MULTILINE)) == 2


def test_a_nested_call_ends_after_the_one_on_top_of_it(run: Run) -> None:
    assert float(re.search(r"took ([\d.]+) s", run.printed_by("longer_nap"))[1]) >= 1


def test_uvicorn_run_fails_in_a_cell_and_a_nested_serve_leaves_our_server_alive(run: Run) -> None:
    said = run.printed_by("uvicorn.run(app")
    assert re.match(r"uvicorn\.run: .*loop", said)
    assert "Another server ran, and was stopped.\n" in said
    assert "Ours answered after " in said
