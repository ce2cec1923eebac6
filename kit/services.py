"""Private servers for brokers: a Redis or a PostgreSQL of this notebook's own, to be killed and started again at will."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kit.errors import ServiceError

if TYPE_CHECKING:
    from pwd import struct_passwd

__all__ = ["PrivatePostgres", "PrivateRedis", "PrivateService", "find_program"]

START_SECONDS, LOOK_SECONDS = 30.0, 0.02
# The server runs under a shell, which says its process number, ends when it ends, and kills it when the kernel is gone, however that ended.
LEASH = """
exec 3<&0
"$@" </dev/null >>log 2>&1 3<&- & server=$!
echo $server
{ cat >/dev/null; kill -9 $server; } <&3 & guard=$!
wait $server
kill $guard
"""


def find_program(name: str) -> str | None:
    """A program on the PATH, or where Debian puts PostgreSQL's; None when it is not installed."""
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    return next((place for place in places if place and Path(place).exists()), None)


class PrivateService:
    """A server process of one's own: in a temporary folder, on a free port of 127.0.0.1, gone when nobody holds it, and when the kernel ends.

    What it has written stays when it is killed, and is there when it is started again, until ``close``.

    Attributes:
        port: where it listens, the same after every start.
        folder: where it keeps what it has, and its log.
        pid: its process while it runs, else None.
    """

    programs: tuple[str, ...] = ()
    package = ""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="kit-service-"))
        self.pid: int | None = None
        self._leashes: list[subprocess.Popen[bytes]] = []  # one while it runs, else none
        weakref.finalize(self, _forgotten, self._leashes, self.folder)

    @classmethod
    def missing(cls) -> str | None:
        """What has to be installed before it can run here, in words; None when nothing has."""
        lacking = [name for name in cls.programs if find_program(name) is None]
        if os.name == "nt":
            return f"{cls.programs[-1]} is started on Linux and macOS only. Give the hub the URL of one that runs elsewhere."
        return f"{' and '.join(lacking)} not found on the PATH. Debian and Ubuntu: apt-get install {cls.package}" if lacking else None

    @property
    def url(self) -> str:
        """Its address, for `Hub`."""
        raise NotImplementedError

    async def start(self) -> str:
        """Start it, or start it again after ``kill``; returns its URL once it answers. Does nothing while it runs.

        Raises:
            ServiceError: its program is not installed, or it did not start within 30 s; the end of its log says why.
        """
        if (missing := self.missing()) is not None:
            raise ServiceError(missing)
        if self.pid is None:
            await self._prepare()
            self._leashes.append(self._popen("sh", "-c", LEASH, "sh", *self._command(), stdin=subprocess.PIPE, start_new_session=True))
            self.pid = int(self._leashes[0].stdout.readline())
            await self._until_ready()
        return self.url

    def kill(self) -> None:
        """End it at once, as the operating system does when memory runs out: it has no time to write anything. Safe to call twice."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.pid = None
        _let_go(self._leashes)

    def close(self) -> None:
        """Kill it, and remove all that it has kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self) -> list[int]:
        """The server's process and those that it started."""
        if self.pid is None:
            return []
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [self.pid, *map(int, children.read_text().split() if children.exists() else ())]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} {'running' if self.pid else 'not running'}>"

    # What a service is made of: subclasses define these.

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _greets(self, connection: socket.socket) -> bool:
        """Whether the server, asked over ``connection``, says that it is ready."""
        raise NotImplementedError

    async def _prepare(self) -> None:
        """What comes before the first start."""

    def _user(self) -> struct_passwd | None:
        """As whom it runs, if not as whoever runs this."""
        return None

    # Helpers.

    def _popen(self, *command: str, **more: Any) -> subprocess.Popen[bytes]:
        if (user := self._user()) is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            more |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more)

    def _log(self) -> str:
        """Its end, which says why something went wrong."""
        with contextlib.suppress(OSError):
            return (self.folder / "log").read_text("utf-8", "replace")[-500:]
        return "(there is none)"

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not self._ready():
                    if self._leashes[0].poll() is not None:
                        raise TimeoutError
                    await asyncio.sleep(LOOK_SECONDS)
        except BaseException as error:
            self.kill()
            if not isinstance(error, TimeoutError):
                raise
            raise ServiceError(f"{self.programs[-1]} ended at once, or did not start within {START_SECONDS:g} s. Its log ends with:\n{self._log()}") from None

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                return self._greets(connection)
        except OSError:
            return False


def _let_go(leashes: list[subprocess.Popen[bytes]]) -> None:
    while leashes:
        leashes.pop().communicate()  # closes its standard input, at whose end it kills the server


def _forgotten(leashes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    """What is left to do for a service that nobody holds any more."""
    _let_go(leashes)
    shutil.rmtree(folder, ignore_errors=True)


class PrivateRedis(PrivateService):
    """A redis-server that writes every command to its file before it answers, so that a restart loses nothing."""

    programs = ("redis-server",)
    package = "redis-server"
    settings: ClassVar[Mapping[str, str]] = {"appendonly": "yes", "appendfsync": "always"}

    @property
    def url(self) -> str:
        """Its address, for `Hub`."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        settings = {"port": str(self.port), "bind": "127.0.0.1", "save": "", **self.settings}
        return [find_program("redis-server") or "", *(each for name, value in settings.items() for each in (f"--{name}", value))]

    def _greets(self, connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")


class PrivatePostgres(PrivateService):
    """A PostgreSQL with a database of its own, whose user needs no password; root runs it as another user, because it refuses to run as root."""

    programs = ("initdb", "postgres")
    package = "postgresql"
    settings: ClassVar[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}  # what the kernel has taken outlives a process that is killed

    @property
    def url(self) -> str:
        """Its address, for `Hub`."""
        return f"postgresql://kit@127.0.0.1:{self.port}/postgres"

    async def _prepare(self) -> None:
        data = self.folder / "data"
        if not data.exists():
            options = ("-D", str(data), "-U", "kit", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
            initdb = self._popen("sh", "-c", '"$@" >log 2>&1', "sh", find_program("initdb") or "", *options)
            while initdb.poll() is None:  # noqa: ASYNC110, another process ends whenever it does
                await asyncio.sleep(LOOK_SECONDS)
            initdb.stdout.close()
            if initdb.returncode:
                raise ServiceError(f"initdb could not make a database in {data}. It said:\n{self._log()}")

    def _command(self) -> list[str]:
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self.settings}
        options = [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        return [find_program("postgres") or "", "-D", str(self.folder / "data"), *options]

    def _greets(self, connection: socket.socket) -> bool:
        """Asked to start a session, it answers with anything but "starting up"."""
        content = b"\x00\x03\x00\x00user\x00kit\x00database\x00postgres\x00\x00"
        connection.sendall((len(content) + 4).to_bytes(4) + content)
        return connection.recv(1) == b"R"

    def _user(self) -> struct_passwd | None:
        if os.geteuid() != 0:
            return None
        import pwd

        known = {each.pw_name: each for each in pwd.getpwall()}
        return known.get("postgres", known["nobody"])
