"""uvicorn, started on a bound socket and brought to its end without its own signal handlers, exits and waits."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import uvicorn

from kit import source
from kit.admission import Admission, Gate
from kit.errors import ServerStartError
from kit.outlet import Turn
from kit.output import Serving, serving
from kit.protocol import LimitedHttp, TappedWebSocket
from kit.taps import AsgiTap
from kit.timeline import Timeline

__all__ = ["Engine", "Limits"]

GRACE_SECONDS = 0.15


class Limits(NamedTuple):
    """How much one server takes.

    Attributes:
        max_connections: sockets at a time.
        handshake_timeout_seconds: how long the head of a request may take to come.
    """

    max_connections: int
    handshake_timeout_seconds: float


class Engine:
    """One uvicorn for one app on one loop; everything here but ``shut_sockets`` runs on that loop.

    `kit.workers.engine.Workers` is the other engine that a server may have; it has the same methods.

    Attributes:
        start_seconds: how long a start may take.

    Args:
        app: the reader's application.
        admission: who may talk to it.
        limits: how much it takes.
        options: uvicorn's own, under uvicorn's names.
    """

    start_seconds = 5.0

    def __init__(self, app: Callable[..., Awaitable[None]], timeline: Timeline, admission: Admission, limits: Limits, options: dict[str, Any]) -> None:
        self._tap = AsgiTap(app)
        self._gate = Gate(self._tap, admission, timeline)
        self._timeline = timeline
        self._limits = limits
        self._options = options
        self._uvicorn: uvicorn.Server | None = None
        self._main_task: asyncio.Task[None] | None = None

    async def listen(self, host: str, bound: socket.socket) -> None:
        """Run the app's lifespan start-up, then listen; returns once connections are taken.

        Raises:
            ServerStartError: the lifespan start-up failed.
        """
        await self.start_up(host, bound.getsockname()[1], [bound])

    async def start_up(self, host: str, port: int, sockets: list[socket.socket]) -> None:
        """Run the app's lifespan start-up, then listen on ``sockets``; without any it takes what `take` is given.

        Raises:
            ServerStartError: the lifespan start-up failed.
        """
        serving.set(Serving(self._timeline))
        config = uvicorn.Config(
            self._gate,
            host=host,
            port=port,
            http=partial(LimitedHttp, self._timeline, *self._limits),
            ws=partial(TappedWebSocket, self._timeline, Turn(self._timeline)),
            log_config=None,
            access_log=False,
            proxy_headers=False,  # who sends them from this machine could claim any address
            h11_max_incomplete_event_size=1 << 18,
            **self._options,
        )
        config.load()
        self._uvicorn = uvicorn.Server(config)
        self._uvicorn.lifespan = config.lifespan_class(config)
        try:
            await self._uvicorn.startup(sockets=sockets)
        except SystemExit:
            error = self._tap.lifespan_error
            raise ServerStartError(
                f"the app's lifespan start-up failed with {type(error).__name__}: {error}.{_where(error)} Mend it and call serve() again."
            ) from error
        self._main_task = asyncio.create_task(self._uvicorn.main_loop())  # keeps the Date header right

    async def take(self, accepted: socket.socket) -> None:
        """Serve a connection whose socket was accepted elsewhere."""
        server, config = self._uvicorn, self._uvicorn.config
        make = partial(config.http_protocol_class, config=config, server_state=server.server_state, app_state=server.lifespan.state)
        await asyncio.get_running_loop().connect_accepted_socket(make, accepted)

    async def close(self, code: int, lifespan_seconds: float) -> None:
        """1. no new connections; 2. Close frames; 3. cancel the handlers; 4. abort what is left; 5. the app's shutdown."""
        server = self._uvicorn
        assert server is not None
        server.should_exit = True
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            connection.go_away(code) if isinstance(connection, TappedWebSocket) else connection.shutdown()
        await self._wait_for_handlers()
        for task in server.server_state.tasks:
            task.cancel(msg="the server is stopping")
        await self._wait_for_handlers()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(lifespan_seconds):
                await server.lifespan.shutdown()

    def give_up(self) -> None:
        """End what still runs of it, for a loop that goes on without it; safe to call at any time."""
        tasks = [self._main_task, self._tap.lifespan_task]
        if self._uvicorn is not None:
            for listener in getattr(self._uvicorn, "servers", ()):
                listener.close()  # before its socket is closed: the loop would go on watching that descriptor, whoever has it next
            for connection in list(self._uvicorn.server_state.connections):
                connection.transport.abort()
            tasks += self._uvicorn.server_state.tasks
        for task in tasks:
            if task is not None:
                task.cancel()

    def shut_sockets(self) -> None:
        """From any thread, when the loop does not answer: every peer sees its socket end."""
        if self._uvicorn is not None:
            for connection in list(self._uvicorn.server_state.connections):
                shut_socket(connection.transport.get_extra_info("socket"))

    async def _wait_for_handlers(self) -> None:
        """Until every handler and socket has ended, or the grace is over."""
        state = self._uvicorn.server_state
        deadline = time.monotonic() + GRACE_SECONDS
        while (state.tasks or state.connections) and time.monotonic() < deadline:  # noqa: ASYNC110, uvicorn has no event for it
            await asyncio.sleep(0.005)


def shut_socket(held: socket.socket) -> None:
    """Shut a socket down from any thread, whoever holds it."""
    with contextlib.suppress(OSError, AttributeError), socket.socket(fileno=socket.dup(held.fileno())) as handle:
        handle.shutdown(socket.SHUT_RDWR)


def _where(error: BaseException | None) -> str:
    lines = source.readers_lines(error.__traceback__) if error else []
    return f" It came from {lines[-1]}." if lines else ""
