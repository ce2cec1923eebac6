"""What the StatePanel lights and says: its machines, how each call is marked now, and how the client's end stands."""

from __future__ import annotations

from typing import Any

from kit import closing
from kit.panels.stage import Stage
from kit.printable import visible
from kit.websocket_states import APPLICATION, CALLS, CLIENT, Call, Machine, judge_receive, judge_send

__all__ = ["NOT_CONNECTED", "drawn", "state_of"]

NOT_CONNECTED = {
    "pill": "not connected",
    "tone": "muted",
    "connected": False,
    "number": None,
    "url": "",
    "last": None,
    "marks": {},
    "states": {CLIENT.attribute: "", APPLICATION.attribute: ""},
    "line": {"pill": "not connected", "tone": "muted", "headline": "", "why": ""},
}


def drawn(machine: Machine) -> dict[str, Any]:
    """A machine as its front end draws it, its arrows as (before, label, after)."""
    labels = {
        (arrow.before, arrow.after): arrow.message_type.removeprefix("websocket.") + (", more_body" if arrow.more_body else "") for arrow in machine.transitions
    }
    if machine is APPLICATION:
        labels["CONNECTED", "DISCONNECTED"] += " or OSError"  # no message, but it moves the state all the same
    arrows = [(before, label, after) for (before, after), label in labels.items()]
    return {"attribute": machine.attribute, "movedBy": machine.moved_by, "states": machine.states, "arrows": arrows}


def state_of(stage: Stage) -> dict[str, Any]:
    """What is lit, marked and said of a stage that has a WebSocket."""
    websocket = stage.websocket
    pill, tone = ("handler parked", "good") if stage.connection.open else ("connection ended", "muted")
    return {
        "pill": pill,
        "tone": tone,
        "connected": True,
        "number": stage.connection.number,
        "last": stage.last_move,
        "url": str(websocket.url),
        "marks": {call.key: _mark(stage, call) for call in CALLS},
        "states": {CLIENT.attribute: websocket.client_state.name, APPLICATION.attribute: websocket.application_state.name},
        "line": _line(stage),
    }


def _mark(stage: Stage, call: Call) -> tuple[str, str]:
    """How a call is marked now, and in which tone."""
    websocket = stage.websocket
    if call.message is None:
        verdict = judge_receive(websocket.client_state.name)
    else:
        verdict = judge_send(websocket.application_state.name, call.message, client_gone=not stage.connection.open)
    if call.message is None and stage.waits:
        return "waiting, press to give up", "warning"
    if not verdict.legal:
        return "illegal now", "muted"
    return ("legal, client gone", "warning") if verdict.error else ("legal", "good")


def _line(stage: Stage) -> dict[str, str]:
    """The client's end in words."""
    connection = stage.connection
    if connection.refused_status is not None or not connection.open:
        why = closing.explain(connection)
        return {"pill": why.pill, "tone": why.severity, "headline": visible(why.headline), "why": visible(f"{why.sentence} {why.advice}".strip())}
    if not stage.wire.handshake.done():
        waits = "The handler has its handshake: accept it, close it, or answer with HTTP."
        return {"pill": "waits for an answer", "tone": "warning", "headline": "", "why": waits}
    return {"pill": "open", "tone": "good", "headline": "", "why": "Its handshake was accepted: both ends may send."}
