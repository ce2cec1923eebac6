"""What the protocol really does with each thing a handler can do: the client's view, the Timeline's, the panel's words, and a test's.

Each `Fact` is a row of one table. A row is asserted over real sockets, with the kit's client and with the plain client of the
websockets library; against Starlette's TestClient, which for many of them shows what no client will ever see; and against the
notebooks, one of which shows it.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException, Query, Security, WebSocket, WebSocketDisconnect, WebSocketException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnected
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import InvalidStatus, NegotiationError

from kit import Server, connect, serve
from kit.closing import explain
from kit.connection import Connection
from kit.errors import ConnectError, HandshakeRefused, UnsafeServerWarning

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
LONG_REASON = "ä" * 62  # 124 bytes

app = FastAPI()


# What handlers do.


@app.websocket("/closes-first")
async def closes_first(websocket: WebSocket) -> None:
    await websocket.close(4001, "members only")


@app.websocket("/policy-first")
async def policy_first(websocket: WebSocket) -> None:
    raise WebSocketException(1008, "members only")


@app.websocket("/validates")
async def validates(websocket: WebSocket, number: Annotated[int, Query()]) -> None:
    await websocket.accept()


@app.websocket("/unauthorized")
async def unauthorized(websocket: WebSocket) -> None:
    raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})


@app.websocket("/bearer")
async def bearer(websocket: WebSocket, found: Annotated[Any, Security(HTTPBearer())]) -> None:
    await websocket.accept()
    await websocket.close(4000, found.credentials)


@app.websocket("/api-key")
async def api_key(websocket: WebSocket, found: Annotated[str, Security(APIKeyCookie(name="key"))]) -> None:
    await websocket.accept()
    await websocket.close(4000, found)


@app.websocket("/denies")
async def denies(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("come back at six", 503, {"Retry-After": "7"}))


@app.websocket("/raises-first")
async def raises_first(websocket: WebSocket) -> None:
    raise ValueError("not my day")


@app.websocket("/returns-first")
async def returns_first(websocket: WebSocket) -> None:
    pass


@app.websocket("/policy")
async def policy(websocket: WebSocket) -> None:
    await websocket.accept()
    raise WebSocketException(1008, "members only")


@app.websocket("/raises")
async def raises(websocket: WebSocket) -> None:
    await websocket.accept()
    raise ValueError("not my day")


@app.websocket("/http-exception")
async def http_exception(websocket: WebSocket) -> None:
    await websocket.accept()
    raise HTTPException(401, "too late")


@app.websocket("/returns")
async def returns(websocket: WebSocket) -> None:
    await websocket.accept()


@app.websocket("/insists")
async def insists(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="chat.v9")
    await websocket.receive()


@app.websocket("/closes")
async def closes(websocket: WebSocket, code: int, reason: str = "") -> None:
    await websocket.accept()
    await websocket.close(code, reason)


@app.websocket("/reads-text")
async def reads_text(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()


@app.websocket("/reads-json")
async def reads_json(websocket: WebSocket) -> None:
    await websocket.accept()
    value = await websocket.receive_json()
    await websocket.close(4000, repr(value))


@app.websocket("/echo")
async def documentations_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(f"Message text was: {await websocket.receive_text()}")


# What comes of it.


@dataclass(frozen=True)
class Seen:
    """What a client sees: the refusal's status, body and headers, or the code and reason of the end, or an error of its own."""

    status: int | None = None
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    code: int | None = None
    reason: str = ""
    error: str = ""

    def __str__(self) -> str:
        return f"HTTP {self.status}" if self.status else self.error or f"closed {self.code} {self.reason}".strip()


@dataclass(frozen=True)
class Fact:
    """One row: what a handler does, and all that is known of it.

    Attributes:
        handler: what it does, in words.
        path: where it does so.
        client: what every real client sees.
        knows: what the connection of the Timeline knows.
        explained: what is part of the explanation.
        in_a_test: what TestClient shows where that is something else.
        shown: a notebook, and the calls by which the cell is known that shows this row.
        handshake: what the client brings along.
        says: the message it sends, if any.
    """

    handler: str
    path: str
    client: Seen
    knows: dict[str, Any]
    explained: tuple[str, ...]
    shown: tuple[str, ...]
    in_a_test: str = ""
    handshake: dict[str, Any] = field(default_factory=dict)
    says: str | bytes | None = None


FORBIDDEN = Seen(403, b"")
FAILED = Seen(500)
LOST = Seen(code=1006)
NO_FRAME = {"accepted": True, "refused_status": None, "close_frames": [], "vanished_side": "server"}
BARE_403 = ("HTTP 403, the handshake was refused", "it closed before it accepted", "the client got a bare 403")
WAITS = "waits for ever"

FACTS = [
    Fact(
        "close() before accept",
        "/closes-first",
        client=FORBIDDEN,
        knows={"refused_status": 403, "meant": (4001, "members only"), "accepted": False, "close_frames": []},
        explained=(*BARE_403, "meant 4001, the application's own code, “members only”"),
        in_a_test="closed 4001 members only",
        shown=("01_echo", 'await websocket.close(1008, "members only")', "TestClient(bouncer)", "connect(real_server"),
    ),
    Fact(
        "WebSocketException before accept",
        "/policy-first",
        client=FORBIDDEN,
        knows={"refused_status": 403, "meant": (1008, "members only"), "accepted": False, "close_frames": []},
        explained=(*BARE_403, "meant 1008, policy violation, “members only”"),
        in_a_test="closed 1008 members only",
        shown=("04_the_websocket_object", "raise WebSocketException(", 'query={"when": "before"}'),
    ),
    Fact(
        "a validation error",
        "/validates?number=many",
        client=FORBIDDEN,
        knows={"refused_status": 403, "accepted": False, "close_frames": []},
        explained=(*BARE_403, "meant 1008", "int_parsing"),
        in_a_test="closed 1008 …int_parsing…",
        shown=("02_dependencies", "/items/foo/ws?token=t&q=abc", "refusal.connection.meant", "refusal.ended"),
    ),
    Fact(
        "nothing: no route has this path",
        "/nowhere",
        client=FORBIDDEN,
        knows={"refused_status": 403, "meant": (1000, ""), "accepted": False},
        explained=("HTTP 403", "No WebSocket route has this path", "Check the path"),
        in_a_test="closed 1000",
        shown=("02_dependencies", "/nowhere", "refusal.connection.meant", "refusal.ended"),
    ),
    Fact(
        "HTTPException before accept",
        "/unauthorized",
        client=Seen(401, b'{"detail":"who are you?"}', {"www-authenticate": "Bearer"}),
        knows={"refused_status": 401, "meant": None, "accepted": False, "handler_error": None},
        explained=("HTTP 401", "wants to know who is calling"),
        shown=("02_dependencies", "raise HTTPException(401,", '"WWW-Authenticate": "Bearer"'),
    ),
    Fact(
        "fastapi.security's HTTPBearer, without a header",
        "/bearer",
        client=Seen(401, b'{"detail":"Not authenticated"}', {"www-authenticate": "Bearer"}),
        knows={"refused_status": 401, "meant": None, "accepted": False},
        explained=("HTTP 401", "send a token or a cookie"),
        shown=("02_dependencies", 'dict(refusal.headers)["www-authenticate"]', "/http-bearer"),
    ),
    Fact(
        "fastapi.security's APIKeyCookie, without a cookie",
        "/api-key",
        client=Seen(401, b'{"detail":"Not authenticated"}', {"www-authenticate": "APIKey"}),
        knows={"refused_status": 401, "meant": None, "accepted": False},
        explained=("HTTP 401", "send a token or a cookie"),
        shown=("02_dependencies", 'dict(refusal.headers)["www-authenticate"]', "/api-key"),
    ),
    Fact(
        "fastapi.security's HTTPBearer, with a header",
        "/bearer",
        handshake={"headers": {"Authorization": "Bearer abc"}},
        client=Seen(code=4000, reason="abc"),
        knows={"accepted": True, "refused_status": None},
        explained=("4000", "The server closed first", "“abc”"),
        shown=("02_dependencies", "knock(guarded_server, path, **credentials)"),
    ),
    Fact(
        "send_denial_response",
        "/denies",
        client=Seen(503, b"come back at six", {"retry-after": "7"}),
        knows={"refused_status": 503, "meant": None, "accepted": False, "application_state": "DISCONNECTED"},
        explained=("HTTP 503",),
        shown=("04_the_websocket_object", "await websocket.send_denial_response(", "503", "Retry-After"),
    ),
    Fact(
        "raise before accept",
        "/raises-first",
        client=FAILED,
        knows={"refused_status": 500, "handler_error": "ValueError: not my day", "accepted": False},
        explained=("HTTP 500", "Before it accepted, the handler raised ValueError: not my day"),
        in_a_test="ValueError: not my day",
        shown=("01_echo", "connect(endings_server, path)", "/never-accepts", "refusal.ended"),
    ),
    Fact(
        "return before accept",
        "/returns-first",
        client=FAILED,
        knows={"refused_status": 500, "handler_error": None, "handler_returned": True, "accepted": False},
        explained=("HTTP 500", "The handler returned before it accepted", "await websocket.accept()"),
        in_a_test=WAITS,
        shown=("04_the_websocket_object", "async def says_nothing", "await visit(says_nothing)"),
    ),
    Fact(
        "WebSocketException after accept",
        "/policy",
        client=Seen(code=1008, reason="members only"),
        knows={"accepted": True, "handler_error": None},
        explained=("1008, policy violation", "The server closed first, with code 1008 and the reason “members only”"),
        shown=("02_dependencies", "WebSocketException(1008,", "await websocket.accept()", "raise errors[which]"),
    ),
    Fact(
        "any other exception after accept",
        "/raises",
        client=LOST,
        knows={**NO_FRAME, "handler_error": "ValueError: not my day"},
        explained=("1006, no Close frame", "raised ValueError: not my day", "just dropped the line"),
        in_a_test="ValueError: not my day",
        shown=("01_echo", 'raise ValueError("not my day")', "await websocket.accept()"),
    ),
    Fact(
        "HTTPException after accept",
        "/http-exception",
        client=LOST,
        knows=NO_FRAME,
        explained=("1006, no Close frame", "HTTPException after `accept`", "WebSocketException"),
        in_a_test="HTTP 401",
        shown=("02_dependencies", "HTTPException(403,", "await websocket.accept()", "raise errors[which]"),
    ),
    Fact(
        "return after accept",
        "/returns",
        client=LOST,
        knows={**NO_FRAME, "handler_error": None, "handler_returned": True},
        explained=("1006, no Close frame", "returned after `accept` without closing", "await websocket.close()"),
        in_a_test=WAITS,
        shown=("01_echo", "async def returns(", "await websocket.accept()"),
    ),
    Fact(
        "accept a subprotocol that was not offered",
        "/insists",
        handshake={"subprotocols": ["chat.v1"]},
        client=Seen(error="NegotiationError: unsupported subprotocol: chat.v9"),
        knows={"accepted": True, "refused_status": None},
        explained=("1006", "The client gave up when it saw the server's answer: unsupported subprotocol: chat.v9", "subprotocol that the client has offered"),
        in_a_test=WAITS,
        shown=("04_the_websocket_object", 'accept(subprotocol="chat.v9")', "connect(server,"),
    ),
    *(
        Fact(
            f"close with {what}",
            f"/closes?code={code}&reason={reason}",
            client=LOST,
            knows={**NO_FRAME, "application_state": "DISCONNECTED"},
            explained=("1006, no Close frame", "The handler raised ProtocolError", error, "just dropped the line"),
            in_a_test="" if code == 1006 else f"closed {code} {reason}".strip(),  # for 1006, right by accident
            shown=("04_the_websocket_object", "await websocket.close(code, reason)", shown),
        )
        for what, code, reason, error, shown in (
            ("code 1005", 1005, "", "invalid status code", '[1005, ""]'),
            ("code 1006", 1006, "", "invalid status code", '[1006, ""]'),
            ("code 999", 999, "", "invalid status code", '[999, ""]'),
            ("a reason of over 123 bytes", 1000, LONG_REASON, "control frame too long", '[1000, "ä" * 62]'),
        )
    ),
    Fact(
        "receive_text on a binary message",
        "/reads-text",
        says=b"hello",
        client=LOST,
        knows={**NO_FRAME, "handler_error": "KeyError: 'text'"},
        explained=("1006, no Close frame", "raised KeyError: 'text'"),
        in_a_test="KeyError: 'text'",
        shown=("01_echo", 'send_bytes(b"hello")', "dora.ended"),
    ),
    Fact(
        "receive_json on brackets 100,000 deep",
        "/reads-json",
        says="[" * 100_000,
        client=LOST,
        knows=NO_FRAME,
        explained=("1006, no Close frame", "raised RecursionError"),
        in_a_test="RecursionError: …",
        shown=("04_the_websocket_object", '"[" * 100_000', "receive_json("),
    ),
    Fact(
        "receive_json on NaN, which is no JSON",
        "/reads-json",
        says="NaN",
        client=Seen(code=4000, reason="nan"),
        knows={"accepted": True, "handler_error": None},
        explained=("4000", "“nan”"),
        shown=("04_the_websocket_object", '{"a": NaN}', "receive_json("),
    ),
]

each_fact = pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.handler)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serve(app, port=0) as serving:
        yield serving


async def seen_by_the_kits_client(server: Server, fact: Fact) -> tuple[Seen, Connection]:
    try:
        client = await connect(server, fact.path, **fact.handshake)
    except HandshakeRefused as refusal:
        return Seen(refusal.status, refusal.body, {name.lower(): value for name, value in refusal.headers}), refusal.connection
    except ConnectError as error:
        cause = error.__cause__
        return Seen(error=f"{type(cause).__name__}: {cause}"), server.timeline.connections[-1]
    if fact.says is not None:
        await (client.send_text if isinstance(fact.says, str) else client.send_bytes)(fact.says)
    await asyncio.wait_for(client.wait_closed(), 5.0)
    return Seen(code=client.close_code, reason=client.close_reason or ""), client.connection


async def seen_by_a_plain_client(server: Server, fact: Fact) -> tuple[Seen, Connection]:
    options = {"subprotocols": fact.handshake.get("subprotocols"), "additional_headers": fact.handshake.get("headers")}
    try:
        client = await websockets_connect(f"{server.ws_url}{fact.path}", proxy=None, **options)
    except InvalidStatus as refusal:
        response = refusal.response
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        return Seen(response.status_code, bytes(response.body or b""), headers), server.timeline.connections[-1]
    except NegotiationError as error:
        return Seen(error=f"{type(error).__name__}: {error}"), server.timeline.connections[-1]
    async with client:
        if fact.says is not None:
            await client.send(fact.says)
        await asyncio.wait_for(client.wait_closed(), 5.0)
    return Seen(code=client.close_code, reason=client.close_reason or ""), server.timeline.connections[-1]


def over(connection: Connection) -> bool:
    """Whether the socket and its handler have ended."""
    return not connection.open and bool(connection.handler_error or connection.handler_returned)


# The table.


@each_fact
@pytest.mark.parametrize("client", [seen_by_the_kits_client, seen_by_a_plain_client], ids=["kit", "plain"])
async def test_what_a_real_client_sees_and_what_the_timeline_knows(server: Server, fact: Fact, client: Callable, eventually: Callable) -> None:
    seen, connection = await client(server, fact)
    expected = fact.client
    assert str(seen) == str(expected)
    if expected.status and expected != FAILED:
        assert seen.body == expected.body
    assert seen.headers.items() >= expected.headers.items()
    await eventually(lambda: over(connection))
    assert {name: getattr(connection, name) for name in fact.knows} == fact.knows


@each_fact
async def test_the_explanation_says_it_in_words(server: Server, fact: Fact, eventually: Callable) -> None:
    _, connection = await seen_by_the_kits_client(server, fact)
    await eventually(lambda: over(connection))
    text = str(explain(connection))
    assert [words for words in fact.explained if words not in text] == [], text


@pytest.mark.parametrize("fact", [fact for fact in FACTS if "NegotiationError" not in fact.client.error], ids=lambda fact: fact.handler)
async def test_the_explanation_is_the_same_for_a_stranger(server: Server, fact: Fact, eventually: Callable) -> None:
    _, connection = await seen_by_a_plain_client(server, fact)
    await eventually(lambda: over(connection))
    text = str(explain(connection))
    assert connection.name == "stranger"
    assert [words for words in fact.explained if words not in text] == [], text


@each_fact
def test_what_testclient_shows(fact: Fact) -> None:
    shown = in_a_test(app, fact)
    expected = fact.in_a_test or str(fact.client)
    assert re.fullmatch(re.escape(expected).replace("…", ".*"), shown, re.DOTALL), shown
    assert fact.in_a_test != str(fact.client), "TestClient shows the same: leave in_a_test out"


def test_testclient_shows_the_lost_code_of_every_refusal_by_closing() -> None:
    """The rows of which a passing test proves nothing."""
    lies = {fact.handler for fact in FACTS if fact.in_a_test.startswith("closed")}
    assert lies == {
        "close() before accept",
        "WebSocketException before accept",
        "a validation error",
        "nothing: no route has this path",
        "close with code 1005",
        "close with code 999",
        "close with a reason of over 123 bytes",
    }


def in_a_test(app: FastAPI, fact: Fact) -> str:
    """What TestClient shows; `WAITS` when the handler has ended and TestClient would wait for ever on what it will not send."""

    async def that_tells_of_its_end(scope: dict, receive: Callable, send: Callable) -> None:
        await app(scope, receive, send)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4999, "reason": WAITS})

    try:
        with TestClient(that_tells_of_its_end).websocket_connect(fact.path, **copy.deepcopy(fact.handshake)) as session:
            if fact.says is not None:
                (session.send_text if isinstance(fact.says, str) else session.send_bytes)(fact.says)
            if "insists" in fact.path:
                session.close()
            session.receive_text()
    except WebSocketDenialResponse as refusal:
        return f"HTTP {refusal.status_code}"
    except WebSocketDisconnect as end:
        return WAITS if end.code == 4999 else f"closed {end.code} {end.reason or ''}".strip()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("a message came, which no fact sends")


# The bullets under the table, and what takes more than one step to show.


@dataclass(frozen=True)
class Bullet:
    """A statement with a test of its own below, and, as in a `Fact`, the cell that shows it."""

    statement: str
    shown: tuple[str, ...]


BULLETS = [
    Bullet("a client that vanishes is WebSocketDisconnect(1005)", ("04_the_websocket_object", "visit(hears, leave=Client.abort)")),
    Bullet(
        "sending to it is 1006, and then WebSocketDisconnected", ("04_the_websocket_object", "visit(talks, leave=Client.abort)", "except WebSocketDisconnected")
    ),
    Bullet("WebSocketDisconnect is thrown in at a dependency's yield", ("02_dependencies", "except WebSocketDisconnect as left:", 'yield "a session"')),
    Bullet("a dependency exits after the handler", ("02_dependencies", "Depends(session)", 'print("handler over")')),
    Bullet("the documentation's echo logs a traceback", ("01_echo", 'send_text("goodbye")', "fay.ended")),
    Bullet("CORSMiddleware ignores WebSockets", ("02_dependencies", "CORSMiddleware(vault", "knock(covered_server, **hijack)")),
    Bullet("TrustedHostMiddleware works", ("02_dependencies", "TrustedHostMiddleware(covered", 'knock(f"ws://localhost:')),
    Bullet("nothing checks Origin", ("02_dependencies", "knock(vault_server, **hijack)")),
    Bullet("the kit's server checks Origin", ("02_dependencies", "knock(safe_server, **hijack)")),
]


async def tick_for_ever(websocket: WebSocket) -> None:
    while True:
        await websocket.send_text("tick")
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_a_client_that_vanishes_is_1005_to_who_receives_and_then_1006_to_who_sends(how: str, eventually: Callable) -> None:
    ends: list[Exception] = []
    vanishing = FastAPI()

    @vanishing.websocket("/ws")
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect) as received:
            await websocket.receive_text()
        ends.append(received.value)

    @vanishing.websocket("/sends")
    async def sender(websocket: WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(WebSocketDisconnect) as sent:
            await tick_for_ever(websocket)
        with pytest.raises(WebSocketDisconnected) as sent_again:
            await websocket.send_text("tock")
        ends.extend([sent.value, sent_again.value])

    async with serve(vanishing, port=0) as server:
        for path in ("/ws", "/sends"):
            client = await websockets_connect(f"{server.ws_url}{path}", proxy=None)
            client.transport.close() if how == "FIN" else client.transport.abort()
            connection = server.timeline.connections[-1]
            await eventually(functools.partial(over, connection))
            assert (connection.vanished_side, connection.close_frames, connection.handler_error) == ("client", [], None)
            assert "The client dropped the line without saying goodbye" in str(explain(connection))
            assert "A handler learns of it only from `receive` or a failing `send`" in str(explain(connection))
    received, sent, sent_again = ends
    assert (received.code, sent.code) == (1005, 1006)
    assert isinstance(sent_again, RuntimeError)
    assert not isinstance(sent_again, WebSocketDisconnect)


async def test_a_dependency_with_yield_gets_the_disconnect_thrown_in_and_exits_after_the_handler(eventually: Callable) -> None:
    steps: list[str] = []
    lending = FastAPI()

    async def session() -> AsyncIterator[None]:
        try:
            yield
        except WebSocketDisconnect as left:
            steps.append(f"thrown in: {left.code}")
            raise
        finally:
            steps.append("dependency over")

    @lending.websocket("/ws", dependencies=[Depends(session)])
    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            await websocket.receive_text()
        finally:
            steps.append("handler over")

    async with serve(lending, port=0) as server, connect(server, "/ws") as client:
        await client.close(4000, "bye")
        await eventually(lambda: over(client.connection))
        assert steps == ["handler over", "thrown in: 4000", "dependency over"]
        assert client.connection.handler_error.startswith("WebSocketDisconnect")
        assert "The client closed first, with code 4000" in str(explain(client.connection))


async def test_the_documentations_echo_logs_a_traceback_when_a_client_leaves_normally(server: Server, eventually: Callable) -> None:
    async with connect(server, "/echo") as client:
        await client.send_text("goodbye")
        assert await client.receive_text(timeout=5.0) == "Message text was: goodbye"
    await eventually(lambda: over(client.connection))
    (error,) = [entry for entry in server.timeline.entries(connection=client.number) if entry.kind == "error"]
    assert error.details["exception"] == "WebSocketDisconnect"
    assert "receive_text" in error.details["lines"][-1]
    explanation = explain(client.connection)
    assert (explanation.pill, explanation.severity) == ("closed 1000", "good")
    assert "unhandled WebSocketDisconnect" in explanation.advice
    with TestClient(app).websocket_connect("/echo") as session:
        session.send_text("goodbye")
        with pytest.raises(WebSocketDisconnect):  # where a real server only logs it
            session.__exit__(None, None, None)


async def test_a_foreign_server_that_closes_is_known_to_have_closed_first() -> None:
    """Nothing records its own side: for example of `fastapi dev`, which a ChatPanel may be pointed at."""

    async def refuse(connection: ServerConnection) -> None:
        await connection.close(1008, "members only")

    async with websockets_serve(refuse, "127.0.0.1", 0) as foreign:
        client = await connect(f"ws://127.0.0.1:{foreign.sockets[0].getsockname()[1]}", "/")
        await asyncio.wait_for(client.wait_closed(), 5.0)
    assert (client.close_code, client.close_reason) == (1008, "members only")
    assert "The server closed first, with code 1008 and the reason “members only”" in str(explain(client.connection))


EVIL = {"origin": "http://evil.example"}


@pytest.fixture
def check_switched_off() -> Iterator[Callable]:
    """serve() without its check of Origin, as every other server runs."""
    with pytest.warns(UnsafeServerWarning):
        yield functools.partial(serve, port=0, allowed_origins="*")


async def test_nothing_checks_the_origin_and_cors_middleware_ignores_websockets(check_switched_off: Callable) -> None:
    covered = CORSMiddleware(app, allow_origins=["https://chat.example"])
    for unguarded in (app, covered):
        async with check_switched_off(unguarded) as server, connect(server, "/echo", **EVIL) as client:
            await client.send_text("hello")
            assert await client.receive_text(timeout=5.0) == "Message text was: hello"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=covered), base_url="http://testserver") as browser:
        preflight = await browser.options("/echo", headers={"Origin": EVIL["origin"], "Access-Control-Request-Method": "GET"})
        assert preflight.status_code == 400, "over HTTP it does refuse that origin"


async def test_trusted_host_middleware_works_for_websockets(server: Server, eventually: Callable) -> None:
    async with serve(TrustedHostMiddleware(app, allowed_hosts=["127.0.0.1"]), port=0, name="trusting") as trusting:
        async with connect(f"ws://127.0.0.1:{trusting.port}", "/echo"):
            pass
        with pytest.raises(HandshakeRefused) as refusal:
            await connect(f"ws://localhost:{trusting.port}", "/echo")
        assert (refusal.value.status, refusal.value.body) == (400, b"Invalid host header")
        connection = refusal.value.connection
        await eventually(lambda: over(connection))
        assert "HTTP 400" in str(explain(connection))


async def test_the_kits_server_does_check_the_origin_and_says_so(server: Server) -> None:
    with pytest.raises(HandshakeRefused) as refusal:
        await connect(server, "/echo", **EVIL)
    assert refusal.value.status == 403
    assert b"allowed_origins" in refusal.value.body
    assert "The kit refused it before the app ran" in str(explain(refusal.value.connection))
    with TestClient(app).websocket_connect("/echo", headers={"Origin": EVIL["origin"]}) as session, pytest.raises(WebSocketDisconnect):
        session.__exit__(None, None, None)  # which also shows that a test gets in with any Origin


def test_json_takes_nan_because_python_does() -> None:
    """Which is why a message that JavaScript would refuse arrives in a handler."""
    assert math.isnan(json.loads("NaN"))


# Every row is shown.


@functools.cache
def code_cells(notebook: str) -> tuple[str, ...]:
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    return tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def shown_in(what: str, where: tuple[str, ...]) -> Any:
    notebook, *calls = where
    return pytest.param(notebook, calls, id=what)


@pytest.mark.parametrize(("notebook", "calls"), [shown_in(fact.handler, fact.shown) for fact in FACTS] + [shown_in(b.statement, b.shown) for b in BULLETS])
def test_a_cell_shows_it(notebook: str, calls: list[str]) -> None:
    """One cell makes all the calls that the row is known by."""
    assert any(all(call in cell for call in calls) for cell in code_cells(notebook)), f"{notebook} has no cell with {calls}"
