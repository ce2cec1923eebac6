"""TransportTap: the server's transport, on which a WireTap sees what is written."""

from __future__ import annotations

import asyncio
from typing import Any

from kit.connection import Connection
from kit.outlet import Outlet
from kit.taps.wire import WireTap, note_status

__all__ = ["TransportTap"]


class TransportTap:
    """An asyncio transport that shows a `WireTap` what is written, behind what is due on the outlet. All else is the transport's own, but for one thing:

    uvicorn pauses reading after every message until the handler takes it, which costs two system calls a message. Here
    a pause takes effect only when a second message waits, so a handler that keeps up is never paused.
    """

    def __init__(self, transport: asyncio.Transport, tap: WireTap | None, connection: Connection, outlet: Outlet) -> None:
        self._transport = transport
        self._tap = tap
        self._outlet = outlet
        self._connection = connection
        self._pause_asked = False
        self._paused = False
        self._write = transport.write
        if tap is None:
            self.write = self._write_head

    def write(self, data: bytes) -> None:
        if self._outlet.used:
            self._outlet.flush()
        if data:
            self._tap.outgoing(data)
        self._write(data)

    def close(self) -> None:
        self._outlet.flush()
        self._transport.close()

    def _write_head(self, data: bytes) -> None:
        """Without recording, all that is looked at is the first write: the answer to the handshake."""
        self.write = self._write_unrecorded
        note_status(self._connection, data)
        self._write(data)

    def _write_unrecorded(self, data: bytes) -> None:
        if self._outlet.used:
            self._outlet.flush()
        self._write(data)

    def pause_reading(self) -> None:
        self._pause_asked = True

    def resume_reading(self) -> None:
        self._pause_asked = False
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def pause_if_behind(self, waiting_messages: int) -> None:
        """Pause for real when more than one message waits."""
        if self._pause_asked and not self._paused and waiting_messages > 1:
            self._paused = True
            self._transport.pause_reading()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
