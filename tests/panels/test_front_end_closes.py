"""The explained end in the front ends: a disclosure in the chat, a row that opens in the server's table; all of it text."""

from __future__ import annotations

import json
from typing import Any

from tests.panels.test_front_end import node_path, run

__all__ = ["node_path", "run"]  # the fixtures

TABLE = [["Closed first", "The client"], ["Client sent", "Close 4000 “<b>”"], ["What to change", "Call `close()`."]]
ENDED = {"id": "ended 3", "from": "ended", "headline": "4000", "sentence": "The client closed.", "advice": "", "tone": "good", "text": "", "table": TABLE}
ROW = {
    "number": 3,
    "name": "Ana",
    "path": "/ws",
    "client": "–",
    "application": "–",
    "pill": "closed 4000",
    "tone": "good",
    "why": "4000. Gone. Call.",
    "told": "4000. `Gone`.",
    "states": "`client_state` stays CONNECTED.",
}


def test_the_table_is_a_list_of_terms_with_code_set_as_code(run: Any) -> None:
    made = run("chat", f"kit.evidenceList({json.dumps(TABLE)})")
    assert (made["tag"], made["aria-label"]) == ("dl", "How it ended, from both sides")
    assert [child["tag"] for child in made["children"]] == ["dt", "dd"] * 3
    assert made["children"][3]["text"] == "Close 4000 “<b>”"
    assert made["children"][5]["children"][0]["tag"] == "code"


def test_an_end_in_the_chat_says_its_sentence_before_the_disclosure(run: Any) -> None:
    made = run("chat", f"kit.itemElement({json.dumps({**ENDED, 'advice': 'Try.'})}, 0, new Set())")
    assert made["text"].startswith("4000. The client closed. Try.How it ended, from both sides")


def test_an_end_in_the_chat_opens_its_table_and_stays_open_when_it_is_told_anew(run: Any) -> None:
    script = f"""(() => {{
      const item = {json.dumps(ENDED)}, unfolded = new Set();
      const [before, button, list] = parts(kit.itemElement(item, 0, unfolded));
      const states = [[button.attributes["aria-expanded"], list.hidden]];
      button.listeners.click();
      states.push([button.attributes["aria-expanded"], list.hidden]);
      const [, again, itsList] = parts(kit.itemElement(item, 1, unfolded));
      states.push([again.attributes["aria-expanded"], itsList.hidden]);
      again.listeners.click();
      states.push([again.attributes["aria-expanded"], itsList.hidden, unfolded.size]);
      return states;
      function parts(made) {{ return [made, made.children.at(-2).children[0], made.children.at(-1)]; }}
    }})()"""
    assert run("chat", script) == [["false", True], ["true", False], ["true", False], ["false", True, 0]]


def test_a_row_that_has_ended_is_opened_by_its_pill_and_shows_sentence_and_table(run: Any) -> None:
    script = f"""(() => {{
      const asked = [], row = {json.dumps(ROW)}, table = {json.dumps(TABLE)};
      const [closed, waiting, opened] = [undefined, [], table].map((known) => kit.connectionElements(row, known, (number) => asked.push(number)));
      const button = closed[0].children.at(-1).children[0];
      button.listeners.click();
      return [closed.length, button, asked, waiting[1].text, opened[1], opened[0].children.at(-1).children[0]];
    }})()"""
    count, button, asked, waiting, opened, pressed = run("server", script)
    assert (count, asked, waiting) == (1, [3], "4000. Gone.client_state stays CONNECTED.")
    assert (button["tag"], button["aria-expanded"], pressed["aria-expanded"]) == ("button", "false", "true")
    assert button["aria-label"] == "closed 4000: how connection 3 ended"
    assert opened["text"].startswith("4000. Gone.client_state stays CONNECTED.Closed firstThe client")


def test_a_row_that_is_still_open_cannot_be_opened(run: Any) -> None:
    row = {**ROW, "pill": ""}
    assert run("server", f"kit.connectionElements({json.dumps(row)}, [], () => 0).length") == 1
    assert run("server", f"kit.connectionElement({json.dumps(row)}, false, () => 0).text") == "3 Ana /ws––"
