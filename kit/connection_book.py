"""The book of a Timeline's connections: which socket is which connection, so that both its ends show the same number."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Any

from kit.connection import Connection

__all__ = ["Arrival", "ConnectionBook"]

_ARRIVALS_MOST = 1_000
_ARRIVAL_SECONDS = 5.0  # a client learns of its socket at once; what it opens later came with another one, on the same port


@dataclass(eq=False, slots=True)
class Arrival:
    """A socket that a server has accepted for one of its processes: which connection it is, as far as that is known.

    Attributes:
        address: of the client's end.
        process: which process has it.
        at_seconds: when it was accepted, in seconds since the Timeline began.
        connection: the connection that it is, once a client of this kernel or the process has opened one.
        reported: whether the process has told of it.
    """

    address: Any
    process: str
    at_seconds: float
    connection: Connection | None = None
    reported: bool = False


class ConnectionBook:
    """The connections of one Timeline, numbered in the order in which their servers or clients opened them; from any thread.

    A connection is found by the address of its socket's client end, the one thing that both ends know.

    Attributes:
        began: when it was begun, by the clock of ``time.perf_counter``; all seconds are counted from there.
    """

    def __init__(self) -> None:
        self.began = perf_counter()
        self._booking = Lock()
        self._connections: deque[Connection] = deque(maxlen=1_000)
        self._connection_numbers = itertools.count(1)
        self._by_address: dict[Any, Connection] = {}
        self._arrivals: dict[Any, Arrival] = {}  # by address, the newest of each

    @property
    def connections(self) -> list[Connection]:
        """The newest 1,000 connections, oldest first."""
        return list(self._connections)

    def open_connection(self, address: Any, *, name: str | None = None, path: str = "") -> Connection:
        """The connection of the socket whose client end has ``address``: the client's end opens it, or the server's.

        Whichever end asks first gives it the next number; the other end finds the same one.
        """
        with self._booking:
            connection = self._by_address.get(address)
            of_before = connection is not None and name is not None and connection.server_here  # a client asks before any server can know
            if connection is None or not connection.open or of_before:
                connection = self._by_address[address] = self._new_connection()
                arrival = self._arrivals.get(address)
                if arrival is not None and arrival.connection is None and connection.opened_seconds - arrival.at_seconds < _ARRIVAL_SECONDS:
                    _join(arrival, connection)
            if name is not None:
                connection.name = name
            connection.path = path or connection.path
            return connection

    def _new_connection(self) -> Connection:
        connection = Connection(next(self._connection_numbers), opened_seconds=perf_counter() - self.began)
        self._connections.append(connection)
        return connection

    def arrived(self, address: Any, process: str) -> Arrival:
        """Note that a socket with this client's address was accepted just now, for ``process``; in the order of accepting.

        A client of this kernel may open its connection before that or soon after. A connection of an earlier socket with
        the same address is not taken for it: a client ends its connection before it gives its port back.
        """
        with self._booking:
            before = self._arrivals.pop(address, None)
            arrival = self._arrivals[address] = Arrival(address, process, perf_counter() - self.began)
            if len(self._arrivals) > _ARRIVALS_MOST:
                del self._arrivals[next(iter(self._arrivals))]
            known = self._by_address.get(address)
            if before is not None and before.connection is known and not before.reported:  # taken for that of a socket that spoke no WebSocket
                before.connection, free = None, True
            else:
                free = known is not None and not known.server_here
            if known is not None and known.open and free:
                _join(arrival, known)
            return arrival

    def connection_of(self, arrival: Arrival) -> Connection:
        """The connection of a socket, now that its process tells of one; it may have ended meanwhile. A stranger's gets its number here."""
        with self._booking:
            arrival.reported = True
            if arrival.connection is None:
                stranger = self._new_connection()
                _join(arrival, stranger)
                known = self._by_address.get(arrival.address)
                if known is None or not known.open:
                    self._by_address[arrival.address] = stranger
            return arrival.connection

    def end_connection(self, address: Any, connection: Connection) -> None:
        """Say that one end of the socket is gone; safe to call from both ends."""
        with self._booking:
            if connection.ended_seconds is None:
                connection.ended_seconds = perf_counter() - self.began
            if self._by_address.get(address) is connection:
                del self._by_address[address]


def _join(arrival: Arrival, connection: Connection) -> None:
    """This socket is that connection."""
    arrival.connection = connection
    connection.process, connection.server_here, connection.report_due = arrival.process, True, True
