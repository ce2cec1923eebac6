"""The two state machines of Starlette's WebSocket as data: what moves them, which call is legal when, and what is raised otherwise. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["APPLICATION", "CALLS", "CLIENT", "GONE", "Call", "Machine", "Transition", "Verdict", "judge_receive", "judge_send"]


class Transition(NamedTuple):
    """One arrow of a state machine: a message of this type, passing in the state ``before``, leads to ``after``.

    Attributes:
        more_body: for ``websocket.http.response.body`` only: whether the message says that more of the body follows.
    """

    before: str
    message_type: str
    after: str
    more_body: bool = False


class Machine(NamedTuple):
    """One of the two state machines.

    Attributes:
        attribute: where Starlette keeps its state: ``client_state`` or ``application_state``.
        moved_by: the method that moves it: ``receive`` or ``send``.
        states: the names of Starlette's `WebSocketState` that it can be in, the first one first.
        transitions: its arrows, in the order in which Starlette's errors name the messages.
    """

    attribute: str
    moved_by: str
    states: tuple[str, ...]
    transitions: tuple[Transition, ...]

    def expected(self, state: str) -> tuple[str, ...]:
        """The types of the messages that are legal in ``state``, as Starlette lists them; none at the end."""
        return tuple(dict.fromkeys(arrow.message_type for arrow in self.transitions if arrow.before == state))

    def find(self, state: str, message: Mapping[str, Any]) -> Transition | None:
        """The arrow that ``message`` takes from ``state``, or None when it is illegal there."""
        wanted = (state, message.get("type"), message.get("type") == "websocket.http.response.body" and bool(message.get("more_body", False)))
        return next((arrow for arrow in self.transitions if (arrow.before, arrow.message_type, arrow.more_body) == wanted), None)


CLIENT = Machine(
    "client_state",
    "receive",
    ("CONNECTING", "CONNECTED", "DISCONNECTED"),
    (
        Transition("CONNECTING", "websocket.connect", "CONNECTED"),
        Transition("CONNECTED", "websocket.receive", "CONNECTED"),
        Transition("CONNECTED", "websocket.disconnect", "DISCONNECTED"),
    ),
)
APPLICATION = Machine(
    "application_state",
    "send",
    ("CONNECTING", "CONNECTED", "RESPONSE", "DISCONNECTED"),
    (
        Transition("CONNECTING", "websocket.accept", "CONNECTED"),
        Transition("CONNECTING", "websocket.close", "DISCONNECTED"),
        Transition("CONNECTING", "websocket.http.response.start", "RESPONSE"),
        Transition("CONNECTED", "websocket.send", "CONNECTED"),
        Transition("CONNECTED", "websocket.close", "DISCONNECTED"),
        Transition("RESPONSE", "websocket.http.response.body", "RESPONSE", more_body=True),
        Transition("RESPONSE", "websocket.http.response.body", "DISCONNECTED"),
    ),
)


class Call(NamedTuple):
    """One raw call that a handler can make.

    Attributes:
        key: a short name for it.
        label: what it is called in words.
        message: what is sent, or None for ``receive()``.
        made_by: the methods of Starlette's WebSocket that make this call.
    """

    key: str
    label: str
    message: Mapping[str, Any] | None
    made_by: str


CALLS = (
    Call("receive", "receive", None, "accept() at first, receive_text(), receive_bytes(), receive_json(), iter_…()"),
    Call("accept", "send accept", {"type": "websocket.accept"}, "accept(), after a receive"),
    Call("text", "send text", {"type": "websocket.send", "text": "hello"}, "send_text(), send_json()"),
    Call("bytes", "send bytes", {"type": "websocket.send", "bytes": b"\x00\xff"}, 'send_bytes(), send_json(mode="binary")'),
    Call("close", "send close", {"type": "websocket.close", "code": 1000, "reason": "bye"}, "close()"),
    Call(
        "start",
        "send http.response.start",
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"content-type", b"text/plain; charset=utf-8")]},
        "send_denial_response(), at first",
    ),
    Call("more", "send http.response.body, more", {"type": "websocket.http.response.body", "body": b"who ", "more_body": True}, "a streamed denial"),
    Call("body", "send http.response.body", {"type": "websocket.http.response.body", "body": b"are you?"}, "send_denial_response(), at its end"),
)


class Verdict(NamedTuple):
    """What a call will do.

    Attributes:
        legal: whether Starlette lets it pass; an illegal call raises before anything is sent or taken.
        after: the state of the machine that the call moves, afterwards; None while that depends on the message that comes.
        error: what is raised, as type and text, or an empty string.
        meaning: what that means, and what to do instead; empty when all is well.
    """

    legal: bool
    after: str | None
    error: str
    meaning: str


GONE = "WebSocketDisconnect(code=1006, reason='')"
_GONE_BENEATH = "ClientDisconnected"

_SENT_ALL = "The handler has had its last word: after a close, or a whole response, nothing more can be sent. Return from the handler."
_TOO_LATE = "The handshake was answered with a WebSocket: it is too late for another answer. Say why with a close code instead."
_ILLEGAL_SENDS = {
    ("CONNECTING", "websocket.send"): "The handshake is not answered yet, so no message can be sent. Accept first: `await websocket.accept()`.",
    ("CONNECTING", "websocket.http.response.body"): "A response begins with its status: send websocket.http.response.start first.",
    ("CONNECTED", "websocket.accept"): "The connection is accepted already. A handshake is answered once.",
    ("CONNECTED", "websocket.http.response.start"): _TOO_LATE,
    ("CONNECTED", "websocket.http.response.body"): _TOO_LATE,
}
_ONLY_THE_BODY = "An HTTP response has begun, so this will never be a WebSocket. Only the response's body may follow."
_UNKNOWN = "The ASGI specification has no such message for a WebSocket's send."


def judge_send(application_state: str, message: Mapping[str, Any], *, client_gone: bool = False) -> Verdict:
    """What ``await websocket.send(message)`` does while ``application_state`` has this value.

    Args:
        client_gone: whether the server has noticed that the client's end is gone. Starlette does not look at it: such a send
            is legal, and fails below Starlette, with an ``OSError`` of uvicorn's.
    """
    arrow, kind = APPLICATION.find(application_state, message), message.get("type")
    if application_state == "DISCONNECTED":
        return Verdict(False, application_state, 'WebSocketDisconnected: Cannot call "send" once a close message has been sent.', _SENT_ALL)
    if arrow is None:
        meaning = _ONLY_THE_BODY if application_state == "RESPONSE" else _ILLEGAL_SENDS.get((application_state, kind), _UNKNOWN)
        return Verdict(False, application_state, _unexpected(APPLICATION, application_state, kind), meaning)
    if not client_gone:
        return Verdict(True, arrow.after, "", "")
    if application_state == "CONNECTED":
        meaning = "The client is gone, so nothing was sent. uvicorn raised an OSError; Starlette made it a WebSocketDisconnect with 1006. Leave the handler."
        return Verdict(True, "DISCONNECTED", GONE, meaning)
    meaning = "The client is gone, so nothing was sent. This is uvicorn's own OSError: only while CONNECTED does Starlette make it a WebSocketDisconnect."
    return Verdict(True, arrow.after, _GONE_BENEATH, meaning)


def judge_receive(client_state: str, message_type: str | None = None) -> Verdict:
    """What ``await websocket.receive()`` does while ``client_state`` has this value.

    Args:
        message_type: the type of the message that comes; None while it is not known. A server that keeps to the ASGI
            specification never hands on one that is illegal here.
    """
    if client_state == "DISCONNECTED":
        meaning = "The disconnect message was the last one. A handler that has got it leaves its loop and returns."
        return Verdict(False, client_state, 'WebSocketDisconnected: Cannot call "receive" once a disconnect message has been received.', meaning)
    if message_type is None:
        return Verdict(True, None, "", "")
    arrow = CLIENT.find(client_state, {"type": message_type})
    if arrow is None:
        return Verdict(False, client_state, _unexpected(CLIENT, client_state, message_type), "The server broke the ASGI specification.")
    return Verdict(True, arrow.after, "", "")


def _unexpected(machine: Machine, state: str, kind: str | None) -> str:
    *others, last = [f'"{name}"' for name in machine.expected(state)]
    names = f"{', '.join(others)} or {last}" if others else last
    return f"RuntimeError: Expected ASGI message {names}, but got {kind!r}"
