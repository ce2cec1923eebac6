"""Redaction: what must not be saved with a notebook, blotted out of text, headers and details. Pure.

It knows the usual names of secrets, no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["redact", "redacted"]

_SECRET_HEADERS = {"sec-websocket-protocol"}  # besides those whose names say it
_SECRET_NAMES = r"[\w-]*(?:token|secret|passw(?:or)?d|api[_-]?key|credential|session(?:[_-]?id)?|authorization|jwt|cookie)[\w-]*"
_SECRET_PATTERNS = [
    re.compile(rf"(?i)(?<![\w-])({_SECRET_NAMES}=)([^&\s;\"'”]+)"),
    re.compile(rf"(?i)([\"']{_SECRET_NAMES}[\"']\s*:\s*[\"'])((?:[^\"'\\]|\\.)*)"),
    re.compile(r"(?i)\b((?:bearer|basic)\s+)([\w.~+/=-]{4,})"),
]
_SECRET_NAME = re.compile(rf"(?i){_SECRET_NAMES}")
_BLOT = "[redacted]"


def redact(text: str) -> str:
    """Blot out the values of tokens, passwords, keys and sessions in a URL, a form, JSON or an Authorization value."""
    for pattern in _SECRET_PATTERNS:
        text = pattern.sub(lambda found: f"{found[1]}{_BLOT}", text)
    return text


def redacted(value: Any, name: str = "") -> Any:
    """``value``, such as an Entry's details, with what it holds at any depth redacted; ``name`` is the key that it stands under."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(inner, key) for key, inner in value.items()}
    if name == "headers":
        return [(header, _redact_header(header, content)) for header, content in value]
    return [redacted(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _redact_header(name: str, value: str) -> str:
    return _BLOT if name.lower() in _SECRET_HEADERS or _SECRET_NAME.fullmatch(name) else redact(value)
