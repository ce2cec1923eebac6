"""AsgiTap: an application around the reader's, which taps every WebSocket handler and watches the lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from kit.output import serving
from kit.taps.described import Message
from kit.taps.handler import HandlerTap, Receive, Send

__all__ = ["AsgiTap", "connection_in"]


class AsgiTap:
    """An ASGI application around the reader's: every WebSocket handler gets a `HandlerTap` for its send and receive.

    Attributes:
        lifespan_error: the exception with which the app's lifespan start-up failed.
        lifespan_task: the task in which its lifespan runs.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app
        self.lifespan_error: BaseException | None = None
        self.lifespan_task: asyncio.Task[Any] | None = None

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        """The coroutine that serves ``scope``: one less for every connection to hold."""
        serve = {"websocket": self._serve_websocket, "lifespan": self._serve_lifespan}.get(scope["type"], self.app)
        return serve(scope, receive, send)

    async def _serve_websocket(self, scope: Message, receive: Receive, send: Send) -> None:
        here = serving.get()
        if here is None or here.connection is None:
            await self.app(scope, receive, send)
            return
        tap = HandlerTap(here.timeline, here.connection, receive, send, scope["extensions"]["kit.outlet"]["outlet"])
        here.connection.handler_task = asyncio.current_task()
        try:
            await self.app(scope, tap.receive, tap.send)
        except BaseException as error:
            tap.raised(error)
            raise
        else:
            tap.returned()
        finally:
            here.connection.handler_task = None
            here.flush()

    async def _serve_lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        self.lifespan_task = asyncio.current_task()
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            self.lifespan_error = error
            raise


def connection_in(frame: FrameType | None) -> int | None:
    """The number of the connection whose handler runs in ``frame``'s stack."""
    while frame is not None:
        if frame.f_code is AsgiTap._serve_websocket.__code__:
            return frame.f_locals["here"].connection.number
        frame = frame.f_back
    return None
