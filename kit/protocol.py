"""uvicorn's protocol classes with our taps on the socket, with limits, and with the ends of life they lack."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage
from websockets.frames import Frame
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS, Request
from websockets.protocol import State

from kit.outlet import Outlet, Turn
from kit.output import Serving, serving
from kit.taps import TransportTap, WireTap, note_closes
from kit.timeline import Timeline

__all__ = ["LimitedHttp", "TappedWebSocket"]

# What a handshake cannot be parsed without (RFC 6455 §4.2.1); any other header may be set aside while parsing.
_HANDSHAKE_HEADERS = (b"host", b"upgrade", b"connection", b"origin", b"sec-websocket-")
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_NOT_UNDERSTOOD = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class LimitedHttp(H11Protocol):
    """Where every connection begins: uvicorn's HTTP, with a limit on how many there are and on how long a request may take to come.

    A WebSocket handshake that has come whole is handed on to `TappedWebSocket`. Lives on the server's loop.
    """

    def __init__(self, timeline: Timeline, max_connections: int, handshake_timeout_seconds: float, **uvicorn_arguments: Any) -> None:
        super().__init__(**uvicorn_arguments)
        self.timeline = timeline
        self.logger = _logger
        self._max_connections = max_connections
        self._handshake_timeout_seconds = handshake_timeout_seconds
        self._handshake_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._turn_away(HTTPStatus.SERVICE_UNAVAILABLE, f"this server takes at most max_connections={self._max_connections} at a time")
            return
        self._handshake_timer = self.loop.call_later(self._handshake_timeout_seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._time_the_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._time_the_request()

    def _time_the_request(self) -> None:
        """Run the timer while a head has come in part, or the first has not; what is idle between two is uvicorn's to close."""
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self._handshake_timer is None and self.conn.trailing_data[0]:
            self._handshake_timer = self.loop.call_later(self._handshake_timeout_seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop_timer()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _should_upgrade(self) -> bool:
        upgrades = super()._should_upgrade()
        if not upgrades and any(name == b"sec-websocket-key" for name, _ in self.headers):
            why = "“Connection: Upgrade” and “Upgrade: websocket” (RFC 6455 §4.1) are not both there; a proxy may have dropped them"
            self.timeline.note(f"a handshake without an upgrade was served as plain HTTP: {why}", what="refused")
        return upgrades

    def _too_slow(self) -> None:
        limit = f"handshake_timeout_seconds={self._handshake_timeout_seconds:g}"
        self._turn_away(HTTPStatus.REQUEST_TIMEOUT, f"no whole request came within {limit}")

    def _turn_away(self, status: HTTPStatus, why: str) -> None:
        self.timeline.note(f"a connection was turned away with HTTP {status.value}: {why}", what="refused")
        body = f"Refused: {why}.\n".encode()
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)
        self.transport.close()


class TappedWebSocket(WebSocketsSansIOProtocol):
    """One server-side connection: uvicorn's own, recorded.

    Beyond recording it answers handshakes with long header lines, and can be told to go away (`go_away`) or be
    dropped (`abort`), and has an `Outlet`. Lives on the server's loop.
    """

    def __init__(self, timeline: Timeline, turn: Turn, **uvicorn_arguments: Any) -> None:
        super().__init__(**uvicorn_arguments)
        self.timeline = timeline
        self._turn = turn
        self.logger = self.conn.logger = _logger  # at DEBUG the parser would log the whole handshake, with the kit's token
        self._request: tuple[str, Headers] | None = None  # the whole handshake, when only a part of it was parsed

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._address = transport.get_extra_info("peername")
        self.kit_connection = self.timeline.open_connection(self._address)
        self.kit_connection.server_here = True
        self._tap = WireTap(self.timeline, self.kit_connection, "server") if self.timeline.recording else None
        self._outlet = Outlet(self, self._turn, transport, self._tap)
        super().connection_made(TransportTap(transport, self._tap, self.kit_connection, self._outlet))

    def data_received(self, data: bytes) -> None:
        if self._tap is not None:
            self._tap.incoming(data)
        if not self.handshake_initiated:
            data = self._within_parser_limits(data)
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc is not None:
            unreadable = isinstance(self.conn.handshake_exc, InvalidMessage)
            self.transport.write(_NOT_UNDERSTOOD if unreadable else _TOO_LARGE)
            self.transport.close()
        self.transport.pause_if_behind(self.queue.qsize())

    def eof_received(self) -> None:
        self._client_left()
        super().eof_received()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._outlet.pause()

    def connection_lost(self, exc: Exception | None) -> None:
        connection = self.kit_connection
        self._outlet.pause()
        self._note_closes()
        ended_here = connection.handler_returned or connection.handler_error or connection.aborted or connection.server_stopped
        if isinstance(exc, ConnectionError) and not (ended_here or connection.close_frames or connection.refused_status):
            connection.vanished_side = connection.vanished_side or "client"
        if not connection.close_frames and not connection.refused_status and connection.vanished_side is None:
            connection.vanished_side = "server"
        super().connection_lost(exc)
        self.timeline.end_connection(self._address, connection)
        if self._tap is not None:
            self._tap.ended(f"the socket closed: {exc}" if exc else "the socket closed")

    def handle_connect(self, event: Request) -> None:
        if self._request is not None:
            event.path, event.headers = self._request
            self._request = None
        self.kit_connection.path = event.path.partition("?")[0]
        super().handle_connect(event)
        event.headers.clear()  # the scope has them; the parser would hold these for as long as the connection lives

    def handle_ping(self) -> None:
        """Answer, but for a peer that takes nothing: pongs would pile up for it, and only its last ping needs one (RFC 6455 §5.5.3)."""
        self._note_closes()
        if self.writable.is_set() or self.conn.close_rcvd is not None:
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_cont(self, event: Frame) -> None:
        if event.data or event.fin:  # empty fragments count for no limit, and would fill the memory one by one
            super().handle_cont(event)

    def handle_close(self, event: Frame) -> None:
        self._note_closes()
        self.kit_connection.closed_both_ways = not self.transport.is_closing()
        super().handle_close(event)

    async def run_asgi(self) -> None:
        self.scope["extensions"] |= {"kit.abort": {"abort": self.abort}, "kit.outlet": {"outlet": self._outlet}}  # ASGI has no messages for them
        serving.set(Serving(self.timeline, self.kit_connection))
        self._app, self.app = self.app, self._answer
        await super().run_asgi()

    async def _answer(self, *arguments: Any) -> None:
        await self._app(*arguments)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # a denial response is an answer too; uvicorn would log that there was none

    @property
    def may_send(self) -> bool:
        """Whether a message may be written now: after accept, before any Close, and while there is a socket."""
        return self.conn.state is State.OPEN and not self.transport.is_closing()

    def go_away(self, code: int) -> None:
        """Close with ``code`` because the server stops; a handler that waits in ``receive`` gets its disconnect."""
        self.kit_connection.server_stopped = True
        self.stop_keepalive()
        if self.handshake_complete and self.conn.state is State.OPEN:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})
            self.conn.send_close(code)
            self.transport.write(b"".join(self.conn.data_to_send()))
        elif not self.handshake_complete and self.initial_response is None:
            self.conn.send_response(self.conn.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The server is being stopped or replaced.\n"))
            self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.close()

    def abort(self) -> None:
        """Drop the socket at once, unsent data included: the only way to be rid of a peer that never reads.

        An app finds it as ``scope["extensions"]["kit.abort"]["abort"]``, on servers that have it.
        """
        self.kit_connection.aborted = True
        self.transport.abort()

    def _client_left(self) -> None:
        self._note_closes()
        if not self.kit_connection.close_frames and not self.transport.is_closing():
            self.kit_connection.vanished_side = self.kit_connection.vanished_side or "client"

    def _note_closes(self) -> None:
        """Before the answer is written: the order of Close frames tells who closed first."""
        if self._tap is None:
            note_closes(self.kit_connection, "server", self.conn)
        elif self.conn.close_rcvd is not None:
            self._tap.closed_by_peer(self.conn.close_rcvd.code, self.conn.close_rcvd.reason)

    def _within_parser_limits(self, head: bytes) -> bytes:
        """A handshake that the parser accepts: what is too long for it is set aside, and put back when it is parsed.

        websockets gives up, without an answer, on a line of over 8 KiB or more than 128 headers; a browser that holds
        JupyterHub's cookies sends such lines to every port of the machine.
        """
        request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        if len(lines) <= MAX_NUM_HEADERS and max(map(len, (request_line, *lines))) < MAX_LINE_LENGTH - 2:
            return head
        headers = Headers()
        for line in lines:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name] = value.strip()
        method, target, _ = request_line.split(b" ")
        self._request = (target.decode("latin-1"), headers)
        needed = [line for line in lines if line.lower().startswith(_HANDSHAKE_HEADERS)]
        return b"\r\n".join([method + b" / HTTP/1.1", *needed]) + b"\r\n\r\n"


# A logger of our own under uvicorn's name: its words reach the Timeline by the record factory of `kit.output`, and never a
# handler that the reader's logging configuration put on uvicorn's global logger.
_logger = logging.Logger("uvicorn.error", logging.WARNING)
_logger.addHandler(logging.NullHandler())
