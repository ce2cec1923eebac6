"""The subscribers of one server, in a process of their own: they shake hands, and from then on only count what comes.

Commands are lines of JSON on standard input, each answered with one on standard output.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from typing import Any

_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_AT_A_TIME = 50
_SMALL_BYTES = 1024
_SO_TIMESTAMPNS = 35  # Linux; Python has no name for it
_STAMP = struct.Struct("qq")


class Subscribers:
    """Many sockets, one epoll, one buffer; nothing is parsed: how many bytes a message has is measured first."""

    def __init__(self) -> None:
        self.ended = 0
        self._buffer = bytearray(1 << 18)
        self._epoll = select.epoll()
        self._by_number: dict[int, socket.socket] = {}

    def connect(self, port: int, path: str, greeting: str, count: int) -> dict[str, Any]:
        """So many more subscribers; a few handshakes are under way at a time."""
        for first in range(0, count, _AT_A_TIME):
            opened = [_opened(port, path) for _ in range(min(_AT_A_TIME, count - first))]
            for each in opened:
                _greet(each, greeting)
                each.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                self._by_number[each.fileno()] = each
                self._epoll.register(each, select.EPOLLIN)
        return {}

    def stall(self, port: int, path: str, greeting: str) -> dict[str, Any]:
        """One more, which nobody will ever read, with small buffers at both ends: little has to be sent until they are full."""
        self._stalled = _opened(port, path, small=True)
        _greet(self._stalled, greeting)
        return {}

    def unstall(self) -> dict[str, Any]:
        """It leaves."""
        self._stalled.close()
        return {}

    def count_until(self, total_bytes: int, within_seconds: float) -> dict[str, Any]:
        """Read until so many bytes have come in all; when the last of them came."""
        seen, at = 0, time.monotonic_ns()
        deadline = at + int(within_seconds * 1e9)
        while seen < total_bytes and at < deadline:
            seen += sum(self._read(number) for number, _ in self._epoll.poll(0.1))
            at = time.monotonic_ns()
        return {"seen": seen, "at": at}

    def quiet(self, quiet_seconds: float) -> dict[str, Any]:
        """Read until nothing has come for so long: how many bytes each had, where all had the same."""
        seen = dict.fromkeys(self._by_number, 0)
        while ready := self._epoll.poll(quiet_seconds):
            for number, _ in ready:
                seen[number] += self._read(number)
        had = set(seen.values())
        return {"bytes": had.pop() if len(had) == 1 else None}

    def time_messages(self, message_bytes: int, messages: int, within_seconds: float) -> dict[str, Any]:
        """When each message came to each subscriber's socket, in nanoseconds since 1970: the kernel's stamps, so that reading late does not count."""
        arrivals: list[list[int]] = [[] for _ in range(messages)]
        seen = dict.fromkeys(self._by_number, 0)
        missing = messages * len(seen)
        deadline = time.monotonic() + within_seconds
        while missing > 0 and time.monotonic() < deadline:
            for number, _ in self._epoll.poll(0.1):
                before = seen[number] // message_bytes
                size, at = self._read_stamped(number)
                seen[number] += size
                after = min(seen[number] // message_bytes, messages)
                for place in range(before, after):
                    arrivals[place].append(at)
                missing -= after - before
        return {"arrivals": arrivals, "missing": missing}

    def _read_stamped(self, number: int) -> tuple[int, int]:
        size, about, _, _ = self._by_number[number].recvmsg_into([self._buffer], 64)
        if not size:
            self._epoll.unregister(number)
            self.ended += 1
        seconds, nanoseconds = _STAMP.unpack_from(about[0][2]) if about else divmod(time.time_ns(), 10**9)
        return size, seconds * 10**9 + nanoseconds

    def _read(self, number: int) -> int:
        size = self._by_number[number].recv_into(self._buffer)
        if not size:
            self._epoll.unregister(number)
            self.ended += 1
        return size


def _opened(port: int, path: str, small: bool = False) -> socket.socket:
    """A socket that has asked for its handshake."""
    opened = socket.socket()
    if small:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BYTES)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SMALL_BYTES)  # a server's buffer grows by what it may send at a time
    opened.connect(("127.0.0.1", port))
    opened.sendall(_HANDSHAKE.format(path=path, port=port).encode())
    return opened


def _greet(opened: socket.socket, greeting: str) -> None:
    """Take the handshake's answer, and say what this server wants to hear before it counts one in."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = opened.recv(65_536)
        assert chunk, head
        head += chunk
    assert head.startswith(b"HTTP/1.1 101"), head
    if greeting:
        opened.sendall(bytes((0x81, 0x80 | len(greeting))) + bytes(4) + greeting.encode())  # masked with zeros


def main() -> None:
    subscribers = Subscribers()
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(subscribers, command)(*arguments) | {"ended": subscribers.ended}), flush=True)


if __name__ == "__main__":
    main()
