"""What the reader sees: one widget a file; panels read Timelines and drive Clients and Servers."""

from typing import Any

from IPython import get_ipython

from kit.panels.both_sides import BothSides
from kit.panels.chat import ChatPanel
from kit.panels.conversation import ConversationPanel
from kit.panels.server import ServerPanel
from kit.server import Server

__all__ = ["BothSides", "ChatPanel", "ConversationPanel", "ServerPanel", "show_servers_as_panels"]


def show_servers_as_panels() -> None:
    """Let a `Server` at the end of a notebook cell show its `ServerPanel`; nothing happens outside IPython."""
    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.mimebundle_formatter.for_type(Server, _as_panel)


def _as_panel(server: Server, **_options: Any) -> Any:
    return ServerPanel(server)._repr_mimebundle_()
