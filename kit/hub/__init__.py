"""One message to many connections: rooms, a bounded queue for each subscriber, and brokers that join several processes."""

from kit.hub.errors import HubError, PublishFailed, SubscriberDisconnected
from kit.hub.hub import Hub
from kit.hub.member import Member
from kit.hub.message import Gap, Joined, Left, Message, Position
from kit.hub.presence import Present
from kit.hub.statistics import HubStatistics, QueueStatistics, RoomStatistics
from kit.hub.subscriber import Subscriber

__all__ = [
    "Gap",
    "Hub",
    "HubError",
    "HubStatistics",
    "Joined",
    "Left",
    "Member",
    "Message",
    "Position",
    "Present",
    "PublishFailed",
    "QueueStatistics",
    "RoomStatistics",
    "Subscriber",
    "SubscriberDisconnected",
]
