"""Every fact is shown in some notebook."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.protocol_facts.facts import FACTS

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


# The bullets under the table.


@dataclass(frozen=True)
class Bullet:
    """A statement with a test of its own in `test_steps`, and, as in a `Fact`, the cell that shows it."""

    statement: str
    shown: tuple[str, ...]


BULLETS = [
    Bullet("a client that vanishes is WebSocketDisconnect(1005)", ("04_the_websocket_object", "visit(hears, leave=Client.abort)")),
    Bullet(
        "sending to it is 1006, and then WebSocketDisconnected", ("04_the_websocket_object", "visit(talks, leave=Client.abort)", "except WebSocketDisconnected")
    ),
    Bullet("WebSocketDisconnect is thrown in at a dependency's yield", ("02_dependencies", "except WebSocketDisconnect as left:", 'yield "a session"')),
    Bullet("a dependency exits after the handler", ("02_dependencies", "Depends(session)", 'print("handler over")')),
    Bullet("the documentation's echo logs a traceback", ("01_echo", 'send_text("goodbye")', "fay.ended")),
    Bullet("CORSMiddleware ignores WebSockets", ("02_dependencies", "CORSMiddleware(vault", "knock(covered_server, **hijack)")),
    Bullet("TrustedHostMiddleware works", ("02_dependencies", "TrustedHostMiddleware(covered", 'knock(f"ws://localhost:')),
    Bullet("nothing checks Origin", ("02_dependencies", "knock(vault_server, **hijack)")),
    Bullet("the kit's server checks Origin", ("02_dependencies", "knock(safe_server, **hijack)")),
]


# Every row is shown.


@functools.cache
def code_cells(notebook: str) -> tuple[str, ...]:
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    return tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def shown_in(what: str, where: tuple[str, ...]) -> Any:
    notebook, *calls = where
    return pytest.param(notebook, calls, id=what)


@pytest.mark.parametrize(("notebook", "calls"), [shown_in(fact.handler, fact.shown) for fact in FACTS] + [shown_in(b.statement, b.shown) for b in BULLETS])
def test_a_cell_shows_it(notebook: str, calls: list[str]) -> None:
    """One cell makes all the calls that the row is known by."""
    assert any(all(call in cell for call in calls) for cell in code_cells(notebook)), f"{notebook} has no cell with {calls}"
