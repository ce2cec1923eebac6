"""The taps: what feeds the Timeline, from the raw bytes at each end and from the ASGI messages in between.

A message from the client passes, on the server, the `WireTap` that the protocol class shows what comes in, then the
`HandlerTap` that an `AsgiTap` has put before its handler; its answer passes the handler's tap, then the `TransportTap`
with the wire's. The client's end has a `WireTap` of its own. The app and the libraries under it stay unmodified.
"""

from kit.taps.asgi import AsgiTap, connection_in
from kit.taps.handler import HandlerTap
from kit.taps.transport import TransportTap
from kit.taps.wire import WireTap, note_closes

__all__ = ["AsgiTap", "HandlerTap", "TransportTap", "WireTap", "connection_in", "note_closes"]
