"""The pure helpers of RouteList's front end, under Node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.panels.test_front_end import node_path, run

__all__ = ["node_path", "run"]

PARAMETER = {"name": "room", "where": "path", "sentAs": "room", "kind": "whole number", "required": True, "default": "", "limits": [], "choices": []}
PARAMETER |= {"several": False, "description": "", "examples": [], "deprecated": False, "askedBy": []}


def route(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"path": "/rooms/{room}", "parameters": [PARAMETER | parameter for parameter in parameters]}


def test_parameters_in_a_path_are_marked(run: Any) -> None:
    parts = run("routes", "kit.pathParts('/a/{id:int}/b{c}')")
    assert [(part["text"], part["parameter"]) for part in parts] == [("/a/", False), ("{id:int}", True), ("/b", False), ("{c}", True)]


@pytest.mark.parametrize(
    ("parameter", "typed", "argument"),
    [
        ({}, "7", "room=7"),
        ({}, "007", 'room="007"'),
        ({}, "seven", 'room="seven"'),
        ({"kind": "text"}, "7", 'room="7"'),
        ({"kind": "text"}, 'a "b"\\', 'room="a \\"b\\"\\\\"'),
        ({"kind": "true or false"}, "true", "room=True"),
        ({"kind": "several of: text", "several": True}, "a, b,", 'room=["a", "b"]'),
    ],
    ids=str,
)
def test_the_same_in_code_is_python(run: Any, parameter: dict[str, Any], typed: str, argument: str) -> None:
    draft = {"values": {"room": typed}, "name": "", "subprotocols": ""}
    line = run("routes", f"kit.twin({json.dumps(route(parameter))}, {json.dumps(draft)})")
    assert line == f'await panel.connect("/rooms/{{room}}", {argument})'
    compile(line, "cell", "exec", flags=0x2000)  # with await at the top level


def test_the_same_in_code_names_client_subprotocols_and_anyway(run: Any) -> None:
    draft = {"values": {}, "name": "Ana", "subprotocols": "a,b", "anyway": True}
    assert run("routes", f"kit.twin({json.dumps(route({}))}, {json.dumps(draft)})") == (
        'await panel.connect("/rooms/{room}", name="Ana", subprotocols=["a", "b"], anyway=True)'
    )


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ({"examples": ["7"]}, "for example 7"),
        ({"choices": ["a", "b"]}, "choose one"),
        ({"several": True}, "with commas between"),
        ({"required": False, "default": "10"}, "default: 10"),
        ({"required": False, "default": "none"}, "left out"),
    ],
    ids=str,
)
def test_an_empty_field_says_what_happens_without_a_value(run: Any, parameter: dict[str, Any], words: str) -> None:
    assert run("routes", f"kit.placeholderOf({json.dumps(PARAMETER | parameter)})") == words


def test_a_parameter_says_where_it_goes_and_under_which_name(run: Any) -> None:
    assert run("routes", "kit.whereWords({where: 'header', name: 'x_key', sentAs: 'x-key'})") == "header x-key"
    assert run("routes", "kit.whereWords({where: 'path', name: 'room', sentAs: 'room'})") == "path"


def test_dependencies_are_a_tree_of_text(run: Any) -> None:
    leaf = {"name": "<b>", "headline": "", "yields": True, "insteadOf": "", "wants": "cookie session: API key", "dependencies": []}
    tree = run("routes", f"kit.dependencyTree({json.dumps([leaf | {'name': 'user', 'insteadOf': 'guest', 'dependencies': [leaf]}])})")
    assert tree["text"] == ("useryield in place of guest, by dependency_overrides wants cookie session: API key<b>yield wants cookie session: API key")
