"""What one parameter of a WebSocket route is: where it goes, its type in words, what it allows, and what is wrong with a value. Pure."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from starlette.convertors import Convertor

from kit.printable import quoted

__all__ = ["Parameter", "Where", "merged", "wire_text"]

Where = Literal["path", "query", "header", "cookie", "host"]
_WITHOUT_ARTICLE = ("text", "true", "several", "JSON", "bytes", "path", "user", "anything", "choice")
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # headers are ISO-8859-1 (RFC 9110 §5.5)


@dataclass(frozen=True)
class Parameter:
    """One thing that a route takes from the handshake.

    Attributes:
        name: its name in Python, unique in its route: what `RoutesPanel.connect` takes.
        where: ``"path"``, ``"query"``, ``"header"``, ``"cookie"``, or ``"host"`` for a part of the host name.
        sent_as: its name on the wire.
        kind: its type in words, for example ``"whole number"``.
        required: whether a handshake without it is refused.
        default: what the app takes instead, in words; empty when required.
        limits: what else a value must be, in words.
        choices: all values that are allowed, when that is a short list.
        several: whether it may be given more than once.
        description: what the app's author says of it, and ``examples`` of his.
        asked_by: the handler or the dependencies that want it.
    """

    name: str
    where: Where
    sent_as: str
    kind: str = "text"
    required: bool = True
    default: str = ""
    limits: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    several: bool = False
    description: str = ""
    examples: tuple[str, ...] = ()
    deprecated: bool = False
    asked_by: tuple[str, ...] = ()
    adapters: tuple[TypeAdapter[Any], ...] = field(default=(), repr=False, compare=False)
    convertor: Convertor[Any] | None = field(default=None, repr=False, compare=False)
    encode: Callable[[str], str] = field(default=str, repr=False, compare=False)

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        article = "" if self.kind.startswith(_WITHOUT_ARTICLE) else "an " if self.kind.startswith(("A", "e", "i")) else "a "
        return ", ".join([f"one of {', '.join(self.choices)}" if self.choices else article + self.kind, *self.limits])

    def on_the_wire(self, value: Any) -> str | list[str]:
        """``value`` as the handshake carries it: text, or several texts."""
        if self.several and isinstance(value, (list, tuple, set, frozenset)):
            return [self.encode(wire_text(each)) for each in value]
        return self.encode(wire_text(value))

    def in_path(self, value: Any) -> str:
        """``value`` as a part of the path, percent-encoded (RFC 3986 §2.1)."""
        slashes = "/" if type(self.convertor).__name__ == "PathConvertor" else ""
        return urllib.parse.quote(wire_text(value), safe=slashes)

    def problem(self, value: Any) -> str | None:
        """Why the server would refuse ``value``, or it cannot be sent: what was expected, what came, and the fix; None when all is well."""
        texts = self.on_the_wire(value)
        because = self._carrier_problem(texts) or self._convertor_problem(texts) or self._type_problem(value)
        if because is None:
            return None
        got = ", ".join(quoted(wire_text(each)) for each in value) if isinstance(value, (list, tuple)) else quoted(wire_text(value))
        return f"{self.name}: expected {self.expected}, but got {got}. {because}."

    def _carrier_problem(self, texts: str | list[str]) -> str | None:
        for text in [texts] if isinstance(texts, str) else texts:
            if self.where in ("header", "cookie", "host") and (found := _UNSENDABLE.search(text)):
                return f"HTTP headers cannot carry {quoted(found[0])}; send it percent-encoded, and decode it in the app"
            if self.where == "cookie" and (found := re.search(r'[;,\s"\\]', text)):
                return f"A cookie's value cannot hold {quoted(found[0])} (RFC 6265 §4.1.1); send it percent-encoded, and decode it in the app"
        return None

    def _convertor_problem(self, texts: str | list[str]) -> str | None:
        if self.convertor is None or not isinstance(texts, str) or re.fullmatch(self.convertor.regex, texts):
            return None
        if not texts:
            return "An empty part makes another path"
        if "/" in texts:
            return "A / begins the next part of the path, even written as %2F; the route would want {" + self.sent_as + ":path}"
        return f"The path matches no route then, and the handshake ends with HTTP 403; it wants {self.convertor.regex}"

    def _type_problem(self, value: Any) -> str | None:
        sent = [wire_text(each) for each in value] if isinstance(value, (list, tuple)) else [wire_text(value)] if self.several else wire_text(value)
        for adapter in self.adapters:
            try:
                adapter.validate_python(sent)
            except ValidationError as error:
                return f"The app says: {error.errors(include_url=False)[0]['msg']}"
            except Exception as error:  # a validator of the app's own may raise anything
                return f"The app's own check raised {type(error).__name__}: {error}"
        return None


def wire_text(value: Any) -> str:
    """A Python value as one writes it into an address: ``true`` for True, an Enum's value, a date in ISO 8601."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return wire_text(value.value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def merged(one: Parameter, other: Parameter) -> Parameter:
    """One parameter that two of a route's functions ask for: as strict as both together."""
    stricter = one if one.required or not other.required else replace(one, required=True, default="")
    return replace(
        stricter,
        limits=tuple(dict.fromkeys([*one.limits, *other.limits])),
        description=one.description or other.description,
        asked_by=tuple(dict.fromkeys([*one.asked_by, *other.asked_by])),
        adapters=(*one.adapters, *other.adapters),
    )
