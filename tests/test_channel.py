"""The control channel to a server's process: what is given arrives whole and in order, however little room there is."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kit.workers.channel import Channel

Eventually = Callable[..., Any]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        yield ours, theirs


def read_lines(theirs: socket.socket, count: int) -> tuple[list[Any], list[int]]:
    """So many lines as the process reads them, and the descriptors that came with them."""
    theirs.settimeout(5.0)
    data, descriptors = b"", []
    while data.count(b"\n") < count:
        more, came, *_ = socket.recv_fds(theirs, 1 << 16, 8)
        data += more
        descriptors += came
    return [json.loads(line) for line in data.splitlines()], descriptors


async def test_an_order_longer_than_the_room_there_is_arrives_whole_and_before_the_next(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    channel = Channel(ours)
    pages = [f"http://page-{number}.example" for number in range(5_000)]
    channel.give("pages", pages)
    channel.give("stop", [1001, 0.5])
    assert await asyncio.to_thread(read_lines, theirs, 2) == ([{"pages": pages}, {"stop": [1001, 0.5]}], [])
    channel.close()


async def test_a_socket_with_a_long_order_is_handed_over_once(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    channel, (accepted, comer) = Channel(ours), socket.socketpair()
    channel.give("socket", "x" * 100_000, accepted)
    lines, descriptors = await asyncio.to_thread(read_lines, theirs, 1)
    assert lines == [{"socket": "x" * 100_000}]
    (descriptor,) = descriptors
    with socket.socket(fileno=descriptor) as handed, comer:
        comer.sendall(b"hello")
        assert handed.recv(5) == b"hello"
    assert accepted.fileno() == -1
    channel.close()


async def test_sockets_that_wait_for_a_process_that_is_gone_are_closed(pair: tuple[socket.socket, socket.socket], eventually: Eventually) -> None:
    ours, theirs = pair
    channel, waiting = Channel(ours), []
    while not channel.full:
        accepted, comer = socket.socketpair()
        waiting.append(comer)
        channel.give("socket", 1, accepted)
    theirs.close()
    await eventually(lambda: channel.cut_off)
    for comer in waiting:
        comer.settimeout(5.0)
        assert comer.recv(1) == b""
        comer.close()
    accepted, comer = socket.socketpair()
    channel.give("socket", 2, accepted)
    assert (accepted.fileno(), comer.recv(1)) == (-1, b"")
    comer.close()
    channel.close()
