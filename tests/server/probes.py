"""What the tests of a server look with: free ports, running threads, a clock, and peers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from kit import Server

T = TypeVar("T")


@contextlib.asynccontextmanager
async def peer_that_never_reads(server: Server, path: str) -> AsyncIterator[socket.socket]:
    """A client that shakes hands and then never takes another byte from its socket."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = f"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13"
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        peer.setblocking(False)
        async with asyncio.timeout(5.0):
            await loop.sock_connect(peer, ("127.0.0.1", server.port))
            await loop.sock_sendall(peer, f"GET {path} HTTP/1.1\r\n{upgrade}\r\n\r\n".encode())
            assert await loop.sock_recv(peer, 12) == b"HTTP/1.1 101"
        yield peer


def is_free(port: int) -> bool:
    """Whether a program could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True


def server_threads() -> list[str]:
    """The servers' threads that run now, but for those that an earlier test left: it has failed already."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kit-server") and thread not in left_by_others]


left_by_others: list[threading.Thread] = []


async def in_another_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` on a loop of its own in a thread of its own; `asyncio.run` would leave its loop open once it is patched."""

    def run() -> T:
        with asyncio.Runner() as runner:
            return runner.run(coroutine)

    return await asyncio.to_thread(run)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the count is all that matters
