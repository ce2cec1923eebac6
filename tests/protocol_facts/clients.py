"""What a real client of each kind, and a test with TestClient, see of a fact."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable

from fastapi import FastAPI, WebSocketDisconnect
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import InvalidStatus, NegotiationError

from kit import Server, connect
from kit.connection import Connection
from kit.errors import ConnectError, HandshakeRefused
from tests.protocol_facts.facts import WAITS, Fact, Seen


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
