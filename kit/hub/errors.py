"""The hub's errors: what was expected, what came, and how to fix it."""

from __future__ import annotations

from kit.errors import KitError

__all__ = ["HubError", "PublishFailed", "SubscriberDisconnected"]


class HubError(KitError):
    """A hub was used while it is not open, got an address that it cannot use, or its broker could not be reached."""


class PublishFailed(HubError):
    """The broker did not take a message; whether anyone got it is not known.

    Attributes:
        room: where it was to go.
    """

    def __init__(self, message: str, *, room: str = "") -> None:
        super().__init__(message)
        self.room = room


class SubscriberDisconnected(HubError):
    """A subscriber was too slow for its policy and gets nothing more; what waited for it was thrown away.

    Attributes:
        code: the close code that a WebSocket would have got, 1013 (RFC 6455 §7.4.2: IANA's registry).
        reason: what its policy found, in words.
    """

    def __init__(self, message: str, *, code: int, reason: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
