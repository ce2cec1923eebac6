"""What an app's WebSocket routes are: path, parameters, dependencies and docstring, which FastAPI's own ``/docs`` leaves out. Pure."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from fastapi.dependencies.utils import get_dependant
from fastapi.routing import iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.convertors import Convertor
from starlette.routing import Host, Mount, Route, WebSocketRoute, compile_path
from starlette.staticfiles import StaticFiles

from kit.declared import from_convertor, from_field, from_security
from kit.parameters import Parameter, merged
from kit.route import DependencyDescription, RouteDescription, Routes
from kit.source import Place, source_line

__all__ = ["websocket_routes"]

_RESERVED = {"name", "subprotocols", "query", "headers", "cookies", "origin", "anyway"}  # the other arguments of RoutesPanel.connect
_WRAPPINGS_LIMIT = 50


class _Where(NamedTuple):
    """How the walk came to where it is."""

    prefix: str = ""
    host: str = ""


def websocket_routes(app: Any) -> Routes:
    """Describe every WebSocket route of an ASGI app, those of its routers, mounted apps and hosts included.

    Nothing is called or changed in the app, except that FastAPI may build what it builds lazily. What the app's own
    objects do not tell is left out; this never raises. An app that other processes import, and of which only the text is
    here by which they do, has none that could be listed.
    """
    routes = Routes()
    if isinstance(app, str):
        routes.unlisted.append(f"The routes of {app!r} are in other processes, where this kernel cannot look. Connect by path: connect(server, '/ws')")
    else:
        _walk(app, _Where(), routes, frozenset())
    return routes


def _walk(app: Any, where: _Where, routes: Routes, above: frozenset[int]) -> None:
    shown = _unwrapped(app)
    if shown is None or id(shown) in above:
        place = where.prefix or where.host
        routes.unlisted.append(f"{place + ': ' if place else ''}routes cannot be listed: this ASGI app ({_name_of(app)}) does not show its routes.")
        return
    overrides = getattr(shown, "dependency_overrides", None) or getattr(getattr(shown, "dependency_overrides_provider", None), "dependency_overrides", {})
    for context in _contexts(shown.routes):
        try:
            _look_at(context, where, overrides, routes, above | {id(shown)})
        except Exception as error:  # one odd route must not hide the others
            routes.unlisted.append(f"{where.prefix}{getattr(context, 'path', '') or ''}: this route cannot be described ({type(error).__name__}: {error}).")


def _contexts(routes: Any) -> Iterator[Any]:
    """Every route with its prefix and inherited dependencies; FastAPI puts included routers together only when asked."""
    for route in list(routes):
        with suppress(TypeError, AttributeError):
            yield from iter_route_contexts([route])


def _look_at(context: Any, where: _Where, overrides: Mapping[Any, Any], routes: Routes, above: frozenset[int]) -> None:
    route = context.original_route
    if isinstance(route, WebSocketRoute):
        routes.append(_described(context, where, overrides))
    elif isinstance(route, Mount):
        if not isinstance(_innermost(context.app), StaticFiles):
            mounted = context.app if _unwrapped(context.app) is not None or not context.routes else route
            _walk(mounted, where._replace(prefix=where.prefix + context.path), routes, above)
    elif isinstance(route, Host):
        _walk(context.app, where._replace(host=context.host), routes, above)
    elif not isinstance(route, Route) and not type(route).__module__.startswith("fastapi."):
        routes.unlisted.append(f"{where.prefix}{context.path or ''}: {_name_of(route)} is a kind of route that does not tell whether it takes WebSockets.")


def _unwrapped(app: Any) -> Any | None:
    """The first object under ``app`` that shows its routes, looked for where middleware keeps the app that it wraps."""
    for _ in range(_WRAPPINGS_LIMIT):
        if isinstance(getattr(app, "routes", None), (list, tuple)):
            return app
        app = getattr(app, "func", None) if isinstance(app, functools.partial) else getattr(app, "app", None)
        if app is None:
            return None
    return None


def _innermost(app: Any) -> Any:
    for _ in range(_WRAPPINGS_LIMIT):
        if getattr(app, "app", None) is None:
            break
        app = app.app
    return app


def _described(context: Any, where: _Where, overrides: Mapping[Any, Any]) -> RouteDescription:
    endpoint, dependant = context.endpoint, getattr(context, "dependant", None)
    path = where.prefix + context.path
    regex, convertors = _compiled(path)
    asked, dependencies = _asked_for(dependant, overrides) if dependant is not None else ([], ())
    headline, description = _docstring(endpoint)
    return RouteDescription(
        path=path,
        name=context.name or "",
        endpoint=_name_of(endpoint),
        defined=_place_of(endpoint),
        headline=headline,
        description=description,
        parameters=_parameters(path, where.host, convertors, asked),
        dependencies=dependencies,
        declares=dependant is not None,
        host=where.host,
        regex=regex,
    )


def _compiled(path: str) -> tuple[re.Pattern[str] | None, dict[str, Convertor[Any]]]:
    try:
        regex, _, convertors = compile_path(path)
    except (ValueError, AssertionError):  # a name that a mounted app uses once more
        return None, {}
    return regex, convertors


def _parameters(path: str, host: str, convertors: Mapping[str, Convertor[Any]], asked: list[Parameter]) -> tuple[Parameter, ...]:
    """Those in the path in its order, then query, headers and cookies; each once, under a name of its own."""
    found = {("host", name): from_convertor(name, convertor, "host", asked_by="the host") for name, convertor in _compiled(host)[1].items()}
    found |= {("path", name): from_convertor(name, convertor, "path") for name, convertor in convertors.items()}
    for each in sorted(asked, key=lambda each: ("path", "query", "header", "cookie").index(each.where)):
        key = (each.where, each.sent_as.lower() if each.where == "header" else each.sent_as)
        if each.where == "path":
            if key in found:
                found[key] = _with_convertor(each, found[key])
        else:
            found[key] = merged(found[key], each) if key in found else each
    names = [each.name for each in found.values()]
    unclear = _RESERVED | {name for name in names if names.count(name) > 1}
    return tuple(replace(each, name=f"{each.where}_{each.name}") if each.name in unclear else each for each in found.values())


def _with_convertor(declared: Parameter, found: Parameter) -> Parameter:
    """What the handler says of a part of the path, and what Starlette's convertor asks of it."""
    if found.adapters:  # a second function that asks for the same part
        return replace(merged(found, declared), convertor=found.convertor)
    kind = found.kind if found.kind.startswith("path") or declared.kind == "text" else declared.kind
    return replace(declared, kind=kind, limits=declared.limits or found.limits, convertor=found.convertor)


def _asked_for(dependant: Any, overrides: Mapping[Any, Any]) -> tuple[list[Parameter], tuple[DependencyDescription, ...]]:
    """The parameters of a function that FastAPI calls and of all its dependencies, and the tree of these."""
    asked_by = _short_name(dependant.call)
    asked = [
        parameter
        for where, fields in (("path", "path_params"), ("query", "query_params"), ("header", "header_params"), ("cookie", "cookie_params"))
        for each in getattr(dependant, fields, ())
        for parameter in from_field(each.name, each.field_info, where, asked_by=asked_by)
    ]
    tree = []
    for each in dependant.dependencies:
        used = _overridden(each, overrides)
        security = from_security(used.name, used.call, asked_by=asked_by) if isinstance(used.call, SecurityBase) else None
        deeper, below = _asked_for(used, overrides)
        asked += [security, *deeper] if security else deeper
        tree.append(_dependency(each, used, security, below))
    return asked, tuple(tree)


def _overridden(dependant: Any, overrides: Mapping[Any, Any]) -> Any:
    """What FastAPI calls in place of a dependency: ``app.dependency_overrides`` is read at every connection."""
    try:
        instead = overrides.get(dependant.call, dependant.call)
        return dependant if instead is dependant.call else get_dependant(path=dependant.path or "", call=instead, name=dependant.name)
    except TypeError:  # a dependency that cannot be hashed cannot be overridden
        return dependant


def _dependency(asked: Any, used: Any, security: Parameter | None, below: tuple[DependencyDescription, ...]) -> DependencyDescription:
    scheme = isinstance(used.call, SecurityBase)
    wants = f"{security.where} {security.sent_as}: {security.kind}" if security else ""
    return DependencyDescription(
        name=getattr(used.call, "scheme_name", None) or type(used.call).__name__ if scheme else _short_name(used.call),
        headline="" if scheme else _docstring(used.call)[0],
        yields=any(check(each) for check in (inspect.isgeneratorfunction, inspect.isasyncgenfunction) for each in _callables(used.call)),
        instead_of=_short_name(asked.call) if used is not asked else "",
        wants=wants,
        dependencies=below,
    )


def _function(call: Any) -> Any:
    """What a partial or a decorated function was made from."""
    while isinstance(call, functools.partial):
        call = call.func
    with suppress(ValueError):
        call = inspect.unwrap(call)
    return call.func if isinstance(call, functools.partial) else call


def _callables(call: Any) -> tuple[Callable[..., Any], ...]:
    function = _function(call)
    return (function,) if inspect.isroutine(function) or inspect.isclass(function) else (type(function).__call__,)


def _short_name(call: Any) -> str:
    function = _function(call)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return str(name).rpartition("<locals>.")[2]


def _name_of(call: Any) -> str:
    function = _function(call)
    owner = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(owner, "__module__", None) or ""
    return _short_name(call) if module in ("", "__main__", "builtins") else f"{module}.{_short_name(call)}"


def _docstring(call: Any) -> tuple[str, str]:
    """The first sentence, on one line, and the rest; what a class inherits is not its own."""
    function = _function(call)
    owner = function if hasattr(function, "__qualname__") else type(function)
    text = inspect.cleandoc(getattr(owner, "__doc__", None) or "")
    paragraph, _, more = text.partition("\n\n")
    sentence = re.match(r".*?[.!?](?=\s|$)", " ".join(paragraph.split()))
    first = sentence[0] if sentence else " ".join(paragraph.split())
    after = " ".join(paragraph.split())[len(first) :].strip()
    return first, "\n\n".join(filter(None, [after, more.strip()]))


def _place_of(call: Any) -> Place | None:
    """The line at which a handler's definition begins, its decorators included."""
    function = _function(call)
    if inspect.isclass(function):
        own = [member.__code__ for member in vars(function).values() if inspect.isfunction(member)]
        codes = sorted(own, key=lambda code: code.co_firstlineno)
    else:
        codes = [code for each in _callables(call) if (code := getattr(each, "__code__", None))]
    if not codes:
        return None
    code = codes[0]
    return Place(code.co_filename, code.co_firstlineno, _short_name(call), source_line(code.co_filename, code.co_firstlineno))
