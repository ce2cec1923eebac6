"""A server's life, from the binding of its port to the end of its loop, in steps that leave nothing behind when one fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from functools import partial
from types import FrameType

from kit import loops, source
from kit.admission import Admission
from kit.binding import bind
from kit.engine import Engine, shut_socket
from kit.errors import ServerStartError
from kit.output import Serving, capture_output, serving
from kit.plan import Plan
from kit.source import Place
from kit.timeline import Timeline
from kit.watch import Blocked, LoopWatch
from kit.workers.engine import Workers

__all__ = ["Lifetime"]


class HandlerStopped(BaseException):
    """Raised inside a handler that blocks its loop while the server is being stopped."""


class Lifetime:
    """What a server is made of while it lives: a socket, a loop, an engine that serves the app on it, and a watch over the loop.

    `start` and `stop` belong to the background loop, where of each name one server at a time is started or stopped; what only reads
    may be called from any thread.

    Args:
        plan: what was asked for.
        timeline: where the server's life is told.
        kept_port: the port under which this name was served last, or None.

    Attributes:
        state: ``"starting"``, ``"serving"``, ``"stopping"`` or ``"stopped"``.
        port: the port it is bound to; 0 before.
        kept_port: the port for a server that replaces this one.
        admission: who may connect.
        engine: what serves the app.
        loop: where the engine runs; None until there is one.
    """

    def __init__(self, plan: Plan, timeline: Timeline, kept_port: int | None) -> None:
        self.state = "starting"
        self.port = 0
        self.kept_port = kept_port
        self.admission = Admission(**plan.admission)
        self.engine = Workers(plan, timeline) if plan.processes else Engine(plan.app, timeline, self.admission, plan.limits, plan.uvicorn_options)
        self.loop: loops.LoopThread | loops.HostLoop | None = plan.host_loop
        self._name = plan.name
        self._host = plan.host
        self._timeline = timeline
        self._socket: socket.socket | None = None
        self._watch: LoopWatch | Workers | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._stop_task: asyncio.Task[Place | None] | None = None

    @property
    def authority(self) -> str:
        """Host and port as an address has them (RFC 3986 §3.2); a server bound to every address is called by the local one."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "") else f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self.port}"

    @property
    def blocked(self) -> Blocked | None:
        """Where the loop is stuck, or None while it answers; of several processes, the one stuck longest."""
        return self._watch.blocked if self._watch is not None and self.state == "serving" else None

    def frame(self) -> FrameType | None:
        """What the loop's thread executes right now, as its innermost frame; None of an app in other processes."""
        here = self.loop is not None and self.state != "stopped" and not isinstance(self.engine, Workers)
        return self.loop.frame() if here else None

    async def start(self, port: int | None, held: dict[int, str]) -> None:
        """1. bind the socket; 2. have a loop; 3. run the app's start-up and listen; 4. watch.

        Args:
            port: as in `serve`.
            held: the ports of the kernel's other servers, with their names.

        Raises:
            ServerStartError: with the reason; nothing is left running.
        """
        self._bind(port, held)
        capture_output.acquire()
        if self.loop is None:
            self.loop = loops.LoopThread(f"kit-server-{self._name}", enter=partial(serving.set, Serving(self._timeline)))
        try:
            await self._listen()
        except BaseException:
            await self._tear_down()
            raise
        self.state = "serving"
        self.kept_port = self.port
        self._begin_to_watch()
        url = f"http://{self.authority}"
        self._timeline.note(f"serving at {url}", what="serving", name=self._name, url=url)

    def _bind(self, port: int | None, held: dict[int, str]) -> None:
        try:
            self._socket = bind(self._host, port, self.kept_port, held)
        except ServerStartError:
            self.state = "stopped"
            raise
        self.port = self.admission.port = self._socket.getsockname()[1]

    async def _listen(self) -> None:
        """Run the app's start-up and listen; a start-up that takes too long is interrupted."""
        try:
            async with asyncio.timeout(self.engine.start_seconds):
                await self.loop.run(self.engine.listen(self._host, self._socket))
        except TimeoutError:
            place = source.innermost_place(self.loop.frame())
            await self._interrupt(0.3)
            advice = f"The app's start-up did not end within {self.engine.start_seconds:g} s; it is in {place}. Let its lifespan reach `yield` sooner."
            raise ServerStartError(advice, port=self.port) from None

    def _begin_to_watch(self) -> None:
        if isinstance(self.engine, Workers):  # each process watches its own loop
            self._watch = self.engine
        else:
            self._watch = LoopWatch(self.loop, self._timeline)
            self._watch_task = asyncio.create_task(self._watch.run())

    async def stop(self, code: int, within_seconds: float) -> Place | None:
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
        if self.loop.alive:
            closing = asyncio.ensure_future(self.loop.run(self.engine.close(code, within_seconds / 2)))
            done, _ = await asyncio.wait([closing], timeout=within_seconds / 2)
            if not done and isinstance(self.engine, Workers):  # nothing of the reader's runs on this loop: it comes to an end by itself
                done, _ = await asyncio.wait([closing])
            if not done and await self._interrupt(within_seconds / 2):
                done, _ = await asyncio.wait([closing], timeout=within_seconds)
            place = None if done else source.innermost_place(self.loop.frame())
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
        await self._tear_down()
        self._timeline.note(f"stopped; port {self.port} is free", what="stopped", name=self._name)
        return place

    async def _interrupt(self, within_seconds: float) -> bool:
        """Free a loop that is blocked by raising `HandlerStopped` in it; True once it answers."""
        if isinstance(self.engine, Workers):  # nothing of the reader's runs on this loop
            return True
        deadline = time.monotonic() + within_seconds
        answers: list[bool] = []
        self.loop.call_soon(answers.append, True)
        await asyncio.sleep(0.02)
        if not answers:
            self._shut_sockets()
        while not answers and time.monotonic() < deadline:
            self.loop.interrupt(HandlerStopped)
            await asyncio.sleep(0.05)
        return bool(answers)

    def _shut_sockets(self) -> None:
        """From outside a loop that does not answer: the port stops listening, and every peer sees its socket end."""
        shut_socket(self._socket)
        self.engine.shut_sockets()

    async def _tear_down(self) -> None:
        """Stop watching, free the port and part with the loop; what is left is only what cannot be ended."""
        self.state = "stopped"
        if self._watch_task is not None:
            self._watch_task.cancel()
        self._shut_sockets()
        self.loop.call_soon(self.engine.give_up)
        self.loop.when_ended(self._socket.close)
        self.loop.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await self.loop.ended()
        capture_output.release()
