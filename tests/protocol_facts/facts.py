"""What the protocol really does with each thing a handler can do: the client's view, the Timeline's, the panel's words, and a test's.

Each `Fact` is a row of one table. A row is asserted over real sockets, with the kit's client and with the plain client of the
websockets library; against Starlette's TestClient, which for many of them shows what no client will ever see; and against the
notebooks, one of which shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.protocol_facts.handlers import LONG_REASON


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
