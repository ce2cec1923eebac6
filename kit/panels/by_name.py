"""ServersPanel: what the panels of a server have in common. They follow its *name*, whichever server bears it now."""

from __future__ import annotations

from kit.panels.base import Panel
from kit.registry import running_server
from kit.server import Server

__all__ = ["ServersPanel"]


class ServersPanel(Panel):
    """A panel of a server, which goes on with the one that replaces it.

    Args:
        server: the server, as `serve` returns it.
        what: what the panel shows, the beginning of its title.

    Raises:
        TypeError: not a server.
    """

    def __init__(self, server: Server, what: str) -> None:
        if not isinstance(server, Server):
            raise TypeError(f"{type(self).__name__} expects a server from `await serve(app)`, but got {server!r:.80}.")
        super().__init__(server.timeline, title=f"{what} {server.name}")
        self._last_known = server

    @property
    def server(self) -> Server:
        """The server that bears the name now, or the last one that did."""
        self._last_known = running_server(self._last_known.name) or self._last_known
        return self._last_known
