"""Where the processes of one user meet, and the one of them that keeps the rooms for all: the other end of `kit.hub.local`."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import hmac
import json
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from kit.hub.book import kept
from kit.hub.broker import BrokerLimits
from kit.hub.errors import HubError, PublishFailed
from kit.hub.memory import MemoryBroker
from kit.hub.message import Position

__all__ = ["LocalServer", "MeetingPoint", "frame", "hang_up", "read_frame"]

HAS_UNIX_SOCKETS = hasattr(asyncio, "start_unix_server") and hasattr(os, "getuid")
HEADER_BYTES, PAYLOAD_BYTES, BEHIND_BYTES = 1 << 20, 1 << 30, 32 << 20

SAME_FOR_ALL = "It must be the same for all processes that are to meet; then start them again."

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """What crosses the socket: two lengths of 4 bytes, a header in JSON, and a payload."""
    head = json.dumps(header, separators=(",", ":")).encode()
    return len(head).to_bytes(4, "big") + len(payload).to_bytes(4, "big") + head + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """The next frame.

    Raises:
        EOFError: the other end is gone.
        ValueError: this is no frame.
    """
    try:
        lengths = await reader.readexactly(8)
        head, size = int.from_bytes(lengths[:4], "big"), int.from_bytes(lengths[4:], "big")
        if head > HEADER_BYTES or size > PAYLOAD_BYTES:
            raise ValueError("what came is no frame of a local broker")
        header, payload = json.loads(await reader.readexactly(head)), await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise EOFError from None
    if not isinstance(header, dict):
        raise ValueError("what came is no frame of a local broker")
    return header, payload


def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection at once, also where a forked child has it too."""
    if not writer.transport.is_closing():  # after that its number may be another file's
        own = writer.get_extra_info("socket")
        with contextlib.suppress(OSError), socket.fromfd(own.fileno(), own.family, own.type) as same:  # uvloop's own cannot do it
            same.shutdown(socket.SHUT_RDWR)
    writer.transport.abort()


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


class LocalServer:
    """Keeps the rooms in a `MemoryBroker`, and passes its messages to the processes that have joined them."""

    def __init__(self, point: MeetingPoint, limits: BrokerLimits, poison: Callable[[None, str], None]) -> None:
        self._point = point
        self._poison = poison
        self._memory = MemoryBroker("memory://", replace(limits, history=kept(limits)[0]))
        self._peers: dict[asyncio.StreamWriter, None] = {}
        self._rooms: dict[str, dict[asyncio.StreamWriter, None]] = {}
        self._server: asyncio.Server | None = None

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
