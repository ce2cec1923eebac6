"""A process of its own with a hub whose members come over WebSockets: ``python -m tests.hub.another_process URL BEAT SILENT`` says its port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator

from kit import serve
from kit.hub import Hub, attendance
from tests.hub.rooms_app import joining_app

__all__ = ["AnotherProcess", "another_process"]


class AnotherProcess:
    """It serves ``/join/{room}``, as `joining_app` does, at ``address``."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.address = f"ws://127.0.0.1:{port}"

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It is alive, and gets to nothing."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def another_process(url: str) -> AsyncIterator[AnotherProcess]:
    """One that knows the same `attendance` times as this process, and is killed in the end."""
    command = [sys.executable, "-m", __name__, url, str(attendance.BEAT_SECONDS), str(attendance.SILENT_SECONDS)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield AnotherProcess(process, int(await process.stdout.readline()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def main(url: str, beat_seconds: str, silent_seconds: str) -> None:
    attendance.BEAT_SECONDS, attendance.SILENT_SECONDS = float(beat_seconds), float(silent_seconds)
    async with serve(joining_app(Hub(url), opens_hub=True), port=0) as server:
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
