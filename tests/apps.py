"""Apps that several tests serve: each endpoint does one thing that a connection can meet."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect, WebSocketException
from starlette.responses import JSONResponse

__all__ = ["app", "keeping_app"]

app = FastAPI()


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Sends every message back as it came, text as text and bytes as bytes, until the client leaves."""
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])


@app.websocket("/mirror")
async def mirror(websocket: WebSocket) -> None:
    """Accepts the first subprotocol that was offered, and sends what the handshake brought."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=offered[0] if offered else None, headers=[(b"x-answer", b"42")])
    await websocket.send_json(
        {
            "subprotocols": offered,
            "headers": websocket.headers.items(),
            "cookies": websocket.cookies,
            "query": websocket.query_params.multi_items(),
            "path": websocket.url.path,
        }
    )
    await websocket.receive()


@app.websocket("/count/{count}")
async def count_up(websocket: WebSocket, count: int) -> None:
    """Sends the numbers below ``count``, as fast as the client takes them, then waits for the client to leave."""
    await websocket.accept()
    for number in range(count):
        await websocket.send_text(str(number))
    await websocket.receive()


@app.websocket("/silent")
async def silent(websocket: WebSocket) -> None:
    """Accepts and then neither sends nor receives: it never learns that its client left."""
    await websocket.accept()
    await asyncio.Event().wait()


@app.websocket("/listening")
async def listening(websocket: WebSocket) -> None:
    """Accepts and waits for the client to leave."""
    await websocket.accept()
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


@app.websocket("/flood")
async def flood(websocket: WebSocket) -> None:
    """Sends without end; waits for ever on a client that does not read."""
    await websocket.accept()
    while True:
        await websocket.send_bytes(bytes(64 * 1024))


@app.websocket("/refuse/closing")
async def refuse_closing(websocket: WebSocket) -> None:
    await websocket.close(4001, "lost on the way")


@app.websocket("/refuse/policy")
async def refuse_policy(websocket: WebSocket) -> None:
    raise WebSocketException(1008, "lost on the way")


@app.websocket("/refuse/http")
async def refuse_http(websocket: WebSocket) -> None:
    raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})


@app.websocket("/refuse/denial")
async def refuse_denial(websocket: WebSocket) -> None:
    await websocket.send_denial_response(JSONResponse({"why": "full"}, 503, {"retry-after": "7"}))


@app.websocket("/refuse/raising")
async def refuse_raising(websocket: WebSocket) -> None:
    raise ZeroDivisionError("before accept")


@app.websocket("/end/returning")
async def end_returning(websocket: WebSocket) -> None:
    await websocket.accept()


@app.websocket("/end/raising")
async def end_raising(websocket: WebSocket) -> None:
    await websocket.accept()
    raise ZeroDivisionError("after accept")  # this line is named


@app.websocket("/end/disconnect")
async def end_disconnect(websocket: WebSocket) -> None:
    """What the documentation's echo example does when its client leaves."""
    await websocket.accept()
    while True:
        await websocket.receive_text()


@app.websocket("/end/aborting")
async def end_aborting(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.scope["extensions"]["kit.abort"]["abort"]()


@app.websocket("/end/closing")
async def end_closing(websocket: WebSocket, code: int = 1000, reason: str = "") -> None:
    await websocket.accept()
    await websocket.close(code, reason)


def keeping_app() -> FastAPI:
    """An app whose ``app.state.sockets`` holds its open sockets, for whoever wants to use them from elsewhere.

    ``/keep`` leaves ``receive`` to others; ``/chat`` answers each message by itself. ``app.state.leave`` ends ``/keep``;
    ``app.state.leaves`` collects the exceptions with which sockets ended.
    """
    keeping = FastAPI()
    keeping.state.sockets = []
    keeping.state.leaves = []
    keeping.state.leave = None

    @keeping.websocket("/keep")
    async def keep(websocket: WebSocket) -> None:
        keeping.state.leave = keeping.state.leave or asyncio.Event()
        await websocket.accept()
        keeping.state.sockets.append(websocket)
        await websocket.send_text("ready")
        await keeping.state.leave.wait()

    @keeping.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        keeping.state.sockets.append(websocket)
        await websocket.send_text("ready")
        try:
            while True:
                await websocket.send_text(f"answer to {await websocket.receive_text()}")
        except WebSocketDisconnect as leave:
            keeping.state.leaves.append(leave)

    return keeping
