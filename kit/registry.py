"""The servers of this kernel by name: who runs where, and of each name one start, stop or replacement at a time."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import warnings
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from kit import loops

if TYPE_CHECKING:
    from kit.server import Server

__all__ = ["one_at_a_time", "running_server", "server_at", "servers", "serving_ports", "stop_all"]

T = TypeVar("T")

servers: dict[str, Server] = {}  # the newest of each name, also once it has stopped: its successor goes on with its port and Timeline
_OWNER = os.getpid()
_Locks = weakref.WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str], asyncio.Lock]
_under_way: _Locks = weakref.WeakValueDictionary()  # a lock lives as long as somebody holds it or waits for it


async def one_at_a_time(name: str, step: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """On the background loop: ``await step(*args)``, when no other start, stop or replacement of this name is under way."""
    lock = _under_way.setdefault((asyncio.get_running_loop(), name), asyncio.Lock())
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
    """The ports that servers of this kernel hold now, each with its server's name; those that are starting included."""
    return {server.port: server.name for server in servers.values() if server.port and server.state in ("starting", "serving")}


def _stop_at_exit() -> None:
    """At kernel exit: every server gets a second in all; threads are daemons, so nothing holds the process.

    A process that the kernel has forked exits too, with copies of its servers, whose sockets are not its to shut.
    """
    if os.getpid() == _OWNER and any(server.state == "serving" for server in servers.values()):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loops.background().submit(stop_all()).result(timeout=2.0)


atexit.register(_stop_at_exit)
