"""Who may talk to a server: checks of Host, Origin and the kit's token, made before the app runs."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from kit.output import serving
from kit.timeline import Timeline

__all__ = ["Admission", "Gate", "NotebookPages", "blotted", "is_host", "is_loopback", "is_origin", "notebook_pages"]

Message = dict[str, Any]
Headers = list[tuple[bytes, bytes]]

_KIT_TOKEN = re.compile(rb"(kit_token\w*)=[^&;,\s\"]*")
_TOKEN_IN_QUERY = re.compile(rb"(^|&)kit_token=([^&]*)(?=&|$)")
_TOKEN_IN_COOKIE = re.compile(rb"(?:^|;)\s*(kit_token\w*)=([^;]*)(?=;|$)")


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a name or an address by which only this machine reaches itself (RFC 6761 §6.3, RFC 1122)."""
    host = host.strip("[]").removesuffix(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_host(text: str) -> bool:
    """Whether ``text`` is a host name or address, with or without a port."""
    return _host_of(text) is not None


def is_origin(text: str) -> bool:
    """Whether ``text`` is an origin as browsers send it (RFC 6454 §6.2): scheme, host and port, or ``null``."""
    return text == "null" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+/?", text, re.IGNORECASE) is not None


class NotebookPages:
    """The origins of the notebook pages that display this kernel's panels: what those pages open may connect."""

    def __init__(self) -> None:
        self._origins: frozenset[str] = frozenset()

    def add(self, origin: Any) -> None:
        """Note the origin of a page that displays a panel; from any thread. What is no web origin is passed over."""
        if isinstance(origin, str) and len(origin) < 300 and _netloc(origin):
            self._origins |= {_plain_origin(origin)}

    def forget(self) -> None:
        """Forget them all."""
        self._origins = frozenset()

    @property
    def origins(self) -> frozenset[str]:
        """What was noted, as origins are compared."""
        return self._origins

    @property
    def hosts(self) -> frozenset[str]:
        """The host and port of each."""
        return frozenset(map(_netloc, self._origins))

    @property
    def names(self) -> frozenset[str | None]:
        """The host of each without its port: whoever reads the notebook by that name may call this machine by it."""
        return frozenset(map(_host_of, self.hosts))


notebook_pages = NotebookPages()


class Admission:
    """What one server lets in.

    Args:
        origins: more origins whose pages may open a WebSocket, or ``"*"`` for every page.
        hosts: more names by which the server may be called, or ``"*"`` for every name.
        token: what a request must show as ``?kit_token=`` or in a cookie; None asks for nothing.
        bound_host: the address that the server is bound to.

    Attributes:
        port: the port that the server is bound to; 0 before it is.
    """

    def __init__(self, *, origins: Iterable[str] | str, hosts: Iterable[str] | str, token: str | None, bound_host: str) -> None:
        self._origins = None if origins == "*" else frozenset(map(_plain_origin, origins))
        self._hosts = None if hosts == "*" else frozenset(host.lower().removesuffix(".") for host in hosts)
        self._token = token.encode() if token else None
        self._bound_host = bound_host
        self.port = 0

    @property
    def cookies(self) -> dict[str, str]:
        """What the kit's own clients show."""
        return {self._cookie_name: self._token.decode()} if self._token else {}

    @property
    def _cookie_name(self) -> str:
        """Cookies ignore ports (RFC 6265 §8.5): without the port in its name, one server's would take the place of another's."""
        return f"kit_token_{self.port}"

    def refusal(self, scope: Message) -> str | None:
        """Why the request in ``scope`` is not let in, with what would allow it; None lets it in."""
        hosts, origins = (_values(scope["headers"], name) for name in (b"host", b"origin"))
        if self._hosts is not None and not (hosts and all(map(self._knows_host, hosts))):
            return _foreign_host(hosts)
        if scope["type"] == "websocket" and self._origins is not None:
            foreign = next((origin for origin in origins if not self._knows_origin(origin, hosts)), None)
            if foreign is not None:
                return _foreign_origin(foreign)
        if self._token is not None and not self._has_token(scope):
            return f"the request does not show this server's kit_token. Add ?kit_token=… to the address, or send it in the cookie {self._cookie_name}."
        return None

    def arrives_by_link(self, scope: Message) -> bool:
        """Whether a page is asked for with the token in its address, where it should not stay."""
        return scope["type"] == "http" and scope["method"] == "GET" and self._token is not None and bool(_TOKEN_IN_QUERY.search(scope["query_string"]))

    def stripped(self, scope: Message) -> Message:
        """``scope`` as the app may see it: without the token; the same one when it shows none."""
        if b"kit_token" not in scope["query_string"] and not any(b"kit_token" in value for _, value in scope["headers"]):
            return scope
        query = _TOKEN_IN_QUERY.sub(b"", scope["query_string"]).lstrip(b"&")
        return {**scope, "query_string": query, "headers": [*_without_token(scope["headers"])]}

    def _knows_host(self, host: str) -> bool:
        name = _host_of(host)
        if name is None:
            return False
        if is_loopback(name) or name in self._hosts or host.lower() in self._hosts | notebook_pages.hosts:
            return True
        if is_loopback(self._bound_host):
            return False
        return _is_address(name) or name in notebook_pages.names or name == socket.gethostname().lower()

    def _knows_origin(self, origin: str, hosts: list[str]) -> bool:
        origin = _plain_origin(origin)
        netloc = _netloc(origin)
        if origin in self._origins or (netloc and origin in notebook_pages.origins):
            return True
        if not netloc:
            return False
        own = netloc in {_netloc(f"{origin.partition(':')[0]}://{host}") for host in hosts}
        return own or (origin.startswith("http://") and netloc.endswith(f":{self.port}") and is_loopback(_host_of(netloc) or ""))

    def _has_token(self, scope: Message) -> bool:
        shown = [match[2] for match in _TOKEN_IN_QUERY.finditer(scope["query_string"])]
        for name, value in scope["headers"]:
            if name == b"cookie":
                shown += [match[2].strip() for match in _TOKEN_IN_COOKIE.finditer(value) if match[1].decode() == self._cookie_name]
        return any(hmac.compare_digest(one, self._token) for one in shown)


class Gate:
    """An ASGI application in front of the reader's: what the `Admission` refuses never reaches it."""

    def __init__(self, app: Callable[..., Awaitable[None]], admission: Admission, timeline: Timeline) -> None:
        self._app = app
        self._admission = admission
        self._timeline = timeline

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        why = self._admission.refusal(scope)
        if why is not None:
            await self._refuse(why, scope, send)
        elif self._admission.arrives_by_link(scope):
            await self._keep_in_cookie(scope, send)
        else:
            await self._app(self._admission.stripped(scope), receive, send)

    async def _refuse(self, why: str, scope: Message, send: Any) -> None:
        here = serving.get()
        connection = here.connection if here is not None else None
        if connection is not None:
            connection.refused_because = why
        what = "the handshake" if scope["type"] == "websocket" else f"{scope['method']} {scope['path']}"
        self._timeline.note(f"{what} was refused before the app saw it: {why}", connection=connection, what="refused")
        await _answer(scope, send, 403, [(b"content-type", b"text/plain; charset=utf-8")], f"Refused: {why}\n".encode())

    async def _keep_in_cookie(self, scope: Message, send: Any) -> None:
        """Send the browser to the same page without the token in its address, and with it in a cookie."""
        query = self._admission.stripped(scope)["query_string"]
        cookies = [f"{name}={value}; Path=/; HttpOnly; SameSite=Lax".encode() for name, value in self._admission.cookies.items()]
        headers = [(b"location", b"?" + query), *((b"set-cookie", cookie) for cookie in cookies)]
        await _answer(scope, send, 303, headers, b"")


def blotted(head: bytes) -> bytes:
    """The head of a request or response without the kit's token, for whoever records it."""
    return _KIT_TOKEN.sub(rb"\1=[redacted]", head) if b"kit_token" in head else head


def _foreign_host(hosts: list[str]) -> str:
    called = " and ".join(map(repr, hosts)) or "no name"
    wanted = _host_of(hosts[0]) if hosts else None
    advice = f" If it is yours, allow it: serve(app, allowed_hosts=[{wanted!r}])" if wanted else ""
    return f"the request calls this server by {called}, which is not its name; any page can point a name of its own at this machine.{advice}"


def _foreign_origin(origin: str) -> str:
    advice = f"If that page is yours, allow it: serve(app, allowed_origins=[{origin!r}])"
    return f"the request comes from a page of the origin {origin!r}, which is not this server's. {advice}"


async def _answer(scope: Message, send: Any, status: int, headers: Headers, body: bytes) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    await send({"type": f"{kind}.start", "status": status, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
    await send({"type": f"{kind}.body", "body": body})


def _values(headers: Headers, wanted: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for name, value in headers if name == wanted]


def _without_token(headers: Headers) -> Iterable[tuple[bytes, bytes]]:
    for name, value in headers:
        if name == b"cookie":
            value = _TOKEN_IN_COOKIE.sub(b"", value).lstrip(b"; ")
            if value:
                yield name, value
        else:
            yield name, blotted(value)


def _plain_origin(origin: str) -> str:
    """An origin as it is compared: in lower case, without the scheme's own port."""
    origin = origin.lower().rstrip("/")
    return f"{origin.partition('://')[0]}://{_netloc(origin)}" if _netloc(origin) else origin


def _netloc(origin: str) -> str:
    """Host and port of a web origin (RFC 6454 §6.2), in lower case and without the scheme's own port; else an empty text."""
    scheme, separator, rest = origin.lower().partition("://")
    if not separator or scheme not in ("http", "https") or _host_of(rest) is None:
        return ""
    return rest.removesuffix(":443" if scheme == "https" else ":80")


def _host_of(netloc: str) -> str | None:
    """The host in ``host:port``, in lower case; None for whatever is no plain host."""
    if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", netloc, re.ASCII):
        return None
    return (urlsplit(f"//{netloc}").hostname or "").removesuffix(".") or None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
