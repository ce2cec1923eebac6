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
from kit.workers.relay import Relay, RelayedTimeline, line_of

__all__ = ["Worker", "main"]

FLUSH_SECONDS = 0.006
LOOK_SECONDS = 0.25
WAITING_BYTES = 1 << 20  # lines that the kernel has not read yet; more are not made
LINES_AT_ONCE = 10
_REST = 9  # for each second of telling, seconds of rest: the app needs the processor, and the kernel twice as much to take it in
_ORPHAN_SECONDS = 1.0


class Reporter:
    """Tells the kernel what is new, soon and never faster than it reads. Lives on the loop beside the app's."""

    def __init__(self, timeline: RelayedTimeline, pipe: int) -> None:
        self._timeline = timeline
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()
        self._relay = Relay(timeline, self._wake)
        self._transport: asyncio.WriteTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._told = False  # since the last look

    async def open(self) -> None:
        """Begin to tell."""
        file = os.fdopen(self._pipe, "wb", buffering=0)
        self._transport, _ = await self._loop.connect_write_pipe(asyncio.BaseProtocol, file)
        self._due()

    def say(self, kind: str, value: Any) -> None:
        """Tell one thing now, behind what has been told."""
        if not self._transport.is_closing():
            self._transport.write(line_of(kind, value))

    def look(self) -> None:
        """Tell what has changed without an Entry that says so; if nothing was told since the last look, tell that this process lives."""
        self._flush(everything=True)
        if not self._told and not self._transport.get_write_buffer_size():
            self.say("alive", None)
        self._told = False

    async def finish(self) -> None:
        """Tell the rest; returns once the kernel has read it, or does not for too long."""
        self._flush(everything=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while (self._timer or self._transport.get_write_buffer_size()) and not self._transport.is_closing():
                    await asyncio.sleep(0.002)
                    self._flush()

    def _wake(self) -> None:
        """From any thread, even a tap's."""
        with contextlib.suppress(RuntimeError):  # at the very end
            self._loop.call_soon_threadsafe(self._due)

    def _due(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(max(FLUSH_SECONDS, self._not_before - time.monotonic()), self._flush)

    def _flush(self, *, everything: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        began, more = time.thread_time(), True
        with loops.giving_way():
            for _ in range(LINES_AT_ONCE):
                if self._transport.get_write_buffer_size() > WAITING_BYTES or self._transport.is_closing():
                    break
                line = self._relay.next_line(everything=everything)
                everything, more = False, line is not None
                if line is None:
                    break
                self._transport.write(line)
                self._told = True
        self._not_before = time.monotonic() + _REST * (time.thread_time() - began)
        if more:
            self._due()


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
            await asyncio.sleep(LOOK_SECONDS)
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
