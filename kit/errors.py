"""The kit's errors: one small tree, each saying what was expected, what came, and how to fix it."""

from typing import Any

from starlette.websockets import WebSocketDisconnect

from kit import closing

__all__ = [
    "ConnectError",
    "Disconnected",
    "HandshakeRefused",
    "KitError",
    "LoopStopped",
    "ReceiveTimeout",
    "ServerStartError",
    "ServiceError",
    "StillBlockedWarning",
    "UnsafeServerWarning",
    "WrongMessageType",
]


class KitError(Exception):
    """Everything that the kit raises on purpose is one of these."""


class ServerStartError(KitError):
    """The server did not start; nothing is left running or bound.

    Attributes:
        port: the port that was asked for, or None.
    """

    def __init__(self, message: str, *, port: int | None = None) -> None:
        super().__init__(message)
        self.port = port


class ServiceError(KitError):
    """A private server of `kit.services` is not installed, or did not start."""


class StillBlockedWarning(RuntimeWarning):
    """A stopped server's thread is still inside a call that Python cannot interrupt."""


class UnsafeServerWarning(UserWarning):
    """A check that keeps foreign pages out has been switched off."""


class LoopStopped(KitError):
    """The event loop that should have run this coroutine has ended."""


class ConnectError(KitError):
    """No WebSocket connection came about, and no HTTP answer either."""


class HandshakeRefused(ConnectError):
    """The server answered the handshake with HTTP instead of switching protocols (RFC 6455 §4.2.2).

    Attributes:
        status: the HTTP status, for example 403.
        headers: the response's headers as a list of (name, value).
        body: the response's body as bytes.
        connection: the refused connection, as panels show it.
    """

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes, hint: str, connection: Any = None) -> None:
        super().__init__(f"the server refused the handshake with HTTP {status}. {hint}")
        self.status = status
        self.headers = headers
        self.body = body
        self.connection = connection

    @property
    def ended(self) -> closing.Explanation:
        """Why the server refused, in a sentence and, at the end of a cell, as a table."""
        return closing.explain(self.connection)


class Disconnected(KitError, WebSocketDisconnect):
    """The connection has ended; a ``WebSocketDisconnect`` like the one that a handler gets.

    Attributes:
        code: the close code as this side saw it (RFC 6455 §7.1.5), 1006 without a Close frame.
        reason: the close reason, empty when there was none.
    """

    def __init__(self, code: int, reason: str, explanation: str) -> None:
        WebSocketDisconnect.__init__(self, code, reason)
        self.explanation = explanation

    def __str__(self) -> str:
        return self.explanation


class ReceiveTimeout(KitError, TimeoutError):
    """No message came in time; one that comes later is kept for the next ``receive``."""


class WrongMessageType(KitError, TypeError):
    """A message of the other type came; it stays first in the queue."""
