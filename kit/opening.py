"""How a client comes to its connection: the address it dials, the socket, and the handshake's outcome."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI, NegotiationError
from websockets.http11 import Request
from websockets.uri import WebSocketURI, parse_uri

from kit import closing
from kit.connection import Connection
from kit.errors import ConnectError, HandshakeRefused
from kit.registry import running_server, server_at
from kit.server import Server
from kit.taps import WireTap, note_closes
from kit.timeline import Timeline
from kit.wire import ClientWire

__all__ = ["ClientEnd", "address_of", "check_address", "handshake_headers", "open_wire", "server_heard_out", "timeline_of"]

_QUEUE_MESSAGES = 256
_HEARD_SECONDS = 0.3
_SCHEMES = ("ws://", "wss://", "http://", "https://")


def check_address(target: Any, path: Any) -> None:
    """Raise TypeError or ValueError, naming the mistake, for what can be no server or address of one, or no path."""
    if isinstance(path, str) and path.startswith(_SCHEMES):
        raise ValueError(f"path expects something like '/ws', but got the address {path!r}. Pass it alone: connect({path!r})")
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"path expects a text that begins with '/', but got {path!r}. Write: connect(server, '/{str(path).lstrip('/')}')")
    if isinstance(target, Server) or (isinstance(target, str) and target.startswith(_SCHEMES)):
        return
    if isinstance(target, str):
        raise ValueError(f"connect() expects a server or an address like 'ws://127.0.0.1:8000', but got {target!r}.")
    if inspect.isawaitable(target) or hasattr(type(target), "__await__"):
        raise TypeError("connect() got a server that is still to be started. Did you forget await? Write: server = await serve(app)")
    raise TypeError(f"connect() expects a server from `await serve(app)` or an address, but got {type(target).__name__}.")


def address_of(target: Server | str, path: str, query: Mapping[str, Any] | None) -> WebSocketURI:
    """The address to dial; `check_address` has taken ``target`` and ``path``.

    Raises:
        ConnectError: the server is not there.
        ValueError: the address cannot be read.
    """
    base = _base(target)
    address = base if path == "/" and urllib.parse.urlsplit(base).path else base.rstrip("/") + path
    if query:
        address += ("&" if "?" in address else "?") + urllib.parse.urlencode(query, doseq=True)
    try:
        return parse_uri(urllib.parse.quote(address, safe=":/?&=%#[]@!$'()*+,;~-._"))
    except InvalidURI as error:
        raise ValueError(f"{address!r} is not a WebSocket address: {error}. Write it as ws://host:port/path") from None


def _base(target: Server | str) -> str:
    if isinstance(target, str):
        return "ws" + target.removeprefix("http") if target.startswith("http") else target
    if target.state != "serving":
        successor = running_server(target.name)
        if successor is None:
            raise ConnectError(f"server {target.name!r} is {target.state}. Start it again: server = await serve(app, name={target.name!r})")
        target = successor
    return target.ws_url


def timeline_of(target: Server | str, url: WebSocketURI) -> Timeline:
    """Where to record by default: with the server that is dialled if it runs in this kernel, else in a Timeline of its own."""
    if isinstance(target, Server):
        return target.timeline
    server = server_at(url.host, url.port)
    return server.timeline if server else Timeline()


def handshake_headers(target: Server | str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> dict[str, str]:
    """The headers to send: the caller's own, and in one ``Cookie`` his cookies with what a server of this kernel asks of the kit's clients."""
    sent = {name: value for name, value in headers.items() if name.lower() != "cookie"}
    own = [value for name, value in headers.items() if name.lower() == "cookie"]
    kits = (running_server(target.name) or target).kit_cookies if isinstance(target, Server) else {}
    pairs = [*own, *(f"{name}={value}" for name, value in {**cookies, **kits}.items())]
    return {**sent, "Cookie": "; ".join(pairs)} if pairs else sent


class ClientEnd:
    """One client's end of a connection to be: what it asks for, its connection once it has a socket, and what its Timeline is told.

    Args:
        url: what `address_of` has made.
        name: the client's, or None for one by its number.
        headers: more headers; they take the place of the protocol's own, for two Hosts would be no request at all.
        protocol_options: the websockets library's, under its names.

    Attributes:
        connection: the connection as both ends see it, and address the socket's own; None before there is a socket.
        wire: the client's socket, once the request is under way.
    """

    def __init__(
        self, url: WebSocketURI, name: str | None, timeline: Timeline, headers: Mapping[str, str] = MappingProxyType({}), **protocol_options: Any
    ) -> None:
        self.connection: Connection | None = None
        self.address: tuple[Any, ...] | None = None
        self.wire: ClientWire | None = None
        self.url = url
        self._name = name
        self._timeline = timeline
        self._headers = headers
        self._protocol = ClientProtocol(url, **protocol_options)

    async def dial(self) -> ClientWire:
        """On the clients' loop: 1. TCP, and TLS if asked for; 2. the opening request. Its answer is not waited for.

        Raises:
            ConnectError: nobody answers there.
        """
        make_wire = partial(ClientWire, self._protocol, self._request(), queue_messages=_QUEUE_MESSAGES, attach=self._attach, on_end=self._ended)
        self.wire = await _open_socket(self.url, make_wire)
        return self.wire

    def forsake(self) -> None:
        """On the clients' loop: drop the socket, if there is one, because whoever wanted it has been cancelled."""
        if self.wire is not None:
            self.wire.abort()

    def _request(self) -> Request:
        request = self._protocol.connect()
        for header in self._headers:
            if header in request.headers:
                del request.headers[header]
        request.headers.update(self._headers)
        return request

    def _attach(self, address: tuple) -> WireTap | None:
        self.address = tuple(address)
        connection = self.connection = self._timeline.open_connection(address, name=self._name or "", path=self.url.path)
        connection.name = self._name or f"client {connection.number}"
        connection.client_here = True
        return WireTap(self._timeline, connection, "client") if self._timeline.recording else None

    def _ended(self, address: tuple) -> None:
        connection, protocol = self.connection, self._protocol
        if not self._timeline.recording:
            note_closes(connection, "client", protocol)
        if protocol.handshake_exc is None:
            connection.client_reports = (int(protocol.close_code or 1006), protocol.close_reason or "")
        if not connection.server_here:
            connection.closed_both_ways = protocol.close_sent is not None and protocol.close_rcvd is not None
        nobody_else_tells = connection.client_state is None and not connection.report_due
        if not connection.close_frames and nobody_else_tells and connection.vanished_side is None and protocol.close_rcvd is None:
            connection.vanished_side = "server"
        self._timeline.end_connection(address, connection)


async def open_wire(end: ClientEnd, within_seconds: float | None) -> ClientWire:
    """On the clients' loop: dial, and wait for the handshake's answer (RFC 6455 §4.1), at most so many seconds in all.

    Raises:
        HandshakeRefused: the server answered with an HTTP status.
        ConnectError: nobody answered in time, or not in the WebSocket protocol.
    """
    wire = await _answered(end, within_seconds)
    if wire.protocol.handshake_exc is not None:
        await server_heard_out(end.connection)
    _check_handshake(wire, end.connection)
    end.connection.accepted = True  # of a server elsewhere nobody else would say so
    return wire


async def _answered(end: ClientEnd, within_seconds: float | None) -> ClientWire:
    """A wire whose handshake has an answer, whatever it says."""
    try:
        async with asyncio.timeout(within_seconds):
            wire = await end.dial()
            try:
                await asyncio.shield(wire.handshake)
            except asyncio.CancelledError:
                wire.abort()
                raise
    except TimeoutError:
        advice = "Is it a WebSocket server, and does it answer? One that takes its time: connect(…, handshake_timeout_seconds=60)"
        raise ConnectError(f"{_address(end.url)} did not answer the handshake within {within_seconds:g} s. {advice}") from None
    return wire


async def server_heard_out(connection: Connection) -> None:
    """Wait, at most a moment, until the process that has the server's end has told how it ended; at once where that is in this process."""
    deadline = time.monotonic() + _HEARD_SECONDS
    while connection.report_due and time.monotonic() < deadline:  # noqa: ASYNC110, a report comes on another loop, which knows nobody who waits
        await asyncio.sleep(0.002)


async def _open_socket(url: WebSocketURI, make_wire: Callable[[socket.socket | None], ClientWire]) -> ClientWire:
    loop = asyncio.get_running_loop()
    try:
        if url.secure:
            context = ssl.create_default_context()
            _, wire = await loop.create_connection(lambda: make_wire(None), url.host, url.port, ssl=context)
            return wire
        infos = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        sock = await _first_connected(infos)
        _, wire = await loop.create_connection(lambda: make_wire(sock), sock=sock)
        return wire
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise ConnectError(f"nobody answers at {_address(url)}: {error.strerror or error}. Is the server running, and is this its port?") from error


async def _first_connected(infos: list[Any]) -> socket.socket:
    """A connected, non-blocking socket to the first address that answers."""
    problem: OSError = OSError("no address")
    for family, kind, proto, _, address in infos:
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
    raise problem


def _check_handshake(wire: ClientWire, connection: Connection) -> None:
    """Raise what went wrong, if anything did."""
    error = wire.protocol.handshake_exc
    if isinstance(error, InvalidStatus):
        response = error.response
        connection.refused_status = response.status_code  # where nothing is recorded, nobody else has noted it
        explanation = closing.explain(connection) if connection.refused_status else None
        hint = f"{explanation.sentence} {explanation.advice}".strip() if explanation else ""
        raise HandshakeRefused(response.status_code, [*response.headers.raw_items()], bytes(response.body or b""), hint, connection)
    if isinstance(error, NegotiationError):
        connection.client_refused = str(error)
        raise ConnectError(f"the server chose what this client did not offer: {error}. Offer it: connect(…, subprotocols=[…])") from error
    if error is not None or wire.response is None:
        raise ConnectError(f"the server did not answer in the WebSocket protocol: {error or 'it closed the socket'}.") from error


def _address(url: WebSocketURI) -> str:
    return f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"
