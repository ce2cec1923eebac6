"""Entries made by hand: what both sides of one conversation would have noted."""

from __future__ import annotations

import itertools
from typing import Any

from kit.conversation import Conversation
from kit.rows import Row
from kit.timeline import Entry

_numbers = itertools.count(1)


def entry(side: str, kind: str, text: str = "", *, connection: int | None = 1, ordinal: int | None = None, payload: Any = None, **details: Any) -> Entry:
    number = next(_numbers)
    payload = text if payload is None else payload
    return Entry(number, number / 1000, connection, side, kind, text, len(payload), payload, ordinal, details)


def frame(side: str, way: str, text: str = "", *, opcode: str = "TEXT", ordinal: int | None = 1, connection: int = 1, **more: Any) -> Entry:
    details = {"opcode": opcode, "fin": True, "masked": False, "compressed": False, "code": None, "reason": "", **more}
    return entry(side, f"frame-{way}", text, connection=connection, ordinal=ordinal, **details)


def asgi(
    way: str, kind: str, text: str = "", *, ordinal: int | None = None, connection: int = 1, states: tuple[str, str] = ("CONNECTED", "CONNECTED"), **more: Any
) -> Entry:
    return entry(
        "server",
        f"asgi-{way}",
        text,
        connection=connection,
        ordinal=ordinal,
        type=f"websocket.{kind}",
        client_state=states[0],
        application_state=states[1],
        **more,
    )


def handshake() -> list[Entry]:
    headers = {"headers": [("Host", "here")]}
    return [
        entry("client", "request", "GET /ws", start_line="GET /ws HTTP/1.1", **headers),
        entry("server", "request", "GET /ws", start_line="GET /ws HTTP/1.1", **headers),
        asgi("receive", "connect", states=("CONNECTED", "CONNECTING")),
        asgi("send", "accept"),
        entry("server", "response", "101", start_line="HTTP/1.1 101 Switching Protocols", status=101, payload=b"", **headers),
        entry("client", "response", "101", start_line="HTTP/1.1 101 Switching Protocols", status=101, payload=b"", **headers),
    ]


def message_up(text: str, ordinal: int, connection: int = 1) -> list[Entry]:
    return [
        frame("client", "out", text, ordinal=ordinal, connection=connection),
        frame("server", "in", text, ordinal=ordinal, connection=connection),
        asgi("receive", "receive", text, ordinal=ordinal, connection=connection),
    ]


def cells(row: Row) -> tuple[str, str, str, str]:
    return row.direction, row.client, row.wire, row.handler


def key_row(conversation: Conversation, key: str) -> Row:
    row = conversation.row(key)
    assert row is not None, key
    return row


def request_seen_by_both() -> list[Entry]:
    return handshake()[:3]
