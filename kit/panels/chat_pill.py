"""How a chat's client is, in the word or two of its pill. Pure."""

from __future__ import annotations

from collections.abc import Collection

from kit import closing
from kit.connection import Connection
from kit.panels import fault_form

__all__ = ["pill_of"]


def pill_of(connection: Connection | None, *, dialling: bool, connected: bool, faults: Collection[str]) -> tuple[str, str]:
    """The words and the tone: of the handshake under way, the faults that are on, or how the newest connection stands or ended."""
    if dialling:
        return "connecting", "warning"
    if connected:
        return (fault_form.pill_for(faults), "warning") if faults else ("open", "good")
    if connection is None:
        return "not connected", "muted"
    if connection.open and connection.refused_status is None:
        return "closing", "warning"
    explanation = closing.explain(connection)
    return explanation.pill, explanation.severity
