"""Why a connection ended, in a sentence, with what to change: close codes, lost sockets and refusals. Pure."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Explanation", "explain", "meaning_of", "name_of"]

# RFC 6455 §7.4.1 and the IANA registry of WebSocket close codes.
_CODES = {
    1000: ("normal closure", "the purpose of the connection is fulfilled"),
    1001: ("going away", "the server is stopping, or the page is being left"),
    1002: ("protocol error", "the other side broke the protocol's rules"),
    1003: ("unsupported data", "a kind of message came that this side cannot take"),
    1005: ("no status received", "the Close frame carried no code; this number is never sent"),
    1006: ("abnormal closure", "the socket ended without a Close frame; this number is never sent"),
    1007: ("invalid payload", "a text message was not valid UTF-8"),
    1008: ("policy violation", "the server does not allow this; often: not logged in"),
    1009: ("message too big", "a message was longer than the other side takes"),
    1010: ("mandatory extension", "the client needs an extension that the server did not offer"),
    1011: ("internal error", "the server failed, or a ping got no answer in time"),
    1012: ("service restart", "the server is being restarted; connect again"),
    1013: ("try again later", "the server has too much to do"),
    1014: ("bad gateway", "a proxy got no valid answer from the server behind it"),
    1015: ("TLS handshake failed", "no secure connection came about; this number is never sent"),
}

_STATUSES = {
    400: "The server did not understand the handshake.",
    401: "The server wants to know who is calling: send a token or a cookie.",
    403: "The server does not let this client in, or has no WebSocket route with this path; a close code that it meant is lost on the way.",
    404: "Nothing is served at this path.",
    405: "A WebSocket handshake is a GET (RFC 6455 §4.1); this request was of another method.",
    422: "The server did not accept what the handshake brought: a parameter is missing or has the wrong form.",
    426: "This address wants another protocol version.",
    429: "This client asks too often.",
    431: "The request's headers are too large.",
    500: "The handler raised, or returned, before it accepted the connection.",
    408: "The handshake did not come to its end in time; the time is the server's `handshake_timeout_seconds`.",
    503: "The server takes no more connections now; how many it takes is its `max_connections`.",
}

_REASON_CHARACTERS = 200  # a validation error's reason can be longer than a Close frame could carry


class Explanation(NamedTuple):
    """Why a connection ended.

    Attributes:
        pill: two or three words for a state pill, for example ``closed 1006``.
        headline: the code and its name, or the refusal.
        sentence: who ended it, and what that means.
        advice: what to change, or an empty string when nothing is wrong.
        severity: ``"good"``, ``"warning"`` or ``"bad"``.
    """

    pill: str
    headline: str
    sentence: str
    advice: str
    severity: str

    def __str__(self) -> str:
        return " ".join(part for part in (f"{self.headline}.", self.sentence, self.advice) if part)


class Ended(Protocol):
    """What `explain` needs to know of a connection; `kit.timeline.Connection` is one."""

    close_frames: list[tuple[str, int, str]]
    accepted: bool
    refused_status: int | None
    refused_because: str | None
    meant: tuple[int, str] | None
    aborted: bool
    client_refused: str | None
    handler_error: str | None
    handler_returned: bool
    server_stopped: bool
    vanished_side: str | None


def name_of(code: int) -> str:
    """The registered name of a close code, in lower case."""
    if code in _CODES:
        return _CODES[code][0]
    if 3000 <= code <= 3999:
        return "registered by a library or framework"
    if 4000 <= code <= 4999:
        return "the application's own code"
    return "not a valid close code"


def meaning_of(code: int) -> str:
    """What a close code says, in half a sentence."""
    if code in _CODES:
        return _CODES[code][1]
    if 3000 <= code <= 3999:
        return "its meaning is registered with IANA by a library or framework"
    if 4000 <= code <= 4999:
        return "its meaning is agreed between this app and its clients"
    return "codes below 1000 are not used, and 5000 and above do not exist"


def explain(connection: Ended) -> Explanation:
    """Why ``connection`` ended, from what both sides are known to have done."""
    if connection.refused_status is not None:
        return _explain_refusal(connection)
    if connection.close_frames and not connection.client_refused and not connection.aborted:
        return _explain_close_frame(connection)
    return _explain_silence(connection)


def _explain_refusal(connection: Ended) -> Explanation:
    status = connection.refused_status
    sentence = _STATUSES.get(status or 0, "The server answered with HTTP instead of switching to WebSocket.")
    advice = ""
    if connection.refused_because:
        sentence = f"The kit refused it before the app ran: {connection.refused_because}"
    elif connection.server_stopped:
        sentence = "The server was stopped or replaced before the handshake was over."
    elif connection.meant and status == 403:
        sentence, advice = _explain_close_before_accept(*connection.meant)
    elif connection.handler_error:
        sentence, advice = f"Before it accepted, the handler raised {_without_stop(connection.handler_error)}.", "Mend that, or accept first."
    elif status == 500:
        sentence, advice = "The handler returned before it accepted.", "Call `await websocket.accept()` first."
    return Explanation(f"refused {status}", f"HTTP {status}, the handshake was refused", sentence, advice, "bad")


def _explain_close_before_accept(code: int, reason: str) -> tuple[str, str]:
    """What the server meant, and what HTTP made of it."""
    lost = "HTTP has no close codes, so the client got a bare 403."
    if (code, reason) == (1000, ""):
        return f"No WebSocket route has this path, or the handler closed with 1000 before it accepted. {lost}", "Check the path."
    quoted = f" “{reason[:_REASON_CHARACTERS]}”" if reason else ""
    sentence = f"The server meant {code}, {name_of(code)},{quoted} but it closed before it accepted. {lost}"
    return sentence, "Raise HTTPException to send a status and a text, or accept first and then close."


def _explain_close_frame(connection: Ended) -> Explanation:
    side, code, reason = connection.close_frames[0]
    who = "The client" if side == "client" else "The server"
    quoted = f" and the reason “{reason}”" if reason else ""
    sentence = f"{who} closed first, with code {code}{quoted}: {meaning_of(code)}."
    advice, severity = "", "good" if code in (1000, 1001, 1005) or 3000 <= code <= 4999 else "warning"
    if connection.server_stopped and side == "server":
        sentence = f"The server closed with {code} because it was {'replaced by a new one' if code == 1012 else 'stopped'}."
    elif connection.handler_error and connection.handler_error.startswith("WebSocketDisconnect"):
        advice = "The handler ended with an unhandled WebSocketDisconnect: catch it, or loop with `async for text in websocket.iter_text()`."
    elif code == 1009:
        advice = "Send less at once, or raise `max_message_bytes` in serve()."
    elif code == 1011 and side == "server":
        advice = "See the handler's error, or a client that has stopped reading, in the server's log."
    return Explanation(f"closed {code}", f"{code}, {name_of(code)}", sentence, advice, severity)


def _explain_silence(connection: Ended) -> Explanation:
    pill, headline = "closed 1006", "1006, no Close frame"
    if not connection.accepted and not connection.handler_error and connection.vanished_side != "client":
        return Explanation("not connected", "No answer", "The socket ended before the handshake was over.", "", "bad")
    if connection.vanished_side == "client" and not connection.client_refused:
        sentence = "The client dropped the line without saying goodbye."
        return Explanation(pill, headline, sentence, "A handler learns of it only from `receive` or a failing `send`.", "bad")
    if connection.client_refused:
        sentence = f"The client gave up when it saw the server's answer: {_without_stop(connection.client_refused)}."
        return Explanation(pill, headline, sentence, "A handler may only choose a subprotocol that the client has offered.", "bad")
    if connection.aborted:
        return Explanation(pill, headline, "The app had the server drop the line at once, unsent messages included.", "", "warning")
    if connection.handler_error and "'websocket.http.response.start'" in connection.handler_error:
        sentence = "The handler raised HTTPException after `accept`, when the line no longer speaks HTTP, so the server just dropped the line."
        return Explanation(pill, headline, sentence, "Raise `WebSocketException(code, reason)` there.", "bad")
    if connection.handler_error:
        sentence = f"The handler raised {_without_stop(connection.handler_error)}, so the server just dropped the line."
        return Explanation(pill, headline, sentence, "Mend the error; to say why, `await websocket.close(1011)` before raising.", "bad")
    if connection.server_stopped:
        return Explanation(pill, headline, "The server stopped before the goodbye got through.", "", "bad")
    if connection.handler_returned:
        sentence = "The handler returned after `accept` without closing, so the server just dropped the line."
        return Explanation(pill, headline, sentence, "Add `await websocket.close()` at its end.", "bad")
    return Explanation(pill, headline, "The socket ended without a goodbye.", "", "bad")


def _without_stop(text: str) -> str:
    """An exception's text as a part of a sentence."""
    return text.rstrip(". ")
