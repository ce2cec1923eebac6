"""The handshake as text in a form's fields, and back to what `connect` takes, with errors that name the field. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kit.printable import quoted
from kit.redaction import redact

__all__ = ["EXAMPLES", "FIELDS", "FieldError", "filled_in", "merged", "read", "secrets", "without"]

EXAMPLES = {
    "query": "token=abc&room=7",
    "cookies": "session=abc; theme=dark",
    "headers": "X-Name: Ana",
    "origin": "https://example.org",
    "subprotocols": "chat, superchat",
}
FIELDS = (*EXAMPLES,)

_MAPPINGS = {"query": {"token": "abc"}, "cookies": {"session": "abc"}, "headers": {"X-Name": "Ana"}}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # headers are ISO-8859-1 (RFC 9110 §5.5)
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^\s/?#@\\]+", re.IGNORECASE)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}")


class FieldError(ValueError):
    """What was typed into a field cannot be sent; the text says what was expected, what came, and what to write.

    Attributes:
        field: which of `FIELDS`.
    """

    def __init__(self, field: str, expected: str, got: str, fix: str) -> None:
        super().__init__(f"{field.capitalize()}: expected {expected}, but got {quoted(got)}. {fix}. Nothing was connected.")
        self.field = field


def merged(had: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `connect` with those in ``given`` in place of those in ``had``; what is empty is left out.

    Raises:
        TypeError: a field of another type than `connect` takes.
    """
    handshake = {**had, **{name: _copied(name, value) for name, value in given.items()}}
    return {name: value for name, value in handshake.items() if name not in FIELDS or value}


def filled_in(handshake: Mapping[str, Any]) -> dict[str, str]:
    """The text of every field for arguments of `connect`; `read` gives the same arguments back."""
    return {
        "query": "&".join(f"{_escaped(name, '=/?')}={_escaped(value)}" for name, value in _pairs(handshake.get("query", {}))),
        "cookies": "; ".join(f"{name}={value}" for name, value in handshake.get("cookies", {}).items()),
        "headers": "\n".join(f"{name}: {value}" for name, value in handshake.get("headers", {}).items()),
        "origin": handshake.get("origin", ""),
        "subprotocols": ", ".join(map(str, handshake.get("subprotocols", ()))),
    }


def read(texts: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `connect` for the fields in ``texts``, which need not be all; an empty field is an empty argument.

    Raises:
        FieldError: the first field that cannot be read.
    """
    return {field: _READERS[field](texts[field]) for field in FIELDS if field in texts}


def secrets(path: str, handshake: Mapping[str, Any]) -> set[str]:
    """The values in a path's query and in a handshake whose names say that nobody else should read them."""
    pairs = urllib.parse.parse_qsl(str(path).partition("?")[2])
    pairs += [*_pairs(handshake.get("query", {})), *handshake.get("cookies", {}).items(), *handshake.get("headers", {}).items()]
    return {str(value) for name, value in pairs if value and redact(f"{name}=x") != f"{name}=x"}


def without(secrets: Iterable[str], text: str) -> str:
    """``text`` without a handshake's secrets, which an app may repeat in other words than `redact` knows."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "[redacted]", text)
    return text


def _copied(name: str, value: Any) -> Any:
    """A copy of an argument, so that neither its maker nor an iterator's end can change what the panel sends next time."""
    if value is None or name not in FIELDS:
        return value
    if name in _MAPPINGS and not isinstance(value, Mapping):
        raise TypeError(f"{name} expects a mapping such as {_MAPPINGS[name]}, but got {value!r}.")
    if name == "origin" and not isinstance(value, str):
        raise TypeError(f"origin expects a text such as 'https://example.org', but got {value!r}.")
    if name == "subprotocols" and isinstance(value, str):
        raise TypeError(f"subprotocols expects a list, but got the text {value!r}. Write: subprotocols=[{value!r}]")
    return dict(value) if name in _MAPPINGS else value if name == "origin" else list(value)


def _pairs(query: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values in the order in which `connect` sends them."""
    return urllib.parse.parse_qsl(urllib.parse.urlencode(query, doseq=True, errors="replace"), keep_blank_values=True)


def _escaped(text: str, more: str = "") -> str:
    """``text`` as a part of a query, with only those characters escaped that would be read as something else."""
    return "".join(urllib.parse.quote(c, safe="") if c in f"&%+{more}" or c.isspace() or not c.isprintable() else c for c in text)


def _read_query(text: str) -> dict[str, str | list[str]]:
    values: dict[str, list[str]] = {}
    for part in filter(None, text.strip().removeprefix("?").split("&")):
        name, equals, value = (side.strip() for side in part.partition("="))
        if "?" in name or name.startswith("/"):
            raise FieldError("query", "only what follows the ?", part, f"Write {part.partition('?')[2] or 'token=abc'}; the path has a field of its own")
        if not (name and equals):
            raise FieldError("query", "name=value pairs with & between them", part, f"{_for_example('query')}, or debug= without a value")
        values.setdefault(_unescaped(name), []).append(_unescaped(value))
    return {name: several if len(several) > 1 else several[0] for name, several in values.items()}


def _unescaped(text: str) -> str:
    if bad := _BAD_ESCAPE.search(text):
        raise FieldError("query", "two digits 0-9 or a-f after each %", bad[0], "Write %25 for a percent sign")
    try:
        decoded = urllib.parse.unquote_plus(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        raise FieldError("query", "text in UTF-8", text, "Write the characters themselves; %c3%bc for example is ü") from None
    return decoded


def _read_cookies(text: str) -> dict[str, str]:
    cookies: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, value = (side.strip() for side in part.partition("="))
        if not equals:
            raise FieldError("cookies", "name=value pairs with ; between them", part, _for_example("cookies"))
        if not _TOKEN.fullmatch(name):
            raise FieldError("cookies", "a name of letters, digits and signs such as - and _", name or part, "Write only name=value, without “Cookie:”")
        if re.search(r",\s*[\w-]+=", value):
            raise FieldError("cookies", "; between two cookies", part, "Write ; in place of the comma")
        if name in cookies:
            raise FieldError("cookies", "each name once", f"{name} twice", f"Leave one {name} out")
        cookies[name] = _sendable("cookies", value)
    return cookies


def _read_headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, re.split(r"\r\n|\r|\n", text))):
        name, colon, value = (side.strip() for side in line.partition(":"))
        if not colon:
            raise FieldError("headers", "Name: value in each line", line, _for_example("headers"))
        if not _TOKEN.fullmatch(name):
            raise FieldError("headers", "a name of letters, digits and signs such as -", name or line, _for_example("headers"))
        if name.lower() in map(str.lower, headers):
            raise FieldError("headers", "each name once", f"{name} twice", f"Write one line with both values: {name}: one, two")
        headers[name] = _sendable("headers", value)
    return headers


def _read_origin(text: str) -> str:
    origin = text.strip()
    if origin and not _ORIGIN.fullmatch(origin):
        host = re.split(r"[/?#\\]", origin.rpartition("://")[2].rpartition("@")[2].strip())[0] or "example.org"
        scheme = origin.partition("://")[0] if "://" in origin else "https"
        raise FieldError("origin", "a scheme and a host, or null", origin, f"Write for example {scheme or 'https'}://{host}")
    return _sendable("origin", origin)


def _read_subprotocols(text: str) -> list[str]:
    subprotocols: list[str] = []
    for name in filter(None, map(str.strip, text.split(","))):
        if not _TOKEN.fullmatch(name):
            raise FieldError("subprotocols", "names of letters, digits and signs such as . and -", name, f"With commas: {EXAMPLES['subprotocols']}")
        if name in subprotocols:  # RFC 6455 §4.1: all of them unique
            raise FieldError("subprotocols", "each name once", f"{name} twice", f"Leave one {name} out")
        subprotocols.append(name)
    return subprotocols


def _for_example(field: str) -> str:
    return f"Write for example {EXAMPLES[field]}"


def _sendable(field: str, value: str) -> str:
    if found := _UNSENDABLE.search(value):
        raise FieldError(field, "characters that HTTP headers can carry (ISO-8859-1)", found[0], "Write it percent-encoded, as UTF-8")
    return value


_READERS: dict[str, Callable[[str], Any]] = {
    "query": _read_query,
    "cookies": _read_cookies,
    "headers": _read_headers,
    "origin": _read_origin,
    "subprotocols": _read_subprotocols,
}
