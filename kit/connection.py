"""A connection: one socket with its two ends, and what each end knows of how it lives and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from types import CodeType
from typing import Any

from kit.payload import Payload

__all__ = ["Connection"]

_closing = Lock()


@dataclass(eq=False, slots=True)
class Connection:
    """One socket with its two ends, under the number that both ends show.

    Attributes:
        number: 1, 2, 3 … in the order in which the server or its clients opened them.
        name: the client's name; ``"stranger"`` when no client of this kernel made the connection.
        path: the path that the client asked for, without its query.
        client_state: what Starlette calls ``websocket.client_state``, or None while no handler has it.
        application_state: what Starlette calls ``websocket.application_state``.
        opened_seconds: when it was opened, and ended_seconds when it ended, in seconds since the Timeline began.
        client_here: whether its client end is of this kernel, and server_here whether its server end is.
        close_frames: every Close frame sent, in order, as (side, code, reason).
        closed_both_ways: whether the server has had the client's Close frame and has sent its own, or, of a server elsewhere, the client both.
        refused_status: the HTTP status of a refused handshake.
        refused_because: why the kit refused it before the app ran.
        meant: the code and reason of a close that the handler sent before it accepted; they never reach the client.
        aborted: whether the app had the server drop the socket.
        client_refused: why the client gave up although the server had accepted.
        client_reports: the code and reason that the kit's client ended up with.
        handler_answered: the HTTP status with which the handler answered the handshake, or tried to after it had accepted.
        handler_closed: the code and reason of the close that the handler sent, whether or not they reached the wire.
        handler_error: the exception that ended the handler, as text.
        handler_returned: whether the handler came to its end.
        server_stopped: whether the server closed the connection because it stopped or was replaced.
        vanished_side: the side that dropped the socket without a Close frame, where that is known.
        long_payloads: the newest long messages by direction and ordinal, for the taps.
        handler_task: the task that its handler runs in, until the handler ends.
        handler_raised_at: the code and line of the reader's that the exception came from.
        process: which of the server's processes has the server's end, for example ``"process 1"``; None where it is in this one.
        process_ended: how that process ended, where the connection ended with it.
        report_due: whether that process has still to tell how its end of the connection ended.
    """

    number: int
    name: str = "stranger"
    path: str = ""
    client_state: str | None = None
    application_state: str | None = None
    opened_seconds: float = 0.0
    ended_seconds: float | None = None
    client_here: bool = False
    server_here: bool = False
    close_frames: list[tuple[str, int, str]] = field(default_factory=list)
    closed_both_ways: bool = False
    accepted: bool = False
    refused_status: int | None = None
    refused_because: str | None = None
    meant: tuple[int, str] | None = None
    aborted: bool = False
    client_refused: str | None = None
    client_reports: tuple[int, str] | None = None
    handler_answered: int | None = None
    handler_closed: tuple[int, str] | None = None
    handler_error: str | None = None
    handler_returned: bool = False
    server_stopped: bool = False
    vanished_side: str | None = None
    long_payloads: dict[tuple[str, int], Payload] = field(default_factory=dict, repr=False)
    handler_task: Any = field(default=None, repr=False)
    handler_raised_at: tuple[CodeType, int] | None = field(default=None, repr=False)
    process: str | None = None
    process_ended: str | None = None
    report_due: bool = field(default=False, repr=False)

    @property
    def open(self) -> bool:
        """Whether the socket still exists."""
        return self.ended_seconds is None

    def note_close(self, side: str, code: int, reason: str) -> None:
        """Note the Close frame that ``side`` sent, unless its own end has noted it already; from either end's thread."""
        with _closing:
            if all(known != side for known, *_ in self.close_frames):
                self.close_frames.append((side, code, reason))
