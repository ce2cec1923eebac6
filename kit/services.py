"""Private servers for brokers: a Redis or a PostgreSQL of this notebook's own, to be killed and started again at will."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
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

START_SECONDS, END_SECONDS, LOOK_SECONDS = 30.0, 5.0, 0.02
# The server runs under a shell, which says its process number and ends when it ends. When the kernel is gone, however that ended, a guard
# kills the server and removes what it kept.
LEASH = """
exec 3<&0
"$@" </dev/null >>log 2>&1 3<&- & server=$!
echo $server
{ cat >/dev/null; trap '' TERM; kill -9 $server; rm -rf "$PWD"; } <&3 & guard=$!
wait $server
kill $guard
"""


def find_program(name: str) -> str | None:
    """A program on the PATH, or where Debian puts PostgreSQL's; None when it is not installed."""
    places = [shutil.which(name), *map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True))]
    return next((place for place in places if place and Path(place).exists()), None)


class PrivateService:
    """A server process of one's own: in a temporary folder, on a free port of 127.0.0.1, gone when nobody holds it, and when the kernel ends.

    What it has written stays when it is killed, and is there when it is started again, until ``close``. Its password is in its
    ``url`` and nowhere else that others could read: everybody on this machine reaches the port.

    Attributes:
        port: where it listens, the same after every start.
        folder: where it keeps what it has, and its log; nobody else may enter it.
    """

    programs: tuple[str, ...] = ()
    package = ""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.folder = Path(tempfile.mkdtemp(prefix="kit-service-"))
        self._password = secrets.token_hex(16)
        self._starting = False
        self._pid = 0
        self._leashes: list[subprocess.Popen[bytes]] = []  # one while it runs, else none
        weakref.finalize(self, _forgotten, self._leashes, self.folder, os.getpid())

    @classmethod
    def missing(cls) -> str | None:
        """What has to be installed before it can run here, in words; None when nothing has."""
        lacking = [name for name in cls.programs if find_program(name) is None]
        if os.name == "nt":
            return f"{cls.programs[-1]} is started on Linux and macOS only. Give the hub the URL of one that runs elsewhere."
        return f"{' and '.join(lacking)} not found on the PATH. Debian and Ubuntu: apt-get install {cls.package}" if lacking else None

    @property
    def url(self) -> str:
        """Its address with its password, for `Hub`."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """Its process while it runs, else None."""
        return self._pid if self._leashes and self._leashes[0].poll() is None else None

    async def start(self) -> str:
        """Start it, or start it again after its end; returns its URL once it answers. Does nothing while it runs.

        Cancelling it ends what has been started.

        Raises:
            ServiceError: its program is not installed, or it did not start within 30 s; the end of its log says why.
        """
        if (missing := self.missing()) is not None:
            raise ServiceError(missing)
        while self._starting:  # noqa: ASYNC110, on whichever loop that may be
            await asyncio.sleep(LOOK_SECONDS)
        if self.pid is None:
            self._starting = True
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._start()
            except TimeoutError:
                self.kill()
                raise ServiceError(f"{self.programs[-1]} did not start within {START_SECONDS:g} s. {self._log()}") from None
            except OSError as error:
                raise ServiceError(f"{self.programs[-1]} cannot be started: {error}. Make another one: {type(self).__name__}()") from None
            except BaseException:
                self.kill()
                raise
            finally:
                self._starting = False
        return self.url

    def kill(self) -> None:
        """End it at once, as the operating system does when memory runs out: it has no time to write anything. Safe to call twice."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self._leashes:
            _end(self._leashes.pop())

    def close(self) -> None:
        """Kill it, and remove all that it has kept."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self) -> list[int]:
        """The server's process and those that it started."""
        if (pid := self.pid) is None:
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split() if children.exists() else ())]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at 127.0.0.1:{self.port}, {'running' if self.pid else 'not running'}>"

    # What a service is made of: subclasses define these.

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _greets(self, connection: socket.socket) -> bool:
        """Whether the server, asked over ``connection``, says that it is ready."""
        raise NotImplementedError

    async def _prepare(self) -> None:
        """What comes before a start."""

    def _user(self) -> struct_passwd | None:
        """As whom it runs, if not as whoever runs this."""
        return None

    # Helpers.

    async def _start(self) -> None:
        self.kill()  # what may be left of one that ended by itself
        await self._prepare()
        leash = self._popen("sh", "-c", LEASH, "sh", *self._command(), stdin=subprocess.PIPE)
        self._leashes.append(leash)
        self._pid = int(leash.stdout.readline())
        while not self._ready():
            if leash.poll() is not None:
                raise ServiceError(f"{self.programs[-1]} ended at once. {self._log()}")
            await asyncio.sleep(LOOK_SECONDS)

    def _popen(self, *command: str, **more: Any) -> subprocess.Popen[bytes]:
        """A process in a session of its own: the kernel's interrupts are not meant for it."""
        if (user := self._user()) is not None:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            more |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        return subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, **more)

    def _keep_secret(self, name: str, text: str) -> Path:
        """A file in the folder that nobody else may read, not even while it is being written."""
        path = self.folder / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        if (user := self._user()) is not None:
            os.chown(path, user.pw_uid, user.pw_gid)
        return path

    def _log(self) -> str:
        """The end of its log, which says why something went wrong."""
        with contextlib.suppress(OSError):
            return f"Its log ends with:\n{(self.folder / 'log').read_text('utf-8', 'replace')[-500:]}"
        return "It left no log."

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                return self._greets(connection)
        except OSError:
            return False


def _end(leash: subprocess.Popen[bytes]) -> None:
    """See a leash to its end, whose server has been killed; only then is the guard gone, and its pipe may be closed."""
    try:
        leash.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        leash.kill()
        leash.wait()
    leash.stdin.close()
    leash.stdout.close()


def _forgotten(leashes: list[subprocess.Popen[bytes]], folder: Path, owner: int) -> None:
    """What is left to do for a service that nobody holds any more, in the process that made it: a fork of that has no say in it."""
    if os.getpid() == owner:
        while leashes:
            leash = leashes.pop()
            leash.stdin.close()  # at its end the guard does what it is for
            _end(leash)
        shutil.rmtree(folder, ignore_errors=True)


class PrivateRedis(PrivateService):
    """A redis-server that writes every command to its file before it answers, so that a restart loses nothing."""

    programs = ("redis-server",)
    package = "redis-server"
    settings: ClassVar[Mapping[str, str]] = {"appendonly": "yes", "appendfsync": "always"}

    @property
    def url(self) -> str:
        """Its address with its password, for `Hub`."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    async def _prepare(self) -> None:
        """Its settings are in a file: arguments can be seen by everybody."""
        settings = {"port": self.port, "bind": "127.0.0.1", "save": '""', "requirepass": self._password, **self.settings}
        self._keep_secret("settings", "".join(f"{name} {value}\n" for name, value in settings.items()))

    def _command(self) -> list[str]:
        return [find_program("redis-server") or "", "settings"]

    def _greets(self, connection: socket.socket) -> bool:
        connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\n") < 2 and (more := connection.recv(64)):
            answer += more
        return answer.startswith(b"+OK\r\n+PONG")


class PrivatePostgres(PrivateService):
    """A PostgreSQL with a database of its own; root runs it as another user, because it refuses to run as root."""

    programs = ("initdb", "postgres")
    package = "postgresql"
    settings: ClassVar[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off"}  # what the kernel has taken outlives a process that is killed

    @property
    def url(self) -> str:
        """Its address with its password, for `Hub`."""
        return f"postgresql://kit:{self._password}@127.0.0.1:{self.port}/postgres"

    async def _prepare(self) -> None:
        """Make the database, once; one that was not finished is begun anew."""
        data = self.folder / "data"
        if (data / "finished").exists():
            return
        shutil.rmtree(data, ignore_errors=True)
        secret = self._keep_secret("password", self._password)
        options = ("-D", "data", "-U", "kit", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--no-sync", "--locale=C")
        initdb = self._popen("sh", "-c", 'exec "$@" >log 2>&1', "sh", find_program("initdb") or "", *options)
        try:
            while initdb.poll() is None:  # noqa: ASYNC110, another process ends whenever it does
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            initdb.kill()
            initdb.wait()
            initdb.stdout.close()
        if initdb.returncode:
            raise ServiceError(f"initdb could not make a database. {self._log()}")
        secret.unlink()
        (data / "finished").touch()

    def _command(self) -> list[str]:
        settings = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self.settings}
        options = [each for name, value in settings.items() for each in ("-c", f"{name}={value}")]
        return [find_program("postgres") or "", "-D", "data", *options]

    def _greets(self, connection: socket.socket) -> bool:
        """Asked to start a session, it wants a password, or says that it is starting up."""
        content = b"\x00\x03\x00\x00user\x00kit\x00database\x00postgres\x00\x00"
        connection.sendall((len(content) + 4).to_bytes(4) + content)
        return connection.recv(1) == b"R"

    def _user(self) -> struct_passwd | None:
        if os.geteuid() != 0:
            return None
        import pwd

        known = {each.pw_name: each for each in pwd.getpwall()}
        return known.get("postgres", known["nobody"])
