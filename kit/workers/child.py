"""One process of a server: it imports the app, serves the sockets that it is handed, and tells the kernel of all.

The app has the main thread and its loop to itself. On a loop beside it live the control channel, by which sockets and
orders come, and the reporter: so a blocked app is still watched, and ends when the kernel is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from functools import partial
from typing import Any

from kit import loops, source
from kit.admission import Admission, notebook_pages
from kit.engine import Engine, Limits
from kit.errors import ServerStartError
from kit.output import Serving, capture_output, serving
from kit.watch import Blocked, LoopWatch
from kit.workers.imported import imported_app
from kit.workers.relay import RelayedTimeline
from kit.workers.reporter import Reporter

__all__ = ["Worker", "main"]

_LOOK_SECONDS = 0.25
_ORPHAN_SECONDS = 1.0


class Worker:
    """This process, with the settings that the kernel has sent.

    Args:
        control: the socket by which sockets and orders come.
        pipe: the descriptor of the pipe to the kernel.
        settings: what `kit.workers.engine` has put together.
    """

    def __init__(self, control: socket.socket, pipe: int, settings: dict[str, Any]) -> None:
        self._control = control
        self._pipe = pipe
        self._settings = settings
        self._timeline = RelayedTimeline(settings["began"], recording=settings["recording"])
        self._engine: Engine | None = None
        self._unread = b""
        self._descriptors: list[int] = []
        self._blocked: Blocked | None = None

    def serve(self) -> None:
        """Serve until the kernel says stop, or is gone."""
        loop = loops.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.set_default_executor(loops.daemon_executor("kit-worker", partial(serving.set, Serving(self._timeline))))
        capture_output.acquire()
        try:
            loop.run_until_complete(self._run())
        finally:  # whatever ended it: the app may have called exit()
            with contextlib.suppress(Exception):
                loops.background().submit(self._reporter.finish()).result(timeout=1.0)

    async def _run(self) -> None:
        """1. let the kernel be heard; 2. import the app; 3. its start-up; 4. serve until told to stop."""
        self._main = loops.HostLoop()
        self._stop: asyncio.Future[tuple[int, float]] = self._main.loop.create_future()
        self._taking: set[asyncio.Task[None]] = set()
        serving.set(Serving(self._timeline))
        await loops.background().run(self._listen_to_the_kernel())
        try:
            app = imported_app(self._settings["app"])
            admission = Admission(**self._settings["admission"])
            admission.port = self._settings["port"]
            self._engine = Engine(app, self._timeline, admission, Limits(*self._settings["limits"]), self._settings["uvicorn_options"])
            await self._engine.start_up(self._settings["host"], self._settings["port"], [])
        except ServerStartError as error:
            await loops.background().run(self._fail(str(error)))
            return
        await loops.background().run(self._ready())
        await self._engine.close(*await self._stop)

    # On the loop beside the app's.

    async def _listen_to_the_kernel(self) -> None:
        self._reporter = Reporter(self._timeline, self._pipe)
        await self._reporter.open()
        self._control.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control.fileno(), self._hear)
        self._late = loop.call_later(self._settings["started_by"] - time.perf_counter(), self._say_what_hangs)

    async def _ready(self) -> None:
        self._late.cancel()
        self._reporter.say("ready", None)
        self._watch = LoopWatch(self._main, self._timeline)
        self._tasks = [asyncio.create_task(self._watch.run()), asyncio.create_task(self._look())]

    async def _fail(self, why: str) -> None:
        self._late.cancel()
        self._reporter.say("failed", why)

    def _say_what_hangs(self) -> None:
        """The start-up takes too long: say in which line it is. The kernel ends this process."""
        place = source.innermost_place(self._main.frame())
        importing = self._engine is None
        what, advice = ("importing the app", "Let its module do less.") if importing else ("the app's start-up", "Let its lifespan reach `yield` sooner.")
        self._reporter.say("failed", f"{what} did not end within {self._settings['start_seconds']:g} s; it is in {place}. {advice}")

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._reporter.look()
            blocked = self._watch.blocked
            if blocked or self._blocked:
                self._reporter.say("blocked", _plain_blocked(blocked))
            self._blocked = blocked

    def _hear(self) -> None:
        """Take what came on the control channel: lines, and with some of them a socket."""
        try:
            data, descriptors = _received(self._control)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        self._descriptors += descriptors
        if not data:
            self._kernel_is_gone()
            return
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._obey(*json.loads(line).popitem())

    def _obey(self, order: str, value: Any) -> None:
        if order == "socket":
            self._main.call_soon(self._take, socket.socket(fileno=self._descriptors.pop(0)), value)
        elif order == "pages":
            for origin in value:
                notebook_pages.add(origin)
        elif order == "shown":
            self._timeline.shown = value
        elif order == "stop":
            self._main.call_soon(self._stop_with, value)

    def _kernel_is_gone(self) -> None:
        """Nobody is left to serve for: close, and end whatever the app does meanwhile."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control.fileno())
        loop.call_later(_ORPHAN_SECONDS, os._exit, 1)
        self._main.call_soon(self._stop_with, (1001, 0.5))

    # On the app's loop.

    def _take(self, accepted: socket.socket, ticket: int) -> None:
        try:
            self._timeline.expect(accepted.getpeername(), ticket)
            accepted.setblocking(False)
        except OSError:  # the client has gone already
            accepted.close()
            return
        task = self._main.loop.create_task(self._engine.take(accepted))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    def _stop_with(self, how: tuple[int, float]) -> None:
        if not self._stop.done():
            self._stop.set_result(tuple(how))


def _received(control: socket.socket) -> tuple[bytes, list[int]]:
    """What came, and the descriptors that came with it; no child of this process inherits them."""
    data, descriptors, *_ = socket.recv_fds(control, 1 << 16, 32)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return data, list(descriptors)


def _plain_blocked(blocked: Blocked | None) -> Any:
    if blocked is None:
        return None
    place = blocked.place
    return {
        "since": time.perf_counter() - blocked.since_seconds,
        "place": [place.filename, place.line, place.function, place.code] if place else None,
        "connection": blocked.connection,
    }


def main() -> None:
    """What `kit.workers.process` runs; its arguments are the descriptors of the control channel and of the pipe to the kernel."""
    control, pipe = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    for descriptor in (control.fileno(), pipe):
        os.set_inheritable(descriptor, False)
    with control.makefile("rb", buffering=0) as file:
        settings = json.loads(file.readline() or "null")
    if settings is not None:
        sys.path[:] = settings["path"]
        Worker(control, pipe, settings).serve()
