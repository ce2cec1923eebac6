"""PagePanel: a page of the reader's app in a frame, at the address that the reader's own browser can reach."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from kit.admission import is_loopback
from kit.panels.base import front_end
from kit.panels.by_name import ServersPanel
from kit.server import Server
from kit.timeline import Entry

__all__ = ["PagePanel"]

_WAYS = ("auto", "direct", "proxy")


class PagePanel(ServersPanel):
    """A page that a server serves, with its address and a link: ``PagePanel(server, "/")``, or ``server.open("/")`` at the end of a cell.

    The reader's browser may be on another machine than the kernel, so the address is found there: the server's own where the
    notebook is opened as localhost, otherwise through jupyter-server-proxy, where the Jupyter server has it. It follows the
    server's *name*: when that server is replaced, the page is loaded again. Every click has a method twin.

    Args:
        server: a server from `serve`.
        path: which page; it may have a query.
        via: ``"direct"`` or ``"proxy"`` to have it one way only; ``"auto"`` takes the first that is there.
    """

    _esm, _css = front_end("page").values()

    def __init__(self, server: Server, path: str = "/", *, via: str = "auto") -> None:
        self._check(path, via)
        super().__init__(server, "Page of server")
        self.path, self.via = path, via
        self._shown = server
        self._loads = 0
        self._said: dict[str, Any] = {}

    async def reload(self) -> None:
        """Load the page again, as the Reload button does."""
        self._loads += 1
        self._tell({"state": self._state()})

    async def show(self, path: str | None = None, *, via: str | None = None) -> None:
        """Show another page of the server, or the same one another way."""
        path, via = self.path if path is None else path, self.via if via is None else via
        self._check(path, via)
        self.path, self.via = path, via
        self._tell({"state": self._state()})

    @staticmethod
    def _check(path: Any, via: Any) -> None:
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"path expects a text that begins with '/', but got {path!r}. The address before it is found in the browser.")
        if via not in _WAYS:
            raise ValueError(f"via expects 'auto', 'direct' or 'proxy', but got {via!r}.")

    def _action(self, what: str, form: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
        match what:
            case "reload":
                return self.reload()
            case "show":
                return self.show(via=form.get("via"))
        return None

    def _reset(self) -> dict[str, Any]:
        return {"state": self._state()}

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        if not skipped and not any(entry.kind == "notice" for entry in entries):
            return None
        before, state = self._said, self._state()
        return {"state": state} if state != before else None

    def _state(self) -> dict[str, Any]:
        """What the browser needs to find the page, and to know when to load it again."""
        server = self.server
        if server is not self._shown:
            self._shown = server
            self._loads += 1
        self._said = {
            "name": server.name,
            "port": server.port,
            "path": _with_token(self.path, server.kit_token),
            "shown": self.path,
            "via": self.via,
            "everywhere": not is_loopback(server.host),
            "serving": server.state == "serving",
            "loads": self._loads,
        }
        return self._said


def _with_token(path: str, token: str | None) -> str:
    """``path`` as a browser may ask for it: with the kit's own token, which the server takes into a cookie."""
    if token is None:
        return path
    before, hash_mark, fragment = path.partition("#")
    return f"{before}{'&' if '?' in before else '?'}kit_token={token}{hash_mark}{fragment}"
