"""Event loops in threads of their own, and the hops between them: the only package that knows threads."""

from kit.loops.hops import aside, current_loop, run_on
from kit.loops.host import HostLoop, allow_nesting
from kit.loops.mailbox import Mailbox
from kit.loops.shared import background, panels, stop_shared_loops
from kit.loops.switching import giving_way
from kit.loops.thread import LoopThread, daemon_executor, new_event_loop, thread_frames

__all__ = [
    "HostLoop",
    "LoopThread",
    "Mailbox",
    "allow_nesting",
    "aside",
    "background",
    "current_loop",
    "daemon_executor",
    "giving_way",
    "new_event_loop",
    "panels",
    "run_on",
    "stop_shared_loops",
    "thread_frames",
]
