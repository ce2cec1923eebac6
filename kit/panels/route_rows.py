"""A route as its panel shows it: plain values and visible text. Pure."""

from __future__ import annotations

from typing import Any

from kit.parameters import Parameter
from kit.printable import visible
from kit.route import DependencyDescription, RouteDescription

__all__ = ["route_row"]


def route_row(index: int, route: RouteDescription) -> dict[str, Any]:
    """What the front end shows of a route, each text made safe to look at."""
    where = f"{route.defined.cell}, line {route.defined.line}" if route.defined else ""
    return {
        "id": index,
        "path": visible(route.path),
        "host": visible(route.host),
        "endpoint": visible(route.endpoint),
        "defined": visible(where),
        "headline": visible(route.headline),
        "description": visible(route.description, keep="\n"),
        "declares": route.declares,
        "parameters": [_parameter_row(parameter, route) for parameter in route.parameters],
        "dependencies": [_dependency_row(dependency) for dependency in route.dependencies],
    }


def _parameter_row(parameter: Parameter, route: RouteDescription) -> dict[str, Any]:
    handler = route.endpoint.rpartition(".")[2]
    others = [name for name in parameter.asked_by if name.rpartition(".")[2] != handler and not name.startswith("the ")]
    choices = ("true", "false") if parameter.kind == "true or false" else () if parameter.several else parameter.choices
    return {
        "name": parameter.name,
        "where": parameter.where,
        "sentAs": visible(parameter.sent_as),
        "kind": visible(f"one of {', '.join(parameter.choices)}" if parameter.choices and parameter.several else parameter.kind),
        "required": parameter.required,
        "default": visible(parameter.default),
        "limits": [visible(limit) for limit in parameter.limits],
        "choices": [visible(choice) for choice in choices],
        "several": parameter.several,
        "description": visible(parameter.description, keep="\n"),
        "examples": [visible(example) for example in parameter.examples],
        "deprecated": parameter.deprecated,
        "askedBy": [visible(name) for name in others],
    }


def _dependency_row(dependency: DependencyDescription) -> dict[str, Any]:
    return {
        "name": visible(dependency.name),
        "headline": visible(dependency.headline),
        "yields": dependency.yields,
        "insteadOf": visible(dependency.instead_of),
        "wants": visible(dependency.wants),
        "dependencies": [_dependency_row(each) for each in dependency.dependencies],
    }
