"""ChatPanel's faults: each control with its method twin, the state in words, and what the log and the conversation say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kit import ChatPanel, Server, loops, serve
from kit.errors import Disconnected, KitError
from kit.faults import FAULTS, INVALID_FRAMES, slow_network
from kit.panels.fault_form import pill_for, settings_for, size_in
from kit.panels.server import ServerPanel
from tests.apps import app
from tests.panels.conftest import FrontEnd
from tests.panels.test_front_end import node_path, run  # noqa: F401

Show = Callable[[Any], FrontEnd]
Eventually = Callable[..., Any]

PILLS = {"half-open": "half-open", "reading-stalled": "not reading", "slow-network": "slow network", "pongs-delayed": "late pongs"}
FORMS = {"slow-network": {"to_server": "20", "to_client": "20"}, "pongs-delayed": {"seconds": ""}}


@pytest.fixture
async def panel(server: Server) -> AsyncIterator[ChatPanel]:
    panel = ChatPanel(server, "/ws", name="Ana")
    await panel.connect()
    yield panel
    await panel.abort()


@pytest.mark.parametrize("what", FAULTS)
async def test_a_fault_is_begun_and_ended_by_its_control_and_said_in_the_pill(panel: ChatPanel, show: Show, eventually: Eventually, what: str) -> None:
    front_end = show(panel)
    await eventually(lambda: front_end.state.get("pill") == "open")
    assert front_end.state["faults"] == []
    front_end.do("begin fault", fault=what, **FORMS.get(what, {}))
    await eventually(lambda: front_end.state["pill"] == PILLS[what])
    assert (front_end.state["tone"], front_end.state["faults"]) == ("warning", [what])
    front_end.do("end fault", fault=what)
    await eventually(lambda: front_end.state["faults"] == [])
    await eventually(lambda: front_end.state["pill"] == ("closed 1006" if what == "half-open" else "open"))


async def test_the_method_twins_do_what_the_controls_do(panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel)
    await panel.begin_fault("slow-network", to_server_seconds=0.05)
    assert await panel.ping() >= 0.05
    await panel.end_fault("slow-network")
    await panel.end_fault("slow-network")
    await panel.send_in_fragments("hällo", [2, 2])
    await eventually(lambda: [item["text"] for item in front_end.shown if item["from"] in ("me", "server")] == ["hällo", "hällo"])
    about = next(item["about"] for item in front_end.shown if item["from"] == "me")
    assert about == "in fragments · 6 B"
    await panel.send_invalid_frame("bad-utf8")
    await eventually(lambda: front_end.state["pill"] == "closed 1007")


async def test_a_stalled_panel_shows_nothing_until_it_reads_again(panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel)
    await panel.begin_fault("reading-stalled")
    for number in range(20):
        await panel.send(str(number))
    await eventually(lambda: [item["from"] for item in front_end.shown].count("me") == 20)
    assert "server" not in [item["from"] for item in front_end.shown]
    await panel.end_fault("reading-stalled")
    await eventually(lambda: [item["text"] for item in front_end.shown if item["from"] == "server"] == [str(number) for number in range(20)])
    notes = [item["text"] for item in front_end.shown if item["from"] == "note"]
    assert notes[1:] == ["Ana stops reading", "Ana reads again"]


async def test_a_fault_that_code_began_is_shown_and_can_be_ended_in_the_panel(panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel)
    async with slow_network(panel.client, to_client_seconds=0.02):
        await eventually(lambda: front_end.state.get("pill") == "slow network")
        front_end.do("end fault", fault="slow-network")
        await eventually(lambda: front_end.state["pill"] == "open")


async def test_the_worst_of_several_faults_is_what_the_pill_has_room_for(panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel)
    for what in ("pongs-delayed", "slow-network", "reading-stalled", "half-open"):
        front_end.do("begin fault", fault=what, **FORMS.get(what, {}))
        await eventually(lambda what=what: front_end.state.get("pill") == PILLS[what])
    assert set(front_end.state["faults"]) == set(PILLS)
    assert [pill_for(faults) for faults in ([], ["slow-network", "half-open"])] == [None, "half-open"]


async def test_a_new_connection_begins_without_the_faults_of_the_one_before(panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel)
    await panel.begin_fault("slow-network", to_server_seconds=0.02)
    await panel.connect()
    await eventually(lambda: (front_end.state.get("pill"), front_end.state.get("faults")) == ("open", []))


async def test_fragments_and_invalid_frames_are_sent_from_the_menu(panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel)
    await eventually(lambda: any("offered" in message for message in front_end.messages))
    assert next(message["offered"] for message in front_end.messages if "offered" in message) == {"invalidFrames": list(INVALID_FRAMES)}
    front_end.do("send in fragments", message="hello", size="2")
    await eventually(lambda: "in fragments · 5 B" in front_end.words())
    front_end.do("send invalid frame", kind="unmasked")
    await eventually(lambda: front_end.state["pill"] == "closed 1002")


@pytest.mark.parametrize(
    ("what", "form", "words"),
    [
        ("begin fault", {"fault": "slow-network", "to_server": "fast"}, "expected a latency in milliseconds, such as 300, but got 'fast'"),
        ("begin fault", {"fault": "slow-network", "to_server": "", "to_client": "0"}, "expects a latency in at least one direction"),
        ("begin fault", {"fault": "slow-network", "to_server": "nan"}, "to_server_seconds expects 0 to 60 seconds"),
        ("begin fault", {"fault": "pongs-delayed", "seconds": "-1"}, "seconds expects 0 to 60 seconds, but got -1.0"),
        ("begin fault", {"fault": "rain"}, "begin_fault expects one of 'reading-stalled'"),
        ("send in fragments", {"message": "x", "size": "two"}, "fragments expect how many bytes each has, such as 3, but got 'two'"),
        ("send in fragments", {"message": "x", "size": "0"}, "at least 1, but got 0"),
        ("send invalid frame", {"kind": "rude"}, "kind expects one of 'unmasked'"),
    ],
)
async def test_what_cannot_be_is_said_in_the_panel(panel: ChatPanel, show: Show, eventually: Eventually, what: str, form: dict[str, str], words: str) -> None:
    front_end = show(panel)
    front_end.do(what, **form)
    await eventually(lambda: words in front_end.words())
    assert panel.client.faults == {}


async def test_faults_need_a_client_that_is_connected(server: Server) -> None:
    panel = ChatPanel(server, "/ws", name="Ana")
    calls = [lambda: panel.begin_fault("half-open"), lambda: panel.send_in_fragments("x", 1), lambda: panel.send_invalid_frame("unmasked")]
    for call in calls:
        with pytest.raises(KitError, match=r"Ana is not connected\. Press Connect"):
            await call()
    await panel.end_fault("half-open")
    await panel.connect()
    await panel.disconnect()
    for call in calls:
        with pytest.raises(Disconnected, match="Ana is not connected"):
            await call()


async def test_the_servers_log_tells_of_faults_too(server: Server, panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(ServerPanel(server))
    await panel.begin_fault("half-open")
    await eventually(lambda: [row["text"] for row in front_end.shown if row["mark"] == "fault"] == ["Ana goes silent without hanging up: half-open"])


async def test_a_stalled_client_of_a_stopped_server_is_told_once_it_reads_again(show: Show, eventually: Eventually) -> None:
    async with serve(app, port=0) as server:
        panel = ChatPanel(server, "/ws", name="Ana")
        front_end = show(panel)
        await panel.connect()
        await panel.begin_fault("reading-stalled")
        await server.stop()
        await panel.end_fault("reading-stalled")
        await eventually(lambda: front_end.state["pill"].startswith("closed"))
        await eventually(lambda: "because it was stopped" in front_end.words())


async def test_half_a_message_of_a_connection_that_ended_is_not_put_before_the_next_ones(panel: ChatPanel, show: Show, eventually: Eventually) -> None:
    front_end = show(panel)
    wire = panel.client._wire
    await loops.run_on(wire.loop, wire.write_frames(b"\x01\x82\x00\x00\x00\x00ha"))
    await panel.connect()
    await panel.send("whole")
    await eventually(lambda: [item["text"] for item in front_end.shown if item["from"] == "server"] == ["whole"])


def test_typed_settings_are_read_in_their_own_units() -> None:
    assert settings_for("slow-network", {"to_server": " 250 ", "to_client": ""}) == {"to_server_seconds": 0.25, "to_client_seconds": 0.0}
    assert settings_for("pongs-delayed", {"seconds": "1.5"}) == {"seconds": 1.5}
    assert settings_for("pongs-delayed", {"seconds": " "}) == {"seconds": None}
    assert settings_for("half-open", {"seconds": "1"}) == {}
    assert size_in({"size": " 7 "}) == 7


# The front end, under Node.

_PRESSING = """(() => {
  const asked = [];
  const faults = kit.faultControls((what, form) => asked.push([what, form]), () => "typed");
  const press = (index) => faults.element.children[index + 1].children[0].listeners.click();
  faults.show([]); press(0); faults.show(["reading-stalled"]); press(0); press(4);
  return asked;
})()"""


def test_the_control_of_each_lasting_fault_says_what_it_does_next(run: Any) -> None:  # noqa: F811
    on = json.dumps([*FAULTS])
    labels = run("chat", f"{on}.map((fault) => [kit.faultLabel(fault, []), kit.faultLabel(fault, {on})])")
    assert labels == [["Stop reading", "Read again"], ["Slow network", "Fast again"], ["Half-open", "Reset the line"], ["Delay pongs", "Pong at once"]]


def test_pressing_a_control_asks_for_the_fault_or_for_its_end(run: Any) -> None:  # noqa: F811
    asked = run("chat", _PRESSING)
    assert asked == [["begin fault", {"fault": "reading-stalled"}], ["end fault", {"fault": "reading-stalled"}], ["abort", None]]
