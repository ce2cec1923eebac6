"""What a broker is: the part of a hub that joins processes. A new one is one file, and passes tests/hub/test_contract.py."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Protocol

from kit.hub.errors import HubError
from kit.hub.message import Position, Stored
from kit.hub.statistics import BrokerState
from kit.printable import quoted

__all__ = ["ALONE", "BROKERS", "Broker", "BrokerLimits", "Deliver", "open_url", "what_is_wrong", "without_password"]

# Each scheme's class, as "module:Class"; it is called with the URL and the limits, and imported when it is first asked for.
BROKERS = {
    "memory": "kit.hub.memory:MemoryBroker",
    "local": "kit.hub.local:LocalBroker",
    "redis": "kit.hub.redis:RedisBroker",
    "rediss": "kit.hub.redis:RedisBroker",
    "postgresql": "kit.hub.postgres:PostgresBroker",
    "postgres": "kit.hub.postgres:PostgresBroker",
}
# Those whose hubs no other hub can reach.
ALONE = {"memory"}
# What they need from elsewhere, as pip is asked for it.
INSTALL = {"redis": "redis", "rediss": "redis", "postgresql": "'psycopg[binary]'", "postgres": "'psycopg[binary]'"}
# Names such as password, sslpassword and ssl_password.
_PASSWORD_PARAMETER = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """What a broker keeps and how long it may take.

    Attributes:
        history: messages of each room that are kept for ``since=``.
        history_bytes: and how many bytes of them at most.
        max_message_bytes: the longest payload that it is given, without its type byte.
        timeout_seconds: after which ``open`` and ``publish`` give up.
    """

    history: int = 256
    history_bytes: int = 4 << 20
    max_message_bytes: int = 1 << 20
    timeout_seconds: float = 5.0


class Deliver(Protocol):
    """What a broker calls, on the loop on which it was opened, always one call after the other. None of them waits."""

    def message(self, room: str, epoch: str, offset: int, payload: bytes) -> None:
        """A message of a joined room, in the room's order, each once."""

    def gap(self, room: str | None, reason: str) -> None:
        """Messages of ``room``, or of all rooms, were really lost."""

    def state(self, name: BrokerState, detail: str) -> None:
        """The connection to the broker has changed; ``detail`` says why, in words, without a password."""

    def poison(self, room: str | None, why: str) -> None:
        """Something came that no hub wrote; it was skipped."""


class Broker(Protocol):
    """Carries payloads between hubs. All methods are called on the loop of ``open``.

    Attributes:
        state: whether it can carry something now.
    """

    state: BrokerState

    async def open(self, deliver: Deliver) -> None:
        """Connect, and deliver to ``deliver`` from then on; it may be opened again after ``close``.

        Raises:
            HubError: it cannot be reached within the time limit; the reason, and what to do.
        """

    async def close(self) -> None:
        """Let go of everything; safe to call twice, and before ``open``."""

    async def publish(self, room: str, payload: bytes) -> Position:
        """Hand over a message, and return its place in the room.

        A cancelled call may still deliver it. Every message gets a greater offset than those before it in its epoch.

        Raises:
            PublishFailed: it was not taken within the time limit; it may have been delivered all the same.
        """

    async def join(self, room: str) -> Position:
        """Deliver ``room`` from now on: every message after the place that is returned."""

    async def leave(self, room: str) -> None:
        """Deliver ``room`` no more. Never raises, and does nothing for a room that was not joined."""

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """All messages of ``room`` after ``since`` that are there, or None when one of them is gone: all or nothing."""


def open_url(url: str, limits: BrokerLimits) -> Broker:
    """The broker that ``url`` names, not yet opened.

    Raises:
        TypeError: it is no str.
        HubError: no broker has such a URL, or what it needs is not installed.
    """
    if not isinstance(url, str):
        raise TypeError(f'Hub expects a URL such as "memory://", but got {type(url).__name__}.')
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in BROKERS:
        known = ", ".join(f"{name}://" for name in BROKERS)
        raise HubError(f'Hub expects a URL that begins with one of {known}, but got {quoted(without_password(url))}. Without a service: Hub("memory://").')
    module, _, name = BROKERS[scheme].partition(":")
    try:
        return getattr(importlib.import_module(module), name)(url, limits)
    except ImportError as error:  # psycopg is there, but what it needs is not: that too
        package = INSTALL.get(scheme, error.name)
        raise HubError(f"{scheme}:// needs a Python package that is not installed here: pip install {package}, then restart the kernel. ({error})") from error


def without_password(url: str) -> str:
    """``url`` as it may be shown, also if it is none: without what stands between the user's name and the last @, and without ``?password=``."""
    url = _PASSWORD_PARAMETER.sub(r"\1…", url)
    start, at, host = url.rpartition("@")
    scheme, separator, user = start.partition("://")
    if at and not separator:
        return f"…@{host}"
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}:…@{host}" if colon else url


def what_is_wrong(url: str, error: Exception) -> str:
    """A library's words about ``url``; where they may quote a password, what is usually wrong with one."""
    if without_password(url) == url:
        return str(error).strip().rstrip(".")
    return "its parts cannot be told apart. In a password write %25 for %, %40 for @, %2F for /, %3F for ? and %23 for #"
