"""How a connection ended, from each side: what crossed the wire, and what a handler, a library, a browser and a test make of it. Pure."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from kit.printable import quoted, visible

__all__ = ["Ended", "Fact", "client_heard", "evidence", "settled"]

_REASON_CHARACTERS = 200  # a Close frame carries at most 123 bytes (RFC 6455 §5.5), but an app may ask for more
_NO_SUCH_END = "Knows no such end: it calls the app itself, without a server, a socket or a wire"
_UNCLEAN = "Code 1006, no reason, wasClean false"


class Fact(NamedTuple):
    """One row of the table.

    Attributes:
        label: who is asked.
        value: what is known from there, in words that are safe to show; or that it is not known, and why.
    """

    label: str
    value: str


class Ended(Protocol):
    """What has to be known of a connection; `kit.connection.Connection` is one."""

    close_frames: list[tuple[str, int, str]]
    closed_both_ways: bool
    accepted: bool
    client_state: str | None
    refused_status: int | None
    refused_because: str | None
    meant: tuple[int, str] | None
    aborted: bool
    client_refused: str | None
    client_here: bool
    client_reports: tuple[int, str] | None
    server_here: bool
    handler_answered: int | None
    handler_closed: tuple[int, str] | None
    handler_error: str | None
    handler_returned: bool
    server_stopped: bool
    vanished_side: str | None
    process_ended: str | None


def evidence(connection: Ended, advice: str) -> tuple[Fact, ...]:
    """The table of how ``connection`` ended, by what is known now; what is not known is said to be so.

    Args:
        advice: what to change, as `kit.closing.explain` gives it.
    """
    return (
        Fact("Closed first", _who_closed(connection)),
        Fact("Client sent", _sent_by(connection, "client")),
        Fact("Server sent", _sent_by(connection, "server")),
        Fact("Handler", _handler(connection)),
        Fact("Client library", _library(connection)),
        Fact("Browser", _browser(connection)),
        Fact("TestClient", _test_client(connection)),
        Fact("What to change", advice or "Nothing."),
    )


def settled(connection: Ended) -> bool:
    """Whether all has been heard that will be: the handler has ended, and the client has said what it reports."""
    ended = connection.handler_error or connection.handler_returned or connection.process_ended
    handler_over = bool(ended or not connection.server_here or connection.client_state is None)
    return handler_over and client_heard(connection)


def client_heard(connection: Ended) -> bool:
    """Whether the client has said what it reports, or never will."""
    never_open = connection.refused_status is not None or bool(connection.client_refused) or not connection.accepted
    return never_open or bool(connection.client_reports or not connection.client_here)


def _who_closed(connection: Ended) -> str:
    if connection.refused_status is not None:
        return "The server, by refusing the handshake"
    if connection.client_refused:
        return "The client: it did not take the server's answer"
    if connection.aborted:
        return "The server: the app had it drop the line"
    if connection.close_frames:
        return f"The {connection.close_frames[0][0]}"
    if connection.vanished_side:
        return f"The {connection.vanished_side}, by dropping the line"
    return "Not known"


def _sent_by(connection: Ended, side: str) -> str:
    if side == "server" and connection.refused_status is not None:
        return f"HTTP {connection.refused_status}, no Close frame"
    sent = (_close(code, reason) for sender, code, reason in connection.close_frames if sender == side)
    return ", then ".join(sent) or "No Close frame"


def _handler(connection: Ended) -> str:
    if not connection.server_here:
        return "Not known: the server is not of this kernel"
    if connection.client_state is None:
        return "Did not run"
    did = _what_it_sent(connection)
    if connection.handler_error:
        raised = f"raised {visible(connection.handler_error)}"
        return f"{did}, then {raised}" if did else _capital(raised)
    if connection.handler_returned:
        return did or _how_it_returned(connection)
    if connection.process_ended:
        return f"{did}, then ended with its process" if did else "Ended with its process"
    return f"{did}, and has not ended yet" if did else "Has not ended yet"


def _what_it_sent(connection: Ended) -> str:
    """The answer or the close that the app sent; the kit's tap sits outside the app, which turns some exceptions into them."""
    when = " after it had accepted" if connection.accepted else ""
    if connection.handler_answered is not None:
        return f"Answered HTTP {connection.handler_answered}{when}, itself or by raising HTTPException"
    if connection.handler_closed is None:
        return ""
    code, reason = connection.handler_closed
    if connection.meant == (1000, ""):
        return "Closed with 1000 before it accepted, or no route has this path"
    before = "" if connection.accepted else " before it accepted"
    sent = connection.meant is not None or connection.close_frames[:1] == [("server", code, reason)]
    how = ", itself or by raising WebSocketException" if sent else ""
    return f"{'Closed' if sent else 'Asked to close'} with {code}{_of(reason)}{before}{how}"


def _how_it_returned(connection: Ended) -> str:
    if connection.refused_status is not None:
        return "Returned before it accepted"
    return "Returned" if connection.close_frames or connection.vanished_side == "client" else "Returned without closing"


def _library(connection: Ended) -> str:
    if connection.client_here:
        return _seen_by_the_kits_client(connection)
    return f"Not seen, for the client is a stranger. The websockets library would report {_expected_of_a_library(connection)}"


def _seen_by_the_kits_client(connection: Ended) -> str:
    if connection.refused_status is not None:
        return f"HandshakeRefused with status {connection.refused_status} (the websockets library: InvalidStatus)"
    if connection.client_refused:
        return f"ConnectError (the websockets library: NegotiationError: {visible(connection.client_refused)})"
    if not connection.accepted:
        return "ConnectError (the websockets library: InvalidMessage)"
    if connection.client_reports is None:
        return "Not known yet: it has not seen the end"
    return _capital(_reported(*connection.client_reports))


def _expected_of_a_library(connection: Ended) -> str:
    if connection.refused_status is not None:
        return f"InvalidStatus with status {connection.refused_status}"
    came = _from_the_server(connection)
    if came is None:
        return _reported(1006, "")
    certain = connection.closed_both_ways
    return _reported(*came) if certain else f"{_reported(*came)}, if that Close frame reached it; else 1006"


def _browser(connection: Ended) -> str:
    if connection.refused_status is not None:
        return f"{_UNCLEAN}, as for every refusal{_console(connection.refused_status)}"
    if connection.client_refused:
        return f"{_UNCLEAN}: it does not take such an answer either, and only its console says why"
    if connection.close_frames and connection.close_frames[0][0] == "client" and not _may_close_from_a_page(connection.close_frames[0][1]):
        return _no_page_closes_with(connection.close_frames[0][1])
    came = _from_the_server(connection)
    if came is None:
        return _UNCLEAN + (", if its page still lives" if connection.vanished_side == "client" else "")
    if connection.closed_both_ways:
        return _capital(f"{_reported(*came)}, wasClean true")
    return _capital(f"{_reported(*came)}. wasClean is not certain: the server dropped the line before it had the client's answer")


def _console(status: int) -> str:
    """What Chromium writes to its console, the only place where a page's author finds the status."""
    if status == 407:
        return ""
    words = "HTTP Authentication failed; no valid credentials available" if status == 401 else f"Unexpected response code: {status}"
    return f". Only the console says more, Chromium's: “{words}”"


def _may_close_from_a_page(code: int) -> bool:
    """What ``WebSocket.close()`` takes in JavaScript (WHATWG WebSockets, close); 1005 is a close without a code."""
    return code in (1000, 1005) or 3000 <= code <= 4999


def _no_page_closes_with(code: int) -> str:
    if code == 1001:
        return "Sends 1001 by itself when its page is left, and then nobody is there to hear of it; close() takes 1000 or 3000 to 4999"
    return f"No page closes with {code}: close() takes 1000 or 3000 to 4999"


def _test_client(connection: Ended) -> str:
    if not connection.server_here:
        return "Not known: it calls the app itself, and the app is not of this kernel"
    if connection.refused_because:
        return "Gets past the kit's check: it calls the app itself"
    if connection.client_state is None or connection.server_stopped or connection.aborted:
        return _NO_SUCH_END
    if connection.client_refused:
        return "Takes any subprotocol: it does not compare it with what was offered"
    if connection.vanished_side == "client":
        return "Cannot vanish: leaving its `with` block closes with 1000"
    if connection.close_frames and connection.close_frames[0][0] == "client":
        return _when_a_test_closes(connection)
    return _what_a_test_hears(connection)


def _when_a_test_closes(connection: Ended) -> str:
    """A test that leaves its ``with`` block closes, and gets whatever the handler raises."""
    closes = "Closes by leaving its `with` block, or with session.close(code)"
    return f"{closes}; then raises {visible(connection.handler_error)}" if connection.handler_error else closes


def _what_a_test_hears(connection: Ended) -> str:
    if connection.handler_answered is not None:
        lies = "; tests lie here: no client gets it" if connection.accepted else ""
        return f"WebSocketDenialResponse with status {connection.handler_answered}{lies}"
    if connection.handler_closed is not None:
        code, reason = connection.handler_closed
        same = ("server", code, reason) in connection.close_frames or (code, reason) == (1006, "")
        return f"WebSocketDisconnect with {_reported(code, reason)}{'' if same else '; tests lie here: no client gets it'}"
    if connection.close_frames:
        return _NO_SUCH_END
    if connection.handler_error:
        return f"Raises {visible(connection.handler_error)} in the test"
    if connection.handler_returned:
        return "Waits for ever: the handler has returned, and nothing tells the test"
    return "Not known: the handler has not ended yet"


def _from_the_server(connection: Ended) -> tuple[int, str] | None:
    """The code and reason of the Close frame that the server sent (RFC 6455 §7.1.5)."""
    return next(((code, reason) for side, code, reason in connection.close_frames if side == "server"), None)


def _reported(code: int, reason: str) -> str:
    return f"code {code}, {f'reason {quoted(reason, _REASON_CHARACTERS)}' if reason else 'no reason'}"


def _close(code: int, reason: str) -> str:
    return "Close without a code" if code == 1005 else f"Close {code}{_of(reason)}"


def _of(reason: str) -> str:
    return f" {quoted(reason, _REASON_CHARACTERS)}" if reason else ""


def _capital(words: str) -> str:
    """The beginning of a cell in upper case; ``str.capitalize`` would lower the rest."""
    return words[:1].upper() + words[1:]
