"""The faults that last from a beginning to an end: a stalled reader, a slow network, a dead line, late pongs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from kit import loops
from kit.client import Client
from kit.errors import KitError, LoopStopped
from kit.faults.checks import check_client, check_connected
from kit.line import InFlight, SpoiltLine
from kit.wire import ClientWire

__all__ = ["FAULTS", "Fault", "half_open", "pongs_delayed", "reading_stalled", "slow_network"]

_LONGEST_SECONDS = 60.0
_PONGS_HELD = 64


class Fault:
    """One fault of one client. It is on inside ``async with``; ``begin`` and ``end`` do the same by hand, from any loop or thread.

    A client may have several faults at once, but each only once. Cancelling the block ends the fault. When the
    connection ends first, the fault ends with it and leaving the block is quiet.

    Attributes:
        what: its name, for example ``"reading-stalled"``; ``client.faults`` has it under this name while it is on.
    """

    what = ""
    _begins = _ends = ""  # what the client does, said after its name

    def __init__(self, client: Client) -> None:
        check_client(client, self.what.replace("-", "_"))
        self.client = client
        self._wire: ClientWire = client._wire
        self._on_now = False

    async def begin(self) -> None:
        """Bring the fault about; returns once it has taken effect.

        Raises:
            Disconnected: the connection has ended.
            KitError: this fault is on already.
        """
        given_up: list[bool] = []
        try:
            await loops.run_on(self._wire.loop, self._begin(given_up))
        except asyncio.CancelledError:
            given_up.append(True)  # a cancellation may overtake what it cancels, or come too late for it
            self._end_soon()
            raise

    async def end(self) -> None:
        """End the fault; does nothing when it is not on. Cancelling this does not keep it on."""
        self._end_soon()
        with contextlib.suppress(LoopStopped):
            await loops.run_on(self._wire.loop, asyncio.sleep(0))  # a loop's calls are made in order: it has ended then

    async def __aenter__(self) -> Fault:
        await self.begin()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.end()

    def __repr__(self) -> str:
        return f"<Fault {self.what} of {self.client.name!r}, {'on' if self._on_now else 'off'}>"

    # What a fault is made of; on the clients' loop.

    async def _prepare(self) -> None:
        """Whatever has to be waited for before the fault can be on from one moment to the next."""

    def _on(self) -> None:
        raise NotImplementedError

    def _off(self) -> None:
        raise NotImplementedError

    # Its life; on the clients' loop.

    async def _begin(self, given_up: list[bool]) -> None:
        client = self.client
        check_connected(client)
        if self.what in client.faults:
            raise KitError(f"{client.name}'s fault {self.what!r} is on already. Leave its block first, or: await client.faults[{self.what!r}].end()")
        client.faults[self.what] = self
        try:
            await self._prepare()
            check_connected(client)
            if given_up:
                raise asyncio.CancelledError
        except BaseException:
            del client.faults[self.what]
            self._off()
            raise
        client.note_fault(f"{client.name} {self._begins}", self.what, "begins")
        self._on()
        self._on_now = True
        self._wire.closed.add_done_callback(self._end)

    def _end_soon(self) -> None:
        with contextlib.suppress(RuntimeError):  # the clients' loop has ended, and every connection with it
            self._wire.loop.call_soon_threadsafe(self._end)

    def _end(self, _: object = None) -> None:
        if not self._on_now:
            return
        self._on_now = False
        del self.client.faults[self.what]
        self._wire.closed.remove_done_callback(self._end)
        how = "has no connection any more, and so no fault" if self._wire.closed.done() else self._ends
        self.client.note_fault(f"{self.client.name} {how}", self.what, "ends")
        self._off()


class _OnTheLine(Fault):
    """A fault of what lies between a client and its socket."""

    _line: SpoiltLine | None = None

    async def _prepare(self) -> None:
        self._line = await self._wire.spoil(self.what)

    def _off(self) -> None:
        if self._line is not None:
            self._mend(self._line)
        self._wire.mend(self.what)

    def _mend(self, line: SpoiltLine) -> None:
        raise NotImplementedError


class _ReadingStalled(_OnTheLine):
    what = "reading-stalled"
    _begins, _ends = "stops reading", "reads again"

    def _on(self) -> None:
        self._line.stall(True)

    def _mend(self, line: SpoiltLine) -> None:
        line.stall(False)


class _SlowNetwork(_OnTheLine):
    what = "slow-network"
    _ends = "has a fast network again"

    def __init__(self, client: Client, to_server_seconds: float, to_client_seconds: float) -> None:
        super().__init__(client)
        self._seconds = _checked_seconds(to_server_seconds=to_server_seconds, to_client_seconds=to_client_seconds)
        if not any(self._seconds):
            raise ValueError("slow_network expects a latency in at least one direction, but got 0 for both. Write: slow_network(client, to_server_seconds=0.3)")
        there, back = (f"{seconds * 1000:g} ms" for seconds in self._seconds)
        self._begins = f"has a slow network: {there} to the server, {back} back"

    def _on(self) -> None:
        self._line.slow_down(*self._seconds)

    def _mend(self, line: SpoiltLine) -> None:
        line.slow_down(0.0, 0.0)


class _HalfOpen(_OnTheLine):
    what = "half-open"
    _begins, _ends = "goes silent without hanging up: half-open", "is back, and drops the dead line with a reset"

    def _on(self) -> None:
        self._line.die()

    def _mend(self, line: SpoiltLine) -> None:
        if line.dead and not self._wire.closed.done():
            self.client.connection.vanished_side = "client"
            self._wire.abort()


class _PongsDelayed(Fault):
    what = "pongs-delayed"
    _ends = "answers pings at once again"

    def __init__(self, client: Client, seconds: float | None) -> None:
        super().__init__(client)
        self._seconds = None if seconds is None else _checked_seconds(seconds=seconds)[0]
        self._begins = "answers no pings" if seconds is None else f"answers pings {seconds:g} s late"
        self._late = InFlight(self._wire.loop, self._wire.write_pong)

    def _on(self) -> None:
        self._late.seconds = self._seconds or 0.0
        self._wire.hold_pong = self._hold

    def _off(self) -> None:
        self._wire.hold_pong = None
        self._late.hurry()

    def _hold(self, pong: bytes) -> None:
        if self._seconds is not None:
            self._late.put(pong)
            self._late.keep_newest(_PONGS_HELD)  # only the newest ping has to be answered (RFC 6455 §5.5.3)


def reading_stalled(client: Client) -> Fault:
    """``async with reading_stalled(client): …``: the client does not read its socket, as a page whose tab is frozen.

    What had been read before can still be received. What comes now waits in the kernel's buffers, and when those of both
    ends are full (some megabytes on one machine, 3 to 9 where this was measured: TCP's flow control, RFC 9293 §3.8.6) the server's ``send`` waits.
    Nothing is lost: at the end of the block the client reads on. Meanwhile it sees no pings and no Close frame either,
    so a server that sends keepalive pings closes with 1011, and `Client.close` ends in a reset when its time is over.
    """
    return _ReadingStalled(client)


def slow_network(client: Client, *, to_server_seconds: float = 0.0, to_client_seconds: float = 0.0) -> Fault:
    """``async with slow_network(client, to_server_seconds=0.3): …``: every byte arrives so much later, in order and intact.

    The handler gets a message ``to_server_seconds`` after it was sent, the client gets one ``to_client_seconds`` after
    the server's kernel has delivered it; a ping takes the sum. At most 1 MiB is under way each way, after that the
    sender waits. Leaving the block does not wait: what is under way still arrives at its time, and before what is sent later.

    Raises:
        ValueError: a latency below 0 or above 60 seconds, or none at all.
    """
    return _SlowNetwork(client, to_server_seconds, to_client_seconds)


def half_open(client: Client) -> Fault:
    """``async with half_open(client): …``: the client is gone, and no packet says so, as a laptop that leaves the network.

    It neither reads nor answers pings, what it sends never leaves, and it sends neither FIN nor RST. The server sees
    nothing at all until its keepalive ping times out (1011) or its sends have filled the buffers. No such line comes
    back: at the end of the block it is dropped with a TCP reset.
    """
    return _HalfOpen(client)


def pongs_delayed(client: Client, *, seconds: float | None) -> Fault:
    """``async with pongs_delayed(client, seconds=3): …``: the client answers the server's pings so much later, or never with None.

    A pong that comes later than the server's ``ping_timeout_seconds`` finds the connection closed with 1011. At the end
    of the block the pongs that are late are sent at once; those of ``seconds=None`` never are.

    Raises:
        ValueError: below 0 or above 60 seconds.
    """
    return _PongsDelayed(client, seconds)


FAULTS: Mapping[str, Callable[..., Fault]] = {
    _ReadingStalled.what: reading_stalled,
    _SlowNetwork.what: slow_network,
    _HalfOpen.what: half_open,
    _PongsDelayed.what: pongs_delayed,
}
"""Every fault that lasts, by its name."""


def _checked_seconds(**named: Any) -> list[float]:
    for name, seconds in named.items():
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= _LONGEST_SECONDS:
            raise ValueError(f"{name} expects 0 to {_LONGEST_SECONDS:g} seconds, but got {seconds!r}.")
    return [float(seconds) for seconds in named.values()]
