"""serve(): a real uvicorn server inside this kernel, in a thread of its own or on the notebook's loop."""

from __future__ import annotations

import asyncio
import inspect
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from kit import loops
from kit.binding import FIRST_PORT
from kit.connection import Connection
from kit.errors import KitError, LoopStopped, ServerStartError, StillBlockedWarning
from kit.lifetime import Lifetime
from kit.output import serving
from kit.pending import Pending
from kit.plan import Plan, planned
from kit.registry import one_at_a_time, servers, serving_ports
from kit.timeline import Timeline
from kit.watch import Blocked
from kit.workers.engine import Workers
from kit.workers.process import Process

if TYPE_CHECKING:
    from kit.route import Routes

__all__ = ["Page", "Server", "ServerStatistics", "serve"]

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


class Server:
    """A running server, as `serve` returns it; its methods may be called from any thread or loop.

    Attributes:
        name: under which a later `serve` replaces it.
        app: the application it runs, unmodified; of a server of several processes the text by which they import it.
        host: the address it is bound to.
        runs_in: ``"thread"``, ``"kernel"`` or ``"processes"``.
        timeline: everything that happened on both sides of its connections. A server that replaces this one goes on with
            the same Timeline.
    """

    def __init__(self, plan: Plan, timeline: Timeline, kept_port: int | None) -> None:
        self.name = plan.name
        self.app = plan.app
        self.host = plan.host
        self.runs_in = "processes" if plan.processes else "kernel" if plan.host_loop else "thread"
        self.timeline = timeline
        self._life = Lifetime(plan, timeline, kept_port)
        self._began = time.monotonic()

    @property
    def state(self) -> str:
        """``"starting"``, ``"serving"``, ``"stopping"`` or ``"stopped"``."""
        return self._life.state

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return self._life.port

    @property
    def url(self) -> str:
        """The HTTP address, for example ``http://127.0.0.1:8000``."""
        return f"http://{self._life.authority}"

    @property
    def ws_url(self) -> str:
        """The WebSocket address, for example ``ws://127.0.0.1:8000``."""
        return f"ws://{self._life.authority}"

    @property
    def connections(self) -> list[Connection]:
        """The connections that are open now, with both states, oldest first."""
        return [connection for connection in self.timeline.connections if connection.open]

    @property
    def processes(self) -> list[Process]:
        """The processes that run the app: label, pid, state, how many connections each has open. None for an app of this kernel."""
        return self._life.engine.processes if isinstance(self._life.engine, Workers) else []

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
        return self._life.blocked

    def frame(self) -> FrameType | None:
        """What the server's thread executes right now, as its innermost frame; readable while it is blocked. None of an app in other processes."""
        return self._life.frame()

    @property
    def kit_cookies(self) -> dict[str, str]:
        """The cookie by which the kit's own clients, and a browser that came by a link, show the ``kit_token``; its name has the port in it."""
        return self._life.admission.cookies

    @property
    def kit_token(self) -> str | None:
        """The secret that everybody has to show, or None."""
        return next(iter(self.kit_cookies.values()), None)

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
        if self._life.loop is None or self.state == "stopped":
            coroutine.close()
            raise LoopStopped(f"server {self.name!r} is {self.state}. Start it again: server = await serve(app, name={self.name!r})")
        return await self._life.loop.run(coroutine)

    async def stop(self, *, code: int = 1001, within_seconds: float = 1.0) -> None:
        """Close every connection with ``code`` (RFC 6455 §7.4.1), then free the port.

        Takes at most half a second while every handler is suspended at an await. A handler that blocks the loop is
        interrupted with an exception after half of ``within_seconds``; one that is inside a call to C cannot be, and is
        named by a `StillBlockedWarning`: the port is free all the same, and its thread ends when that call returns.

        Safe to call twice, from any thread or loop. Cancelling it leaves the server stopping in the background.
        """
        place = await asyncio.shield(loops.background().run(one_at_a_time(self.name, self._life.stop, code, within_seconds)))
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
) -> Pending[Server]:
    """Start ``app`` on a real uvicorn server inside this kernel: ``server = await serve(app)``.

    Also ``async with serve(app) as server``, which stops it at the end. The server is ready when this returns. Calling it
    again with the same ``name`` replaces that server: its connections are closed with 1012, the port stays, the Timeline
    goes on. May be awaited on any loop, in any thread; cancelling it leaves no server running.

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
        kit_token: a secret of 16 characters or more, wanted from everybody as ``?kit_token=`` or in the cookie ``kit_token_<port>``. The app
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
        was_there = name in servers
        _check_who_asks(name)
        server = await loops.background().run(one_at_a_time(name, _replace, plan))
        if port is None and server.port != FIRST_PORT and not was_there:
            print(f"Server {name!r} is at {server.url}.")
        return server

    return Pending(start, Server.stop, not_yet="this server has not been started", advice="server = await serve(app)")


def _check_who_asks(name: str) -> None:
    """Refuse a server that would wait for its own start: of each name one start is under way at a time."""
    here, starting = serving.get(), servers.get(name)
    if here is not None and starting is not None and starting.state == "starting" and here.timeline is starting.timeline:
        why = f"server {name!r} is still starting, and this serve() is in its app's own start-up, so each would wait for the other"
        raise ServerStartError(f"{why}. Give the inner one a name of its own: await serve(app, name={name + '-inner'!r})")


async def _replace(plan: Plan) -> Server:
    """1. stop the server of that name; 2. start the new one on its port and Timeline; 3. register it."""
    old = servers.get(plan.name)
    timeline = old.timeline if old else Timeline()
    timeline.recording = plan.recording
    if old is not None:
        await old._life.stop(1012, 1.0)
    server = servers[plan.name] = Server(plan, timeline, old._life.kept_port if old else None)
    await server._life.start(plan.port, serving_ports())
    return server
