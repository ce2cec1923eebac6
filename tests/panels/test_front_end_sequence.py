"""The pure helpers of the sequence diagram, run under Node: time to height, lanes to columns, rows to words."""

# ruff: noqa: F401, F811 - fixtures of another file

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from tests.panels.test_front_end import node_path, run

ROW = 24
COMPACT, USUAL, TRUE_TIME = 0, 3, 5


def message(at: float, way: str = "up", took: float = 0.0004, **more: Any) -> dict[str, Any]:
    places = ("client", "wire", "handler") if way == "up" else ("handler", "wire", "client")
    moments = {place: at + nth * took / 2 for nth, place in enumerate(places)}
    return {"key": f"{at}", "n": 1, "kind": "message", "way": way, "at": at, "label": "“hello”", **moments, **more}


def conversation(seed: int, count: int = 300) -> list[dict[str, Any]]:
    source = random.Random(seed)
    at = list(itertools.accumulate(source.choice([0.00001, 0.0005, 0.02, 3.0]) for _ in range(count)))
    return [message(time, source.choice(["up", "down"]), source.choice([0.0, 0.0002, 0.3, 10.0])) for time in at]


@pytest.mark.parametrize("scale", range(6))
def test_time_never_runs_upwards_and_labels_have_their_room(run: Any, scale: int) -> None:
    rows = json.dumps(conversation(scale))
    script = f"""(() => {{
      const rows = {rows}, picture = kit.layout(rows, kit.SCALES[{scale}], 4000), heights = [...picture.heights];
      const gaps = [...picture.starts].slice(1).map((y, index) => y - picture.starts[index]);
      const moments = rows.flatMap((row) => [row.client, row.wire, row.handler]).sort((a, b) => a - b).map((at) => kit.heightOf(picture, at));
      const climbs = (ys) => ys.some((y, index) => index && y < ys[index - 1] - 1e-6);
      const labelled = [...picture.labelled].filter(Boolean).length;
      return [Math.min(...gaps), climbs(heights), climbs(moments), labelled, picture.bottom === heights[heights.length - 1]];
    }})()"""
    least, climbs, moments_climb, labelled, ends_at_bottom = run("sequence", script)
    assert least >= (0 if scale == TRUE_TIME else ROW)
    assert (climbs, moments_climb, ends_at_bottom) == (False, False, True)
    assert labelled == 300 if scale != TRUE_TIME else labelled < 300


def test_in_true_time_heights_are_exactly_in_proportion(run: Any) -> None:
    rows = [message(0, took=0.001), message(0.0001, took=0.001), message(0.0025, took=0.0005)]
    script = f"(() => {{ const p = kit.layout({json.dumps(rows)}, kit.SCALES[5]); return [...p.starts].map((y) => y - p.starts[0]); }})()"
    assert run("sequence", script) == pytest.approx([0, 20, 500])


def test_an_arrow_is_as_slanted_as_its_message_was_slow(run: Any) -> None:
    script = f"""(() => {{
      const grid = kit.columns(1, 900);
      return [0.0001, 0.001, 0.002].map((took) => {{
        const row = {{ ...{json.dumps(message(0))}, wire: took, handler: took }}, picture = kit.layout([row], kit.SCALES[{USUAL}]);
        const arrow = kit.arrowOf(row, {{ ours: true, served: true }}, 0, grid, (at) => kit.heightOf(picture, at));
        return arrow.y2 - arrow.y1;
      }});
    }})()"""
    assert run("sequence", script) == pytest.approx([2, 20, 40])


def test_quiet_time_is_cut_and_said(run: Any) -> None:
    rows = [message(0), message(3.02)]
    cuts, height = run(
        "sequence", f"(() => {{ const p = kit.layout({json.dumps(rows)}, kit.SCALES[{USUAL}]); return [p.cuts, p.starts[1] - p.starts[0]]; }})()"
    )
    assert [round(cut["seconds"], 2) for cut in cuts] == [3.02]
    assert height < 100


@pytest.mark.parametrize("seed", range(3))
def test_what_is_in_sight_is_never_left_out(run: Any, seed: int) -> None:
    script = f"""(() => {{
      const picture = kit.layout({json.dumps(conversation(seed))}, kit.SCALES[{USUAL}]), missed = [];
      for (let top = 0; top < picture.height; top += 333) {{
        const [first, end] = kit.inSight(picture, top, top + 400);
        picture.starts.forEach((y, index) => {{ if (y < top + 400 && picture.ends[index] >= top && (index < first || index >= end)) missed.push(index); }});
      }}
      const [first, end] = kit.inSight(picture, picture.height - 400, picture.height);
      return [missed, end - first];
    }})()"""
    missed, count = run("sequence", script)
    assert missed == []
    assert 0 < count < 300


@pytest.mark.parametrize("width", [320, 620, 1000])
@pytest.mark.parametrize("count", [1, 5, 20])
def test_lanes_never_overlap_and_leave_room_for_words(run: Any, count: int, width: int) -> None:
    script = f"""(() => [false, true].map((withHub) => {{
      const grid = kit.columns({count}, {width}, 1, withHub), places = [...Array({count}).keys()];
      return [places.map(grid.client), places.map(grid.handler), grid.lane, grid.left, grid.right, grid.width, grid.gutter, grid.hub];
    }}))()"""
    alone, beside_a_hub = run("sequence", script)
    for columns in (alone, beside_a_hub):
        check_room(columns, count, width)
    *_, handlers, lane, _, _, whole, _, hub = beside_a_hub
    assert alone[-1] is None
    assert handlers[-1] + lane / 2 + 20 <= hub + 0.01 <= whole - 19


def check_room(columns: list[Any], count: int, width: int) -> None:
    clients, handlers, lane, left, right, whole, gutter, _ = columns
    across = [gutter - lane / 2, *clients]
    assert all(b - a >= lane - 0.01 for a, b in itertools.pairwise(across))
    assert all(b - a >= lane - 0.01 for a, b in itertools.pairwise(handlers))
    assert clients[-1] < left < right < handlers[0]
    assert right - left >= 90
    assert handlers[-1] + lane / 2 <= whole + 0.01
    assert lane >= 12, "a number of two digits has its room"
    assert whole >= width
    if count == 1:
        assert whole == width


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (message(1, waits="handler", handler=None), ["not received yet, 3.1 s", True]),
        (message(1, "down", waits="wire"), ["send waits 3.1 s", True]),
        (message(1, waits="arrival"), ["on its way, 3.1 s", True]),
        (message(1, "down", waits="client"), ["not read yet", True]),
        (message(1, took=2), ["received after 1.0 s", False]),
        (message(1, "down", took=2), ["send waited 1.0 s", False]),
        (message(1), ["", False]),
        (message(4, waits="handler"), ["", False]),
        ({**message(1), "lost": True}, ["never received", False]),
        ({**message(1, "down"), "lost": True}, ["never read", False]),
    ],
)
def test_waiting_is_said_in_words(run: Any, row: dict[str, Any], words: list[Any]) -> None:
    row = {name: value for name, value in row.items() if value is not None}
    assert run("sequence", f"kit.waitingWords({json.dumps(row)}, 4.1)") == words


def test_what_never_got_there_says_how_far_it_got(run: Any) -> None:
    rows = [{"kind": "message", "way": "up", "client": 1, "lost": True}, {"kind": "message", "way": "down", "handler": 1, "lost": True}]
    assert run("sequence", f"{json.dumps(rows)}.map((row) => kit.waitingWords(row, 2)[0])") == ["never arrived", "never written"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (message(1), "Ana to handler 1: text “hello”, 0.2 ms"),
        (message(1, "down"), "handler 1 to Ana: text “hello”, 0.2 ms"),
        (message(1, took=2), "Ana to handler 1: text “hello”, 1.0 s, received after 1.0 s"),
        (message(1, waits="handler"), "Ana to handler 1: text “hello”, 0.2 ms, not received yet"),
        (message(1, kind="close", label="close 1000", first=True), "Ana to handler 1: close 1000, 0.2 ms, Ana began it"),
        (message(1, "down", kind="close", label="close 1000"), "handler 1 to Ana: close 1000, 0.2 ms, the answer"),
        (message(1, "down", kind="response", label="refused: 403 Forbidden", also="close 1008 before accept"),
         "handler 1 to Ana: refused: 403 Forbidden, 0.2 ms, close 1008 before accept"),
        ({"n": 1, "kind": "print", "way": "here", "side": "server", "label": "print hi"}, "handler 1: print hi"),
        ({"n": 1, "kind": "fault", "way": "here", "side": "client", "label": "Ana stops reading"}, "Ana: Ana stops reading"),
        ({"kind": "notice", "way": "divider", "label": "stopped"}, "stopped"),
    ],
)  # fmt: skip
def test_an_event_is_said_in_words(run: Any, row: dict[str, Any], words: str) -> None:
    assert run("sequence", f"kit.spoken({json.dumps(row)}, {{ name: 'Ana' }}, 4.1)") == words


def test_ended_lanes_are_folded_when_there_are_many_or_when_wanted(run: Any) -> None:
    script = """(() => {
      const over = (n) => (n % 2 ? 1 : undefined);
      const lanes = (count) => [...Array(count).keys()].map((n) => ({ n: n + 1, clientEnd: over(n), handlerFrom: 0, handlerEnd: over(n) }));
      const used = new Set([...Array(200).keys()]);
      const say = (given, fold) => {
        const { shown, ended, folded, beyond } = kit.shownLanes(given, used, fold);
        return [shown.length, ended, folded, beyond];
      };
      const unused = kit.shownLanes(lanes(4), new Set(), null).shown.map((lane) => lane.n);
      return [say(lanes(4), null), say(lanes(4), true), say(lanes(20), null), say(lanes(20), false), say(lanes(100), null), unused];
    })()"""
    assert run("sequence", script) == [[4, 2, False, 0], [2, 2, True, 0], [10, 10, True, 0], [20, 10, False, 0], [40, 50, True, 10], [1, 3]]


def test_pings_and_other_peoples_lanes_are_left_out_unless_wanted(run: Any) -> None:
    rows = [message(1), message(2, kind="ping", label="ping"), message(3, n=9), message(4, kind="end"), message(5, label="“bye”")]
    script = """(() => {
      const shown = new Map([[1, 0]]), laneOf = () => ({ name: "Ana" });
      const usual = { pings: false, wanted: "", laneOf, shown, since: 0 };
      const say = (more) => { const [chosen, folded] = kit.wantedRows(ROWS, { ...usual, ...more }); return [chosen.map((row) => row.at), folded]; };
      return [say({}), say({ pings: true }), say({ wanted: "BYE" }), say({ wanted: "ana" }), say({ since: 1 })];
    })()""".replace("ROWS", json.dumps(rows))
    assert run("sequence", script) == [[[1, 5], 1], [[1, 2, 5], 1], [[5], 1], [[1, 5], 1], [[5], 1]]


def test_what_is_unread_is_added_up_per_connection(run: Any) -> None:
    rows = [message(at, "down", waits="client", size=65_536) for at in (1, 2, 3.99)]
    script = f"kit.unreadOf({json.dumps(rows)}, new Map([[1, 0]]), 4.1).map(({{ n, from, size, count }}) => [n, from, size, count])"
    assert run("sequence", script) == [[1, 1.0002, 131_072, 2]]


def test_long_words_end_in_an_ellipsis_and_fit(run: Any) -> None:
    assert run("sequence", "['short', 'a long label'].map((text) => kit.elided(text, 6, (it) => it.length))") == ["short", "a lon…"]


def test_times_are_said_as_people_say_them(run: Any) -> None:
    assert run("sequence", "[0.00002, 0.0004, 0.002, 0.05, 0.3, 3.12, 42, 75].map(kit.duration)") == [
        *("0.02 ms", "0.4 ms", "2.0 ms", "50 ms", "0.30 s", "3.1 s", "42 s", "1 min 15 s")
    ]


TO_HUB = {"key": "a", "n": 1, "kind": "hub", "way": "hub", "at": 1.0, "handler": 1.0, "label": "publish “hi” to “lobby”"}
FROM_HUB = {"key": "b", "n": 2, "kind": "message", "way": "down", "at": 1.1, "wire": 1.1, "client": 1.101, "label": "“hi”", "hub": True}

RECEIVED = {**TO_HUB, "key": "c", "at": 1.2, "handler": 1.2, "label": "receive “hi” from “lobby”", "hub": True}


def test_a_hub_is_told_to_those_who_hear_and_found_by_its_name(run: Any) -> None:
    script = f"""(() => {{
      const lanes = new Map([[1, {{ n: 1, name: "Ana" }}], [2, {{ n: 2, name: "Ben" }}]]), rows = {json.dumps([message(0.5), TO_HUB, FROM_HUB, RECEIVED])};
      const spoken = rows.map((row) => kit.spoken(row, lanes.get(row.n), 2));
      const [found] = kit.wantedRows(rows, {{ pings: false, wanted: "hub", laneOf: (n) => lanes.get(n), shown: lanes, since: -1 }});
      return [spoken.slice(1), found.map((row) => row.key)];
    }})()"""
    spoken, found = run("sequence", script)
    assert spoken == ["handler 1 to hub: publish “hi” to “lobby”", "hub to Ben: text “hi”, 1.0 ms", "hub to handler 1: receive “hi” from “lobby”"]
    assert found == ["a", "b", "c"]


def test_what_the_hub_sends_begins_at_its_lane(run: Any) -> None:
    script = f"""(() => {{
      const grid = kit.columns(2, 900, 1, true), arrow = kit.arrowOf({json.dumps(FROM_HUB)}, {{ ours: true, served: true }}, 1, grid, (at) => at);
      return [arrow.x1 === grid.hub, arrow.x2 === grid.client(1), arrow.there];
    }})()"""
    assert run("sequence", script) == [True, True, True]
