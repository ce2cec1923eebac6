"""A server whose WebSockets join a hub, and clients of it."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import FastAPI

from kit import Client, Server, connect
from kit.hub import Hub

__all__ = ["SECONDS", "Served", "joined", "texts"]

SECONDS = 5.0


class Served(NamedTuple):
    """A hub, the app that joins it, and its server."""

    hub: Hub
    app: FastAPI
    server: Server

    def path(self, lane: str, room: str = "room", **query: str) -> str:
        plain = {"plain": "1"} if lane == "plain send" else {}
        return f"/join/{room}?" + "&".join(f"{name}={value}" for name, value in (query | plain).items())


async def joined(served: Served, path: str) -> Client:
    client = await connect(served.server, path, handshake_timeout_seconds=30.0)
    assert await client.receive_text(timeout=SECONDS) == "ready"
    return client


async def texts(client: Client, count: int) -> list[str]:
    return [await client.receive_text(timeout=SECONDS) for _ in range(count)]
