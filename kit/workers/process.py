"""One process of a server, as the kernel has it: started, handed sockets, listened to, and seen to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kit.connection import Connection
from kit.errors import ServerStartError
from kit.recording_form import RecordingError
from kit.source import Place
from kit.timeline import Timeline
from kit.watch import BLOCKED_AFTER_SECONDS, Blocked
from kit.workers.lines import LINE_CHARACTERS, Lines, Output
from kit.workers.retelling import Retelling, told_in

__all__ = ["Process", "WorkerProcess"]

_LINE_LIMIT_BYTES = 64 * 2**20
# Run with -P: no file beside the notebook may stand in for a module that the child itself imports.
_CHILD = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from kit.workers.child import main; main()"
_OUTBOX_MOST = 2_000  # sockets that wait for a process that takes none


class Process(NamedTuple):
    """A snapshot of one process of a server.

    Attributes:
        label: ``"process 1"``.
        pid: the system's number for it.
        state: ``"starting"``, ``"serving"``, ``"stopping"`` or ``"ended"``.
        connections_open: how many connections it has open.
        exit: how it ended, for example ``"exit code 3"``, or an empty text.
    """

    label: str
    pid: int
    state: str
    connections_open: int
    exit: str


class WorkerProcess:
    """Lives on the server's own loop, but for what says otherwise.

    Args:
        label: what it is called in the Timeline.
        settings: what `kit.workers.child` needs to know.
        on_end: called once, with how it ended in words, when it was not told to end.

    Attributes:
        lost: the connections that ended with it.
    """

    def __init__(self, label: str, timeline: Timeline, settings: dict[str, Any], on_end: Callable[[WorkerProcess, str], None]) -> None:
        self.lost: list[Connection] = []
        self._label = label
        self._timeline = timeline
        self._on_end = on_end
        self._retelling = Retelling(timeline, label)
        self._loop = asyncio.get_running_loop()
        self._state = "starting"
        self._exit = ""
        self._killed = False
        self._blocked: dict[str, Any] | None = None
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._outbox: deque[tuple[bytes, socket.socket | None]] = deque()
        self._waits_for_room = False
        self._popen, self._control, self._pipes = _started(settings)
        self._control.setblocking(False)
        self._task = self._loop.create_task(self._live())

    @property
    def process(self) -> Process:
        """A snapshot of it; from any thread."""
        return Process(self._label, self._popen.pid, self._state, sum(connection.open for connection in self._retelling.connections), self._exit)

    @property
    def serves(self) -> bool:
        """Whether it may be handed sockets."""
        return self._state == "serving"

    @property
    def blocked(self) -> Blocked | None:
        """Where its loop is stuck, or None while that answers; from any thread."""
        told = self._blocked
        if told is None or not self.serves:
            return None
        about = self._retelling.connection(told["connection"])
        place = Place(*told["place"]) if told["place"] else None
        since_seconds = max(BLOCKED_AFTER_SECONDS, time.perf_counter() - told["since"])
        return Blocked(since_seconds, place, about.number if about else None)

    async def ready(self) -> None:
        """Wait until it serves.

        Raises:
            ServerStartError: it does not, and why.
        """
        await asyncio.shield(self._ready)

    async def ended(self, within_seconds: float) -> None:
        """Wait until it has ended and all is heard; after so many seconds it is killed."""
        done, _ = await asyncio.wait([self._task], timeout=within_seconds)
        if not done:
            self._timeline.note(f"{self._label} did not stop within {within_seconds:g} s, so it was killed", what="killed", process=self._label)
            self.kill()
            await asyncio.wait([self._task], timeout=1.0)

    def hand(self, accepted: socket.socket, address: Any) -> None:
        """Give it a connection; a socket that it does not take at once waits for it here."""
        if len(self._outbox) >= _OUTBOX_MOST:
            accepted.close()
            return
        self._send("socket", self._retelling.expect(address), accepted)

    def tell(self, what: str, value: Any) -> None:
        """Tell it something, behind the sockets that it was given before."""
        self._send(what, value)

    def stop(self, code: int, lifespan_seconds: float) -> None:
        """Tell it to close its connections with ``code``, and to end."""
        if self._state in ("starting", "serving"):
            self._state = "stopping"
            self._send("stop", [code, lifespan_seconds])

    def kill(self) -> None:
        """End it at once; from any thread. Safe to call at any time: only a process that has not been waited for is killed."""
        self._killed = True
        if self._popen.poll() is None:
            self._popen.kill()

    def give_up(self) -> None:
        """Kill it if it still runs, and let go of all that belongs to it."""
        self.kill()
        self._task.cancel()
        for file in self._pipes.values():  # it was cancelled before it had begun
            file.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(0.5)  # a killed process ends within milliseconds
        self._part()

    # Its life.

    async def _live(self) -> None:
        """1. listen until it hangs up; 2. wait for its end; 3. what was its, ends."""
        pipes, self._pipes = self._pipes, {}
        listening = [Lines(self._heard, limit=_LINE_LIMIT_BYTES)]
        listening += [Lines(Output(self._timeline, self._label, stream).line, limit=LINE_CHARACTERS) for stream in ("stdout", "stderr")]
        transports = []
        try:
            for lines, file in zip(listening, pipes.values(), strict=True):
                transport, _ = await self._loop.connect_read_pipe(lambda lines=lines: lines, file)
                transports.append(transport)
            while self._popen.poll() is None:
                hung_up = listening[0].over
                await (asyncio.sleep(0.005) if hung_up.done() else asyncio.wait([hung_up], timeout=0.25))
            await asyncio.wait([lines.over for lines in listening], timeout=0.5)  # a grandchild may have them still
        finally:
            for transport in transports:
                transport.close()
        self._over(self._popen.returncode)

    def _over(self, code: int) -> None:
        asked = self._state == "stopping" or self._killed
        self._exit = _exit_words(code)
        how = f"{self._label} ended with {self._exit}" if code >= 0 else f"{self._label} was ended by {self._exit}"
        was, self._state = self._state, "ended"
        self.lost = self._retelling.end(None if asked else how)
        self._part()
        if not self._ready.done():
            self._ready.set_exception(ServerStartError(f"{how} before it served. What it wrote last is in the server's log."))
            self._ready.exception()  # whoever waits for another process does not look
        if was == "serving" and not asked:
            self._on_end(self, how)

    def _part(self) -> None:
        """Close what is left on this side."""
        if self._waits_for_room:
            self._loop.remove_writer(self._control.fileno())
            self._waits_for_room = False
        self._control.close()
        for _, accepted in self._outbox:
            if accepted is not None:
                accepted.close()
        self._outbox.clear()

    # To it.

    def _send(self, what: str, value: Any, accepted: socket.socket | None = None) -> None:
        if self._state == "ended":
            return
        self._outbox.append((json.dumps({what: value}).encode() + b"\n", accepted))
        if not self._waits_for_room:
            self._flush()

    def _flush(self) -> None:
        """Send what waits, as far as there is room."""
        try:
            while self._outbox:
                line, accepted = self._outbox[0]
                if accepted is None:
                    self._control.send(line)
                else:
                    socket.send_fds(self._control, [line], [accepted.fileno()])
                    accepted.close()  # the process has it, and the client sees no difference
                self._outbox.popleft()
        except BlockingIOError:
            if not self._waits_for_room:
                self._waits_for_room = True
                self._loop.add_writer(self._control.fileno(), self._flush)
            return
        except OSError:  # it has ended: its end closes what waits
            return
        if self._waits_for_room:
            self._waits_for_room = False
            self._loop.remove_writer(self._control.fileno())

    # From it.

    def _heard(self, line: bytes) -> None:
        try:
            self._take(*told_in(line))
        except (RecordingError, KeyError, TypeError, ValueError) as error:
            self._timeline.note(f"{self._label} told something that makes no sense here: {str(error)[:300]}", what="unreadable", process=self._label)

    def _take(self, kind: str, value: Any) -> None:
        if kind == "batch":
            self._retelling.take_batch(value)
        elif kind == "blocked":
            self._blocked = value
        elif kind == "ready" and not self._ready.done():
            self._state = "serving"
            self._ready.set_result(None)
        elif kind == "failed" and not self._ready.done():
            self._ready.set_exception(ServerStartError(str(value)))
            self._ready.exception()


def _started(settings: dict[str, Any]) -> tuple[subprocess.Popen[bytes], socket.socket, dict[str, Any]]:
    """A process with its settings under way, the control channel to it, and the pipes to read from: its reports and what it writes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    reports, pipe = os.pipe()
    try:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, str(theirs.fileno()), str(pipe)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=(theirs.fileno(), pipe),
            start_new_session=True,  # the kernel's interrupts are not meant for it
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"},
        )
    except BaseException:
        ours.close()
        os.close(reports)
        raise
    finally:
        theirs.close()
        os.close(pipe)
    with contextlib.suppress(OSError):  # it has ended already: that is told by whoever waits for it
        ours.settimeout(1.0)
        ours.sendall(json.dumps({**settings, "path": _python_path()}).encode() + b"\n")
    return popen, ours, {"reports": os.fdopen(reports, "rb", buffering=0), "stdout": popen.stdout, "stderr": popen.stderr}


def _python_path() -> list[str]:
    """Where this process finds modules, with the folder that it is in first."""
    here = str(Path.cwd())
    return [here, *(place for place in sys.path if place not in ("", here))]


def _exit_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"
