"""One process of a server, as the kernel has it: started, handed sockets, listened to, and seen to its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from kit.connection import Connection
from kit.errors import ServerStartError
from kit.printable import visible
from kit.recording_form import FIX, RecordingError
from kit.source import Place
from kit.timeline import Timeline
from kit.watch import BLOCKED_AFTER_SECONDS, Blocked
from kit.workers.channel import Channel
from kit.workers.lines import LINE_CHARACTERS, Lines, Output
from kit.workers.retelling import Retelling, told_in
from kit.workers.system import end_group, exit_code, exit_words, started

__all__ = ["LOOK_SECONDS", "Process", "WorkerProcess"]

_LINE_LIMIT_BYTES = 64 * 2**20
LOOK_SECONDS = 0.25
_QUIET_LOOKS = 6  # so often nothing had come, not even a sign of life: it does not answer
_LAST_LINES = 5
_LAST_CHARACTERS = 300  # of each


class Process(NamedTuple):
    """A snapshot of one process of a server.

    Attributes:
        label: ``"process 1"``.
        pid: the system's number for it.
        state: ``"starting"``, ``"serving"``, ``"not answering"``, ``"stopping"`` or ``"ended"``.
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
        self._reports = Lines(self._heard, limit=_LINE_LIMIT_BYTES)
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._quiet_looks = 0
        self._quiet_since: float | None = None  # since when it does not answer
        self._cut_off_said = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._popen, control, self._pipes = started(settings)
        self._channel = Channel(control)
        self._task = self._loop.create_task(self._live())

    @property
    def process(self) -> Process:
        """A snapshot of it; from any thread."""
        state = "not answering" if self._state == "serving" and not self.serves else self._state
        return Process(self._label, self._popen.pid, state, sum(connection.open for connection in self._retelling.connections), self._exit)

    @property
    def serves(self) -> bool:
        """Whether it takes sockets that it is handed."""
        return self.reachable and self._quiet_since is None

    @property
    def reachable(self) -> bool:
        """Whether it may be handed sockets, although it does not answer just now."""
        return self._state == "serving" and not self._channel.cut_off

    @property
    def full(self) -> bool:
        """Whether so many sockets wait for it that it should be given no more."""
        return self._channel.full

    @property
    def last_words(self) -> str:
        """What it wrote last to stderr, as a sentence, or an empty text."""
        return f" Its last words: {' | '.join(self._last_lines)}" if self._last_lines else ""

    @property
    def blocked(self) -> Blocked | None:
        """Where its loop is stuck, or None while that answers; from any thread. Of a process that does not answer at all nobody knows where."""
        told, quiet_since = self._blocked, self._quiet_since
        if self._state != "serving":
            return None
        if told is None:
            return None if quiet_since is None else Blocked(time.perf_counter() - quiet_since, None, None)
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
        """Give it a connection; a socket that it does not take at once waits for it here, which is not for one that is `full`."""
        self._channel.give("socket", self._retelling.expect(address), accepted)

    def tell(self, what: str, value: Any) -> None:
        """Tell it something, behind the sockets that it was given before."""
        self._channel.give(what, value)

    def look(self) -> str | None:
        """To be called now and then: what there is to say if it has stopped answering, or answers again.

        Silence is counted in looks, before each of which the loop has read what was there: while the kernel itself was held, nobody looked.
        """
        if self._state != "serving":
            return None
        if self._channel.cut_off:  # one that was just ending when that was seen has ended by the next look
            said, self._cut_off_said = self._cut_off_said, True
            return None if said else f"{self._label} has closed its channel to this kernel, so it can be given no more connections"
        self._channel.look()
        heard, self._reports.heard = self._reports.heard, False
        return self._note_answer() if heard else self._note_silence()

    def stop(self, code: int, lifespan_seconds: float) -> None:
        """Tell it to close its connections with ``code``, and to end."""
        if self._state in ("starting", "serving"):
            self._state = "stopping"
            self._channel.give("stop", [code, lifespan_seconds])

    def kill(self) -> None:
        """End it at once; from any thread. Safe to call at any time: only a process that has not been waited for is killed."""
        self._killed = True
        end_group(self._popen)

    def give_up(self) -> None:
        """Kill it if it still runs, and let go of all that belongs to it."""
        self.kill()
        self._task.cancel()
        for file in self._pipes.values():  # it was cancelled before it had begun
            file.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(2.0)  # a killed process ends within milliseconds, on a busy machine a little later
        if self._state != "ended":
            self._over(-signal.SIGKILL if self._popen.returncode is None else self._popen.returncode)

    # Its life.

    async def _live(self) -> None:
        """1. listen until it hangs up; 2. wait for its end; 3. what was its, ends."""
        pipes, self._pipes = self._pipes, {}
        outputs = [Output(self._timeline, self._label, stream) for stream in ("stdout", "stderr")]
        takers = [outputs[0].line, partial(self._wrote, outputs[1])]
        listening = [self._reports, *(Lines(take, limit=LINE_CHARACTERS) for take in takers)]
        transports = []
        try:
            for lines, file in zip(listening, pipes.values(), strict=True):
                transport, _ = await self._loop.connect_read_pipe(lambda lines=lines: lines, file)
                transports.append(transport)
            while exit_code(self._popen) is None:
                hung_up = self._reports.over
                await (asyncio.sleep(0.005) if hung_up.done() else asyncio.wait([hung_up], timeout=0.25))
            await asyncio.wait([lines.over for lines in listening], timeout=0.5)  # a grandchild that left its group may have them still
            for output in outputs:
                output.say_what_is_missing()
        finally:
            for transport in transports:
                transport.close()
        self._over(self._popen.returncode)

    def _over(self, code: int) -> None:
        asked = self._state == "stopping" or self._killed
        self._exit = exit_words(code)
        how = f"{self._label} ended with {self._exit}" if code >= 0 else f"{self._label} was ended by {self._exit}"
        was, self._state = self._state, "ended"
        self.lost = self._retelling.end(None if asked else how)
        self._channel.close()
        if not self._ready.done():
            self._ready.set_exception(ServerStartError(f"{how} before it served.{self.last_words}"))
            self._ready.exception()  # whoever waits for another process does not look
        if was == "serving" and not asked:
            self._on_end(self, how)

    # From it.

    def _wrote(self, output: Output, line: bytes) -> None:
        """A line that it wrote to stderr."""
        output.line(line)
        if line.strip():
            self._last_lines.append(visible(line[:_LAST_CHARACTERS].decode("utf-8", "replace").strip()))

    def _note_answer(self) -> str | None:
        silent_since, self._quiet_since, self._quiet_looks = self._quiet_since, None, 0
        return None if silent_since is None else f"{self._label} answers again, after {time.perf_counter() - silent_since:.1f} s"

    def _note_silence(self) -> str | None:
        self._quiet_looks += 1
        if self._quiet_looks != _QUIET_LOOKS:
            return None
        self._quiet_since = time.perf_counter() - _QUIET_LOOKS * LOOK_SECONDS
        return f"{self._label} does not answer: one long call holds its interpreter, or it was stopped"

    def _heard(self, line: bytes) -> None:
        try:
            self._take(*told_in(line))
        except (RecordingError, KeyError, TypeError, ValueError) as error:
            why = str(error).removesuffix(FIX)[:300].strip()
            self._timeline.note(f"{self._label} told something that makes no sense here: {why}", what="unreadable", process=self._label)

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
