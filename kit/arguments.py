"""What `connect`, `Client.send_json` and `Client.close` are given, checked before anything is sent: each mistake by its name, with the fix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kit.close_codes import REASON_BYTES, may_be_sent, name_of

__all__ = ["check_close", "check_handshake", "check_json_mode"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~\w-]+", re.ASCII)  # RFC 9110 §5.6.2
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # headers are ISO-8859-1 without line breaks (RFC 9110 §5.5)


def check_handshake(
    *,
    subprotocols: Any,
    headers: Any,
    cookies: Any,
    query: Any,
    origin: Any,
    max_message_bytes: Any,
    handshake_timeout_seconds: Any,
) -> None:
    """Refuse what cannot make an opening request (RFC 6455 §4.1).

    Raises:
        TypeError: a list or mapping is something else.
        ValueError: a name or value that cannot be sent, or a limit that is none.
    """
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols expects a list, but got the text {subprotocols!r}. Write: subprotocols=[{subprotocols!r}]")
    for name, given, example in (("query", query, {"token": "abc"}), ("headers", headers, {"X-Name": "Ana"}), ("cookies", cookies, {"session": "abc"})):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{name} expects a mapping such as {example!r}, but got {given!r}.")
    _check_subprotocols(subprotocols)
    _check_headers({**(headers or {}), **({"Origin": origin} if origin else {})})
    _check_cookies(cookies or {})
    _check_limits(max_message_bytes, handshake_timeout_seconds)


def check_json_mode(mode: Any) -> None:
    """Refuse a mode that is neither of those that Starlette has."""
    if mode not in ("text", "binary"):
        raise ValueError(f"mode expects 'text' or 'binary', but got {mode!r}.")


def check_close(code: Any, reason: Any) -> None:
    """Refuse what cannot be put into a Close frame (RFC 6455 §5.5.1, §7.4)."""
    if not isinstance(code, int) or not isinstance(reason, str):
        raise TypeError(f"close expects a number and a text, for example close(1000, 'bye'), but got {code!r} and {reason!r}.")
    if not may_be_sent(code):
        raise ValueError(f"close code {code} may not be sent ({name_of(code)}). Use 1000, or 4000 to 4999 for your own meaning.")
    if len(reason.encode()) > REASON_BYTES:
        raise ValueError(f"a close reason has at most {REASON_BYTES} bytes, but this one has {len(reason.encode())}. Shorten it.")


def _check_subprotocols(subprotocols: Any) -> None:
    for each in subprotocols:
        if not isinstance(each, str) or not _TOKEN.fullmatch(each):
            raise ValueError(f"{each!r} cannot be offered as a subprotocol: it is a word of letters, digits or -._~ and the like (RFC 6455 §4.1).")
    twice = next((each for each in subprotocols if list(subprotocols).count(each) > 1), None)
    if twice is not None:
        raise ValueError(f"the subprotocol {twice!r} is offered twice; each may be offered once (RFC 6455 §4.1).")


def _check_headers(headers: Mapping[Any, Any]) -> None:
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or not isinstance(value, str) or _UNSENDABLE.search(value):
            words = "names are words, values are texts of ISO-8859-1 without line breaks (RFC 9110 §5)"
            raise ValueError(f"{name!r}: {value!r} cannot be sent as a header: {words}. Percent-encode what is beyond that.")


def _check_cookies(cookies: Mapping[Any, Any]) -> None:
    for name, value in cookies.items():
        text = str(value)
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or ";" in text or _UNSENDABLE.search(text):
            words = "names are words, values have neither a semicolon nor a line break nor characters beyond ISO-8859-1 (RFC 6265 §4.2.1)"
            raise ValueError(f"{name!r}: {value!r} cannot be sent as a cookie: {words}. Percent-encode what is beyond that.")


def _check_limits(max_message_bytes: Any, handshake_timeout_seconds: Any) -> None:
    if isinstance(max_message_bytes, bool) or not isinstance(max_message_bytes, int) or max_message_bytes < 1:
        raise ValueError(f"max_message_bytes expects a number of bytes, at least 1, but got {max_message_bytes!r}.")
    seconds = handshake_timeout_seconds
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0):
        raise ValueError(f"handshake_timeout_seconds expects a number of seconds above 0, or None to wait for ever, but got {seconds!r}.")
