"""A member's WebSocket, as the hub writes to it: no faster than it takes, and not for ever."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from kit.hub.backlog import Backlog

__all__ = ["CLOSED", "MemberSocket"]

CLOSED = (RuntimeError, WebSocketDisconnect, OSError)  # what is raised by writing to a WebSocket that is closed

_AT_ONCE_BYTES = 64 * 1024
_LOOK_SECONDS = 0.25
_CLOSE_SECONDS = 1.5


class MemberSocket:
    """Lives on the WebSocket's loop.

    Attributes:
        outlet: what the server offers for writing prepared frames, as `kit.outlet` does; None where there is no such thing.
        id: the same for all members of one WebSocket.
        stuck_seconds: after which a socket that takes nothing, while something waits for it, counts as stuck.
    """

    __slots__ = ("_websocket", "id", "outlet", "stuck_seconds")

    def __init__(self, websocket: WebSocket, stuck_seconds: float) -> None:
        self.outlet = websocket.scope.get("extensions", {}).get("kit.outlet", {}).get("outlet")
        self.id = id(websocket.scope if self.outlet is None else self.outlet)
        self.stuck_seconds = stuck_seconds
        self._websocket = websocket

    @property
    def accepted(self) -> bool:
        """Whether it was accepted, and not closed."""
        return self._websocket.application_state is WebSocketState.CONNECTED

    async def write_some(self, backlog: Backlog, enveloped: bool) -> None:
        """Wait until the socket takes something, and write what waits: as much as it takes at once.

        Raises:
            TimeoutError: it is stuck.
            RuntimeError, WebSocketDisconnect, OSError: it is closed.
        """
        if self.outlet is None:
            await self._send_next(backlog, enveloped)
            return
        await self._until_writable()
        space_bytes = _AT_ONCE_BYTES - self.outlet.pending_bytes
        while len(backlog) and space_bytes > 0:
            frame = backlog.take().frame(enveloped)
            if frame is not None:
                space_bytes -= len(frame)
                if not self.outlet.write(frame):
                    raise ConnectionResetError
        self.outlet.flush()

    async def close(self, code: int, reason: str) -> None:
        """Close it, and wait until its server has written everything; raises as `write_some` does."""
        async with asyncio.timeout(min(_CLOSE_SECONDS, self.stuck_seconds)):
            await self._websocket.close(code, reason)
            while self.outlet is not None and self.outlet.pending_bytes:  # noqa: ASYNC110, nothing tells when a closing transport is empty
                await asyncio.sleep(0.02)

    def abort(self) -> bool:
        """Cut it off, without a word; False when its server has no way to do so."""
        abort = self._websocket.scope.get("extensions", {}).get("kit.abort", {}).get("abort")
        if abort is not None:
            abort()
        return abort is not None

    async def _until_writable(self) -> None:
        """Wait for the socket; ``TimeoutError`` once it has taken nothing for ``stuck_seconds``."""
        time = asyncio.get_running_loop().time
        took_at, pending_bytes = time(), self.outlet.pending_bytes
        while not self.outlet.writable:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.outlet.drained()
            if self.outlet.pending_bytes < pending_bytes:
                took_at = time()
            elif time() - took_at >= self.stuck_seconds:
                raise TimeoutError
            pending_bytes = self.outlet.pending_bytes

    async def _send_next(self, backlog: Backlog, enveloped: bool) -> None:
        data = backlog.take().data(enveloped)
        if data is not None:
            async with asyncio.timeout(self.stuck_seconds):
                await (self._websocket.send_text(data) if isinstance(data, str) else self._websocket.send_bytes(data))
