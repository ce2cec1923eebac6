"""The numbers that end a connection, in words: close codes (RFC 6455 §7.4 and IANA's registry) and HTTP statuses. Pure."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["REASON_BYTES", "CodeWords", "StatusWords", "code_words", "may_be_sent", "name_of", "status_words"]

REASON_BYTES = 123  # what a Close frame has room for besides its code (RFC 6455 §5.5)


class CodeWords(NamedTuple):
    """What is to be said of a close code.

    Attributes:
        name: as it is registered, in lower case.
        meaning: what it says, in half a sentence.
        advice: what to change, or an empty text when nothing is wrong.
    """

    name: str
    meaning: str
    advice: str = ""


class StatusWords(NamedTuple):
    """What is to be said of a handshake that was answered with an HTTP status: what it means, and what to change."""

    sentence: str
    advice: str


# RFC 6455 §7.4.1 and https://www.iana.org/assignments/websocket; 4000 to 4999 are nobody's but the app's.
_CODES = {
    1000: CodeWords("normal closure", "the purpose of the connection is fulfilled"),
    1001: CodeWords("going away", "the server is stopping, or the page is being left"),
    1002: CodeWords("protocol error", "the other side broke the protocol's rules", "Look at the last frame that the other side sent."),
    1003: CodeWords("unsupported data", "a kind of message came that this side cannot take", "Send text where text is read, and bytes where bytes are."),
    1004: CodeWords("reserved", "this number has no meaning yet", "Use 1000, or 4000 to 4999 for your own meaning."),
    1005: CodeWords("no status received", "the Close frame carried no code; this number is never sent"),
    1006: CodeWords("abnormal closure", "the socket ended without a Close frame; this number is never sent"),
    1007: CodeWords("invalid payload", "a text message was not valid UTF-8", "Encode text as UTF-8, or send it as bytes."),
    1008: CodeWords("policy violation", "the server does not allow this; often: not logged in", "Bring what the server asks for, often a token or a cookie."),
    1009: CodeWords(
        "message too big", "a message was longer than the other side takes", "Send less at once, or let the receiver take more: `max_message_bytes`."
    ),
    1010: CodeWords("mandatory extension", "the client needs an extension that the server did not offer", "Switch that extension on at the server."),
    1011: CodeWords("internal error", "the server failed, or a ping got no answer in time", "Look for an error in the server's log."),
    1012: CodeWords("service restart", "the server is being restarted; connect again", "Connect again."),
    1013: CodeWords("try again later", "the server has too much to do, or this client took its messages too slowly", "Wait a little, then connect again."),
    1014: CodeWords("bad gateway", "a proxy got no valid answer from the server behind it", "See whether the server behind the proxy runs."),
    1015: CodeWords("TLS handshake failed", "no secure connection came about; this number is never sent", "Check the certificate."),
    3000: CodeWords("unauthorized", "the server wants to know who is calling", "Bring a token or a cookie."),
    3003: CodeWords("forbidden", "the server knows who is calling, and does not allow it", "Ask for the right to do this."),
    3008: CodeWords("timeout", "something that was waited for did not come in time", "Answer sooner, or let the server wait longer."),
}
_OWN = CodeWords("the application's own code", "its meaning is agreed between this app and its clients")
_LIBRARYS = CodeWords("a library's or framework's code", "such a code is registered with IANA by whoever uses it; this one was not when this was written")
_UNASSIGNED = CodeWords(
    "not assigned", "numbers up to 2999 belong to the protocol, and this one has no meaning yet", "Use 1000, or 4000 to 4999 for your own meaning."
)
_INVALID = CodeWords(
    "not a valid close code", "codes below 1000 are not used, and 5000 and above do not exist", "Use 1000, or 4000 to 4999 for your own meaning."
)

_STATUSES = {
    400: StatusWords("The server did not understand the handshake.", "Look at the request's headers: Host, Upgrade, Connection and Sec-WebSocket-Key."),
    401: StatusWords("The server wants to know who is calling.", "Connect again, and send a token or a cookie."),
    403: StatusWords(
        "The server does not let this client in, or has no WebSocket route with this path; a close code that it meant is lost on the way.",
        "Check the path, then what the app asks of its clients.",
    ),
    404: StatusWords("Nothing is served at this path.", "Check the path."),
    405: StatusWords("A WebSocket handshake is a GET (RFC 6455 §4.1); this request was of another method.", "Send a GET."),
    408: StatusWords("The handshake did not come to its end in time; the time is the server's `handshake_timeout_seconds`.", "Send the whole request at once."),
    422: StatusWords(
        "The server did not accept what the handshake brought: a parameter is missing or has the wrong form.", "Read the body; it names the parameter."
    ),
    426: StatusWords("This address wants another protocol or another version of it.", "Send `Upgrade: websocket` and `Sec-WebSocket-Version: 13`."),
    429: StatusWords("This client asks too often.", "Wait as long as the header Retry-After says."),
    431: StatusWords("The request's headers are too large.", "Send fewer or shorter cookies."),
    500: StatusWords("The handler raised, or returned, before it accepted the connection.", "See the server's log."),
    503: StatusWords("The server takes no more connections now; how many it takes is its `max_connections`.", "Wait a little, then connect again."),
}


def code_words(code: int) -> CodeWords:
    """What is to be said of any close code, registered or not."""
    if code in _CODES:
        return _CODES[code]
    if 3000 <= code <= 3999:
        return _LIBRARYS
    if 4000 <= code <= 4999:
        return _OWN
    return _UNASSIGNED if 1000 <= code <= 2999 else _INVALID


def name_of(code: int) -> str:
    """The registered name of a close code, in lower case; for others whose number it is."""
    return code_words(code).name


def may_be_sent(code: int) -> bool:
    """Whether a Close frame may carry this code (RFC 6455 §7.4)."""
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


def status_words(status: int) -> StatusWords:
    """What is to be said of a handshake that was answered with ``status``."""
    if status in _STATUSES:
        return _STATUSES[status]
    if 300 <= status < 400:
        return StatusWords(
            "The server sends the client elsewhere, which a WebSocket handshake seldom follows.", "Connect to the address in the header Location."
        )
    at_fault = "the server failed" if status >= 500 else "the server answered with HTTP instead of switching to WebSocket"
    return StatusWords(f"{at_fault[0].upper()}{at_fault[1:]}.", "Read the body of its answer.")
