"""Why a connection ended: every way that the protocol knows has its own sentence and, where one helps, advice."""

from __future__ import annotations

import pytest
from websockets.frames import EXTERNAL_CLOSE_CODES

from kit.close_codes import code_words, may_be_sent, name_of, status_words
from kit.closing import Explanation, explain
from kit.connection import Connection


def ended(**facts: object) -> Connection:
    connection = Connection(1, accepted=True, ended_seconds=1.0)
    for name, value in facts.items():
        setattr(connection, name, value)
    return connection


@pytest.mark.parametrize("code", sorted(EXTERNAL_CLOSE_CODES))
def test_every_registered_code_has_a_name_and_a_meaning(code: int) -> None:
    assert name_of(code) not in ("", "not a valid close code")
    assert code_words(code).meaning
    assert may_be_sent(code)


def test_the_best_known_codes_have_their_names_of_rfc_6455() -> None:
    assert [name_of(code) for code in (1000, 1001, 1006, 1008)] == ["normal closure", "going away", "abnormal closure", "policy violation"]
    assert name_of(1012) == "service restart"


def test_the_codes_that_libraries_have_registered_have_their_names_of_iana() -> None:
    assert [name_of(code) for code in (3000, 3003, 3008)] == ["unauthorized", "forbidden", "timeout"]


def test_ranges_without_single_names_are_explained() -> None:
    names = [name_of(code) for code in (1016, 3001, 4000, 5000)]
    assert names == ["not assigned", "a library's or framework's code", "the application's own code", "not a valid close code"]
    assert [name_of(code) for code in (2999, 3999, 4999, 999)] == names
    assert len({code_words(code).meaning for code in (1016, 3001, 4000, 5000)}) == 4


def test_only_what_a_close_frame_may_carry_may_be_sent() -> None:
    refused = [code for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000) if may_be_sent(code)]
    assert refused == []
    assert all(map(may_be_sent, (1000, 1014, 3000, 3999, 4000, 4999)))


@pytest.mark.parametrize(("side", "who"), [("client", "The client"), ("server", "The server")])
def test_whoever_sent_the_first_close_frame_has_closed(side: str, who: str) -> None:
    other = "server" if side == "client" else "client"
    explanation = explain(ended(close_frames=[(side, 1000, "done"), (other, 1000, "")]))
    assert explanation.sentence.startswith(f"{who} closed first, with code 1000 and the reason “done”")
    assert (explanation.pill, explanation.severity, explanation.advice) == ("closed 1000", "good", "")


@pytest.mark.parametrize(
    ("code", "severity"),
    [
        (1000, "good"),
        (1001, "good"),
        (4000, "good"),
        (3001, "good"),
        (3000, "warning"),
        (1014, "warning"),
        (1008, "warning"),
        (1009, "warning"),
        (1011, "warning"),
    ],
)
def test_a_code_that_tells_of_trouble_is_a_warning(code: int, severity: str) -> None:
    assert explain(ended(close_frames=[("server", code, "")])).severity == severity


def test_a_stopped_and_a_replaced_server_are_told_apart() -> None:
    stopped = explain(ended(close_frames=[("server", 1001, "")], server_stopped=True))
    replaced = explain(ended(close_frames=[("server", 1012, "")], server_stopped=True))
    assert "stopped" in stopped.sentence
    assert "replaced" in replaced.sentence


def test_the_documentations_echo_example_gets_advice_when_its_client_leaves() -> None:
    explanation = explain(ended(close_frames=[("client", 1000, "")], handler_error="WebSocketDisconnect"))
    assert "iter_text" in explanation.advice


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"vanished_side": "client"}, "client dropped the line"),
        ({"handler_error": "ZeroDivisionError: division by zero"}, "ZeroDivisionError: division by zero"),
        ({"handler_returned": True}, "returned after `accept` without closing"),
        ({"server_stopped": True}, "server stopped"),
        ({}, "without a goodbye"),
    ],
)
def test_an_end_without_a_close_frame_is_explained_by_what_is_known(facts: dict, words: str) -> None:
    explanation = explain(ended(**facts))
    assert explanation.pill == "closed 1006"
    assert words in explanation.sentence
    assert explanation.advice
    assert explanation.severity == "bad"


@pytest.mark.parametrize(("code", "reason"), [(999, ""), (1005, ""), (1006, ""), (1000, "ä" * 62)])
def test_a_handler_that_asks_for_a_close_that_cannot_be_sent_is_told_what_can(code: int, reason: str) -> None:
    explanation = explain(ended(handler_closed=(code, reason), handler_error="ProtocolError: invalid status code"))
    assert explanation.advice.startswith("No Close frame can carry what it asked for.")
    assert "at most 123 bytes" in explanation.advice


def test_an_error_after_a_close_that_can_be_sent_is_an_error_to_mend() -> None:
    assert explain(ended(handler_closed=(4000, "ä" * 61), handler_error="ValueError")).advice.startswith("Mend the error")


def test_a_ping_without_an_answer_is_told_from_a_server_that_failed() -> None:
    silent = explain(ended(close_frames=[("server", 1011, "keepalive ping timeout")]))
    failed = explain(ended(close_frames=[("server", 1011, "out of order")]))
    assert silent.sentence.endswith("a ping got no answer in time.")
    assert "its pong is not read" in silent.advice
    assert "the server failed" in failed.sentence
    assert "pong" not in failed.advice


def test_a_handshake_that_nobody_answered_is_no_closed_connection() -> None:
    explanation = explain(ended(accepted=False))
    assert (explanation.pill, explanation.severity) == ("not connected", "bad")


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 408, 418, 422, 426, 429, 431, 500, 503, 599])
def test_a_refusal_names_its_status(status: int) -> None:
    explanation = explain(ended(accepted=False, refused_status=status))
    assert (explanation.pill, explanation.severity) == (f"refused {status}", "bad")
    assert str(status) in explanation.headline
    assert explanation.sentence
    assert explanation.advice


def test_a_status_that_the_app_chose_is_not_taken_for_the_kits_own() -> None:
    own, the_apps = (str(explain(ended(accepted=False, refused_status=503, handler_answered=answered))) for answered in (None, 503))
    assert "max_connections" in own
    assert "max_connections" not in the_apps
    assert "The app answered" in the_apps


def test_every_status_has_words() -> None:
    assert [status for status in range(200, 600) if not all(status_words(status))] == []


def test_a_refusal_by_an_exception_names_the_exception() -> None:
    explanation = explain(ended(accepted=False, refused_status=500, handler_error="KeyError: 'user'"))
    assert "KeyError: 'user'" in explanation.sentence


def test_a_refusal_with_403_says_that_the_close_code_is_lost() -> None:
    assert "lost" in explain(ended(accepted=False, refused_status=403)).sentence


def test_a_close_before_accept_says_what_the_server_meant_and_what_the_client_got() -> None:
    explanation = explain(ended(accepted=False, refused_status=403, meant=(1008, "members only")))
    assert "1008, policy violation, “members only”" in explanation.sentence
    assert "a bare 403" in explanation.sentence
    assert "HTTPException" in explanation.advice


def test_an_unknown_path_is_told_from_a_refusal_by_the_handler() -> None:
    unknown = explain(ended(accepted=False, refused_status=403, meant=(1000, "")))
    assert "No WebSocket route has this path" in unknown.sentence
    assert unknown.advice == "Check the path."


def test_what_the_kit_refused_says_why() -> None:
    explanation = explain(ended(accepted=False, refused_status=403, refused_because="the origin 'http://evil.example' is foreign"))
    assert "http://evil.example" in explanation.sentence


def test_an_explanation_reads_as_one_text_without_gaps() -> None:
    assert str(Explanation("pill", "Head", "Sentence.", "", "good")) == "Head. Sentence."
    assert str(Explanation("pill", "Head", "Sentence.", "Advice.", "bad")) == "Head. Sentence. Advice."


HOSTILE = "bye\x1b[2J\u202eevil"


@pytest.mark.parametrize(
    "facts",
    [
        {"close_frames": [("server", 4000, HOSTILE)]},
        {"refused_status": 403, "accepted": False, "meant": (1008, HOSTILE)},
        {"handler_error": f"ValueError: {HOSTILE}"},
        {"refused_status": 500, "accepted": False, "handler_error": f"ValueError: {HOSTILE}"},
        {"client_refused": HOSTILE, "vanished_side": "client"},
    ],
)
def test_what_came_over_the_wire_neither_hides_nor_reorders_an_explanation(facts: dict) -> None:
    """It is also the text of exceptions, which a terminal and a notebook print as they are."""
    text = str(explain(ended(**facts)))
    assert "bye\\x1b[2J\\u202eevil" in text
    assert text.isprintable()
