"""local://name, a broker for the processes of one user on one machine: no service needed, the first one that opens it serves the others."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

from kit.hub.book import recovered
from kit.hub.broker import BrokerLimits
from kit.hub.errors import HubError
from kit.hub.link import LinkedBroker, LinkLost
from kit.hub.local_frames import frame, hang_up, read_frame
from kit.hub.local_meeting import MeetingPoint
from kit.hub.local_server import LocalServer
from kit.hub.message import Position, Stored, check_room
from kit.printable import quoted

__all__ = ["LocalBroker"]

TRY_AGAIN_SECONDS = 0.02


class LocalBroker(LinkedBroker):
    """Rooms live in the memory of the process that serves them, on its hub's loop.

    When that process ends, another takes over with empty rooms: new epochs, and a `Gap` for every subscriber. So it is, within
    two seconds, when something removes the folder in which they meet. A loop that is blocked for long keeps all others waiting; they say
    so, and nothing is lost.
    """

    service = "the local broker"
    advice = "Another process of yours serves it and does not answer: end it, or use another name."

    def __init__(self, url: str, limits: BrokerLimits) -> None:
        super().__init__(url, limits)
        name = url.partition("://")[2]
        try:
            self._point = MeetingPoint(check_room(name))
        except ValueError as error:
            raise HubError(f'this broker expects a URL such as "local://name", but got {quoted(url)}: {error}') from None
        self._server: LocalServer | None = None

    def _advise(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return self.advice
        if isinstance(error, (LinkLost, ConnectionError)):
            return "Open the hub again."
        return "" if isinstance(error, HubError) else "Use another name."

    async def _live(self) -> None:
        """If this process served the others, another one takes over in the end; also when nobody closes the hub before its loop ends."""
        try:
            await super()._live()
        finally:
            await self._step_down()

    async def _step_down(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.close()

    async def _connect(self) -> LocalLink:
        """Find the one who serves, or be it."""
        while True:
            if not self._point.holds():
                await self._step_down()
            with contextlib.suppress(ConnectionError, FileNotFoundError):
                return LocalLink(self, self._limits, self._point, *await self._point.connect())
            await self._step_down()  # if it serves, nobody finds it
            self._server = await LocalServer.start(self._point, self._limits, self.book.poison)
            if self._server is None:
                await asyncio.sleep(TRY_AGAIN_SECONDS)  # another process has just begun to serve, or is about to end


class LocalLink:
    """One connection to whoever serves."""

    def __init__(self, broker: LocalBroker, limits: BrokerLimits, point: MeetingPoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._broker = broker
        self._book = broker.book
        self._limits = limits
        self._point = point
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[str, str, asyncio.Future[Any]]] = {}
        for room, place in self._book.places.items():
            self._ask("resume", room, since=place)

    async def read(self) -> None:
        """Take answers and messages, in the order in which they were sent."""
        try:
            while True:
                self._take(*await read_frame(self._reader))
        except EOFError:
            raise LinkLost("the process that served it has ended") from None

    async def publish(self, messages: list[tuple[str, bytes]]) -> list[Position | Exception]:
        """All in one go."""
        answers = [self._ask("publish", room, payload) for room, payload in messages]
        await self._writer.drain()
        return await asyncio.gather(*answers)

    async def join(self, room: str) -> Position:
        """The room begins when the answer is read, before the messages that come behind it."""
        return await self._ask("join", room)

    async def leave(self, room: str) -> None:
        """Say so."""
        self._ask("leave", room)

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """What the server still has."""
        return await self._ask("history", room, since=since)

    async def beat(self) -> None:
        """Ask for an answer, if this is still where others would come to; who serves steps down with the loss of its own link."""
        if not self._point.is_found():
            raise ConnectionAbortedError("the files by which others find it were removed")
        self._ask("beat", "")

    def abort(self) -> None:
        """Close at once."""
        hang_up(self._writer)

    async def close(self) -> None:
        """Nothing is left to do after `abort`."""
        self.abort()

    def _ask(self, what: str, room: str, payload: bytes = b"", **more: Any) -> asyncio.Future[Any]:
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._asked[number] = (what, room, answer)
        self._writer.write(frame({"do": what, "room": room, "number": number} | more, payload))
        return answer

    def _take(self, header: dict[str, Any], payload: bytes) -> None:
        if "number" not in header:
            self._book.message(header["room"], header["epoch"], header["offset"], payload)
            return
        what, room, answer = self._asked.pop(header["number"])
        result = self._answered(what, room, header, payload)
        if not answer.done():
            answer.set_result(result)

    def _answered(self, what: str, room: str, header: dict[str, Any], payload: bytes) -> Any:
        if what == "beat":
            return self._broker.heard()
        place = Position(header.get("epoch", ""), header.get("offset", 0))
        if what == "join":
            self._book.begin(room, place)
        elif what == "resume" and self._book.found(room, place) and not header["whole"]:
            self._book.skip(room, place)
        elif what == "history":
            return recovered(Position(*header["since"]), place, _stored(place.epoch, header["stored"], payload), self._limits)
        return place


def _stored(epoch: str, sizes: list[list[int]], payload: bytes) -> list[Stored]:
    ends = itertools.accumulate(size for _, size in sizes)
    return [Stored(epoch, offset, payload[end - size : end]) for (offset, size), end in zip(sizes, ends, strict=True)]
