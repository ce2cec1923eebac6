"""The pure helpers of the panels' front ends, run under Node as the browser gets them: shared.js, the parts and name.js in one module."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kit.panels import base
from kit.panels.base import front_end
from kit.printable import human_bytes

HERE = Path(base.__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.js") if path.stem != "shared" and "." not in path.stem)

# As much of a document as the helpers need: elements with attributes, text and children; markup is not even possible.
_DOCUMENT = """
class Element {
  constructor(tag) { Object.assign(this, { tag, attributes: {}, children: [], listeners: {} }); }
  setAttribute(name, value) { this.attributes[name] = String(value); }
  addEventListener(name, listener) { this.listeners[name] = listener; }
  append(...children) { this.children.push(...children); }
  get hidden() { return "hidden" in this.attributes; }
  set hidden(hidden) { if (hidden) this.attributes.hidden = ""; else delete this.attributes.hidden; }
  get text() { return this.children.map((child) => (child instanceof Element ? child.text : String(child))).join(""); }
  toJSON() { return { tag: this.tag, ...this.attributes, text: this.text, children: this.children.filter((child) => child instanceof Element) }; }
}
globalThis.document = { createElement: (tag) => new Element(tag) };
"""


@pytest.fixture(scope="session")
def node_path() -> str:
    """Where Node is; without it the tests are skipped, but under CI they fail."""
    found = shutil.which("node")
    if found is None:
        advice = "no node on PATH. Install it: `apt install nodejs`, `brew install node`, or from nodejs.org"
        if os.environ.get("CI"):
            pytest.fail(advice)
        pytest.skip(advice)
    return found


@pytest.fixture
def run(node_path: str, tmp_path: Path) -> Any:
    """``run(panel, expression)``: the value of an expression in which ``kit`` is the panel's module."""

    def evaluate(name: str, expression: str) -> Any:
        (tmp_path / f"{name}.mjs").write_text(front_end(name)["_esm"], "utf-8")
        script = f'{_DOCUMENT}\nconst kit = await import("./{name}.mjs");\nconsole.log(JSON.stringify({expression} ?? null));'
        (tmp_path / "main.mjs").write_text(script, "utf-8")
        done = subprocess.run([node_path, "main.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return evaluate


@pytest.mark.parametrize("name", NAMES)
def test_a_module_has_a_render_and_touches_nothing_when_imported(run: Any, name: str) -> None:
    assert run(name, "[typeof kit.default.render, kit.default.render.length]") == ["function", 1]


def styled_everywhere(name: str) -> set[str]:
    """The classes that a panel's own CSS styles wherever they are: a page has the CSS of all its panels. A tone says how, not what."""
    own = re.sub(r"/\*.*?\*/", "", (HERE / f"{name}.css").read_text("utf-8"), flags=re.DOTALL)
    selectors = [selector.strip() for rule in re.findall(r"([^{}]+){", own) for selector in re.split(r",(?![^(]*\))", rule)]
    return {found for selector in selectors if not re.search(r"kit-\w+-panel", selector) for found in re.findall(r"\.(kit-(?!tone-)[\w-]+)", selector)}


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(NAMES, 2)])
def test_no_panel_styles_what_another_has_under_the_same_name(one: str, other: str) -> None:
    of_all = set(re.findall(r"\.(kit-[\w-]+)", (HERE / "shared.css").read_text("utf-8")))
    assert (styled_everywhere(one) & styled_everywhere(other)) - of_all == set()


@pytest.mark.parametrize("name", NAMES)
def test_no_front_end_makes_markup_of_text_or_runs_it(name: str) -> None:
    script = front_end(name)["_esm"]
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "import(",
        "https://",
        "createContextualFragment",
    ):
        assert forbidden not in script


@pytest.mark.parametrize("name", NAMES)
def test_no_style_loads_anything(name: str) -> None:
    assert "url(" not in front_end(name)["_css"]
    assert "@import" not in front_end(name)["_css"]


def test_strings_become_text_and_attributes_are_set_only_when_meant(run: Any) -> None:
    made = run("chat", "kit.h('p', {title: 'x', hidden: true, lang: false, dir: null, id: undefined}, '<b>', null, false, kit.h('i', {}, 'y'))")
    assert made == {"tag": "p", "title": "x", "hidden": "", "text": "<b>y", "children": [{"tag": "i", "text": "y", "children": []}]}


def test_eight_colours_repeat_and_the_server_has_none(run: Any) -> None:
    assert run("chat", "[0, null, undefined, 1, 8, 9, 17].map(kit.colourOf)") == [0, 0, 0, 1, 8, 1, 1]


def test_times_are_short(run: Any) -> None:
    assert run("chat", "[0, 1.23456, 99.9999, 100, 12345.67].map(kit.seconds)") == ["+0.000", "+1.235", "+100.000", "+100.0", "+12345.7"]
    assert run("chat", "kit.clock(new Date(2026, 0, 2, 3, 4, 5).getTime() / 1000, 0.007)") == "03:04:05.007"


def test_a_size_is_said_as_the_kernel_says_it(run: Any) -> None:
    sizes = [0, 1023, 1024, 2048, 1048575, 1048576, 4089446]
    assert run("chat", f"{sizes}.map(kit.humanBytes)") == [human_bytes(size) for size in sizes]


def test_only_the_newest_are_kept_in_a_map_and_in_a_set(run: Any) -> None:
    script = """(() => {
      const map = new Map([[1, "a"], [2, "b"], [3, "c"]]), set = new Set([1, 2, 3]);
      kit.keepNewest(map, 2);
      kit.keepNewest(set, 5);
      return [[...map.keys()], [...set]];
    })()"""
    assert run("chat", script) == [[2, 3], [1, 2, 3]]


@pytest.mark.parametrize(("paused", "what", "pressed"), [("false", "pause", 1), ("true", "pause", 0), ("true", "resume", 1), ("false", "resume", 0)])
def test_a_method_presses_pause_only_where_that_changes_something(run: Any, paused: str, what: str, pressed: int) -> None:
    script = f"""(() => {{
      let presses = 0;
      const button = {{ getAttribute: () => "{paused}", click: () => (presses += 1) }};
      kit.press({{ querySelector: (wanted) => (wanted === ".kit-pause" ? button : null) }}, "{what}");
      return presses;
    }})()"""
    assert run("chat", script) == pressed


def test_a_method_presses_clear_every_time(run: Any) -> None:
    script = """(() => {
      let presses = 0;
      const panel = { querySelector: (wanted) => (wanted === ".kit-clear" ? { getAttribute: () => null, click: () => (presses += 1) } : null) };
      kit.press(panel, "clear");
      kit.press(panel, "clear");
      return presses;
    })()"""
    assert run("chat", script) == 2


def test_a_filter_ignores_case_and_lets_all_pass_when_empty(run: Any) -> None:
    assert run("chat", "[kit.matches('Hello', ''), kit.matches('Hello', 'hELL'), kit.matches('Hello', 'x')]") == [True, True, False]


def test_a_badge_says_its_number_in_words_too(run: Any) -> None:
    assert run("chat", "[kit.badge(9), kit.badge(null)].map((it) => [it.text, it.attributes['aria-label'], it.attributes.class])") == [
        ["9", "connection 9", "kit-badge kit-c1"],
        ["–", "the server itself", "kit-badge kit-c0"],
    ]


def test_a_bubble_says_who_what_when_and_how(run: Any) -> None:
    item = {"from": "me", "text": "<img src=x>", "number": 2, "at": 0, "about": "text · 11 B"}
    bubble = run("chat", f"kit.itemElement({json.dumps(item)}, 0)")
    assert bubble["aria-label"] == "sent: <img src=x>"
    assert bubble["text"].startswith("<img src=x>")
    assert bubble["text"].endswith("text · 11 B")
    assert "kit-c2" in bubble["class"]


@pytest.mark.parametrize(
    ("item", "role", "words"),
    [
        ({"from": "error", "text": "not JSON"}, "alert", "not JSON"),
        ({"from": "divider", "text": "serving at"}, None, "serving at"),
    ],
)
def test_what_is_no_message_is_a_note(run: Any, item: dict[str, str], role: str | None, words: str) -> None:
    made = run("chat", f"kit.itemElement({json.dumps(item)}, 0)")
    assert (made.get("role"), made["text"]) == (role, words)


@pytest.mark.parametrize(
    ("filled", "words"),
    [
        ({}, ""),
        ({"query": "a=1", "cookies": "session=abc", "origin": "null"}, "query · 1 cookie · origin"),
        ({"cookies": "a=1; b=2;", "headers": "X-A: 1\n\nX-B: 2\nX-C: 3", "subprotocols": "chat, superchat"}, "2 cookies · 3 headers · 2 subprotocols"),
        ({"query": " ", "headers": "X-A: 1", "subprotocols": "chat"}, "1 header · 1 subprotocol"),
    ],
)
def test_a_closed_handshake_says_in_a_few_words_what_it_holds(run: Any, filled: dict[str, str], words: str) -> None:
    fields = {**dict.fromkeys(("query", "cookies", "headers", "origin", "subprotocols"), ""), **filled}
    assert run("chat", f"kit.handshakeSummary({json.dumps(fields)})") == words


def test_an_empty_message_is_said_to_be_empty(run: Any) -> None:
    assert "(empty)" in run("chat", "kit.itemElement({from: 'server', text: '', at: 0, about: '', number: 1}, 0)")["text"]


ROW = {"key": "1:up", "connection": 1, "direction": "up", "at_seconds": 1, "client": "“hi”", "wire": "TEXT 2 B", "handler": "", "waits": "handler"}
ROW |= {"tone": "plain", "states": "", "details": [["client, out", "<b>"]]}


def test_waiting_is_said_in_words(run: Any) -> None:
    assert run("conversation", "['handler', 'wire', 'client', ''].map((waits) => kit.waitingWords({ waits }))") == [
        *("waits: the handler has not called receive", "waits: the client does not read", "written, not read yet", "")
    ]


def test_a_row_is_a_button_that_says_all_and_opens_to_its_details(run: Any) -> None:
    script = f"""(() => {{
      const open = new Set(), made = kit.rowElement({json.dumps(ROW)}, {{ 1: "Ana" }}, open), [line, details] = made.children;
      const before = details.hidden;
      line.listeners.click();
      return [line.attributes["aria-label"], before, details.hidden, line.attributes["aria-expanded"], [...open], details.text];
    }})()"""
    label, before, after, expanded, opened, details = run("conversation", script)
    assert label == "Ana: “hi”, TEXT 2 B  waits: the handler has not called receive"
    assert (before, after, expanded, opened) == (True, False, "true", ["1:up"])
    assert details == "client, out<b>"


def test_a_row_that_was_open_stays_open_when_it_changes(run: Any) -> None:
    row = run("conversation", f"kit.rowElement({json.dumps(ROW)}, {{}}, new Set(['1:up']))")
    assert "hidden" not in row["children"][1]


def test_a_divider_is_no_button(run: Any) -> None:
    assert run("conversation", "kit.rowElement({direction: 'divider', tone: 'muted', wire: 'stopped'}, {}, new Set()).tag") == "div"


def test_a_connection_and_a_log_row_are_text(run: Any) -> None:
    row = {"number": 3, "name": "<i>", "path": "/ws", "client": "CONNECTED", "application": "DISCONNECTED", "pill": "closed 1000", "tone": "good", "why": "w"}
    assert run("server", f"kit.connectionElement({json.dumps(row)}, false).text") == "3 <i> /wsCONNECTEDDISCONNECTEDclosed 1000"
    log = {"id": 1, "at": 1, "number": 3, "mark": "print", "text": "<b>bold</b>", "tone": "plain"}
    assert run("server", f"kit.logElement({json.dumps(log)}).text") == "+1.0003print<b>bold</b>"
