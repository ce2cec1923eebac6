"""One WebSocket route: what it is, what is wrong with values for its parameters, and the handshake that brings them. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kit.parameters import Parameter
from kit.source import Place

__all__ = ["DependencyDescription", "Handshake", "RouteDescription", "Routes", "WrongParameters"]

_PLACEHOLDER = re.compile(r"{([a-zA-Z_]\w*)(?::\w+)?}")


class WrongParameters(ValueError):
    """Values that a route would refuse, or that cannot be sent; each text says what was expected, what came, and the fix.

    Attributes:
        problems: the text by the parameter's name.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("\n".join(problems.values()) + "\nNothing was connected.")
        self.problems = dict(problems)


class Handshake(NamedTuple):
    """What a connection to a route asks for: the arguments of `connect` and `ChatPanel`."""

    path: str
    query: dict[str, str | list[str]]
    headers: dict[str, str]
    cookies: dict[str, str]


@dataclass(frozen=True)
class DependencyDescription:
    """One dependency of a route, with those that it has itself.

    Attributes:
        name: its qualified name.
        headline: the first sentence of its docstring.
        yields: whether it has a part that runs when the connection ends.
        instead_of: what it replaces by ``app.dependency_overrides``, or an empty text.
        wants: what a security scheme wants to be sent, or an empty text.
    """

    name: str
    headline: str = ""
    yields: bool = False
    instead_of: str = ""
    wants: str = ""
    dependencies: tuple[DependencyDescription, ...] = ()


@dataclass(frozen=True)
class RouteDescription:
    """One WebSocket route. What its handler waits for and sends cannot be known: nothing declares it.

    Attributes:
        path: as the app declares it, with every prefix, for example ``"/shops/{shop_id:int}/ws"``.
        name: what ``url_path_for`` knows it by.
        endpoint: the handler's qualified name, and ``defined`` the line where it begins, where that can be found.
        headline: the first sentence of its docstring, and ``description`` the rest.
        declares: whether it says which parameters it takes besides those in its path; a plain Starlette route does not.
        host: the host name it answers to, or an empty text for any.
    """

    path: str
    name: str
    endpoint: str
    defined: Place | None = None
    headline: str = ""
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    dependencies: tuple[DependencyDescription, ...] = ()
    declares: bool = True
    host: str = ""
    regex: re.Pattern[str] | None = field(default=None, repr=False, compare=False)

    def parameter(self, name: str) -> Parameter:
        """The parameter of this name, in Python or on the wire.

        Raises:
            LookupError: there is none; the text lists those that there are.
        """
        for each in self.parameters:
            if name in (each.name, each.sent_as):
                return each
        there = (
            f"It takes {', '.join(each.name for each in self.parameters)}."
            if self.parameters
            else "It declares none; query=, headers= and cookies= send others."
        )
        raise LookupError(f"{self.path} has no parameter {name!r}. {there} Send what it does not declare by query=, headers= or cookies=.")

    def problems(self, values: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with ``values``, by parameter name; the app's own types and limits judge them."""
        named = self._by_name(values)
        found = {each.name: _missing(each) if named.get(each.name) is None else each.problem(named[each.name]) for each in self.parameters}
        return {name: problem for name, problem in found.items() if problem}

    def handshake(self, values: Mapping[str, Any]) -> Handshake:
        """The handshake that brings every value to where the route looks for it, percent-encoded; None leaves one out.

        Raises:
            LookupError: a name that the route does not have.
        """
        named = {name: value for name, value in self._by_name(values).items() if value is not None}
        put: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "cookie": {}, "host": {}}
        for each in self.parameters:
            if each.name in named:
                put[each.where][each.sent_as] = each.in_path(named[each.name]) if each.where == "path" else each.on_the_wire(named[each.name])
        path = _PLACEHOLDER.sub(lambda part: put["path"].get(part[1], ""), self.path)
        host = {"Host": _PLACEHOLDER.sub(lambda part: put["host"].get(part[1], ""), self.host)} if self.host else {}
        return Handshake(path or "/", put["query"], {**host, **put["header"]}, put["cookie"])

    def answers(self, path: str) -> bool:
        """Whether a request for ``path``, as it stands in the address, comes to this route."""
        return self.regex is not None and self.regex.match(urllib.parse.unquote(path)) is not None

    def _by_name(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {self.parameter(name).name: value for name, value in values.items()}


class Routes(list[RouteDescription]):
    """The WebSocket routes of an app in the order in which it tries them; a cell that ends with it shows them as a table.

    Attributes:
        unlisted: sentences about the parts of the app that do not show their routes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unlisted: list[str] = []

    def find(self, path: str) -> RouteDescription:
        """The route that is declared with ``path``, or that has this name, or that answers a request for it.

        Raises:
            LookupError: there is none; the text lists those that there are.
        """
        for fits in (lambda route: route.path == path, lambda route: route.name == path, lambda route: route.answers(path)):
            for route in filter(fits, self):
                return route
        there = f"There are {', '.join(route.path for route in self)}." if self else "It has none at all."
        raise LookupError(f"the app has no WebSocket route {path!r}. {there}")

    def __repr__(self) -> str:
        rows = [(route.path, ", ".join(each.name for each in route.parameters) or "–", route.headline or route.endpoint) for route in self]
        widths = [max((len(row[column]) for row in [("path", "takes", ""), *rows]), default=0) for column in (0, 1)]
        lines = [f"{path:{widths[0]}}  {takes:{widths[1]}}  {says}" for path, takes, says in [("path", "takes", "says"), *rows]]
        return "\n".join([*(lines if rows else [] if self.unlisted else ["no WebSocket routes"]), *self.unlisted])


def _missing(parameter: Parameter) -> str | None:
    if not parameter.required:
        return None
    carrier = {"path": "a part of the path", "host": "a part of the host name"}.get(parameter.where, f"the {parameter.where} {parameter.sent_as}")
    example = f" Give for example {parameter.examples[0]}." if parameter.examples else " Give it a value."
    return f"{parameter.name}: expected {parameter.expected}, but got nothing. It is required, as {carrier}.{example}"
