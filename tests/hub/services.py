"""Private Redis and PostgreSQL servers that tests may hurt in more ways than their readers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any, ClassVar

import psycopg
import redis.asyncio

from kit.services import PrivatePostgres, PrivateRedis, PrivateService

__all__ = ["ForgetfulRedis", "Postgres", "Redis", "Service"]


class Service(PrivateService):
    """A server process that tests kill, freeze and cut off."""

    async def killed_for(self, seconds: float) -> None:
        """Kill it, and start it again after a while."""
        self.kill()
        await asyncio.sleep(seconds)
        await self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections, and does nothing."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    async def run(self, *command: Any) -> Any:
        """Do something there, as somebody who is no hub; what comes of it."""
        raise NotImplementedError

    async def drop_connections(self) -> None:
        """Have it end everybody's connection."""
        raise NotImplementedError


class Redis(Service, PrivateRedis):
    """A redis-server that loses nothing."""

    async def run(self, *command: Any) -> Any:
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return await client.execute_command(*command)

    async def drop_connections(self) -> None:
        for kind in ("pubsub", "normal"):
            await self.run("CLIENT", "KILL", "TYPE", kind)


class ForgetfulRedis(Redis):
    """One that writes nothing to the disk, so that a restart loses what it had taken."""

    settings: ClassVar = {"appendonly": "no"}


class Postgres(Service, PrivatePostgres):
    """A postgres of one's own."""

    async def run(self, *command: Any) -> Any:
        statement, *values = command
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            cursor = await connection.execute(statement, values or None)
            return await cursor.fetchall() if cursor.description else None

    async def drop_connections(self) -> None:
        others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
        await self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
