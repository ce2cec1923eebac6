"""serve(): a real uvicorn server inside this kernel, in a thread of its own or on the notebook's loop."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import socket
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from kit import loops, source
from kit.admission import Admission
from kit.binding import FIRST_PORT, bind
from kit.connection import Connection
from kit.engine import Engine, shut_socket
from kit.errors import KitError, LoopStopped, ServerStartError, StillBlockedWarning
from kit.output import Serving, capture_output, serving
from kit.plan import Plan, planned
from kit.source import Place
from kit.timeline import Timeline
from kit.watch import Blocked, LoopWatch
from kit.workers.engine import Workers
from kit.workers.process import Process

if TYPE_CHECKING:
    from kit.route import Routes

__all__ = ["Page", "Server", "ServerStatistics", "running_server", "serve", "server_at", "stop_all"]

T = TypeVar("T")


class ServerStatistics(NamedTuple):
    """A snapshot of one server."""

    name: str
    url: str
    state: str
    uptime_seconds: float
    connections_open: int
    connections_total: int
    blocked_seconds: float


class Page(NamedTuple):
    """A page that a server serves, as `Server.open` returns it; a notebook cell that ends with it shows the page."""

    server: Server
    path: str


class HandlerStopped(BaseException):
    """Raised inside a handler that blocks its loop while the server is being stopped."""


class Server:
    """A running server, as `serve` returns it; its methods may be called from any thread or loop.

    Attributes:
        name: under which a later `serve` replaces it.
        app: the application it runs, unmodified; of a server of several processes the text by which they import it.
        host: the address it is bound to.
        port: the port it is bound to.
        runs_in: ``"thread"``, ``"kernel"`` or ``"processes"``.
        timeline: everything that happened on both sides of its connections. A server that replaces this one goes on with
            the same Timeline.
        state: ``"starting"``, ``"serving"``, ``"stopping"`` or ``"stopped"``.
    """

    def __init__(self, plan: Plan, timeline: Timeline) -> None:
        self.name = plan.name
        self.app = plan.app
        self.host = plan.host
        self.port = 0
        self.runs_in = "processes" if plan.processes else "kernel" if plan.host_loop else "thread"
        self.timeline = timeline
        self.state = "starting"
        self._admission = Admission(**plan.admission)
        self._engine = Workers(plan, timeline) if plan.processes else Engine(plan.app, timeline, self._admission, plan.limits, plan.uvicorn_options)
        self._loop: loops.LoopThread | loops.HostLoop | None = plan.host_loop
        self._began = time.monotonic()
        self._socket: socket.socket | None = None
        self._watch: LoopWatch | Workers | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._stop_task: asyncio.Task[Place | None] | None = None
        self._kept_port: int | None = None  # where this name was served last

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
    def processes(self) -> list[Process]:
        """The processes that run the app: label, pid, state, how many connections each has open. None for an app of this kernel."""
        return self._engine.processes if isinstance(self._engine, Workers) else []

    @property
    def routes(self) -> Routes:
        """The app's WebSocket routes with their parameters, as they are now; a cell that ends with it shows a table.

        There are none for an app that other processes import: what they are cannot be seen from here, which is what `Routes.unlisted` says.
        """
        from kit.routes import websocket_routes  # FastAPI comes with it, which not every process needs

        return websocket_routes(self.app)

    @property
    def blocked(self) -> Blocked | None:
        """Where the server's loop is stuck, or None while it answers; readable while it is stuck. Of several processes, the one stuck longest."""
        return self._watch.blocked if self._watch is not None and self.state == "serving" else None

    def frame(self) -> FrameType | None:
        """What the server's thread executes right now, as its innermost frame; readable while it is blocked. None of an app in other processes."""
        here = self._loop is not None and self.state != "stopped" and not self.processes
        return self._loop.frame() if here else None

    @property
    def kit_cookies(self) -> dict[str, str]:
        """The cookies by which the kit's own clients show the server's ``kit_token``."""
        return self._admission.cookies

    def open(self, path: str = "/") -> Page:
        """The page at ``path`` for the end of a cell: it is shown in a frame, with a link, at the address that the reader's browser can reach."""
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"path expects a text that begins with '/', but got {path!r}. Write: server.open('/')")
        return Page(self, path)

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's own loop and return its result.

        Needed for whatever touches the app's queues, locks, events or tasks: those belong to the loop that uses them.
        Cancelling this cancels the coroutine; its exceptions are raised here.

        Raises:
            TypeError: not a coroutine; call the ``async def`` function first.
            KitError: the app runs in other processes, where no coroutine of this kernel can go.
            LoopStopped: the server has stopped.
        """
        if not inspect.iscoroutine(coroutine):
            called = f"{getattr(coroutine, '__name__', 'function')}(…)"
            raise TypeError(f"server.run() expects a coroutine, but got {type(coroutine).__name__}. Write: await server.run({called})")
        if isinstance(self.app, str):
            coroutine.close()
            where = f"{self.app!r} runs in other processes, which have its objects"
            raise KitError(f"server.run() cannot run this: {where}. Do it in a handler there, and reach it by a message or a request.")
        if self._loop is None or self.state == "stopped":
            coroutine.close()
            raise LoopStopped(f"server {self.name!r} is {self.state}. Start it again: server = await serve(app, name={self.name!r})")
        return await self._loop.run(coroutine)

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
        """1. bind the socket; 2. have a loop; 3. run the app's start-up and listen; 4. watch."""
        try:
            self._socket = bind(self.host, port, self._kept_port, {s.port: s.name for s in _servers.values() if s.state == "serving"})
        except ServerStartError:
            self.state = "stopped"
            raise
        self.port = self._admission.port = self._socket.getsockname()[1]
        capture_output.acquire()
        if self._loop is None:
            self._loop = loops.LoopThread(f"kit-server-{self.name}", enter=partial(serving.set, Serving(self.timeline)))
        try:
            async with asyncio.timeout(self._engine.start_seconds):
                await self._loop.run(self._engine.listen(self.host, self._socket))
        except TimeoutError:
            place = source.innermost_place(self._loop.frame())
            await self._interrupt(0.3)
            await self._tear_down()
            advice = f"The app's start-up did not end within {self._engine.start_seconds:g} s; it is in {place}. Let its lifespan reach `yield` sooner."
            raise ServerStartError(advice, port=self.port) from None
        except BaseException:
            await self._tear_down()
            raise
        self.state = "serving"
        self._kept_port = self.port
        if isinstance(self._engine, Workers):  # each process watches its own loop
            self._watch = self._engine
        else:
            self._watch = LoopWatch(self._loop, self.timeline)
            self._watch_task = asyncio.create_task(self._watch.run())
        self.timeline.note(f"serving at {self.url}", what="serving", name=self.name, url=self.url)

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
        place = None
        if self._loop.alive:
            closing = asyncio.ensure_future(self._loop.run(self._engine.close(code, within_seconds / 2)))
            done, _ = await asyncio.wait([closing], timeout=within_seconds / 2)
            if not done and await self._interrupt(within_seconds / 2):
                done, _ = await asyncio.wait([closing], timeout=within_seconds)
            place = None if done else source.innermost_place(self._loop.frame())
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
        await self._tear_down()
        self.timeline.note(f"stopped; port {self.port} is free", what="stopped", name=self.name)
        return place

    async def _interrupt(self, within_seconds: float) -> bool:
        """Free a loop that is blocked by raising `HandlerStopped` in it; True once it answers."""
        if isinstance(self._engine, Workers):  # nothing of the reader's runs on this loop
            return True
        deadline = time.monotonic() + within_seconds
        answers: list[bool] = []
        self._loop.call_soon(answers.append, True)
        await asyncio.sleep(0.02)
        if not answers:
            self._shut_sockets()
        while not answers and time.monotonic() < deadline:
            self._loop.interrupt(HandlerStopped)
            await asyncio.sleep(0.05)
        return bool(answers)

    def _shut_sockets(self) -> None:
        """From outside a loop that does not answer: the port stops listening, and every peer sees its socket end."""
        shut_socket(self._socket)
        self._engine.shut_sockets()

    async def _tear_down(self) -> None:
        """Stop watching, free the port and part with the loop; what is left is only what cannot be ended."""
        self.state = "stopped"
        if self._watch_task is not None:
            self._watch_task.cancel()
        self._shut_sockets()
        self._loop.call_soon(self._engine.give_up)
        self._loop.when_ended(self._socket.close)
        self._loop.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self._loop.ended()
        capture_output.release()


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
    app: Callable[..., Awaitable[None]] | str,
    *,
    processes: int | None = None,
    name: str = "main",
    port: int | None = None,
    host: str = "127.0.0.1",
    runs_in: Literal["thread", "kernel"] = "thread",
    allowed_origins: Iterable[str] | Literal["*"] = (),
    allowed_hosts: Iterable[str] | Literal["*"] = (),
    kit_token: str | None = None,
    max_connections: int = 1000,
    max_message_bytes: int = 16 * 2**20,
    handshake_timeout_seconds: float = 10.0,
    ping_interval_seconds: float | None = 20.0,
    ping_timeout_seconds: float | None = 20.0,
    compression: bool = False,
    recording: bool = True,
) -> _Starting:
    """Start ``app`` on a real uvicorn server inside this kernel: ``server = await serve(app)``.

    Also ``async with serve(app) as server``, which stops it at the end. The server is ready when this returns. Calling it
    again with the same ``name`` replaces that server: its connections are closed with 1012, the port stays, the Timeline
    goes on.

    It is safe by default: a WebSocket handshake from a page of another origin (RFC 6454), and any request that calls this
    machine by a foreign name, is refused with HTTP 403 before the app runs. Pages of the notebook that shows its panels may connect.

    An app named by a text is imported anew by processes of its own: ``server = await serve("chat:app", processes=2)``. They have one
    port; connections are dealt out in turn, the first to the first process. What happens in them is in the same Timeline.

    Args:
        app: an ASGI application, for example a ``FastAPI()``; or the text ``"module:attribute"``, for example ``"chat:app"``.
        processes: for a text, in how many processes it runs, 1 to 16; 1 by default. They are not restarted.
        name: one name, one server; give each section of a notebook its own.
        port: None takes 8000 or the next free port and says so; a number is taken strictly; 0 is any free port.
        host: the address to bind; one that other machines reach needs a ``kit_token``.
        runs_in: ``"thread"``, a thread and an event loop of its own, so that a busy cell does not delay the server and a
            blocked server does not stop the notebook; or ``"kernel"``, the running loop, with nest-asyncio applied to it,
            so that blocking calls such as ``asyncio.run(…)`` in a cell keep the server alive.
        allowed_origins: more origins whose pages may connect, or ``"*"``, which switches the check off.
        allowed_hosts: more names by which it may be called, or ``"*"``, which switches the check off.
        kit_token: a secret of 16 characters or more, wanted from everybody as ``?kit_token=`` or as a cookie. The app
            never sees it, and it is never recorded.
        max_connections: more sockets at a time, in each process, are turned away with HTTP 503.
        max_message_bytes: a longer message closes the connection with 1009.
        handshake_timeout_seconds: a request whose head has not come by then is answered with HTTP 408.
        ping_interval_seconds: between two keepalive pings; None sends none.
        ping_timeout_seconds: how long a pong may take before the connection is closed with 1011.
        compression: offer per-message compression (RFC 7692); it costs time, so it is off.
        recording: False leaves the Timeline empty and the taps out.

    Raises:
        ServerStartError: within 5 seconds, of processes within 33, with the reason; nothing is left running. A server that it should have
            replaced goes on when the arguments were wrong, and is stopped when the new app failed to start.

    Warns:
        UnsafeServerWarning: a check was switched off.
    """

    async def start() -> Server:
        plan = planned(
            app,
            processes=processes,
            name=name,
            port=port,
            host=host,
            runs_in=runs_in,
            allowed_origins=allowed_origins,
            allowed_hosts=allowed_hosts,
            kit_token=kit_token,
            max_connections=max_connections,
            max_message_bytes=max_message_bytes,
            handshake_timeout_seconds=handshake_timeout_seconds,
            ping_interval_seconds=ping_interval_seconds,
            ping_timeout_seconds=ping_timeout_seconds,
            compression=compression,
            recording=recording,
        )
        was_there = name in _servers
        server = await loops.background().run(_orchestrate(_replace, plan))
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


async def _replace(plan: Plan) -> Server:
    """1. stop the server of that name; 2. start the new one on its port and Timeline; 3. register it."""
    old = _servers.get(plan.name)
    timeline = old.timeline if old else Timeline()
    timeline.recording = plan.recording
    if old is not None:
        await old._stop(1012, 1.0)
    server = Server(plan, timeline)
    server._kept_port = old._kept_port if old else None
    _servers[plan.name] = server
    await server._start(plan.port)
    return server


def _stop_at_exit() -> None:
    """At kernel exit: every server gets a second in all; threads are daemons, so nothing holds the process."""
    if any(server.state == "serving" for server in _servers.values()):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loops.background().submit(stop_all()).result(timeout=2.0)


atexit.register(_stop_at_exit)
