"""HubPanel in a real JupyterLab: rooms, members and queues live, chosen by mouse, keyboard and method, readable in both themes and narrow."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, expect

from tests.browser.conftest import OpenNotebook
from tests.browser.lab import Notebook
from tests.browser.looks import faint_texts, panels_that_overflow

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

APP = """from fastapi import FastAPI, WebSocket
from kit import Hub, HubPanel, connect, serve
app, hub = FastAPI(), Hub("memory://", queue=40)

@app.websocket("/ws/{room}/{name}")
async def chat(websocket: WebSocket, room: str, name: str):
    await websocket.accept()
    async with hub.join(websocket, room, name=name, policy="block" if name == "Ben" else "disconnect"):
        async for text in websocket.iter_text():
            await hub.publish(room, text)

await hub.open()
server = await serve(app, port=0, name="rooms")"""
SHOW = "panel = HubPanel(hub)\npanel"
JOIN = """ana = await connect(server, "/ws/lobby/Ana", name="Ana")
ben = await connect(server, "/ws/lobby/Ben", name="Ben")
fay = await connect(server, "/ws/garden/Fay", name="Fay")
await ana.send_text("hello")
await ben.receive_text()"""
SLOW = """archive = await hub.subscribe("lobby", policy="drop_oldest", queue=20).__aenter__()
slow = await hub.subscribe("lobby").__aenter__()
full = await hub.subscribe("lobby").__aenter__()
for number in range(41):
    await hub.publish("lobby", f"news {number}")
for number in range(35):
    await slow.unsubscribe() if number == 9 else await hub.publish("lobby", "x" * 300)"""


def panel_of(notebook: Notebook) -> Locator:
    return notebook.page.get_by_role("region", name="Hub memory://", exact=True)


def row_of(panel: Locator, table: str, name: str) -> Locator:
    """The row of a table that has this name."""
    return panel.get_by_role("table", name=table).get_by_role("row").filter(has=panel.page.get_by_role("rowheader", name=name, exact=True))
