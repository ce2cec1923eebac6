"""What every panel is: a view of a Timeline that is told what is new at most 20 times a second, and only while shown."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from kit import loops
from kit.admission import notebook_pages
from kit.panels.follower import Follower, follower_of
from kit.printable import visible
from kit.timeline import Entry, Timeline

__all__ = ["ListPanel", "Panel", "followed", "front_end"]

_HERE = Path(__file__).parent


def front_end(name: str) -> dict[str, str]:
    """The ESM and CSS of a panel: what all share, the parts ``name.part.js`` if it has any, and its own. One module each, because a widget's cannot import."""
    parts = sorted(path.name for path in _HERE.glob(f"{name}.*.js"))
    scripts = [(_HERE / file).read_text("utf-8") for file in ("shared.js", *parts, f"{name}.js")]
    styles = [(_HERE / file).read_text("utf-8") for file in ("shared.css", f"{name}.css")]
    return {"_esm": "\n".join(scripts), "_css": "\n".join(styles)}


def followed(source: Any) -> Timeline:
    """The Timeline to follow: ``source`` itself, or that of a server or a client.

    Raises:
        TypeError: it is none of them.
    """
    timeline = source if isinstance(source, Timeline) else getattr(source, "timeline", None)
    if not isinstance(timeline, Timeline):
        raise TypeError(f"expected a server from `await serve(app)`, a client from `await connect(…)` or a Timeline, but got {source!r:.80}.")
    return timeline


class Panel(anywidget.AnyWidget):
    """A widget that follows a Timeline while somebody looks at it.

    Its front end says ``hello`` when it is displayed and ``bye`` when it is removed; nothing is kept in synced traits, so
    that no secret of the lesson is saved with the notebook. Callbacks may come on any thread: they only hand work on.
    """

    title = traitlets.Unicode(help="what a screen reader calls this panel").tag(sync=True)

    def __init__(self, timeline: Timeline, **traits: Any) -> None:
        super().__init__(**traits)
        self.timeline = timeline
        self._views: set[str] = set()
        self._follower: Follower | None = None
        self.on_msg(self._on_front_end)

    # What a panel is made of: subclasses define these; all run on the panels' loop.

    def _begin(self) -> None:
        """Forget what was folded so far: the Timeline is about to be read from its beginning."""

    def _reset(self) -> dict[str, Any]:
        """Everything that a view shows, for one that has just been displayed."""
        raise NotImplementedError

    def _changes(self, entries: list[Entry], skipped: int) -> dict[str, Any] | None:
        """What ``entries`` change, or None when they change nothing."""
        raise NotImplementedError

    def _action(self, what: str, form: dict[str, Any]) -> Coroutine[Any, Any, None] | None:
        """The coroutine that a click asks for."""
        return None

    def _failed(self, error: Exception, form: dict[str, Any]) -> None:
        """Show, in the view that was clicked, why that failed."""
        self._tell({"error": visible(str(error))[:1_000], "to": form.get("view")})

    def _wants_ticks(self) -> bool:
        """Whether to follow the Timeline, unless the panel is closed; by default only while displayed."""
        return bool(self._views)

    # Between the front end, the Timeline and the panels' loop.

    def _on_front_end(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        """From any thread: nothing here waits."""
        what, view = message.get("do"), message.get("view", "")
        if what == "hello":
            notebook_pages.add(message.get("origin"))
            self._views.add(view)
            loops.panels().call_soon(self._greet, view)
        elif what == "bye":
            self._views.discard(view)
            loops.panels().call_soon(self._follow)
        else:
            action = self._action(str(what), message)
            if action is not None:
                loops.background().submit(self._guarded(action, message))

    async def _guarded(self, action: Coroutine[Any, Any, None], form: dict[str, Any]) -> None:
        try:
            await action
        except Exception as error:
            self._failed(error, form)
        else:
            if form.get("token"):
                self._tell({"done": form["token"], "to": form.get("view")})

    def _greet(self, view: str) -> None:
        self._follow()
        self._tell({**self._reset(), "reset": True, "to": view, "beganAt": self.timeline.began_at})

    def _follow(self) -> None:
        """On the panels' loop: join or leave those who follow the Timeline, as wanted now."""
        if self._wants_ticks() and self._follower is None:
            self._begin()
            self._follower = follower_of(self.timeline)
            self._changes(*self._follower.join(self))
        if not self._wants_ticks() or self.comm is None:  # asked after joining too: it may be closed meanwhile, from another thread
            self._unfollow()

    def _unfollow(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.leave(self)

    def _restart(self) -> None:
        """On the panels' loop: read the Timeline from its beginning, and show it all again."""
        self._unfollow()
        self._follow()
        self._tell({**self._reset(), "reset": True, "beganAt": self.timeline.began_at})

    def _wake(self) -> None:
        """From any thread: look again, whether or not something is new in the Timeline."""
        loops.panels().call_soon(self._tick_soon, 0.0)

    def _tick_soon(self, after_seconds: float) -> None:
        """On the panels' loop: look again after so many seconds, or sooner; never while the Timeline is not followed."""
        if self._follower is not None:
            self._follower.tick_in(after_seconds)

    def on_tick(self, entries: list[Entry], skipped: int) -> None:
        """Called by the `Follower`, on the panels' loop."""
        changes = self._changes(entries, skipped)
        if changes is not None:
            self._tell(changes)

    def _tell(self, message: dict[str, Any]) -> None:
        """Send a message to the views, from any thread. Nothing is sent while nobody looks: ``hello`` gets it all."""
        if self._views and self.comm is not None:
            super().send(message)  # not self.send: a panel's own send() sends a WebSocket message

    def close(self) -> None:
        """Remove the panel from the page and stop following; safe to call twice."""
        if "_views" not in self.__dict__:  # its arguments were refused before it was made
            return
        self._views.clear()
        super().close()
        self._unfollow()


class ListPanel(Panel):
    """A panel whose views list what happens: what is new can be held back, and the list cleared.

    Each view holds back and clears for itself. The methods press the buttons of all views that are displayed now, and
    do nothing where that is done already; from any thread.
    """

    def pause(self) -> None:
        """Hold what is new back, as the Pause button does. What exceeds the list's own limit meanwhile is lost to it, oldest first."""
        self._tell({"press": "pause"})

    def resume(self) -> None:
        """Show what was held back, and what comes, as the Resume button does."""
        self._tell({"press": "resume"})

    def clear(self) -> None:
        """Empty the list, as the Clear button does; what is held back stays so. The Timeline keeps it all."""
        self._tell({"press": "clear"})
