"""Where the processes of one user meet: a lock that one of them holds, and an address at which the others find it."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kit.hub.errors import HubError
from kit.hub.local_frames import frame, hang_up

__all__ = ["MeetingPoint"]

HAS_UNIX_SOCKETS = hasattr(asyncio, "start_unix_server") and hasattr(os, "getuid")

SAME_FOR_ALL = "It must be the same for all processes that are to meet; then start them again."

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class MeetingPoint:
    """A name's place in a folder that only this user may enter: a lock for who serves, and how to reach that process.

    A Unix socket; on Windows a port of this machine, and a secret that proves that one may read the folder. Whatever cleans the folder
    for temporary files may remove it: then others would meet elsewhere, and `is_found` says so.
    """

    def __init__(self, name: str) -> None:
        user = str(os.getuid()) if hasattr(os, "getuid") else hashlib.sha256(getpass.getuser().encode()).hexdigest()[:8]
        self.folder = Path(tempfile.gettempdir()) / f"kit-hub-{user}"
        self._path = self.folder / hashlib.sha256(name.encode()).hexdigest()[:16]
        self._address = self._path.with_suffix(".socket" if HAS_UNIX_SOCKETS else ".json")
        self._lock_path = self._path.with_suffix(".lock")
        self._lock: int | None = None
        self._reached: tuple[int, ...] | None = None  # the address at which `connect` was successful

    async def connect(self) -> Streams:
        """Reach who serves.

        Raises:
            ConnectionError, FileNotFoundError: nobody does.
        """
        self._check_folder()
        self._reached = self._stands_there()
        secret = ""
        with self._explained():
            if HAS_UNIX_SOCKETS:
                reader, writer = await asyncio.open_unix_connection(self._address)
            else:
                port, secret = json.loads(self._address.read_text("utf-8"))
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if not self.is_found():
            hang_up(writer)
            raise ConnectionResetError("another process has just begun to serve")
        writer.write(frame({"secret": secret}))
        return reader, writer

    def is_found(self) -> bool:
        """Whether others would reach the one that `connect` has reached."""
        return self._reached is not None and self._reached == self._stands_there() and (self._lock is None or self.holds())

    def holds(self) -> bool:
        """Whether this process serves, and nobody else can: the lock is there for others to find."""
        with contextlib.suppress(OSError):
            return self._lock is not None and os.path.samestat(os.fstat(self._lock), self._lock_path.lstat())
        return False

    @property
    def files(self) -> list[int]:
        """The numbers of those that it has open."""
        return [] if self._lock is None else [self._lock]

    def take(self) -> bool:
        """Become who serves; False when another process is. The operating system gives the lock back when a process ends, however it ends."""
        self._check_folder()
        with self._explained():
            lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(lock)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        with self._explained(), contextlib.ExitStack() as undo:
            undo.callback(self.give_back)
            if not self.holds():  # it was removed at this moment
                return False
            self._address.unlink(missing_ok=True)  # left by one that was killed
            undo.pop_all()
        return True

    async def listen(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Any]) -> asyncio.Server:
        """A server, not yet started, that lets others in: ``serve`` gets each with the secret that it has to know. After `take`."""
        if HAS_UNIX_SOCKETS:
            return await asyncio.start_unix_server(lambda *streams: serve(*streams, ""), self._address, start_serving=False)
        secret = secrets.token_hex(16)
        server = await asyncio.start_server(lambda *streams: serve(*streams, secret), "127.0.0.1", 0, start_serving=False)
        self._write_address([server.sockets[0].getsockname()[1], secret])
        return server

    def give_back(self) -> None:
        """Serve no more; safe to call twice. An address that is another one's stays."""
        if self.holds():
            with contextlib.suppress(OSError):
                self._address.unlink(missing_ok=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            _unlock(lock)
            os.close(lock)

    def _stands_there(self) -> tuple[int, ...] | None:
        """What is at the address at this moment: another one when another process serves, or None."""
        with contextlib.suppress(OSError):
            found = self._address.lstat()
            return found.st_dev, found.st_ino, found.st_mtime_ns
        return None

    def _write_address(self, address: list[Any]) -> None:
        """In one step, so that nobody reads half of it."""
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(address, file)
        new.replace(self._address)

    def _check_folder(self) -> None:
        try:
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir(mode=0o700)
            found = self.folder.lstat()
        except OSError as error:
            raise HubError(f"{self.folder} cannot be made: {error.strerror}. Set TMPDIR to a folder of yours. {SAME_FOR_ALL}") from None
        if hasattr(os, "getuid") and (not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077):
            raise HubError(f"{self.folder} must be a folder of yours that nobody else may enter{_way_out(self.folder)}")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what is in the way, and what to do about it; nobody being there is no such error."""
        try:
            yield
        except (ConnectionError, FileNotFoundError):
            raise
        except OSError as error:
            if error.filename is None and "too long" in str(error):  # it comes without a number
                shorter = f"Set TMPDIR to a folder of yours with a shorter path. {SAME_FOR_ALL}"
                raise HubError(f"the path {self._address} is too long for a socket. {shorter}") from None
            path = Path(error.filename or self._address)
            raise HubError(f"{path} cannot be used: {error.strerror or error}{_way_out(path)}") from None


def _way_out(path: Path) -> str:
    """How a sentence about what is in the way ends: only who owns it can remove it."""
    if hasattr(os, "getuid") and path.lstat().st_uid != os.getuid():
        return f", but it is another user's. Set TMPDIR to a folder of yours. {SAME_FOR_ALL}"
    return ". Remove it, then open the hub again."


def _lock(file: int) -> None:
    """Lock a file for as long as it is open; raises OSError when another has locked it."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(file: int) -> None:
    """Not only by closing it: on Unix a forked child has it open too, and would keep it locked."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
