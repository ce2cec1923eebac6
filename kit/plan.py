"""What `kit.server.serve` was asked for, checked: a plan for one server."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from kit import loops
from kit.binding import check_address, check_app, check_numbers, check_token, checked_list
from kit.engine import Limits
from kit.errors import ServerStartError, UnsafeServerWarning
from kit.workers.imported import check_import_string

__all__ = ["PROCESSES_MOST", "Plan", "planned"]

PROCESSES_MOST = 16


class Plan(NamedTuple):
    """One server to be started.

    Attributes:
        app: the application, or the text by which its processes import it.
        processes: in how many processes it runs; 0 runs it in this one.
        host_loop: the loop to run it on, unless it has one of its own.
        admission: the arguments of `kit.admission.Admission`.
        uvicorn_options: uvicorn's own, under uvicorn's names.
    """

    app: Callable[..., Awaitable[None]] | str
    name: str
    port: int | None
    host: str
    processes: int
    host_loop: loops.HostLoop | None
    recording: bool
    admission: dict[str, Any]
    limits: Limits
    uvicorn_options: dict[str, Any]


def planned(
    app: Any,
    *,
    name: str,
    port: int | None,
    host: str,
    processes: int | None,
    runs_in: str,
    allowed_origins: Iterable[str] | str,
    allowed_hosts: Iterable[str] | str,
    kit_token: str | None,
    recording: bool,
    compression: bool,
    **numbers: Any,
) -> Plan:
    """The plan that `serve`'s arguments make; on the loop that serve is awaited on.

    Raises:
        ServerStartError: an argument makes no sense; the text names it.

    Warns:
        UnsafeServerWarning: a check was switched off.
    """
    number_of_processes = _checked_processes(app, processes, runs_in)
    check_address(host, port)
    check_numbers(**numbers)
    origins, hosts = checked_list("allowed_origins", allowed_origins), checked_list("allowed_hosts", allowed_hosts)
    check_token(host, kit_token)
    _warn_of_what_is_off(origins, hosts)
    return Plan(
        app=app,
        name=name,
        port=port,
        host=host,
        processes=number_of_processes,
        host_loop=_host_loop(runs_in),
        recording=recording,
        admission={"origins": origins, "hosts": hosts, "token": kit_token, "bound_host": host},
        limits=Limits(numbers["max_connections"], numbers["handshake_timeout_seconds"]),
        uvicorn_options={
            "ws_per_message_deflate": compression,
            "ws_max_size": numbers["max_message_bytes"],
            "ws_ping_interval": numbers["ping_interval_seconds"],
            "ws_ping_timeout": numbers["ping_timeout_seconds"],
        },
    )


def _checked_processes(app: Any, processes: Any, runs_in: str) -> int:
    """How many processes of their own the app gets; 0 for an app of this kernel."""
    if not isinstance(app, str):
        check_app(app)
        if processes is not None:
            file = "write it to a file, in a cell that begins with %%writefile chat.py, then: await serve('chat:app', processes=2)"
            raise ServerStartError(f"processes={processes!r} needs the app as a text, because another process cannot get an object of this kernel: {file}")
        return 0
    check_import_string(app)
    if runs_in != "thread":
        raise ServerStartError(f"runs_in={runs_in!r} is for an app of this kernel, but {app!r} is imported by processes of its own. Leave it out.")
    if not hasattr(socket, "send_fds") or not hasattr(socket, "AF_UNIX"):
        raise ServerStartError(f"this system cannot hand sockets to other processes, so it cannot serve {app!r}. Import the app and pass it: await serve(app)")
    if processes is None:
        return 1
    if isinstance(processes, bool) or not isinstance(processes, int) or not 1 <= processes <= PROCESSES_MOST:
        raise ServerStartError(f"processes expects a number from 1 to {PROCESSES_MOST}, but got {processes!r}. Write: await serve({app!r}, processes=2)")
    return processes


def _host_loop(runs_in: str) -> loops.HostLoop | None:
    """The running loop, made ready for nested calls, if the server is to run on it."""
    if runs_in == "thread":
        return None
    if runs_in != "kernel":
        raise ServerStartError(f"runs_in expects 'thread' or 'kernel', but got {runs_in!r}. Leave it out for a thread of its own.")
    try:
        loops.allow_nesting()
    except ValueError as error:
        raise ServerStartError(f"runs_in='kernel' needs an event loop of asyncio's own, but: {error}. Leave it out for a thread of its own.") from None
    return loops.HostLoop()


def _warn_of_what_is_off(allowed_origins: Any, allowed_hosts: Any) -> None:
    off = [name for name, value in (("allowed_origins", allowed_origins), ("allowed_hosts", allowed_hosts)) if value == "*"]
    if off:
        danger = "while this server runs, any web page that you open may connect to it"
        text = f"{' and '.join(off)}='*': {danger}. Good for a lesson; where it matters, list the pages or names instead."
        warnings.warn(text, UnsafeServerWarning, stacklevel=4)
