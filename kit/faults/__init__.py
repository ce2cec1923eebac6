"""Faults, brought about on purpose: what a network and a careless client can do to a connection.

Four last as long as their ``async with`` block; two are sent. Each is an Entry of kind ``fault`` in the Timeline, at its
beginning and at its end, so that what shows a connection shows cause and effect. `Client.abort` is a fault too.
"""

from kit.faults.blocks import FAULTS, Fault, half_open, pongs_delayed, reading_stalled, slow_network
from kit.faults.odd_frames import INVALID_FRAMES, InvalidFrame, send_in_fragments, send_invalid_frame

__all__ = [
    "FAULTS",
    "INVALID_FRAMES",
    "Fault",
    "InvalidFrame",
    "half_open",
    "pongs_delayed",
    "reading_stalled",
    "send_in_fragments",
    "send_invalid_frame",
    "slow_network",
]
