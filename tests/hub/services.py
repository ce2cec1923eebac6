"""Private Redis and PostgreSQL servers for tests: in a temporary folder, on a free port of this machine, ended by their pids."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import redis.asyncio

__all__ = ["Postgres", "Redis", "Service", "find_program"]

START_SECONDS = 30.0


def find_program(name: str) -> str | None:
    """A program on the PATH, or where Debian puts PostgreSQL's."""
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    return next((place for place in places if place and Path(place).exists()), None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Service:
    """A server process that tests kill, freeze and start again."""

    programs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="kit-broker-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def user(self) -> str | None:
        """As whom it runs, when the tests run as root."""
        return None

    def as_user(self) -> dict[str, Any]:
        """What `subprocess` needs to run a program as that user."""
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}

    def start(self) -> None:
        """Start it, or start it again; returns once it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **self.as_user())
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"{self.command[0]} did not start: {(self.folder / 'log').read_text()}"
            time.sleep(0.01)

    def ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                return self.greets(connection)
        except OSError:
            return False

    def greets(self, connection: socket.socket) -> bool:
        raise NotImplementedError

    def kill(self) -> None:
        """As the kernel does when memory runs out; it has no time to write anything."""
        if self._process is not None:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def killed_for(self, seconds: float) -> None:
        """Kill it, and start it again after a while."""
        self.kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.start)

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

    def pids(self) -> list[int]:
        """The server's process and those that it started."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [self._process.pid, *map(int, children.read_text().split() if children.exists() else ())]

    async def run(self, *command: Any) -> Any:
        """Do something there, as somebody who is no hub; what comes of it."""
        raise NotImplementedError

    async def drop_connections(self) -> None:
        """Have it end everybody's connection."""
        raise NotImplementedError

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Service):
    """A redis-server that keeps an append-only file, if it is durable."""

    programs = ("redis-server",)
    durable = True

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        settings = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self.folder}
        settings |= {"appendonly": "yes", "appendfsync": "always"} if self.durable else {"appendonly": "no"}
        return [find_program("redis-server") or "", *(str(each) for name, value in settings.items() for each in (f"--{name}", value))]

    def greets(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")

    async def run(self, *command: Any) -> Any:
        async with redis.asyncio.Redis.from_url(self.url) as client:
            return await client.execute_command(*command)

    async def drop_connections(self) -> None:
        await self.run("CLIENT", "KILL", "TYPE", "normal")


class Postgres(Service):
    """A postgres that the tests' user owns; it refuses to run as root."""

    programs = ("initdb", "postgres")

    def __init__(self) -> None:
        super().__init__()
        if self.user:
            shutil.chown(self.folder, self.user)
        initdb = [find_program("initdb") or "", "-D", str(self.folder / "data"), "-U", "kit", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=self.folder, **self.as_user())

    @property
    def user(self) -> str | None:
        if os.geteuid() != 0:
            return None
        return "postgres" if any(each.pw_name == "postgres" for each in pwd.getpwall()) else "nobody"

    @property
    def url(self) -> str:
        return f"postgresql://kit@127.0.0.1:{self.port}/postgres"

    @property
    def command(self) -> list[str]:
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        settings |= {"fsync": "off", "full_page_writes": "off"}  # what the kernel has taken outlives a process that is killed
        return [
            find_program("postgres") or "",
            "-D",
            str(self.folder / "data"),
            *(each for name, value in settings.items() for each in ("-c", f"{name}={value}")),
        ]

    def greets(self, connection: socket.socket) -> bool:
        """Asked to start a session, it answers with anything but "starting up"."""
        content = b"\x00\x03\x00\x00user\x00kit\x00database\x00postgres\x00\x00"
        connection.sendall((len(content) + 4).to_bytes(4) + content)
        return connection.recv(1) == b"R"

    async def run(self, *command: Any) -> Any:
        statement, *values = command
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            cursor = await connection.execute(statement, values or None)
            return await cursor.fetchall() if cursor.description else None

    async def drop_connections(self) -> None:
        others = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
        await self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
