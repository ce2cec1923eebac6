"""Why a connection ended, in a sentence, with what to change: close codes, lost sockets and refusals. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kit.close_codes import REASON_BYTES, code_words, may_be_sent, name_of, status_words
from kit.evidence import Ended, Fact, evidence
from kit.explained import as_html, as_text
from kit.printable import quoted, visible

__all__ = ["Explanation", "explain"]

_ABORTED = "The app had the server drop the line at once, unsent messages included."
_NO_PONG = "keepalive ping timeout"  # uvicorn's reason, from the websockets library
_REASON_CHARACTERS = 200  # a validation error's reason can be longer than a Close frame could carry


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a connection ended. Printed it is a sentence; at the end of a notebook cell it shows its table too.

    Attributes:
        pill: two or three words for a state pill, for example ``closed 1006``.
        headline: the code and its name, or the refusal.
        sentence: who ended it, and what that means.
        advice: what to change, or an empty string when nothing is wrong.
        severity: ``"good"``, ``"warning"`` or ``"bad"``.
        connection: the connection that it explains.
    """

    pill: str
    headline: str
    sentence: str
    advice: str
    severity: str
    connection: Ended | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return " ".join(part for part in (f"{self.headline}.", self.sentence, self.advice) if part)

    @property
    def table(self) -> tuple[Fact, ...]:
        """How it ended from each side, by what is known now: the wire, the handler, a library, a browser, a test."""
        return evidence(self.connection, self.advice) if self.connection is not None else ()

    def _repr_mimebundle_(self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None) -> dict[str, str]:
        """How IPython shows it: static, and with secrets blotted out, because it is saved with the notebook."""
        return {"text/html": as_html(self.headline, self.sentence, self.severity, self.table), "text/plain": as_text(str(self), self.table)}


def explain(connection: Ended) -> Explanation:
    """Why ``connection`` ended, from what both sides are known to have done."""
    if connection.refused_status is not None:
        told = _explain_refusal(connection)
    elif connection.close_frames and not connection.client_refused and not connection.aborted:
        told = _explain_close_frame(connection)
    else:
        told = _explain_silence(connection)
    return replace(told, connection=connection)


def _explain_refusal(connection: Ended) -> Explanation:
    status = connection.refused_status
    sentence, advice = status_words(status)
    if connection.refused_because:
        sentence, advice = f"The kit refused it before the app ran: {connection.refused_because}", ""
    elif connection.server_stopped:
        sentence, advice = "The server was stopped or replaced before the handshake was over.", "Start it, then connect again."
    elif connection.meant and status == 403:
        sentence, advice = _explain_close_before_accept(*connection.meant)
    elif connection.handler_error:
        sentence, advice = f"Before it accepted, the handler raised {_without_stop(connection.handler_error)}.", "Mend that, or accept first."
    elif connection.handler_answered:
        sentence, advice = _explain_answer(connection.handler_answered)
    elif status == 500:
        sentence, advice = "The handler returned before it accepted.", "Call `await websocket.accept()` first."
    return Explanation(f"refused {status}", f"HTTP {status}, the handshake was refused", sentence, advice, "bad")


def _explain_answer(status: int) -> tuple[str, str]:
    """The app chose the status itself, so what the kit's server means by it is not what it means."""
    if status in (403, 408, 500, 503):
        return f"The app answered the handshake with HTTP {status}, by a denial response or an HTTPException.", "Read the body of its answer."
    return status_words(status)


def _explain_close_before_accept(code: int, reason: str) -> tuple[str, str]:
    """What the server meant, and what HTTP made of it."""
    lost = "HTTP has no close codes, so the client got a bare 403."
    if (code, reason) == (1000, ""):
        return f"No WebSocket route has this path, or the handler closed with 1000 before it accepted. {lost}", "Check the path."
    because = f" {quoted(reason, _REASON_CHARACTERS)}" if reason else ""
    sentence = f"The server meant {code}, {name_of(code)},{because} but it closed before it accepted. {lost}"
    return sentence, "Raise HTTPException to send a status and a text, or accept first and then close."


def _explain_close_frame(connection: Ended) -> Explanation:
    side, code, reason = connection.close_frames[0]
    words = code_words(code)
    who = "The client" if side == "client" else "The server"
    because = f" and the reason {quoted(reason, _REASON_CHARACTERS)}" if reason else ""
    sentence = f"{who} closed first, with code {code}{because}: {words.meaning}."
    advice, severity = words.advice, "warning" if words.advice else "good"
    if connection.server_stopped and side == "server":
        sentence = f"The server closed with {code} because it was {'replaced by a new one' if code == 1012 else 'stopped'}."
    elif connection.handler_error and connection.handler_error.startswith("WebSocketDisconnect"):
        advice = "The handler ended with an unhandled WebSocketDisconnect: catch it, or loop with `async for text in websocket.iter_text()`."
    elif code == 1009:
        advice = "Send less at once, or raise `max_message_bytes` in serve()."
    elif (code, reason, side) == (1011, _NO_PONG, "server"):
        sentence = f"{who} closed first, with code {code}{because}: a ping got no answer in time."
        advice = "Either the client does not answer, or its pong is not read, because the handler takes no messages: see where it waits."
    elif code == 1011 and side == "server":
        advice = "See the handler's error, or a client that has stopped reading, in the server's log."
    return Explanation(f"closed {code}", f"{code}, {words.name}", sentence, advice, severity)


def _explain_silence(connection: Ended) -> Explanation:
    early = not connection.accepted and not connection.handler_error
    if early and connection.vanished_side != "client" and not connection.process_ended:
        advice = "See whether this is the server's address, and whether it still runs."
        return Explanation("not connected", "No answer", "The socket ended before the handshake was over.", advice, "bad")
    sentence, advice = _dropped_on_purpose_or_by_the_client(connection) or _dropped_by_the_server(connection)
    return Explanation("closed 1006", "1006, no Close frame", sentence, advice, "warning" if sentence == _ABORTED else "bad")


def _dropped_on_purpose_or_by_the_client(connection: Ended) -> tuple[str, str] | None:
    """Why a line was dropped that the server would have gone on with: a sentence and what to change; None when it would not have."""
    if connection.process_ended and not (connection.handler_error or connection.handler_returned):
        sentence = f"{connection.process_ended[:1].upper()}{connection.process_ended[1:]}, and all its connections ended with it."
        return sentence, "Connect again: another process takes over, if one is left. This one is not restarted; serve the app again to have all of them."
    if connection.vanished_side == "client" and not connection.client_refused:
        return "The client dropped the line without saying goodbye.", "A handler learns of it only from `receive` or a failing `send`."
    if connection.client_refused:
        sentence = f"The client gave up when it saw the server's answer: {_without_stop(connection.client_refused)}."
        return sentence, "A handler may only choose a subprotocol that the client has offered."
    if connection.aborted:
        return _ABORTED, "To say why, close with a code instead; a client that reads will get it."
    return None


def _dropped_by_the_server(connection: Ended) -> tuple[str, str]:
    """Why the server dropped a line by itself: a sentence and what to change."""
    if connection.handler_error and connection.handler_answered:
        sentence = "The handler raised HTTPException after `accept`, when the line no longer speaks HTTP, so the server just dropped the line."
        return sentence, "Raise `WebSocketException(code, reason)` there."
    if connection.handler_error:
        sentence = f"The handler raised {_without_stop(connection.handler_error)}, so the server just dropped the line."
        if _could_not_be_sent(connection.handler_closed):
            return sentence, f"No Close frame can carry what it asked for. Close with 1000, or 4000 to 4999, and a reason of at most {REASON_BYTES} bytes."
        return sentence, "Mend the error; to say why, `await websocket.close(1011)` before raising."
    if connection.server_stopped:
        return "The server stopped before the goodbye got through.", "Start it, then connect again."
    if connection.handler_returned:
        sentence = "The handler returned after `accept` without closing, so the server just dropped the line."
        return sentence, "Add `await websocket.close()` at its end."
    return "The socket ended without a goodbye.", "See whether the other program, and the network between, still run."


def _could_not_be_sent(close: tuple[int, str] | None) -> bool:
    """Whether the handler asked for a close that no Close frame can carry (RFC 6455 §5.5 and §7.4)."""
    return close is not None and not (may_be_sent(close[0]) and len(close[1].encode(errors="replace")) <= REASON_BYTES)


def _without_stop(text: str) -> str:
    """An exception's text, made safe to look at, as a part of a sentence."""
    return visible(text.rstrip(". "))
