"""HubPanel: what a view is told of a hub's rooms, members, queues and broker, and how rarely the hub is asked."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from kit import Hub, HubPanel, connect, serve
from kit.hub import HubStatistics
from kit.hub.broker import BROKERS, BrokerLimits, Deliver
from kit.hub.memory import MemoryBroker
from tests.hub.rooms_app import joining_app, never_reading
from tests.panels.conftest import FrontEnd

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]


class LookedAt(Hub):
    """A hub that counts how often it is asked."""

    looks = 0

    def statistics(self) -> HubStatistics:
        self.looks += 1
        return super().statistics()


class RestlessBroker(MemoryBroker):
    """A broker whose connection a test can let change."""

    told: ClassVar[Deliver]

    def __init__(self, _url: str, limits: BrokerLimits) -> None:
        super().__init__("memory://", limits)

    async def open(self, deliver: Deliver) -> None:
        await super().open(deliver)
        RestlessBroker.told = deliver


class Seen:
    """What a view of the panel shows now."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end

    def newest(self, what: str) -> Any:
        return next(reversed(self.told(what)), {})

    def told(self, what: str) -> list[Any]:
        """All that the view has shown there, oldest first."""
        return [message[what] for message in self.front_end.messages if what in message]

    @property
    def hub(self) -> dict[str, Any]:
        return self.newest("hub")

    @property
    def rooms(self) -> dict[str, dict[str, str]]:
        """The counts of each room, by its name."""
        return {row["name"]: dict(map(tuple, row["counts"])) for row in self.newest("rooms")}

    @property
    def members(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in self.newest("members")}


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a `RestlessBroker`, with a password."""
    monkeypatch.setitem(BROKERS, "restless", f"{__name__}:RestlessBroker")
    return "restless://ana:spring-rain@broker.example/0"


def test_only_a_hub_has_such_a_panel() -> None:
    with pytest.raises(TypeError, match=r'HubPanel expects a hub such as Hub\("memory://"\), but got 7'):
        HubPanel(7)  # type: ignore[arg-type]


async def test_with_nobody_in_a_room_it_says_what_to_do_next(show: Show, eventually: Eventually) -> None:
    hub = Hub()
    seen = Seen(show(HubPanel(hub)))
    await eventually(lambda: seen.hub)
    assert (seen.hub["pill"], seen.hub["teaches"]) == ("closed", True)
    assert "await hub.open()" in seen.hub["hint"]
    async with hub:
        await eventually(lambda: seen.hub["pill"] == "connected")
        assert (seen.hub["count"], seen.hub["teaches"]) == ("0 rooms", True)
        async with hub.subscribe("lobby"):
            await eventually(lambda: not seen.hub["hint"])
            assert (list(seen.rooms), seen.hub["teaches"]) == (["lobby"], False)
        await eventually(lambda: seen.hub["teaches"] and not seen.members)
        empty = [hub["teaches"] for hub in seen.told("hub") if hub["hint"] == "Nobody is in a room now."]
        assert empty[0] is False, "who left is read first"


async def test_each_room_has_its_counts_and_the_hub_their_totals(show: Show, eventually: Eventually) -> None:
    async with Hub() as hub, hub.subscribe("lobby"), hub.subscribe("garden", queue=2, policy="drop_oldest"):
        seen = Seen(show(HubPanel(hub)))
        for number in range(5):
            await hub.publish("lobby", number)
            await hub.publish("garden", number)
        await hub.publish("nobody is here", 0)
        expected = {"members": "0", "elsewhere": "0", "subscriber": "1", "published": "5", "received": "5", "dropped": "0", "gaps": "0", "offset": "5"}
        await eventually(lambda: seen.rooms == {"lobby": expected, "garden": expected | {"dropped": "3"}})
        await eventually(lambda: dict(map(tuple, seen.hub["totals"])) == {"published": "11", "received": "10", "dropped": "3", "gaps": "0"})


async def test_the_broker_s_state_is_a_word_with_its_reason_and_no_password_is_shown(restless: str, show: Show, eventually: Eventually) -> None:
    async with Hub(restless) as hub, hub.subscribe("lobby"):
        panel = HubPanel(hub)
        seen = Seen(show(panel))
        await eventually(lambda: seen.hub.get("pill") == "connected")
        for state, tone in (("reconnecting", "warning"), ("failed", "bad"), ("reconnecting", "warning"), ("connected", "good")):
            RestlessBroker.told.state(state, f"{state}, as broker.example said")
            await eventually(lambda state=state: seen.hub["pill"] == state)
            assert seen.hub["tone"] == tone
            assert seen.hub["detail"].endswith(f"{state}, as broker.example said")
            assert seen.hub["detail"].startswith("The broker cannot be reached. ") == (state == "reconnecting")
        RestlessBroker.told.gap("lobby", "lost while away")
        await eventually(lambda: seen.rooms["lobby"].get("gap") == "1")
        assert seen.hub["url"] == "restless://ana:…@broker.example/0"
        assert ["reconnect", "1"] in [list(total) for total in seen.hub["totals"]]
        assert "spring-rain" not in f"{seen.front_end.messages} {panel.title}"


async def test_members_have_their_names_policies_and_queues_in_words(show: Show, eventually: Eventually) -> None:
    hub = Hub(queue=100)
    async with serve(joining_app(hub, opens_hub=True), port=0) as server:
        seen = Seen(show(HubPanel(hub)))
        async with connect(server, "/join/lobby?name=Ana"), connect(server, "/join/lobby?name=Ben&policy=block"), hub.subscribe("lobby", queue=4):
            await eventually(lambda: len(seen.members) == 3)
            await hub.publish("lobby", "hello")
            (subscriber,) = seen.members.keys() - {"Ana", "Ben"}
            expected = {
                "Ana": ("disconnect", "nothing waits", "keeps up", "good"),
                "Ben": ("block", "nothing waits", "keeps up", "good"),
                subscriber: ("disconnect", "1 of 4, 6 B", "behind", "warning"),
            }
            await eventually(lambda: {name: tuple(row[key] for key in ("policy", "waits", "state", "tone")) for name, row in seen.members.items()} == expected)
        await eventually(lambda: {"left"} in [{row["state"] for row in rows} for rows in seen.told("members")])


async def test_whom_the_hub_lets_go_is_still_shown_with_the_reason(show: Show, eventually: Eventually) -> None:
    hub = Hub(queue=20, stuck_seconds=0.3)
    async with serve(joining_app(hub, opens_hub=True), port=0) as server, never_reading(server, "/join/lobby?name=Ana"):
        seen = Seen(show(HubPanel(hub)))
        await eventually(lambda: "Ana" in seen.members)
        for _ in range(200):
            await hub.publish("lobby", "x" * 100_000)
        await eventually(lambda: seen.members["Ana"]["gone"])
        assert (seen.members["Ana"]["state"], seen.members["Ana"]["tone"]) == ("ended", "bad")
        assert seen.members["Ana"]["reason"].startswith(("too slow: ", "stuck: "))
        assert seen.newest("room")["hint"] == "Nobody of this hub is in “lobby” now. Whoever joins it appears here."
        later = HubPanel(hub)
        later.choose("lobby")
        seen_later = Seen(show(later))
        await eventually(lambda: "Ana" in seen_later.members)
        assert seen_later.members["Ana"]["reason"] == seen.members["Ana"]["reason"], "why is worth reading whenever somebody looks"


async def test_who_left_fades_and_is_gone_after_a_moment(monkeypatch: pytest.MonkeyPatch, show: Show, eventually: Eventually) -> None:
    monkeypatch.setattr("kit.panels.hub._LEFT_SECONDS", 0.5)
    async with Hub() as hub:
        async with hub.subscribe("lobby"):
            pass
        async with hub.subscribe("lobby"):
            seen = Seen(show(HubPanel(hub)))
            await eventually(lambda: seen.members)
            assert [row["state"] for row in seen.members.values()] == ["keeps up"], "who left before the panel was there is not news"
            async with hub.subscribe("lobby"):
                await eventually(lambda: len(seen.members) == 2)
            await eventually(lambda: ["keeps up", "left"] in [[row["state"] for row in rows] for rows in seen.told("members")])
            await eventually(lambda: len(seen.members) == 1)


async def test_a_room_is_chosen_by_click_and_by_method_whether_or_not_somebody_is_in_it(show: Show, eventually: Eventually) -> None:
    async with Hub() as hub, hub.subscribe("lobby"), hub.subscribe("garden"):
        panel = HubPanel(hub)
        seen = Seen(show(panel))
        await eventually(lambda: seen.newest("room").get("name") == "lobby")
        seen.front_end.do("choose", room="garden")
        await eventually(lambda: seen.newest("room")["name"] == "garden")
        await eventually(lambda: [row["chosen"] for row in seen.newest("rooms")] == [False, True])
        panel.choose("cellar")
        assert panel.chosen == "cellar"
        await eventually(lambda: (seen.newest("room")["name"], seen.members) == ("cellar", {}))
        async with hub.subscribe("cellar"):
            await eventually(lambda: seen.members)
        with pytest.raises(ValueError, match="1 to 200 characters"):
            panel.choose("")


async def test_what_a_room_or_a_member_is_called_cannot_hide_anything(show: Show, eventually: Eventually) -> None:
    hub = Hub()
    async with serve(joining_app(hub, opens_hub=True), port=0) as server, connect(server, "/join/lobby?name=a%E2%80%AEb"), hub.subscribe("x\u202ey"):
        seen = Seen(show(HubPanel(hub)))
        await eventually(lambda: len(seen.rooms) == 2)
        assert set(seen.rooms) == {"lobby", "x\\u202ey"}
        seen.front_end.do("choose", room="lobby")
        await eventually(lambda: "a\\u202eb" in seen.members)


@pytest.mark.parametrize("is_here", [True, False], ids=["somebody is here", "nobody is here"])
async def test_who_is_in_the_room_elsewhere_is_told_apart(is_here: bool, show: Show, eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel has its hub ask; the room is shown even if this hub has nobody in it."""
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda bundle, raw: shown.append(bundle))
    url = f"local://{secrets.token_hex(8)}"
    async with Hub(url) as hub, Hub(url) as other, serve(joining_app(other, opens_hub=False), port=0) as there, contextlib.AsyncExitStack() as stack:
        if is_here:
            await stack.enter_async_context(hub.subscribe("lobby"))
        seen = Seen(show(panel := HubPanel(hub)))
        panel.choose("lobby")
        async with connect(there, "/join/lobby?name=Ana"):
            await eventually(lambda: "Ana" in seen.members)
            assert (seen.members["Ana"]["state"], seen.members["Ana"]["kind"], seen.members["Ana"]["waits"]) == ("elsewhere", "elsewhere", "–")
            assert (seen.rooms["lobby"]["members"], seen.rooms["lobby"]["elsewhere"]) == ("0", "1")
            counted = {seen.rooms["lobby"][label] for label in ("published", "received", "dropped", "gaps", "offset")}
            assert counted == ({"0"} if is_here else {"–"})
            assert ", 1 member elsewhere, " in seen.newest("room")["text"]
            panel.snapshot()
        assert "Ana: elsewhere" in shown[0]["text/plain"]
        await eventually(lambda: "Ana" not in seen.members)


async def test_only_so_many_rooms_and_members_are_shown_and_the_rest_is_counted(show: Show, eventually: Eventually) -> None:
    async with Hub() as hub, contextlib.AsyncExitStack() as stack:
        for number in range(104):
            await stack.enter_async_context(hub.subscribe(f"room {number}"))
        for _ in range(206):
            await stack.enter_async_context(hub.subscribe("room 103"))
        seen = Seen(show(panel := HubPanel(hub)))
        panel.choose("room 103")
        await eventually(lambda: seen.newest("room").get("name") == "room 103")
        assert (len(seen.rooms), len(seen.members)) == (100, 200)
        assert "room 103" in seen.rooms
        assert seen.hub["more"] == '4 more rooms not in this list: panel.choose("name") shows any.'
        assert seen.newest("room")["more"] == "7 more are in this room: those shown have the fullest queues."


async def test_the_hub_is_asked_at_most_five_times_a_second_and_views_are_told_only_what_changed(show: Show, eventually: Eventually) -> None:
    async with LookedAt() as hub, hub.subscribe("lobby"):
        seen = Seen(show(HubPanel(hub)))
        await eventually(lambda: hub.looks >= 3)  # what the first two saw has been told: the greeting, and what is new since nothing
        before, began = hub.looks, time.monotonic()
        told = len(seen.front_end.messages)
        await eventually(lambda: hub.looks >= before + 4)
        assert hub.looks - before <= 5 * (time.monotonic() - began) + 1
        assert len(seen.front_end.messages) == told
        await hub.publish("lobby", "hello")
        await eventually(lambda: {key for message in seen.front_end.messages[told:] for key in message} == {"hub", "rooms", "room", "members"})


@pytest.mark.parametrize("ending", [{"what": "bye"}, {"what": "sight", "seen": False}])
async def test_while_nobody_sees_the_panel_the_hub_is_left_alone(ending: dict[str, Any], show: Show, eventually: Eventually) -> None:
    async with LookedAt() as hub, hub.subscribe("lobby"):
        panel = HubPanel(hub)
        seen = Seen(show(panel))
        await eventually(lambda: seen.members)
        seen.front_end.do(**ending)
        await eventually(lambda: panel._watching.done())
        looks = hub.looks
        await hub.publish("lobby", "hello")
        await eventually(lambda: hub.statistics().published == 1)
        assert hub.looks == looks + 1, "nobody but this test has looked"
        seen.front_end.do("hello") if ending["what"] == "bye" else seen.front_end.do("sight", seen=True)
        await eventually(lambda: seen.rooms["lobby"]["published"] == "1")


async def test_a_snapshot_says_the_same_in_a_saved_notebook(monkeypatch: pytest.MonkeyPatch, restless: str) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("kit.panels.snapshot.display", lambda bundle, raw: shown.append(bundle))
    async with Hub(restless) as hub, hub.subscribe("lobby"):
        await hub.publish("lobby", "hello")
        HubPanel(hub).snapshot()
    text = shown[0]["text/plain"]
    assert "connected · 1 published, 1 received, 0 dropped, 0 gaps" in text
    assert "lobby: 0 members, 1 subscriber, 1 published" in text
    assert "(disconnect): behind, 1 of 1,000, 6 B" in text
    assert "spring-rain" not in str(shown)
