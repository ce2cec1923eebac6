"""WebSockets from both sides: real FastAPI servers and clients in one kernel, and panels that show both ends live."""

from kit.client import Client, connect
from kit.panels import (
    BothSides,
    ChatPanel,
    ConversationPanel,
    FramePanel,
    HandlerPanel,
    PagePanel,
    RoutesPanel,
    SequencePanel,
    ServerPanel,
    StatePanel,
    show_as_panels,
)
from kit.server import Page, Server, serve, stop_all

__all__ = [
    # kit.client
    "Client",
    "connect",
    # kit.panels
    "BothSides",
    "ChatPanel",
    "ConversationPanel",
    "FramePanel",
    "HandlerPanel",
    "PagePanel",
    "RoutesPanel",
    "SequencePanel",
    "ServerPanel",
    "StatePanel",
    # kit.server
    "Page",
    "Server",
    "serve",
    "stop_all",
]

show_as_panels()
