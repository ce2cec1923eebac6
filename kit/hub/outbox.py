"""What waits to be written to a service: messages, of which many go together, and questions, each in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kit.hub.errors import HubError, PublishFailed
from kit.hub.message import Position, Stored

__all__ = ["Ask", "Job", "Link", "Outbox"]

OUTBOX_BYTES, BATCH_MESSAGES, BATCH_BYTES = 16 << 20, 128, 1 << 20


class Link(Protocol):
    """One connection to a service, from its beginning to its loss; whatever it raises, except `HubError`, is its loss."""

    async def read(self) -> None:
        """Bring what comes to the `Book`, and every beat to ``LinkedBroker.heard``, for ever."""

    async def publish(self, messages: list[tuple[str, bytes]]) -> list[Position | Exception]:
        """Hand over messages in this order; what became of each."""

    async def join(self, room: str) -> Position:
        """Find or make the room's place, call ``Book.begin`` with it, and bring what comes after it."""

    async def history(self, room: str, since: Position) -> list[Stored] | None:
        """See `Broker.history`."""

    async def beat(self) -> None:
        """Send something that comes back through what ``read`` reads."""

    async def leave(self, room: str) -> None:
        """Bring ``room`` no more, if the service does this."""

    def abort(self) -> None:
        """Make everything that waits for the service fail soon."""

    async def close(self) -> None:
        """Let go of the connection, without waiting for the service."""


Ask = Callable[[Link], Awaitable[Any]]


@dataclass(eq=False, slots=True)
class Job:
    """Something to be done on a link, in its turn: a message to publish, or whatever ``ask`` does."""

    ask: Ask | None = None
    room: str = ""
    payload: bytes = b""
    future: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def end(self, result: Any) -> None:
        """Tell who waits for it, if somebody still does; an exception is raised there."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
            self.future.exception()  # nobody may be waiting any more
        else:
            self.future.set_result(result)


class Outbox:
    """Jobs in the order in which they came. Lives on one loop."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._jobs: dict[Job, None] = {}
        self._due = asyncio.Event()
        self._waiting_bytes = 0

    def has_space(self, payload: bytes) -> bool:
        """Whether one more message may wait."""
        return not self._jobs or self._waiting_bytes + len(payload) <= OUTBOX_BYTES

    def put(self, job: Job) -> None:
        """Have it done, without waiting for it."""
        self._jobs[job] = None
        self._due.set()

    async def done(self, job: Job) -> Any:
        """Have it done, and wait for what comes of it; ``TimeoutError`` when that takes too long. Cancelling takes it out, if it has not begun."""
        self.put(job)
        self._waiting_bytes += len(job.payload)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await job.future
        finally:
            self._waiting_bytes -= len(job.payload)
            self._jobs.pop(job, None)

    async def next_jobs(self) -> list[Job]:
        """Wait for the first job; it, or the messages up to the next one that is none, as many as go together."""
        while not self._jobs:
            self._due.clear()
            await self._due.wait()
        jobs: list[Job] = []
        size = 0
        for job in self._jobs:
            if jobs and (job.ask or jobs[0].ask or len(jobs) == BATCH_MESSAGES or size + len(job.payload) > BATCH_BYTES):
                break
            jobs.append(job)
            size += len(job.payload)
        for job in jobs:
            del self._jobs[job]
        return jobs

    def end(self, reason: str) -> None:
        """Nothing more is done: who waits gets an error."""
        for job in list(self._jobs):
            job.end(PublishFailed(reason, room=job.room) if job.ask is None else HubError(reason))
