"""What takes more than one step to show, and who asks whether a page may connect."""

from __future__ import annotations

import asyncio
import functools
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest
from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnected
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

from kit import Server, connect, serve
from kit.closing import explain
from kit.errors import HandshakeRefused, UnsafeServerWarning
from tests.protocol_facts.clients import over
from tests.protocol_facts.handlers import app


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
