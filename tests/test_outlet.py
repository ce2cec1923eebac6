"""The fast lane out of the server: one frame for many, one write a turn, in order with everything else, and never where nothing may be written."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed

from kit import Server, connect, serve
from kit.frames import prepared
from kit.outlet import DETAILED_CONNECTIONS, DUE_LIMIT_BYTES, Outlet
from kit.timeline import Entry

Script = Callable[[WebSocket, Outlet], Awaitable[None]]
CLOSE_1000 = b"\x88\x02\x03\xe8"


def outlet_of(websocket: WebSocket) -> Outlet:
    return websocket.scope["extensions"]["kit.outlet"]["outlet"]


def app_of(script: Script) -> FastAPI:
    """An app whose one endpoint is ``script``."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await script(websocket, outlet_of(websocket))

    return app


class Listeners:
    """An app whose connections only listen, and the outlets of all of them."""

    def __init__(self) -> None:
        self.outlets: list[Outlet] = []
        self.websockets: list[WebSocket] = []
        self.app = app_of(self._listen)

    async def _listen(self, websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        self.outlets.append(outlet)
        self.websockets.append(websocket)
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive_text()

    async def tell_all(self, *texts: str) -> None:
        """On the server's loop: every message to everybody, within one turn."""
        for text in texts:
            assert self.outlets[0].turn.write(self.outlets, prepared(text)) == []


class RawClient:
    """A socket after its handshake: it sees bytes, and reads only when told to."""

    def __init__(self, server: Server, receive_bytes: int = 0) -> None:
        self._read_ahead = b""
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.setblocking(False)
        head = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        self.socket.send(f"{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())

    async def read(self) -> bytes:
        """What one call gets; nothing at the end."""
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 1 << 20), 5)
        except ConnectionError:
            return b""

    async def read_until(self, ending: bytes) -> bytes:
        """All bytes up to ``ending`` or the end of the connection."""
        seen, self._read_ahead = self._read_ahead, b""
        while ending not in seen and (chunk := await self.read()):
            seen += chunk
        wanted, found, self._read_ahead = seen.partition(ending)
        return wanted + found


@contextlib.asynccontextmanager
async def raw_client(server: Server, receive_bytes: int = 0) -> AsyncIterator[RawClient]:
    client = RawClient(server, receive_bytes)
    try:
        head = await client.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        yield client
    finally:
        client.socket.close()


def fill(outlet: Outlet) -> int:
    """Write until the transport's buffer is above its high-water mark; how many frames that took."""
    frame, count = prepared(bytes(65_536)), 0
    while outlet.writable:
        assert outlet.write(frame)
        outlet.flush()
        count += 1
        assert count < 1_000
    return count


def seen(server: Server, side: str, kind: str, connection: int | None = None) -> list[Entry]:
    return [entry for entry in server.timeline.entries(connection=connection) if (entry.side, entry.kind) == (side, kind)]


@pytest.mark.parametrize("many", [True, False], ids=["many", "few"])
async def test_a_transport_that_raises_in_the_middle_of_a_turn_costs_nobody_else_a_message(many: bool, eventually: Callable[..., Awaitable[object]]) -> None:
    listeners = Listeners()
    count = DETAILED_CONNECTIONS + 4 if many else 3
    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server)) for _ in range(count)]

        async def tell() -> list[str]:
            said: list[str] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
            broken = listeners.outlets[1]

            def refuse(_: bytes) -> None:
                raise RuntimeError("unable to perform operation on a closed transport")

            broken._write = refuse
            await listeners.tell_all("1")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not broken.write(prepared("2"))
            listeners.outlets.remove(broken)
            await listeners.tell_all("2")
            return said

        await eventually(lambda: len(listeners.outlets) == count)
        assert await server.run(tell()) == ["a transport refused what was due for it, and is dropped"]
        assert sorted([await client.read_until(b"\x81\x012") for client in clients]) == [b"", *[b"\x81\x011\x81\x012"] * (count - 1)]


@pytest.mark.parametrize("recording", [True, False], ids=["recording", "not recording"])
async def test_order_holds_whatever_else_is_written(recording: bool) -> None:
    """Outlet, app, keepalive and the closing handshake within one turn of the loop: the wire has them in the order of the calls."""

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        await websocket.receive_text()
        outlet.write(prepared("1"))
        await websocket.send_text("2")
        outlet.write(prepared("3"))
        outlet.write(prepared(b"4"))
        outlet._wire.send_keepalive_ping()
        outlet.write(prepared("5"))
        outlet._wire.data_received(b"\x89\x81" + bytes(4) + b"?")  # the client's ping: its pong is uvicorn's
        outlet.write(prepared("6"))
        await websocket.send_bytes(b"7")
        outlet.write(prepared("8"))
        await websocket.close()
        assert not outlet.write(prepared("9"))

    async with serve(app_of(script), port=0, recording=recording) as server, raw_client(server) as client:
        client.socket.send(b"\x81\x82" + bytes(4) + b"go")
        wire = await client.read_until(CLOSE_1000)
        assert wire[:12] == b"\x81\x011\x81\x012\x81\x013\x82\x014"
        ping, rest = wire[12:18], wire[18:]
        assert ping[:2] == b"\x89\x04"
        assert rest == b"\x81\x015" + b"\x8a\x01?" + b"\x81\x016\x82\x017\x81\x018" + CLOSE_1000


@pytest.mark.parametrize("count", [1, DETAILED_CONNECTIONS + 1])
async def test_what_is_due_in_one_turn_is_written_together(count: int, eventually: Callable[..., Awaitable[object]]) -> None:
    """One write on the transport for each connection, whether its frames are recorded there or only counted."""
    listeners = Listeners()
    texts = [f"message {place}" for place in range(8)]
    writes: list[bytes] = []

    def seen_by(write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        return lambda data: (writes.append(data), write(data))[1]

    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_client(server)) for _ in range(count)]
        await eventually(lambda: len(listeners.outlets) == count)
        for outlet in listeners.outlets:
            outlet._write = seen_by(outlet._write)
        await server.run(listeners.tell_all(*texts))
        for client in clients:
            await client.read_until(prepared(texts[-1]))
    assert writes == [b"".join(map(prepared, texts))] * count


async def test_a_room_notices_that_a_peer_has_become_slow() -> None:
    """Also where nothing is recorded, and nothing but the room ever writes: what it says is what the transport says."""
    listeners = Listeners()

    async def work() -> None:
        (outlet,) = listeners.outlets
        for _ in range(1_000):
            if outlet.turn.write([outlet], prepared(bytes(65_536))):
                assert not outlet.writable
                return
            outlet.turn.end()
        raise AssertionError("it went on taking messages")

    async with serve(listeners.app, port=0, recording=False) as server, raw_client(server, receive_bytes=4096):
        await server.run(work())


async def test_what_is_due_leaves_before_the_socket_closes() -> None:
    """A handler that writes and returns: no Close frame, but the message arrives."""

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        outlet.write(prepared("last words"))

    async with serve(app_of(script), port=0) as server, raw_client(server) as client:
        assert await client.read_until(b"never") == prepared("last words")


async def test_nothing_is_written_before_accept_or_after_a_close() -> None:
    answers: dict[str, bool] = {}

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        answers["before accept"] = outlet.write(prepared("early"))
        await websocket.accept()
        answers["open"] = outlet.write(prepared("in time"))
        await websocket.close()
        answers["after a close"] = outlet.write(prepared("late"))
        answers["to many"] = outlet not in outlet.turn.write([outlet], prepared("late"))

    async with serve(app_of(script), port=0) as server, connect(server, "/ws") as client:
        assert await client.receive_text() == "in time"
        with pytest.raises(WebSocketDisconnect):
            await client.receive_text()
    assert answers == {"before accept": False, "open": True, "after a close": False, "to many": False}


async def test_nothing_is_written_where_the_handshake_was_refused() -> None:
    answers: list[bool] = []

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.close()
        answers.append(outlet.write(prepared("late")))

    async with serve(app_of(script), port=0) as server:
        client = RawClient(server)
        wire = await client.read_until(b"never")
        client.socket.close()
    assert wire.startswith(b"HTTP/1.1 403")
    assert b"late" not in wire
    assert answers == [False]


@pytest.mark.parametrize("how", ["the client closes", "the client vanishes", "the app aborts", "the outlet aborts", "the server stops"])
async def test_nothing_is_written_once_the_client_is_gone(how: str) -> None:
    over = asyncio.Event()
    answers: list[bool] = []

    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        assert outlet.turn.write([outlet], prepared("hello")) == []
        if how == "the app aborts":
            websocket.scope["extensions"]["kit.abort"]["abort"]()
        elif how == "the outlet aborts":
            outlet.abort()
        with contextlib.suppress(WebSocketDisconnect):
            await websocket.receive_text()
        answers.extend([outlet.write(prepared("late")), outlet.turn.write([outlet], prepared("late")) == []])
        await asyncio.wait_for(outlet.drained(), 5)
        loop.call_soon_threadsafe(over.set)

    loop = asyncio.get_running_loop()
    async with serve(app_of(script), port=0) as server, raw_client(server) as client:
        if how == "the client closes":
            client.socket.send(b"\x88\x80" + bytes(4))
        elif how == "the client vanishes":
            client.socket.close()
        elif how == "the server stops":
            await server.stop()
        await asyncio.wait_for(over.wait(), 5)
    assert answers == [False, False]


async def test_a_peer_that_does_not_read_makes_its_outlet_unwritable_until_it_reads() -> None:
    listeners = Listeners()

    async def work() -> int:
        (outlet,) = listeners.outlets
        count = fill(outlet)
        assert outlet.pending_bytes > 65_536
        assert outlet.turn.write([outlet], prepared("no")) == [outlet]
        assert outlet.write(prepared("owed"))  # one that is written all the same is owed
        return count

    async def wait_until_drained() -> None:
        (outlet,) = listeners.outlets
        await outlet.drained()
        assert outlet.writable
        assert outlet.turn.write([outlet], prepared("yes")) == []

    async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096) as client:
        count = await server.run(work())
        waiting = asyncio.ensure_future(server.run(wait_until_drained()))
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        frames = prepared(bytes(65_536)) * count + prepared("owed") + prepared("yes")
        assert await client.read_until(prepared("yes")) == frames
        await waiting


async def test_a_peer_that_does_not_read_delays_nobody_and_is_dropped_at_once() -> None:
    listeners = Listeners()

    async def stall_then_tell() -> list[Outlet]:
        fill(listeners.outlets[0])
        return listeners.outlets[0].turn.write(listeners.outlets, prepared("to the others"))

    async def drop() -> int:
        stuck = listeners.outlets[0]
        waiting = asyncio.ensure_future(stuck.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
        stuck.abort()
        await asyncio.wait_for(waiting, 5)
        return stuck.pending_bytes

    async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096), connect(server, "/ws") as reading:
        assert await server.run(stall_then_tell()) == listeners.outlets[:1]
        assert await reading.receive_text() == "to the others"
        assert await server.run(drop()) == 0


async def test_a_publisher_that_never_yields_meets_the_limit_of_a_turn() -> None:
    """What is due is bounded without the loop's help: the turn ends early, and a peer that does not read becomes unwritable."""
    listeners = Listeners()
    frame = prepared(bytes(16_384))

    async def flood(write: Callable[[Outlet], bool]) -> int:
        (outlet,) = listeners.outlets
        most = 0
        for _ in range(2_000):
            if not outlet.writable or not write(outlet):
                return most
            most = max(most, sum(map(len, outlet._due)))
        raise AssertionError("never unwritable")

    for write in (lambda outlet: outlet.write(frame), lambda outlet: not outlet.turn.write([outlet], frame)):
        async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096):
            assert await server.run(flood(write)) <= DUE_LIMIT_BYTES
            listeners.outlets.clear()


async def test_what_comes_while_a_send_of_the_app_waits_goes_behind_it(eventually: Callable[..., Awaitable[object]]) -> None:
    """So the numbers that the handler's messages were recorded with stay those of their frames."""
    listeners = Listeners()

    async def work() -> int:
        (outlet,), (websocket,) = listeners.outlets, listeners.websockets
        count = fill(outlet)
        sending = [asyncio.ensure_future(websocket.send_text("from the app 1"))]
        await asyncio.sleep(0)
        assert outlet.write(prepared("from the outlet"))
        sending.append(asyncio.ensure_future(websocket.send_text("from the app 2")))
        await asyncio.sleep(0)
        sending_tasks.extend(sending)
        return count

    sending_tasks: list[asyncio.Task[None]] = []
    async with serve(listeners.app, port=0) as server, raw_client(server, receive_bytes=4096) as client:
        count = await server.run(work())
        wire = await client.read_until(prepared("from the outlet"))
        last = [prepared("from the app 1"), prepared("from the app 2"), prepared("from the outlet")]
        assert wire == prepared(bytes(65_536)) * count + b"".join(last)
        await eventually(lambda: all(task.done() for task in sending_tasks))
        written = [(entry.ordinal, entry.text) for entry in seen(server, "server", "frame-out") if "from" in entry.text]
        sent = [(entry.ordinal, entry.text) for entry in seen(server, "server", "asgi-send") if "from" in entry.text]
        assert written == [(count + 1, "from the app 1"), (count + 2, "from the app 2"), (count + 3, "from the outlet")]
        assert sent == written[:2]


@pytest.mark.parametrize("followed", [False, True], ids=["nobody looks", "followed"])
@pytest.mark.parametrize("count", [DETAILED_CONNECTIONS, DETAILED_CONNECTIONS + 1])
async def test_a_frame_for_many_is_recorded_once_and_the_ordinals_stay_right(followed: bool, count: int, eventually: Callable[..., Awaitable[object]]) -> None:
    """Once for all when it goes to more than a few and nobody follows; the next message's ordinal is the same at both ends either way."""
    listeners = Listeners()

    async def say_goodbye() -> None:
        for websocket in listeners.websockets:
            await websocket.send_text("goodbye")

    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server, "/ws")) for _ in range(count)]
        await eventually(lambda: len(listeners.outlets) == count)
        subscription = server.timeline.subscribe(lambda: None) if followed else None
        await server.run(listeners.tell_all("one", "two"))
        if subscription is not None:
            subscription.close()
        await server.run(say_goodbye())
        for client in clients:
            assert [await client.receive_text() for _ in range(3)] == ["one", "two", "goodbye"]
        out, notices = seen(server, "server", "frame-out"), [entry for entry in server.timeline.entries() if entry.details.get("what") == "fan-out"]
        detailed = followed or count <= DETAILED_CONNECTIONS
        told = [(entry.ordinal, entry.text) for entry in out if entry.text != "goodbye"]
        assert sorted(told) == [(1, "one")] * count + [(2, "two")] * count if detailed else told == []
        assert [(entry.payload, entry.details["times"]) for entry in notices] == ([] if detailed else [("one", count), ("two", count)])
        goodbyes = {(entry.connection, entry.ordinal) for entry in out if entry.text == "goodbye"}
        assert goodbyes == {(client.connection.number, 3) for client in clients}
        assert {entry.ordinal for entry in seen(server, "server", "asgi-send") if entry.text == "goodbye"} == {3}
        assert {entry.ordinal for entry in seen(server, "client", "frame-in") if entry.text == "goodbye"} == {3}


@pytest.mark.parametrize("count", [1, DETAILED_CONNECTIONS + 1])
async def test_long_messages_keep_their_own_payload_beside_those_of_the_app(count: int, eventually: Callable[..., Awaitable[object]]) -> None:
    """Long payloads are kept once and known by their ordinal: what the outlet wrote must not be taken for what the app sent.

    The first is flushed by the app's own, and so recorded on its connection; the last, when it goes to many, is only counted there.
    """
    listeners = Listeners()
    texts = [letter * 6_000 for letter in "abc"]

    async def work() -> None:
        await listeners.tell_all(texts[0])
        for websocket in listeners.websockets:
            await websocket.send_text(texts[1])
        await listeners.tell_all(texts[2])

    async with serve(listeners.app, port=0) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(server, "/ws")) for _ in range(count)]
        await eventually(lambda: len(listeners.outlets) == count)
        await server.run(work())
        for client in clients:
            assert [await client.receive_text() for _ in texts] == texts
            places = (("server", "frame-out"), ("server", "asgi-send"), ("client", "frame-in"))
            told = {place: {entry.ordinal: entry.payload for entry in seen(server, *place, client.connection.number) if entry.ordinal} for place in places}
            assert told["client", "frame-in"] == dict(enumerate(texts, 1))
            assert told["server", "asgi-send"] == {2: texts[1]}
            assert told["server", "frame-out"] == dict(enumerate(texts if count == 1 else texts[:2], 1))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
async def test_a_prepared_frame_is_what_other_libraries_read(size: int) -> None:
    async def script(websocket: WebSocket, outlet: Outlet) -> None:
        await websocket.accept()
        outlet.write(prepared("ä" * (size // 2)))
        outlet.write(prepared(bytes(size)))
        await websocket.receive()

    async with serve(app_of(script), port=0, compression=True) as server, websockets_connect(server.ws_url + "/ws", proxy=None) as client:
        assert await client.recv() == "ä" * (size // 2)
        assert await client.recv() == bytes(size)


async def test_another_server_has_no_outlet() -> None:
    """Plain uvicorn does not offer it: an app that would use it has to send by ASGI there."""
    extensions: dict[str, object] = {}
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        extensions.update(websocket.scope["extensions"])
        await websocket.accept()
        await websocket.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        async with websockets_connect(f"ws://127.0.0.1:{listening.getsockname()[1]}/ws", proxy=None) as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()
        server.should_exit = True
        await serving
    assert "websocket.http.response" in extensions
    assert "kit.outlet" not in extensions
