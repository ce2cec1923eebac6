"""The servers of this kernel by name: who runs where, and one start, stop or replacement at a time."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import warnings
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from kit import loops

if TYPE_CHECKING:
    from kit.server import Server

__all__ = ["one_at_a_time", "running_server", "server_at", "servers", "serving_ports", "stop_all"]

T = TypeVar("T")

servers: dict[str, Server] = {}  # the newest of each name, also once it has stopped: its successor goes on with its port and Timeline
_orchestration: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}


async def one_at_a_time(step: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """On the background loop: ``await step(*args)``, when no other start, stop or replacement is under way."""
    lock = _orchestration.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with lock:
        return await step(*args)


async def stop_all() -> None:
    """Stop every server of this kernel and forget their names and Timelines; from any loop."""
    for name, server in list(servers.items()):
        await server.stop()
        if servers.get(name) is server:
            del servers[name]


def running_server(name: str) -> Server | None:
    """The server that runs under ``name`` now, or None."""
    server = servers.get(name)
    return server if server is not None and server.state == "serving" else None


def server_at(host: str, port: int) -> Server | None:
    """The running server of this kernel that is bound to ``host:port``, or None."""
    local = host in ("127.0.0.1", "localhost", "::1")
    return next((s for s in list(servers.values()) if s.state == "serving" and s.port == port and (local or s.host == host)), None)


def serving_ports() -> dict[int, str]:
    """The ports that servers of this kernel hold now, each with its server's name."""
    return {server.port: server.name for server in servers.values() if server.state == "serving"}


def _stop_at_exit() -> None:
    """At kernel exit: every server gets a second in all; threads are daemons, so nothing holds the process."""
    if any(server.state == "serving" for server in servers.values()):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loops.background().submit(stop_all()).result(timeout=2.0)


atexit.register(_stop_at_exit)
