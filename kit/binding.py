"""What a server needs before it starts: arguments that make sense, and a bound socket."""

from __future__ import annotations

import inspect
import ipaddress
import math
import re
import socket
from collections.abc import Iterable
from typing import Any

from kit.admission import is_host, is_loopback, is_origin
from kit.errors import ServerStartError

__all__ = ["FIRST_PORT", "bind", "check_address", "check_app", "check_numbers", "check_token", "checked_list"]

FIRST_PORT = 8000
_MAY_BE_NONE = {"max_message_bytes", "ping_interval_seconds", "ping_timeout_seconds"}
_WHOLE = {"max_connections", "max_message_bytes"}


def bind(host: str, port: int | None, kept_port: int | None, names: dict[int, str]) -> socket.socket:
    """A bound socket on the asked port; without one on the port that the name had, or 8000 or one of the next hundred.

    Args:
        kept_port: the port that was used under this name before.
        names: this kernel's own servers by port, for the error's text.

    Raises:
        ServerStartError: the port cannot be had.
    """
    candidates = [port] if port is not None else [*range(FIRST_PORT, FIRST_PORT + 100), 0]
    if not port and kept_port:
        candidates = [kept_port, *candidates]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in candidates:
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, candidate))
            bound.listen(2048)
            return bound
        except OSError as error:
            bound.close()
            problem = error
    raise ServerStartError(_why_not_bound(host, port, names.get(port or 0), problem), port=port) from problem


def _why_not_bound(host: str, port: int | None, holder: str | None, error: OSError) -> str:
    if holder is not None:
        return f"port {port} is taken by this kernel's own server {holder!r}. Pick another: await serve(app, port=0)"
    if error.errno in (48, 98, 10048):  # EADDRINUSE on macOS, Linux, Windows
        return f"port {port} is taken by another program. Pick another: await serve(app, port=0)"
    return f"cannot bind {host}:{port}: {error.strerror}. Use host='127.0.0.1' and a port from 1024 up, or port=0 for any free one."


def check_address(host: Any, port: Any) -> None:
    """Raise `ServerStartError` for what is neither a local address nor a port."""
    if port is not None and (not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535):
        raise ServerStartError(f"port expects a number from 0 to 65535 or None, but got {port!r}. Leave it out for 8000 or the next free one.")
    try:
        if not isinstance(host, str):
            raise ValueError
        ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ServerStartError(f"host expects an address of this machine, but got {host!r}. Leave it out for '127.0.0.1'.", port=port) from None


def checked_list(name: str, value: Any) -> tuple[str, ...] | str:
    """The allow-list ``value`` as a tuple, or ``"*"``; raises `ServerStartError` for what is no list of origins or hosts."""
    if value == "*":
        return "*"
    one_of_them, example = (is_origin, "https://example.org") if name == "allowed_origins" else (is_host, "example.org")
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise ServerStartError(f"{name} expects a list of texts or '*', but got {value!r}. Write: {name}=[{example!r}]")
    values = tuple(value)
    for each in values:
        if each == "*":
            raise ServerStartError(f"{name} has '*' inside a list. Write {name}='*' to allow all, or name each one.")
        if not isinstance(each, str) or not one_of_them(each):
            raise ServerStartError(f"{name} expects texts such as {example!r}, without a path, but got {each!r}.")
    return values


def check_token(host: str, kit_token: Any) -> None:
    """Raise `ServerStartError` for a weak token, and for a server that other machines reach without one."""
    if kit_token is not None and (not isinstance(kit_token, str) or not re.fullmatch(r"[\w.~-]{16,}", kit_token, re.ASCII)):
        raise ServerStartError("kit_token expects 16 or more letters, digits or -._~ . Make one: import secrets; kit_token=secrets.token_urlsafe()")
    if kit_token is None and not is_loopback(host):
        advice = "protect it: import secrets; await serve(app, host=…, kit_token=secrets.token_urlsafe()), or leave host out for this machine only."
        raise ServerStartError(f"host={host!r} lets other machines reach this server, so {advice}")


def check_numbers(**arguments: Any) -> None:
    """Raise `ServerStartError` for an argument that is no positive number, or None where that means something."""
    for name, value in arguments.items():
        if value is None and name in _MAY_BE_NONE:
            continue
        kinds = int if name in _WHOLE else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
            wanted = f"{'a whole number' if name in _WHOLE else 'a number'} above 0{' or None' if name in _MAY_BE_NONE else ''}"
            raise ServerStartError(f"{name} expects {wanted}, but got {value!r}.")


def check_app(app: Any) -> None:
    """Refuse the common mistakes by name, then whatever cannot be called as ``app(scope, receive, send)``."""
    if inspect.iscoroutine(app):
        app.close()
        raise ServerStartError("serve() expects the app, but got a coroutine. Pass the app itself, without calling it: await serve(app)")
    if isinstance(app, str):
        raise ServerStartError(f"serve() expects an ASGI app such as FastAPI(), but got the text {app!r:.80}.")
    if isinstance(app, type):
        raise ServerStartError(f"serve() expects an app, but got the class {app.__name__}. Make one: app = {app.__name__}(); await serve(app)")
    if not callable(app):
        raise ServerStartError(f"serve() expects an ASGI app such as FastAPI(), but got {type(app).__name__}: {app!r:.80}")
    try:
        inspect.signature(app).bind("scope", "receive", "send")
    except TypeError:
        name = getattr(app, "__name__", type(app).__name__)
        raise ServerStartError(
            f"serve() expects an ASGI app, callable as app(scope, receive, send), but {name}{inspect.signature(app)} is not. "
            f"If {name} is an endpoint, pass the app that it is registered on: await serve(app)"
        ) from None
