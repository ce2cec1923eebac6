"""WebSockets from both sides: real FastAPI servers and clients in one kernel, and panels that show both ends live."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from kit.client import Client, connect
from kit.closing import explain
from kit.faults import half_open, pongs_delayed, reading_stalled, send_in_fragments, send_invalid_frame, slow_network
from kit.hub.hub import Hub
from kit.recording import read_recording, write_recording
from kit.registry import stop_all
from kit.server import Page, Server, serve
from kit.services import PrivatePostgres, PrivateRedis

if TYPE_CHECKING or "IPython" in sys.modules:
    from kit.panels import (
        BothSides,
        ChatPanel,
        ConversationPanel,
        FramePanel,
        HandlerPanel,
        HubPanel,
        PagePanel,
        RoutesPanel,
        SequencePanel,
        ServerPanel,
        StatePanel,
        show_as_panels,
    )

    show_as_panels()

__all__ = [
    # kit.client
    "Client",
    "connect",
    # kit.closing
    "explain",
    # kit.faults
    "half_open",
    "pongs_delayed",
    "reading_stalled",
    "send_in_fragments",
    "send_invalid_frame",
    "slow_network",
    # kit.hub
    "Hub",
    # kit.panels
    "BothSides",
    "ChatPanel",
    "ConversationPanel",
    "FramePanel",
    "HandlerPanel",
    "HubPanel",
    "PagePanel",
    "RoutesPanel",
    "SequencePanel",
    "ServerPanel",
    "StatePanel",
    # kit.recording
    "read_recording",
    "write_recording",
    # kit.registry
    "stop_all",
    # kit.server
    "Page",
    "Server",
    "serve",
    # kit.services
    "PrivatePostgres",
    "PrivateRedis",
]


def __getattr__(name: str) -> Any:
    """The panels, where no notebook is: a process that only serves an app starts without them."""
    if name in __all__:
        return getattr(import_module("kit.panels"), name)
    raise AttributeError(f"module 'kit' has no attribute {name!r}")
