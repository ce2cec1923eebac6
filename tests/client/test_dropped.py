"""A client that is dropped, cancelled, or whose server has gone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
import weakref
from collections.abc import Callable

import pytest

from kit import Server, connect, serve
from kit.errors import ConnectError
from tests.apps import app


async def test_a_client_dropped_without_close_is_closed_with_a_warning(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.ping()  # another turn of the loop, which itself held the result of the one before
    with pytest.warns(ResourceWarning, match="client 1 was dropped"):  # noqa: PT031
        del client
        gc.collect()
    await eventually(lambda: not server.connections)
    assert server.timeline.connections[-1].close_frames[0][:2] == ("client", 1001)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_dropped_client_is_closed_even_where_warnings_are_errors(server: Server, eventually: Callable) -> None:
    client = await connect(server, "/listening")
    await client.ping()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del client
        gc.collect()
    await eventually(lambda: not server.connections)


async def test_a_closed_client_is_dropped_without_a_warning(server: Server) -> None:
    client = await connect(server, "/listening")
    await client.close()
    forgotten = weakref.ref(client)
    await asyncio.sleep(0)
    del client
    gc.collect()
    assert forgotten() is None


async def test_connecting_can_be_cancelled_and_leaves_no_socket(eventually: Callable) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as silent:
        connecting = asyncio.ensure_future(_awaited(connect(f"ws://127.0.0.1:{silent.sockets[0].getsockname()[1]}", "/")))
        await asyncio.wait_for(arrived.wait(), 5.0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await asyncio.wait_for(left.wait(), 5.0)


async def _awaited(awaitable: object) -> object:
    return await awaitable


async def test_a_stopped_server_is_named_when_a_client_wants_to_connect() -> None:
    server = await serve(app, port=0, name="gone")
    await server.stop()
    with pytest.raises(ConnectError, match="'gone' is stopped"):
        await connect(server, "/ws")


async def test_a_replaced_server_leads_to_the_one_that_replaced_it() -> None:
    old = await serve(app, port=0, name="same")
    new = await serve(app, port=0, name="same")
    async with connect(old, "/ws") as client:
        assert client.url.startswith(new.ws_url)
