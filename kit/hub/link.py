"""What brokers that reach for a service share: reconnecting, a heartbeat, and writing what waits."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from kit.hub.book import Book
from kit.hub.broker import BrokerLimits, Deliver, without_password
from kit.hub.errors import HubError, PublishFailed
from kit.hub.message import Position, Stored
from kit.hub.outbox import Ask, Job, Link, Outbox
from kit.hub.statistics import BrokerState

__all__ = ["LinkLost", "LinkedBroker"]

BEAT_SECONDS, SILENT_SECONDS = 2.0, 6
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, STEADY_SECONDS, FAILED_SECONDS = 0.05, 2.0, 5.0, 30.0


class LinkLost(HubError):
    """The connection to the service is over, or nothing has come over it for too long."""


class LinkedBroker:
    """A broker over one `Link` after the other: subclasses say how to connect, which includes resuming ``book.places``.

    Publishes that find no connection wait for it, at most ``timeout_seconds``. Those that were on their way when it was lost fail:
    whether they arrived is not known.

    Attributes:
        state: ``"failed"`` after 30 s without a connection; it goes on trying.
        book: the rooms.
    """

    service = "the broker"
    advice = "Check the address, and that the service runs."

    def __init__(self, url: str, limits: BrokerLimits) -> None:
        self.state: BrokerState = "closed"
        self.book: Book
        self._url = url
        self._limits = limits
        self._life: asyncio.Task[None] | None = None
        self._reason = ""

    async def _connect(self) -> Link:
        raise NotImplementedError

    def _advise(self, error: Exception) -> str:
        """What to do about ``error``; nothing when its own words say so."""
        return self.advice

    # What the hub calls.

    async def open(self, deliver: Deliver) -> None:
        """Connect, and wait for the first heartbeat."""
        self.book = Book(deliver)
        self._deliver = deliver
        self._outbox = Outbox(self._limits.timeout_seconds)
        self._beat = asyncio.Event()
        self._opened = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(), name=f"{self.service} broker")
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                await self._opened
        except TimeoutError:
            raise HubError(f"{self._name} did not answer within {self._limits.timeout_seconds:g} s. {self.advice}") from None

    async def close(self) -> None:
        """Let go of the connection; who waits for it gets an error."""
        life, self._life = self._life, None
        if life is not None:
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            self.state = "closed"
            if not self._opened.done():
                self._opened.set_exception(HubError("the hub was closed."))
            self._outbox.end("the hub was closed.")

    async def publish(self, room: str, payload: bytes) -> Position:
        """Hand over a message, together with others that are due."""
        if self._life is None or self.state == "failed":
            raise PublishFailed(f"nothing was published: {self._name} is {self.state}{self._because}.", room=room)
        if not self._outbox.has_space(payload):
            raise PublishFailed(f"nothing was published: too much waits for {self._name} already.", room=room)
        try:
            return await self._outbox.done(Job(room=room, payload=payload))
        except TimeoutError:
            late = f"{self._name} did not take the message within {self._limits.timeout_seconds:g} s; it is {self.state}{self._because}."
            raise PublishFailed(late, room=room) from None

    async def join(self, room: str) -> Position:
        """Deliver ``room`` from now on."""
        self.book.want(room)
        try:
            return await self._ask(lambda link: link.join(room))
        except BaseException:
            await self.leave(room)
            raise

    async def leave(self, room: str) -> None:
        """Deliver it no more."""
        if self._life is not None:
            self.book.leave(room)
            if self.state == "connected":
                self._outbox.put(Job(lambda link: link.leave(room)))

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """All messages after ``since``, or None."""
        return await self._ask(lambda link: link.history(room, since))

    # What links call.

    def heard(self) -> None:
        """A beat came back."""
        self._beat.set()

    # One link after the other.

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        pause, lost_at = FIRST_PAUSE_SECONDS, loop.time()
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(self._limits.timeout_seconds):
                    link = await self._connect()
                await self._use(link)
            except Exception as error:  # whatever it is: a hub goes on trying, and says why
                self._reason = _words(error)
                if not self._opened.done():
                    self._opened.set_exception(HubError(f"{self._name} cannot be used: {self._reason}. {self._advise(error)}".rstrip()))
                    return
            if self.state == "connected":
                lost_at = loop.time()
            if loop.time() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._become("failed" if loop.time() - lost_at > FAILED_SECONDS else "reconnecting")
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _use(self, link: Link) -> None:
        """Read, write and watch until one of them fails."""
        tasks = [asyncio.create_task(each) for each in (link.read(), self._work(link), self._watch(link))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await done.pop()
            raise LinkLost("the connection has ended")
        finally:
            link.abort()
            try:
                await asyncio.wait(tasks[:2], timeout=0.05)  # to cancel what waits for a frozen service can take seconds
            finally:  # the hub may be closed meanwhile
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await link.close()

    async def _watch(self, link: Link) -> None:
        """Send beats, and miss them; seconds are counted one by one, so that a loop that was blocked counts as one."""
        while True:
            self._beat.clear()
            self._outbox.put(Job(lambda link: link.beat()))
            for _ in range(SILENT_SECONDS):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._beat.wait(), 1.0)
                    break
            else:
                raise LinkLost(f"nothing has come back from it for {SILENT_SECONDS} s: it is frozen, or the way to it is cut")
            self._become("connected")
            await asyncio.sleep(BEAT_SECONDS)

    def _become(self, state: BrokerState) -> None:
        if state == "connected":
            self._reason = ""
            if not self._opened.done():
                self._opened.set_result(None)
        if state != self.state:
            self.state = state
            self._deliver.state(state, self._reason)

    # What is to be written.

    async def _work(self, link: Link) -> None:
        while True:
            jobs = await self._outbox.next_jobs()
            try:
                results = await self._perform(link, jobs)
            except BaseException as error:
                why = _words(error) or "the connection was lost"
                for job in jobs:
                    job.end(LinkLost(why) if job.ask else PublishFailed(f"{self._name}: {why}. Whether the message arrived is not known.", room=job.room))
                raise
            for job, result in zip(jobs, results, strict=True):
                job.end(result)

    async def _perform(self, link: Link, jobs: list[Job]) -> list[Any]:
        if jobs[0].ask is None:
            return await link.publish([(job.room, job.payload) for job in jobs])
        try:
            return [await jobs[0].ask(link)]
        except HubError as error:
            return [error]

    async def _ask(self, ask: Ask) -> Any:
        """Ask a link, and the next one if that is lost meanwhile."""
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                while self._life is not None and self.state != "failed":
                    with contextlib.suppress(LinkLost):
                        return await self._outbox.done(Job(ask))
        except TimeoutError:
            raise HubError(f"{self._name} did not answer within {self._limits.timeout_seconds:g} s; it is {self.state}{self._because}.") from None
        raise HubError(f"{self._name} is {self.state}{self._because}.")

    # Words.

    @property
    def _name(self) -> str:
        return f"{self.service} at {without_password(self._url)}"

    @property
    def _because(self) -> str:
        return f" ({self._reason})" if self._reason else ""


def _words(error: BaseException) -> str:
    """An error's own words on one line, or its name."""
    if isinstance(error, (asyncio.CancelledError, TimeoutError)):
        return "" if isinstance(error, asyncio.CancelledError) else "it does not answer"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
