"""What the reader sees: one widget a file; panels read Timelines and drive Clients and Servers."""

from IPython import get_ipython

from kit.panels.both_sides import BothSides
from kit.panels.chat import ChatPanel
from kit.panels.conversation import ConversationPanel
from kit.panels.frame import FramePanel
from kit.panels.handler import HandlerPanel
from kit.panels.hub import HubPanel
from kit.panels.page import PagePanel
from kit.panels.routes import RoutesPanel
from kit.panels.sequence import SequencePanel
from kit.panels.server import ServerPanel
from kit.panels.state import StatePanel
from kit.server import Page, Server

__all__ = [
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
    "show_as_panels",
]


def show_as_panels() -> None:
    """Let a `Server` or a `Page` at the end of a notebook cell show its panel; nothing happens outside IPython."""
    shell = get_ipython()
    if shell is not None:
        formatter = shell.display_formatter.mimebundle_formatter
        formatter.for_type(Server, lambda server, **_options: ServerPanel(server)._repr_mimebundle_())
        formatter.for_type(Page, lambda page, **_options: PagePanel(page.server, page.path)._repr_mimebundle_())
