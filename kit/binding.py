"""What a server needs before it starts: arguments that make sense, and a bound socket."""

from __future__ import annotations

import inspect
import ipaddress
import re
import socket
from typing import Any

from kit.admission import is_loopback
from kit.errors import ServerStartError

__all__ = ["FIRST_PORT", "bind", "check_address", "check_admission", "check_app", "check_numbers"]

FIRST_PORT = 8000


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
        ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ServerStartError(f"host expects an address of this machine, but got {host!r}. Leave it out for '127.0.0.1'.", port=port) from None


def check_admission(host: str, allowed_origins: Any, allowed_hosts: Any, kit_token: Any) -> None:
    """Raise `ServerStartError` for allow-lists that are none, and for a server that other machines reach without a token."""
    for name, value, example in (("allowed_origins", allowed_origins, "https://example.org"), ("allowed_hosts", allowed_hosts, "example.org")):
        if value != "*" and (isinstance(value, str) or not all(isinstance(one, str) for one in value)):
            raise ServerStartError(f"{name} expects a list of texts or '*', but got {value!r}. Write: {name}=[{example!r}]")
        if "*" in value and value != "*":
            raise ServerStartError(f"{name} has '*' inside a list. Write {name}='*' to allow all, or name each one.")
    for origin in () if allowed_origins == "*" else allowed_origins:
        if origin != "null" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+/?", origin, re.IGNORECASE):
            raise ServerStartError(f"allowed_origins expects origins such as 'https://example.org', without a path, but got {origin!r}.")
    if kit_token is not None and (not isinstance(kit_token, str) or not re.fullmatch(r"[\w.~-]{16,}", kit_token, re.ASCII)):
        raise ServerStartError("kit_token expects 16 or more letters, digits or -._~ . Make one: import secrets; kit_token=secrets.token_urlsafe()")
    if kit_token is None and not is_loopback(host):
        advice = "protect it: import secrets; await serve(app, host=…, kit_token=secrets.token_urlsafe()), or leave host out for this machine only."
        raise ServerStartError(f"host={host!r} lets other machines reach this server, so {advice}")


def check_numbers(**arguments: Any) -> None:
    """Raise `ServerStartError` for an argument that is neither a positive number nor None."""
    for name, value in arguments.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0):
            raise ServerStartError(f"{name} expects a number above 0 or None, but got {value!r}.")


def check_app(app: Any) -> None:
    """Refuse the common mistakes by name, then whatever cannot be called as ``app(scope, receive, send)``."""
    if inspect.iscoroutine(app):
        app.close()
        raise ServerStartError("serve() expects the app, but got a coroutine. Pass the app itself, without calling it: await serve(app)")
    if isinstance(app, str):
        raise ServerStartError(f"serve() expects the app object, but got the text {app!r}. Import it first: from main import app; await serve(app)")
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
