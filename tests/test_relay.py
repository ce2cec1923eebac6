"""From a process's Timeline over lines of text into the kernel's: nothing is lost uncounted, and both ends become one connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

import kit.workers.retelling
from kit.closing import explain
from kit.recording_form import RecordingError
from kit.timeline import Timeline
from kit.workers.relay import BEHIND_MOST, PAYLOAD_LIMIT_BYTES, Relay, RelayedTimeline
from kit.workers.retelling import Retelling, told_in

ADDRESS = ("127.0.0.1", 50_000)


class Both:
    """A process's Timeline and the kernel's, with what lies between them but no process."""

    def __init__(self, **limits: int) -> None:
        self.kernel = Timeline(**limits)
        self.process = RelayedTimeline(self.kernel.began, recording=True)
        self.woken = 0
        self.relay = Relay(self.process, self._wake)
        self.retelling = Retelling(self.kernel, "process 1")

    def _wake(self) -> None:
        self.woken += 1

    def arrives(self, address: Any = ADDRESS) -> None:
        """A socket is accepted, and handed over."""
        self.process.expect(address, self.retelling.expect(address))

    def tell(self) -> list[dict[str, Any]]:
        """Tell all that there is to tell; returns the batches."""
        batches = []
        while (line := self.relay.next_line()) is not None:
            kind, batch = told_in(line)
            assert kind == "batch"
            self.retelling.take_batch(json.loads(json.dumps(batch)))
            batches.append(batch)
        return batches


def test_entries_keep_their_time_and_say_their_process() -> None:
    both = Both()
    both.process.note("first", kind="log", level="INFO")
    both.kernel.note("second")
    assert both.woken
    both.tell()
    assert [(entry.number, entry.text, entry.details.get("process")) for entry in both.kernel.entries()] == [(1, "second", None), (2, "first", "process 1")]
    second, first = both.kernel.entries()
    assert 0 < first.at_seconds < second.at_seconds
    assert first.details == {"level": "INFO", "process": "process 1"}
    assert both.relay.next_line() is None


def test_a_client_of_the_kernel_and_the_processs_end_are_one_connection() -> None:
    both = Both()
    ours = both.kernel.open_connection(ADDRESS, name="Ana", path="/ws")
    both.arrives()
    assert (ours.process, ours.server_here, ours.report_due) == ("process 1", True, True)
    theirs = both.process.open_connection(ADDRESS)
    theirs.client_state, theirs.handler_closed, theirs.handler_returned = "CONNECTED", (4000, "enough"), True
    theirs.note_close("server", 4000, "enough")
    both.process.note("hi", kind="print", connection=theirs)
    both.tell()
    assert [(entry.text, entry.connection) for entry in both.kernel.entries()] == [("hi", ours.number)]
    assert (ours.name, ours.path, ours.client_state, ours.handler_closed) == ("Ana", "/ws", "CONNECTED", (4000, "enough"))
    assert (ours.close_frames, ours.handler_returned, ours.open) == ([("server", 4000, "enough")], True, True)
    both.process.end_connection(ADDRESS, theirs)
    both.tell()
    assert (ours.open, ours.report_due) == (False, False)
    assert both.process.live == {}


def test_a_client_that_learns_of_its_socket_after_it_was_accepted_finds_the_same_connection() -> None:
    both = Both()
    both.arrives()
    ours = both.kernel.open_connection(ADDRESS, name="Ana")
    both.process.open_connection(ADDRESS)
    both.tell()
    assert (ours.process, both.kernel.connections) == ("process 1", [ours])


def test_a_client_that_is_gone_when_the_report_comes_is_still_the_same_connection() -> None:
    both = Both()
    ours = both.kernel.open_connection(ADDRESS, name="Ana")
    both.arrives()
    theirs = both.process.open_connection(ADDRESS)
    both.kernel.end_connection(ADDRESS, ours)
    theirs.refused_status, theirs.handler_error = 500, "ZeroDivisionError: division by zero"
    both.process.end_connection(ADDRESS, theirs)
    both.tell()
    assert (ours.refused_status, ours.handler_error, both.kernel.connections) == (500, "ZeroDivisionError: division by zero", [ours])


def test_an_older_connection_of_a_port_that_is_used_again_is_not_taken() -> None:
    both = Both()
    before = both.kernel.open_connection(ADDRESS, name="Ana")
    both.kernel.end_connection(ADDRESS, before)  # it never got to a process
    both.arrives()
    both.process.open_connection(ADDRESS)
    both.tell()
    assert [(connection.name, connection.process) for connection in both.kernel.connections] == [("Ana", None), ("stranger", "process 1")]


def test_a_stranger_whose_end_is_not_known_yet_does_not_get_the_next_client_of_its_port() -> None:
    both = Both()
    both.arrives()
    stranger = both.process.open_connection(ADDRESS)
    both.tell()
    ours = both.kernel.open_connection(ADDRESS, name="Ana")
    both.arrives()
    both.process.end_connection(ADDRESS, stranger)
    again = both.process.open_connection(ADDRESS)
    again.client_state = "CONNECTED"
    both.tell()
    first, second = both.kernel.connections
    assert (second, second.name, second.open, second.client_state) == (ours, "Ana", True, "CONNECTED")
    assert (first.name, first.open, first.client_state) == ("stranger", False, None)


def test_a_socket_that_spoke_no_websocket_does_not_keep_the_next_client_of_its_port() -> None:
    both = Both()
    both.arrives()  # a page was asked for, and the socket is closed
    ours = both.kernel.open_connection(ADDRESS, name="Ana")
    both.arrives()
    both.process.open_connection(ADDRESS).client_state = "CONNECTED"
    both.tell()
    assert (ours.client_state, both.kernel.connections) == ("CONNECTED", [ours])


def test_a_payload_of_more_than_the_limit_crosses_as_its_preview_and_size() -> None:
    both = Both()
    for size in (10, 1_000, PAYLOAD_LIMIT_BYTES, PAYLOAD_LIMIT_BYTES + 1):
        both.process.note("x" * size)
    both.tell()
    told = [(entry.size, len(entry.payload) if entry.payload is not None else None, len(entry.text)) for entry in both.kernel.entries()]
    limit = PAYLOAD_LIMIT_BYTES
    assert told == [(10, 10, 10), (1_000, 1_000, 256), (limit, limit, 256), (limit + 1, None, 256)]


def test_payloads_from_elsewhere_share_the_kernels_limit() -> None:
    both = Both(payload_limit_bytes=2_500)
    for letter in "abc":
        both.process.note(letter * 1_000)
    both.tell()
    assert [(entry.payload is None, entry.size, entry.text[:1]) for entry in both.kernel.entries()] == [
        (True, 1_000, "a"),
        (False, 1_000, "b"),
        (False, 1_000, "c"),
    ]


def test_what_is_too_much_is_skipped_counted_and_said() -> None:
    both = Both()
    for number in range(BEHIND_MOST + 1):
        both.process.note(str(number))
    batches = both.tell()
    told = sum(len(batch["entries"]) for batch in batches)
    skipped = sum(batch["skipped"] for batch in batches)
    assert (told + skipped, told < BEHIND_MOST, batches[-1]["entries"][-1]["text"]) == (BEHIND_MOST + 1, True, str(BEHIND_MOST))
    first = both.kernel.entries()[0]
    assert (first.details["what"], first.text) == ("skipped", f"{skipped:,} events of process 1 are not shown: there were more than can be told here")


def test_changes_of_a_connection_cross_even_if_the_entries_about_it_were_skipped() -> None:
    both = Both()
    both.arrives()
    theirs = both.process.open_connection(ADDRESS)
    both.tell()
    theirs.handler_returned = True
    both.process.note("the handler returned", kind="end", connection=theirs, what="handler")
    for _ in range(BEHIND_MOST):
        both.process.note("something else")
    both.tell()
    assert both.kernel.connections[0].handler_returned


def test_a_change_that_no_entry_tells_of_is_found_when_everything_is_looked_at() -> None:
    both = Both()
    both.arrives()
    theirs = both.process.open_connection(ADDRESS)
    both.tell()
    theirs.aborted = True
    assert both.relay.next_line() is None
    both.retelling.take_batch(told_in(both.relay.next_line(everything=True))[1])
    assert both.kernel.connections[0].aborted


def test_what_a_client_did_to_vanish_outweighs_what_the_server_thinks() -> None:
    both = Both()
    ours = both.kernel.open_connection(ADDRESS, name="Ana")
    both.arrives()
    ours.vanished_side = "client"
    both.process.open_connection(ADDRESS).vanished_side = "server"
    both.tell()
    assert ours.vanished_side == "client"


def test_a_process_that_ends_ends_its_connections_and_those_that_it_never_told_of() -> None:
    both = Both()
    told, untold = (both.kernel.open_connection(("127.0.0.1", port), name=str(port)) for port in (1, 2))
    for connection, port in ((told, 1), (untold, 2)):
        both.arrives(("127.0.0.1", port))
        connection.accepted = True
    both.process.open_connection(("127.0.0.1", 1))
    both.tell()
    assert both.retelling.end("process 1 ended with exit code 3") == [told, untold]
    assert both.retelling.connections == []
    for connection in (told, untold):
        assert not connection.open
        assert str(explain(connection)).startswith("1006, no Close frame. Process 1 ended with exit code 3, and all its connections ended with it.")
        assert dict(explain(connection).table)["Closed first"] == "The server, by dropping the line"


def test_the_outlets_of_a_process_know_whether_somebody_looks_at_the_kernel() -> None:
    both = Both()
    assert not both.process.followed, "the relay's own place does not count"
    both.process.shown = True
    assert both.process.followed


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"a": 1, "b": 2}', b"{" * 100_000, b"\xff", b"null"])
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(RecordingError):
        told_in(line)


@pytest.mark.parametrize(
    "batch",
    [
        None,
        {"skipped": 0, "entries": []},
        {"skipped": 0, "connections": [{"number": 1, "ticket": 1}], "entries": []},
        {"skipped": 0, "connections": [{"number": 1, "ticket": 1, "fields": {"handler_task": 1}}], "entries": []},
        {"skipped": 0, "connections": [{"number": 1, "ticket": 1, "fields": {"accepted": "yes"}}], "entries": []},
        {"skipped": 0, "connections": [], "entries": [{"number": 1}]},
    ],
)
def test_what_is_no_batch_is_refused_and_changes_nothing(batch: Any) -> None:
    both = Both()
    with pytest.raises(RecordingError):
        both.retelling.take_batch(batch)
    assert (both.kernel.entries(), both.kernel.connections) == ([], [])


def test_a_connection_that_stays_is_known_however_many_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.workers.retelling, "_CONNECTIONS_MOST", 10)
    both = Both()
    both.arrives()
    stays = both.process.open_connection(ADDRESS)
    for port in range(30):
        both.arrives(port)
        both.process.end_connection(port, both.process.open_connection(port))
        both.tell()
    stays.handler_returned = True
    both.process.note("still here", connection=stays)
    both.tell()
    assert (both.kernel.entries()[-1].connection, both.kernel.connections[0].handler_returned, len(both.kernel.connections)) == (1, True, 31)
    assert both.retelling.connections == [both.kernel.connections[0]]
