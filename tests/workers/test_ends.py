"""Every end is explained as that of a server in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kit import Client, Server, connect, explain, read_recording, write_recording
from kit.admission import notebook_pages
from kit.connection import Connection
from kit.errors import HandshakeRefused
from kit.evidence import settled
from tests.workers.towns import Eventually

REFUSALS = ["/refuse/closing", "/refuse/policy", "/refuse/http", "/refuse/denial", "/refuse/raising", "/nowhere"]
ENDS = ["/end/returning", "/end/raising", "/end/aborting", "/end/closing?code=4000&reason=enough", "/end/closing"]


def account(connection: Connection) -> tuple[Any, ...]:
    return explain(connection), explain(connection).table, connection.close_frames, connection.client_state, connection.application_state


@pytest.mark.parametrize("path", REFUSALS)
async def test_a_refusal_is_explained_at_once(two: Server, threaded: Server, path: str, eventually: Eventually) -> None:
    """A connect that is refused waits for what the process tells."""
    refusals = []
    for server in (two, threaded):
        with pytest.raises(HandshakeRefused) as refused:
            await connect(server, path)
        said, connection = str(refused.value), refused.value.connection
        headers = [pair for pair in refused.value.headers if pair[0].lower() != "date"]
        await eventually(lambda connection=connection: settled(connection))  # its handler may end a moment after the answer
        refusals.append((said, refused.value.status, headers, refused.value.body, *account(connection)))
    assert refusals[0] == refusals[1]


async def test_a_page_of_another_origin_is_refused_unless_it_shows_panels(two: Server, threaded: Server) -> None:
    refusals = []
    for server in (two, threaded):
        with pytest.raises(HandshakeRefused) as refused:
            await connect(server, "/ws", origin="https://example.org")
        refusals.append((str(refused.value), refused.value.connection.refused_because))
    assert refusals[0] == refusals[1]
    notebook_pages.add("https://example.org")
    try:
        async with connect(two, "/ws", origin="https://example.org") as client:
            await client.send_text("let in")
    finally:
        notebook_pages.forget()


async def leave(client: Client) -> None:
    await client.close(4001, "enough")


async def vanish(client: Client) -> None:
    await client.abort()


async def wait(client: Client) -> None:
    await client.wait_closed()


@pytest.mark.parametrize(
    ("path", "act"), [*((path, wait) for path in ENDS), ("/ws", leave), ("/ws", vanish), ("/end/disconnect", leave), ("/listening", vanish)]
)
async def test_an_end_is_explained_the_same(two: Server, threaded: Server, path: str, act: Callable[..., Any], eventually: Eventually) -> None:
    accounts = []
    for server in (two, threaded):
        client = await connect(server, path)
        await act(client)
        at_once = client.ended
        await eventually(lambda client=client: settled(client.connection))
        accounts.append((account(client.connection), client.connection.handler_returned, client.connection.handler_error))
        if act is wait:
            assert at_once == client.ended
    assert accounts[0] == accounts[1]


async def test_a_recording_says_which_process_it_was(two: Server, eventually: Eventually) -> None:
    async with connect(two, "/ws") as client:
        await client.send_text("hi")
        await client.receive_text()
    await eventually(lambda: settled(client.connection))
    again = read_recording(write_recording(two.timeline))
    (connection,) = [known for known in again.connections if known.number == client.number]
    assert connection.process == client.connection.process
    assert {entry.details.get("process") for entry in again.entries(connection=client.number) if entry.side == "server"} == {connection.process}
