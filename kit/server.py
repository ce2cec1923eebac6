"""serve(): a real uvicorn server inside this kernel, in a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import socket
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, NamedTuple, TypeVar

import uvicorn

from kit import loops, source
from kit.binding import FIRST_PORT, bind, check_address, check_app, check_numbers
from kit.errors import LoopStopped, ServerStartError, StillBlockedWarning
from kit.output import Serving, capture_output, serving
from kit.protocol import TappedWebSocket
from kit.source import Place
from kit.taps import AsgiTap
from kit.timeline import Connection, Timeline

__all__ = ["Blocked", "Server", "ServerStatistics", "running_server", "serve", "stop_all"]

T = TypeVar("T")

START_SECONDS = 5.0
GRACE_SECONDS = 0.15
BLOCKED_AFTER_SECONDS = 0.4
WATCH_SECONDS = 0.25


class ServerStatistics(NamedTuple):
    """A snapshot of one server."""

    name: str
    url: str
    state: str
    uptime_seconds: float
    connections_open: int
    connections_total: int
    blocked_seconds: float


class Blocked(NamedTuple):
    """A server's loop that runs one piece of code without ever awaiting.

    Attributes:
        since_seconds: how long it has been blocked.
        place: the reader's line that it is on.
        connection: the number of the connection whose handler that line belongs to, if it is one.
    """

    since_seconds: float
    place: Place | None
    connection: int | None


class HandlerStopped(BaseException):
    """Raised inside a handler that blocks its loop while the server is being stopped."""


class Server:
    """A running server, as `serve` returns it; its methods may be called from any thread or loop.

    Attributes:
        name: under which a later `serve` replaces it.
        app: the application it runs, unmodified.
        host: the address it is bound to.
        port: the port it is bound to.
        timeline: everything that happened on both sides of its connections. A server that replaces this one goes on with
            the same Timeline.
        state: ``"starting"``, ``"serving"``, ``"stopping"`` or ``"stopped"``.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], *, name: str, host: str, timeline: Timeline, options: dict[str, Any]) -> None:
        self.name = name
        self.app = app
        self.host = host
        self.port = 0
        self.timeline = timeline
        self.state = "starting"
        self._options = options
        self._began = time.monotonic()
        self._tap = AsgiTap(app)
        self._uvicorn: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._thread: loops.LoopThread | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._stop_task: asyncio.Task[Place | None] | None = None
        self._kept_port: int | None = None  # where this name was served last
        self._asked: float | None = None  # when the loop was asked whether it turns, until it answers
        self._blocked_noted = False

    @property
    def url(self) -> str:
        """The HTTP address, for example ``http://127.0.0.1:8000``."""
        return f"http://{self._netloc}"

    @property
    def ws_url(self) -> str:
        """The WebSocket address, for example ``ws://127.0.0.1:8000``."""
        return f"ws://{self._netloc}"

    @property
    def _netloc(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def connections(self) -> list[Connection]:
        """The connections that are open now, with both states, oldest first."""
        return [connection for connection in self.timeline.connections if connection.open]

    @property
    def blocked(self) -> Blocked | None:
        """Where the server's loop is stuck, or None while it answers; readable while it is stuck."""
        asked = self._asked
        silent_seconds = time.monotonic() - asked if asked else 0.0
        if self.state != "serving" or silent_seconds < BLOCKED_AFTER_SECONDS:
            return None
        frame = self._thread.frame()
        return Blocked(silent_seconds, source.innermost_place(frame), _connection_in(frame))

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's own loop and return its result.

        Needed for whatever touches the app's queues, locks, events or tasks: those belong to the loop that uses them.
        Cancelling this cancels the coroutine; its exceptions are raised here.

        Raises:
            TypeError: not a coroutine; call the ``async def`` function first.
            LoopStopped: the server has stopped.
        """
        if not inspect.iscoroutine(coroutine):
            called = f"{getattr(coroutine, '__name__', 'function')}(…)"
            raise TypeError(f"server.run() expects a coroutine, but got {type(coroutine).__name__}. Write: await server.run({called})")
        if self._thread is None or self.state == "stopped":
            coroutine.close()
            raise LoopStopped(f"server {self.name!r} is {self.state}. Start it again: server = await serve(app, name={self.name!r})")
        return await self._thread.run(coroutine)

    async def stop(self, *, code: int = 1001, within_seconds: float = 1.0) -> None:
        """Close every connection with ``code`` (RFC 6455 §7.4.1), then free the port.

        Takes at most half a second while every handler is suspended at an await. A handler that blocks the loop is
        interrupted with an exception after half of ``within_seconds``; one that is inside a call to C cannot be, and is
        named by a `StillBlockedWarning`: the port is free all the same, and its thread ends when that call returns.

        Safe to call twice, from any thread or loop. Cancelling it leaves the server stopping in the background.
        """
        place = await asyncio.shield(loops.background().run(_orchestrate(self._stop, code, within_seconds)))
        if place is not None:
            text = f"server {self.name!r} is stopped and port {self.port} is free, but its thread is still in {place}. It ends when that call returns."
            warnings.warn(text, StillBlockedWarning, stacklevel=2)

    def statistics(self) -> ServerStatistics:
        """A snapshot of this server."""
        connections = self.timeline.connections
        blocked = self.blocked
        return ServerStatistics(
            name=self.name,
            url=self.url,
            state=self.state,
            uptime_seconds=time.monotonic() - self._began,
            connections_open=sum(connection.open for connection in connections),
            connections_total=connections[-1].number if connections else 0,
            blocked_seconds=blocked.since_seconds if blocked else 0.0,
        )

    def __repr__(self) -> str:
        return f"<Server {self.name!r} {self.url} {self.state}>"

    # Start and stop, on the background loop.

    async def _start(self, port: int | None) -> None:
        """1. bind the socket; 2. start the thread and its loop; 3. run the app's start-up and listen; 4. watch."""
        try:
            self._socket = bind(self.host, port, self._kept_port, {s.port: s.name for s in _servers.values() if s.state == "serving"})
        except ServerStartError:
            self.state = "stopped"
            raise
        self.port = self._socket.getsockname()[1]
        capture_output.acquire()
        self._thread = loops.LoopThread(f"kit-server-{self.name}", enter=partial(serving.set, Serving(self.timeline)))
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._thread.run(self._listen())
        except TimeoutError:
            place = source.innermost_place(self._thread.frame())
            await self._interrupt(0.3)
            await self._tear_down()
            advice = f"The app's start-up did not end within {START_SECONDS:g} s; it is in {place}. Let its lifespan reach `yield` sooner."
            raise ServerStartError(advice, port=self.port) from None
        except BaseException:
            await self._tear_down()
            raise
        self.state = "serving"
        self._kept_port = self.port
        self._watch_task = asyncio.create_task(self._watch())
        self.timeline.note(f"serving at {self.url}", what="serving", name=self.name, url=self.url)

    async def _listen(self) -> None:
        """On the server's loop: everything that uvicorn does before it serves."""
        serving.set(Serving(self.timeline))
        config = uvicorn.Config(
            self._tap,
            host=self.host,
            port=self.port,
            ws=partial(TappedWebSocket, self.timeline),
            log_config=None,
            h11_max_incomplete_event_size=1 << 18,
            **self._options,
        )
        config.load()
        self._uvicorn = uvicorn.Server(config)
        self._uvicorn.lifespan = config.lifespan_class(config)
        try:
            await self._uvicorn.startup(sockets=[self._socket])
        except SystemExit:
            error = self._tap.lifespan_error
            raise ServerStartError(
                f"the app's lifespan start-up failed with {type(error).__name__}: {error}.{_where(error)} Mend it and call serve() again."
            ) from error
        self._main_task = asyncio.create_task(self._uvicorn.main_loop())  # keeps the Date header right

    async def _stop(self, code: int, within_seconds: float) -> Place | None:
        """Stop to the end, whoever is cancelled meanwhile; a second call waits for the first one's end."""
        if self.state == "serving":
            self.state = "stopping"
            self._stop_task = asyncio.create_task(self._stop_to_the_end(code, within_seconds))
        if self._stop_task is None or self._stop_task.done():
            return None
        return await asyncio.shield(self._stop_task)

    async def _stop_to_the_end(self, code: int, within_seconds: float) -> Place | None:
        """1. ask the loop to close everything; 2. if it does not answer, take its sockets away and interrupt it."""
        closing = asyncio.ensure_future(self._thread.run(self._close_everything(code, within_seconds / 2)))
        done, _ = await asyncio.wait([closing], timeout=within_seconds / 2)
        if not done and await self._interrupt(within_seconds / 2):
            done, _ = await asyncio.wait([closing], timeout=within_seconds)
        place = None if done else source.innermost_place(self._thread.frame())
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await self._tear_down()
        self.timeline.note(f"stopped; port {self.port} is free", what="stopped", name=self.name)
        return place

    async def _interrupt(self, within_seconds: float) -> bool:
        """Free a loop that is blocked by raising `HandlerStopped` in it; True once it answers."""
        deadline = time.monotonic() + within_seconds
        answers: list[bool] = []
        self._thread.call_soon(answers.append, True)
        await asyncio.sleep(0.02)
        if not answers:
            self._shut_sockets()
        while not answers and time.monotonic() < deadline:
            self._thread.interrupt(HandlerStopped)
            await asyncio.sleep(0.05)
        return bool(answers)

    async def _close_everything(self, code: int, lifespan_seconds: float) -> None:
        """On the server's loop: 1. no new connections; 2. Close frames; 3. cancel; 4. abort; 5. the app's shutdown."""
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

    async def _wait_for_handlers(self) -> None:
        """Until every handler and socket has ended, or the grace is over."""
        state = self._uvicorn.server_state
        deadline = time.monotonic() + GRACE_SECONDS
        while (state.tasks or state.connections) and time.monotonic() < deadline:  # noqa: ASYNC110, uvicorn has no event for it
            await asyncio.sleep(0.005)

    def _shut_sockets(self) -> None:
        """From outside a loop that does not answer: the port stops listening, and every peer sees its socket end."""
        sockets = [self._socket]
        if self._uvicorn is not None:
            sockets += [c.transport.get_extra_info("socket") for c in list(self._uvicorn.server_state.connections)]
        for held in sockets:
            with contextlib.suppress(OSError, AttributeError), socket.socket(fileno=socket.dup(held.fileno())) as handle:
                handle.shutdown(socket.SHUT_RDWR)

    async def _tear_down(self) -> None:
        """Stop watching, free the port and end the thread; what is left is only what cannot be ended."""
        self.state = "stopped"
        if self._watch_task is not None:
            self._watch_task.cancel()
        self._shut_sockets()
        self._thread.when_ended(self._socket.close)
        self._thread.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self._thread.ended()
        capture_output.release()

    async def _watch(self) -> None:
        """Notice, from another loop, when the server's loop stops answering, and when it answers again."""
        while True:
            if self._asked is None:
                self._asked = time.monotonic()
                self._thread.call_soon(self._answer)
            await asyncio.sleep(WATCH_SECONDS)
            blocked = self.blocked
            if blocked and not self._blocked_noted:
                self._blocked_noted = True
                text = f"the server's loop is blocked; nothing else is served until this line ends: {blocked.place}"
                self.timeline.note(text, what="blocked", number=blocked.connection)

    def _answer(self) -> None:
        """On the server's loop: it turns."""
        if self._blocked_noted and self._asked:
            self._blocked_noted = False
            self.timeline.note(f"the server's loop answers again, after {time.monotonic() - self._asked:.1f} s", what="unblocked")
        self._asked = None


class _Starting:
    """What ``serve(…)`` returns: awaited it starts the server; in ``async with`` it also stops it."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Server]]) -> None:
        self._start = start
        self._server: Server | None = None

    def __await__(self) -> Generator[Any, None, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        self._server = await self._start()
        return self._server

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        await self._server.stop()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this server has not been started, so it has no {name!r}. Did you forget await? Write: server = await serve(app)")


def serve(
    app: Callable[..., Awaitable[None]],
    *,
    name: str = "main",
    port: int | None = None,
    host: str = "127.0.0.1",
    compression: bool = False,
    max_message_bytes: int = 16 * 2**20,
    ping_interval_seconds: float | None = 20.0,
    ping_timeout_seconds: float | None = 20.0,
    recording: bool = True,
) -> _Starting:
    """Start ``app`` on a real uvicorn server inside this kernel: ``server = await serve(app)``.

    Also ``async with serve(app) as server``, which stops it at the end. The server has a thread and an event loop of its
    own, so that a busy cell does not delay it. It is ready when this returns. Calling it again with the same ``name``
    replaces that server: its connections are closed with 1012, the port stays, the Timeline goes on.

    Args:
        app: an ASGI application, for example a ``FastAPI()``.
        name: one name, one server; give each section of a notebook its own.
        port: None takes 8000 or the next free port and says so; a number is taken strictly; 0 is any free port.
        host: the address to bind.
        compression: offer per-message compression (RFC 7692); it costs time, so it is off.
        max_message_bytes: a longer message closes the connection with 1009.
        ping_interval_seconds: between two keepalive pings; None sends none.
        ping_timeout_seconds: how long a pong may take before the connection is closed with 1011.
        recording: False leaves the Timeline empty and the taps out.

    Raises:
        ServerStartError: within 5 seconds, with the reason; nothing is left running. A server that it should have
            replaced goes on when the arguments were wrong, and is stopped when the new app failed to start.
    """
    options = {
        "ws_per_message_deflate": compression,
        "ws_max_size": max_message_bytes,
        "ws_ping_interval": ping_interval_seconds,
        "ws_ping_timeout": ping_timeout_seconds,
    }

    async def start() -> Server:
        check_app(app)
        check_address(host, port)
        check_numbers(max_message_bytes=max_message_bytes, ping_interval_seconds=ping_interval_seconds, ping_timeout_seconds=ping_timeout_seconds)
        was_there = name in _servers
        server = await loops.background().run(_orchestrate(_replace, app, name, port, host, recording, options))
        if port is None and server.port != FIRST_PORT and not was_there:
            print(f"Server {name!r} is at {server.url}.")
        return server

    return _Starting(start)


async def stop_all() -> None:
    """Stop every server of this kernel and forget their names and Timelines; from any loop."""
    for name, server in list(_servers.items()):
        await server.stop()
        if _servers.get(name) is server:
            del _servers[name]


def running_server(name: str) -> Server | None:
    """The server that runs under ``name`` now, or None."""
    server = _servers.get(name)
    return server if server is not None and server.state == "serving" else None


def server_at(host: str, port: int) -> Server | None:
    """The running server of this kernel that is bound to ``host:port``, or None."""
    local = host in ("127.0.0.1", "localhost", "::1")
    return next((s for s in list(_servers.values()) if s.state == "serving" and s.port == port and (local or s.host == host)), None)


_servers: dict[str, Server] = {}
_orchestration: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}


async def _orchestrate(step: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """On the background loop: one start, stop or replacement at a time."""
    lock = _orchestration.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with lock:
        return await step(*args)


async def _replace(app: Any, name: str, port: int | None, host: str, recording: bool, options: dict[str, Any]) -> Server:
    """1. stop the server of that name; 2. start the new one on its port and Timeline; 3. register it."""
    old = _servers.get(name)
    timeline = old.timeline if old else Timeline()
    timeline.recording = recording
    if old is not None:
        await old._stop(1012, 1.0)
    server = Server(app, name=name, host=host, timeline=timeline, options=options)
    server._kept_port = old._kept_port if old else None
    _servers[name] = server
    await server._start(port)
    return server


def _where(error: BaseException | None) -> str:
    lines = source.readers_lines(error.__traceback__) if error else []
    return f" It came from {lines[-1]}." if lines else ""


def _connection_in(frame: Any) -> int | None:
    """The number of the connection whose handler runs in ``frame``'s stack."""
    while frame is not None:
        if frame.f_code is AsgiTap._serve_websocket.__code__:
            return frame.f_locals["here"].connection.number
        frame = frame.f_back
    return None


def _stop_at_exit() -> None:
    """At kernel exit: every server gets a second in all; threads are daemons, so nothing holds the process."""
    if any(server.state == "serving" for server in _servers.values()):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loops.background().submit(stop_all()).result(timeout=2.0)


atexit.register(_stop_at_exit)
