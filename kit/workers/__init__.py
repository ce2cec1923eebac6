"""A server of several processes: sockets are dealt out to them in turn, and what happens there is told in the kernel's Timeline.

In the kernel: `engine` accepts and deals out, `process` starts one child and listens to it, `retelling` puts what it tells
into the Timeline. In the child: `child` serves what it is handed, `imported` finds the app, `relay` tells what is new.
"""

__all__ = []
