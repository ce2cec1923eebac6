"""The two loops that all clients and all panels share, started when they are first needed."""

from __future__ import annotations

import atexit
from threading import Lock

from kit.loops.thread import LoopThread

__all__ = ["background", "panels", "stop_shared_loops"]


class _Shared:
    """The two loops that all clients and all panels share, started at first use."""

    def __init__(self) -> None:
        self._threads: dict[str, LoopThread] = {}
        self._lock = Lock()

    def get(self, name: str) -> LoopThread:
        thread = self._threads.get(name)
        if thread is not None and thread.alive:
            return thread
        with self._lock:
            if name not in self._threads or not self._threads[name].alive:
                self._threads[name] = LoopThread(f"kit-{name}")
            return self._threads[name]

    def stop(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, {}
        for thread in threads.values():
            thread.stop()
        for thread in threads.values():
            thread.join(1.0)


_shared = _Shared()


def background() -> LoopThread:
    """The loop on which clients live and servers are started and stopped."""
    return _shared.get("clients")


def panels() -> LoopThread:
    """The loop from which Timelines tell their subscribers what is new."""
    return _shared.get("panels")


def stop_shared_loops() -> None:
    """End the shared loops' threads; the next use starts new ones."""
    _shared.stop()


atexit.register(stop_shared_loops)
