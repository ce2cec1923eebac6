"""The control channel to a server's process: orders, and accepted sockets with some of them, bounded and in the order given."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from typing import Any

__all__ = ["Channel"]

_OUTBOX_MOST = 100  # sockets that wait for a process that takes none; each is a descriptor of the kernel's


class Channel:
    """The kernel's end of the channel. Lives on the server's own loop.

    Args:
        control: this end of a pair of stream sockets; the process says nothing on it.

    Attributes:
        cut_off: whether the process has closed its end, as far as anybody has looked; nothing can be given then.
    """

    def __init__(self, control: socket.socket) -> None:
        self.cut_off = False
        self._control = control
        self._control.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._outbox: deque[tuple[bytes, socket.socket | None]] = deque()
        self._waits_for_room = False
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether so much waits that no more sockets should be given."""
        return len(self._outbox) >= _OUTBOX_MOST

    def give(self, what: str, value: Any, accepted: socket.socket | None = None) -> None:
        """Give an order, with a socket if it is one; what is not taken at once waits here. A socket that nobody can take is closed."""
        if self._closed or self.cut_off:
            if accepted is not None:
                accepted.close()
            return
        self._outbox.append((json.dumps({what: value}).encode() + b"\n", accepted))
        if not self._waits_for_room:
            self._flush()

    def look(self) -> None:
        """To be called now and then: whether the process still has its end, and another try for what the system could not carry."""
        self.cut_off = self.cut_off or _is_closed(self._control)
        if not self._waits_for_room:
            self._flush()

    def close(self) -> None:
        """Close this end and the sockets that wait. Safe to call twice."""
        self._closed = True
        self._let_go()
        self._control.close()

    def _flush(self) -> None:
        """Send what waits, as far as there is room."""
        try:
            while self._outbox:
                self._send_first()
        except BlockingIOError:
            self._wait_for_room()
        except (BrokenPipeError, ConnectionResetError):  # it has ended, or has closed its end
            self.cut_off = True
            self._let_go()
        except OSError:  # too much is under way: the next look tries again
            return
        else:
            self._wait_no_more()

    def _send_first(self) -> None:
        """Send the first order, or as much of it as there is room for; its socket goes with its first byte."""
        line, accepted = self._outbox[0]
        sent = self._control.send(line) if accepted is None else socket.send_fds(self._control, [line], [accepted.fileno()])
        if accepted is not None:
            accepted.close()  # the process has it, and the client sees no difference
        if sent < len(line):
            self._outbox[0] = (line[sent:], None)
        else:
            self._outbox.popleft()

    def _let_go(self) -> None:
        """Close the sockets that wait for the process."""
        self._wait_no_more()
        for _, accepted in self._outbox:
            if accepted is not None:
                accepted.close()
        self._outbox.clear()

    def _wait_for_room(self) -> None:
        if not self._waits_for_room:
            self._waits_for_room = True
            self._loop.add_writer(self._control.fileno(), self._flush)

    def _wait_no_more(self) -> None:
        if self._waits_for_room:
            self._waits_for_room = False
            self._loop.remove_writer(self._control.fileno())


def _is_closed(channel: socket.socket) -> bool:
    """Whether the other end of a channel, on which nothing is ever said to this one, has been closed."""
    try:
        return not channel.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
