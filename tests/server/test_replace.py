"""One name, one server: serve() replaces the one of that name, and no other."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable

import pytest

from kit import Server, connect, serve
from kit.errors import ServerStartError
from tests.apps import app
from tests.server.apps import BLOCKS, blocked, blocking_app, endpoint
from tests.server.probes import in_another_thread, open_files, server_threads


async def test_serving_again_twenty_times_leaves_one_server_one_port_and_no_leak(place: str) -> None:
    first = await serve(app, port=0, name="again")
    async with connect(first, "/ws") as client:
        await client.ping()
    files, threads = open_files(), threading.active_count()
    numbers = []
    for _ in range(20):
        server = await serve(app, name="again")
        assert (server.port, server.timeline) == (first.port, first.timeline)
        client = await connect(server, "/ws")
        numbers.append(client.number)
        await client.send_text("hi")
        assert await client.receive_text(timeout=5.0) == "hi"
    assert numbers == list(range(2, 22))
    assert server_threads() == (["kit-server-again"] if place == "thread" else [])
    assert first.state == "stopped"
    await client.close()
    gc.collect()
    assert open_files() <= files + 2
    assert threading.active_count() <= threads


async def test_the_clients_of_a_replaced_server_are_told_with_1012() -> None:
    old = await serve(app, port=0)
    clients = [await connect(old, "/ws") for _ in range(5)]
    new = await serve(app)
    for client in clients:
        await asyncio.wait_for(client.wait_closed(), 5.0)
        assert client.close_code == 1012
    assert (old.state, new.state, new.port) == ("stopped", "serving", old.port)
    assert old.connections == new.connections == []


async def test_names_keep_servers_apart() -> None:
    one, two = await serve(app, port=0, name="one"), await serve(app, port=0, name="two")
    async with connect(one, "/ws") as client:
        await serve(app, name="two")
        await client.send_text("untouched")
        assert await client.receive_text(timeout=5.0) == "untouched"
    assert (one.state, two.state) == ("serving", "stopped")


async def test_wrong_arguments_leave_the_running_server_alone() -> None:
    server = await serve(app, port=0)
    with pytest.raises(ServerStartError):
        await serve(endpoint)
    with pytest.raises(ServerStartError):
        await serve(app, port=99_999)
    assert server.state == "serving"
    async with connect(server, "/ws") as client:
        await client.ping()


@pytest.mark.needs_a_thread("a server on the loop of another thread's caller ends with that loop")
async def test_serving_the_same_name_from_several_places_at_once_leaves_one() -> None:
    first = await serve(app, port=0, name="busy")

    async def again() -> Server:  # with a port, so that it prints nothing: CPython 3.11 can crash when two threads print at once
        return await serve(app, port=first.port, name="busy")

    servers = await asyncio.gather(again(), again(), in_another_thread(again()), again())
    assert sorted(server.state for server in servers) == ["serving", "stopped", "stopped", "stopped"]
    assert server_threads() == ["kit-server-busy"]


@pytest.mark.needs_a_thread(BLOCKS)
async def test_a_server_is_replaced_even_while_its_handler_blocks(recwarn: pytest.WarningsRecorder, eventually: Callable) -> None:
    old = await serve(blocking_app("loop"), port=0)
    await blocked(old, eventually)
    new = await serve(app)
    assert new.port == old.port
    async with connect(new, "/ws") as client:
        await client.ping()
