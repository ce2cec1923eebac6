"""What handlers do: a route for each thing that a handler can do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Security, WebSocket, WebSocketException
from fastapi.security import APIKeyCookie, HTTPBearer
from starlette.responses import PlainTextResponse

LONG_REASON = "ä" * 62  # 124 bytes

app = FastAPI()


@app.websocket("/closes-first")
async def closes_first(websocket: WebSocket) -> None:
    await websocket.close(4001, "members only")


@app.websocket("/policy-first")
async def policy_first(websocket: WebSocket) -> None:
    raise WebSocketException(1008, "members only")


@app.websocket("/validates")
async def validates(websocket: WebSocket, number: Annotated[int, Query()]) -> None:
    await websocket.accept()


@app.websocket("/unauthorized")
async def unauthorized(websocket: WebSocket) -> None:
    raise HTTPException(401, "who are you?", {"WWW-Authenticate": "Bearer"})


@app.websocket("/bearer")
async def bearer(websocket: WebSocket, found: Annotated[Any, Security(HTTPBearer())]) -> None:
    await websocket.accept()
    await websocket.close(4000, found.credentials)


@app.websocket("/api-key")
async def api_key(websocket: WebSocket, found: Annotated[str, Security(APIKeyCookie(name="key"))]) -> None:
    await websocket.accept()
    await websocket.close(4000, found)


@app.websocket("/denies")
async def denies(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("come back at six", 503, {"Retry-After": "7"}))


@app.websocket("/raises-first")
async def raises_first(websocket: WebSocket) -> None:
    raise ValueError("not my day")


@app.websocket("/returns-first")
async def returns_first(websocket: WebSocket) -> None:
    pass


@app.websocket("/policy")
async def policy(websocket: WebSocket) -> None:
    await websocket.accept()
    raise WebSocketException(1008, "members only")


@app.websocket("/raises")
async def raises(websocket: WebSocket) -> None:
    await websocket.accept()
    raise ValueError("not my day")


@app.websocket("/http-exception")
async def http_exception(websocket: WebSocket) -> None:
    await websocket.accept()
    raise HTTPException(401, "too late")


@app.websocket("/returns")
async def returns(websocket: WebSocket) -> None:
    await websocket.accept()


@app.websocket("/insists")
async def insists(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="chat.v9")
    await websocket.receive()


@app.websocket("/closes")
async def closes(websocket: WebSocket, code: int, reason: str = "") -> None:
    await websocket.accept()
    await websocket.close(code, reason)


@app.websocket("/reads-text")
async def reads_text(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()


@app.websocket("/reads-json")
async def reads_json(websocket: WebSocket) -> None:
    await websocket.accept()
    value = await websocket.receive_json()
    await websocket.close(4000, repr(value))


@app.websocket("/echo")
async def documentations_echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text(f"Message text was: {await websocket.receive_text()}")
