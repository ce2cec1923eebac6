"""An app that sends what it has and closes."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket


def counting_then_closing() -> FastAPI:
    counting = FastAPI()

    @counting.websocket("/{kind}")
    async def count(websocket: WebSocket, kind: str) -> None:
        await websocket.accept()
        for number in range(3):
            await (websocket.send_bytes(str(number).encode()) if kind == "bytes" else websocket.send_text(str(number)))
        await websocket.close()

    return counting
