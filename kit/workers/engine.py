"""The engine of a server of several processes: it accepts every connection here, and deals the sockets out in turn."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from kit.admission import notebook_pages
from kit.engine import shut_socket
from kit.errors import ServerStartError
from kit.plan import Plan
from kit.timeline import Timeline
from kit.watch import Blocked
from kit.workers.process import LOOK_SECONDS, Process, WorkerProcess

__all__ = ["Workers"]

START_SECONDS = 30.0  # they import what the app imports, on a loaded machine
_ACCEPTED_AT_ONCE = 100
_FULL_SECONDS = 0.05
_STOP_SECONDS = 1.0


class Workers:
    """Several processes that serve one app; the face of a `kit.engine.Engine`. Lives on the server's own loop.

    The n-th connection goes to the n-th process and so round again, whatever the processes do meanwhile: who gets which is the same
    in every run. A process that has ended is passed over, and so is one that does not answer while another does; none is started anew.

    Attributes:
        start_seconds: how long a start may take in all.
    """

    start_seconds = START_SECONDS + 3.0

    def __init__(self, plan: Plan, timeline: Timeline) -> None:
        self._plan = plan
        self._timeline = timeline
        self._workers: list[WorkerProcess] = []
        self._bound: socket.socket | None = None
        self._turn = 0
        self._accepting = False
        self._stopping = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._told: dict[str, Any] = {}

    @property
    def processes(self) -> list[Process]:
        """A snapshot of each process."""
        return [worker.process for worker in self._workers]

    @property
    def blocked(self) -> Blocked | None:
        """Where a process is stuck, the one that has been for longest; None while all answer. From any thread."""
        stuck = [blocked for worker in self._workers if (blocked := worker.blocked) is not None]
        return max(stuck, key=lambda blocked: blocked.since_seconds, default=None)

    async def listen(self, host: str, bound: socket.socket) -> None:
        """Start the processes and wait until each has imported the app and run its start-up; then accept.

        Raises:
            ServerStartError: one of them failed or took too long; all have been ended.
        """
        settings = self._settings(host, bound.getsockname()[1])
        self._bound = bound
        try:
            for number in range(1, self._plan.processes + 1):
                self._workers.append(WorkerProcess(f"process {number}", self._timeline, settings, self._ended))
                await asyncio.sleep(0)
            async with asyncio.timeout(START_SECONDS + 1.0):
                await asyncio.gather(*(worker.ready() for worker in self._workers))
        except TimeoutError:
            raise ServerStartError(f"the processes did not start within {START_SECONDS:g} s, and did not say why.", port=settings["port"]) from None
        except OSError as error:
            raise ServerStartError(f"the system starts no more processes: {error.strerror}. Ask for fewer.", port=settings["port"]) from error
        if self._bound.fileno() < 0:
            raise ServerStartError(f"every process ended as soon as it served.{self._workers[-1].last_words}", port=settings["port"])
        bound.setblocking(False)
        self._accept_again()
        self._tasks.append(asyncio.create_task(self._look()))

    async def close(self, code: int, lifespan_seconds: float) -> None:
        """1. no new connections; 2. every process closes its own with ``code`` and ends; 3. one that does not is killed."""
        self._stopping = True
        self._accept_no_more()
        for worker in self._workers:
            worker.stop(code, lifespan_seconds)
        await asyncio.gather(*(worker.ended(_STOP_SECONDS) for worker in self._workers))

    def give_up(self) -> None:
        """Kill what still runs, and let go of everything; safe to call at any time."""
        self._stopping = True
        self._accept_no_more()
        for task in self._tasks:
            task.cancel()
        for worker in self._workers:
            worker.give_up()

    def shut_sockets(self) -> None:
        """From any thread, when the server's loop does not answer: kill the processes, and every peer sees its socket end."""
        for worker in self._workers:
            worker.kill()

    def _settings(self, host: str, port: int) -> dict[str, Any]:
        plan = self._plan
        return {
            "app": plan.app,
            "host": host,
            "port": port,
            "admission": plan.admission,
            "limits": plan.limits,
            "uvicorn_options": plan.uvicorn_options,
            "recording": self._timeline.recording,
            "began": self._timeline.began,
            "start_seconds": START_SECONDS,
            "started_by": time.perf_counter() + START_SECONDS,
        }

    # Accepting.

    def _accept_again(self) -> None:
        if not self._stopping and not self._accepting and self._bound.fileno() >= 0:
            self._accepting = True
            asyncio.get_running_loop().add_reader(self._bound.fileno(), self._accept)

    def _accept_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            asyncio.get_running_loop().remove_reader(self._bound.fileno())

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            worker = self._next()
            if worker is not None and worker.full:  # what comes meanwhile waits in the system
                self._pause(_FULL_SECONDS)
                return
            try:
                accepted, address = self._bound.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:  # too many open files, say: later there may be fewer
                self._pause(1.0)
                return
            self._deal(worker, accepted, address)

    def _pause(self, seconds: float) -> None:
        self._accept_no_more()
        asyncio.get_running_loop().call_later(seconds, self._accept_again)

    def _deal(self, worker: WorkerProcess | None, accepted: socket.socket, address: Any) -> None:
        """Give a connection to the process whose turn it is."""
        if worker is None:
            accepted.close()
            return
        self._turn += 1
        self._tell_news()
        worker.hand(accepted, address)

    def _next(self) -> WorkerProcess | None:
        """Whose turn it is."""
        takers = self._takers()
        while takers and self._workers[self._turn % len(self._workers)] not in takers:
            self._turn += 1
        return self._workers[self._turn % len(self._workers)] if takers else None

    def _takers(self) -> list[WorkerProcess]:
        """Those that new connections go to: while none answers, those that may answer again."""
        return [worker for worker in self._workers if worker.serves] or [worker for worker in self._workers if worker.reachable]

    # What the processes have to know of the kernel, and the kernel of them.

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._tell_news()
            for worker in self._workers:
                said = worker.look()
                if said is not None:
                    self._say_who_answers(said, worker)

    def _tell_news(self) -> None:
        """Tell every process which pages show panels, and whether somebody follows the Timeline, if that has changed."""
        news = {"pages": sorted(notebook_pages.origins), "shown": self._timeline.followed}
        for what, value in news.items():
            if self._told.get(what) != value:
                self._told[what] = value
                for worker in self._workers:
                    worker.tell(what, value)

    def _say_who_answers(self, said: str, worker: WorkerProcess) -> None:
        """A process has stopped answering, or answers again."""
        answering = [other.process.label for other in self._workers if other.serves]
        nobody = "New connections wait: no process answers." if self._takers() else "New connections are closed at once: no process takes them."
        then = f"New connections go to {' and '.join(answering)}." if answering else nobody
        self._timeline.note(f"{said}. {then}", what="answering" if worker.serves else "not-answering", process=worker.process.label)

    def _ended(self, worker: WorkerProcess, how: str) -> None:
        """A process has ended by itself."""
        if self._stopping:
            return
        lost = len(worker.lost)
        ended_too = f"; {lost} open connection{'s' * (lost != 1)} ended with it" if lost else ""
        left = [other.process.label for other in self._takers()]
        then = f"New ones go to {' and '.join(left)}." if left else "None is left: connections are refused until the app is served again."
        self._timeline.note(f"{how}{ended_too}. {then}", what="process-ended", process=worker.process.label)
        if not left:
            self._accept_no_more()
            shut_socket(self._bound)
            self._bound.close()
