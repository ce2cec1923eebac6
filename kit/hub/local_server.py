"""The one process of a user that keeps the rooms for all: the other end of `kit.hub.local`."""

from __future__ import annotations

import asyncio
import hmac
import os
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kit.hub.book import kept
from kit.hub.broker import BrokerLimits
from kit.hub.errors import PublishFailed
from kit.hub.local_frames import frame, hang_up, read_frame
from kit.hub.local_meeting import MeetingPoint
from kit.hub.memory import MemoryBroker
from kit.hub.message import Position

__all__ = ["LocalServer"]

BEHIND_BYTES = 32 << 20


class LocalServer:
    """Keeps the rooms in a `MemoryBroker`, and passes its messages to the processes that have joined them."""

    def __init__(self, point: MeetingPoint, limits: BrokerLimits, poison: Callable[[None, str], None]) -> None:
        self._point = point
        self._poison = poison
        self._memory = MemoryBroker("memory://", replace(limits, history=kept(limits)[0]))
        self._peers: dict[asyncio.StreamWriter, None] = {}
        self._rooms: dict[str, dict[asyncio.StreamWriter, None]] = {}
        self._server: asyncio.Server | None = None
        _servers.add(self)

    @classmethod
    async def start(cls, point: MeetingPoint, limits: BrokerLimits, poison: Callable[[None, str], None]) -> LocalServer | None:
        """Serve, or return None when another process does."""
        if not point.take():
            return None
        server = cls(point, limits, poison)
        try:
            await server._memory.open(server)
            server._server = await point.listen(server._serve)
            await server._server.start_serving()
        except BaseException:
            await server.close()
            raise
        return server

    async def close(self) -> None:
        """Let another process serve, and only then let go of the others, who look for it at once."""
        if self._server is not None:
            self._server.close()
        self._point.give_back()
        for peer in list(self._peers):
            hang_up(peer)
        await self._memory.close()

    def leave_to_parent(self) -> None:
        """In a forked child: keep none of its files, and so neither the lock nor anybody's connection when the parent is killed."""
        connections = [peer.get_extra_info("socket") for peer in self._peers if not peer.transport.is_closing()]
        files = [each.fileno() for each in (*connections, *(self._server.sockets if self._server else ()))]
        null = os.open(os.devnull, os.O_RDWR)
        for file in [*files, *self._point.files]:
            os.dup2(null, file, inheritable=False)  # and not only closed: whoever believes to have it open may close it again
        os.close(null)

    # What the memory's broker calls.

    def message(self, room: str, epoch: str, offset: int, payload: bytes) -> None:
        """Pass a message on to all who joined; who is too far behind is cut off, and reads on from the history when it is back."""
        data = frame({"room": room, "epoch": epoch, "offset": offset}, payload)
        for peer in list(self._rooms.get(room, ())):
            peer.write(data)
            if peer.transport.get_write_buffer_size() > BEHIND_BYTES:
                hang_up(peer)

    # What others ask.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: str) -> None:
        self._peers[writer] = None
        try:
            header, _ = await read_frame(reader)
            if not hmac.compare_digest(str(header.get("secret")).encode(), secret.encode()):
                raise ValueError("somebody without the secret came to the local broker")
            while True:
                await self._answer(writer, *await read_frame(reader))
                await writer.drain()
        except (EOFError, ConnectionError, PublishFailed):  # it is gone, or asked for something that this end can do no more
            pass
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self._poison(None, f"a process wrote what no hub writes to the local broker: {error}")
        finally:
            await self._forget(writer)
            hang_up(writer)

    async def _answer(self, peer: asyncio.StreamWriter, header: dict[str, Any], payload: bytes) -> None:
        answer, more = {"number": header["number"]}, b""
        what, room = header["do"], header["room"]
        since = Position(*header.get("since", ("", 0)))
        if what == "publish":
            if not self._point.holds():
                raise PublishFailed("others meet elsewhere, and would not get it.", room=room)
            answer |= (await self._memory.publish(room, payload))._asdict()
        elif what in ("join", "resume", "history"):
            stored = await self._memory.history(room, since)
            place = await self._memory.join(room)
            answer |= {**place._asdict(), "whole": stored is not None}
            if what == "history":
                await self._leave(room, None)
                answer |= {"since": since, "stored": [[each.offset, len(each.payload)] for each in stored or ()]}
                more = b"".join(each.payload for each in stored or ())
            else:
                self._rooms.setdefault(room, {})[peer] = None
        elif what == "leave":
            await self._leave(room, peer)
        peer.write(frame(answer, more))
        if what == "resume":
            for each in stored or ():
                peer.write(frame({"room": room, "epoch": each.epoch, "offset": each.offset}, each.payload))

    async def _leave(self, room: str, peer: asyncio.StreamWriter | None) -> None:
        joined = self._rooms.get(room, {})
        joined.pop(peer, None)
        if not joined:
            self._rooms.pop(room, None)
            await self._memory.leave(room)

    async def _forget(self, peer: asyncio.StreamWriter) -> None:
        self._peers.pop(peer, None)
        for room in list(self._rooms):
            await self._leave(room, peer)


_servers = weakref.WeakSet[LocalServer]()  # of this process


def _leave_to_parent() -> None:
    for server in list(_servers):
        server.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
