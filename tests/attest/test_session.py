"""A session of challenge and response: what follows what, and everything else is refused by its own code.

Rows 12, 13, 21 and 22 of facts/attest.md 3.2.
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from attest.enrolment import Challenge, EnrolmentError
from attest.errors import AttestInputError, AttestUsageError
from attest.nonce import Nonce, check_source
from attest.result import Verdict
from attest.session import MAX_ROUNDS, Session, SessionError
from attest.session_state import REFUSALS, TRANSITIONS, Event, SessionFailure, State, refusal, sentence
from tests.attest.test_enrolment import NOW, SECRET, challenge, enrolment
from tests.conftest import REPOSITORY

NONCE = bytes(range(100, 132))
OTHER = bytes(range(200, 232))
SECOND = timedelta(seconds=1)
COUNTER = itertools.count(1 << 248 | 1)
CYCLE = itertools.cycle([os.urandom(32) for _ in range(63)])


def new(host: str = "xen1") -> Session:
    return Session.create(host, bytes(range(16)), now=NOW)


def challenged(made: Challenge | None = None) -> Session:
    session = new()
    session.send_challenge(made or challenge(), now=NOW)
    return session


def enrolled() -> Session:
    session = challenged()
    session.answer(SECRET, known=(), now=NOW)
    return session


def asked(nonce: bytes = NONCE) -> Session:
    session = enrolled()
    session.send_nonce(nonce, now=NOW)
    return session


def received() -> Session:
    session = asked()
    session.receive("xen1", now=NOW)
    return session


def judged(verdict: Verdict = Verdict.AFFIRMING) -> Session:
    session = received()
    session.judged(verdict, now=NOW)
    return session


def failed() -> Session:
    return judged(Verdict.NONE)


def expired() -> Session:
    session = asked()
    with pytest.raises(SessionError):
        session.receive("xen1", now=NOW + timedelta(hours=1))
    return session


IN_STATE: dict[State, Any] = {
    State.CREATED: new,
    State.CHALLENGED: challenged,
    State.ENROLLED: enrolled,
    State.NONCE_SENT: asked,
    State.EVIDENCE_RECEIVED: received,
    State.JUDGED: judged,
    State.FAILED: failed,
    State.EXPIRED: expired,
}
HAPPEN: dict[Event, Any] = {
    Event.CHALLENGE: lambda session: session.send_challenge(challenge(), now=NOW),
    Event.ANSWER: lambda session: session.answer(SECRET, known=(), now=NOW),
    Event.RECOGNISE: lambda session: session.recognise(enrolment(), now=NOW),
    Event.NONCE: lambda session: session.send_nonce(OTHER, now=NOW),
    Event.EVIDENCE: lambda session: session.receive("xen1", now=NOW),
    Event.VERDICT: lambda session: session.judged(Verdict.CONTRAINDICATED, now=NOW),
    Event.FAIL: lambda session: session.fail(now=NOW),
}
"""Every event but TIMEOUT, which the clock makes."""


def refused(call: Any, *arguments: Any, **more: Any) -> SessionFailure:
    with pytest.raises(SessionError) as error:
        call(*arguments, **more)
    assert error.value.code == error.value.failure.value
    return error.value.failure


class TestTable:
    @pytest.mark.parametrize(("state", "event"), list(itertools.product(IN_STATE, HAPPEN)))
    def test_every_event_in_every_state(self, state: State, event: Event) -> None:
        """The methods do what the table says, all of it and nothing beside it."""
        session = IN_STATE[state]()
        assert session.state is state
        if event in TRANSITIONS[state]:
            HAPPEN[event](session)
            assert session.state is TRANSITIONS[state][event]
            return
        assert refused(HAPPEN[event], session) is refusal(state, event)
        assert session.state is state

    @pytest.mark.parametrize("state", IN_STATE)
    def test_it_goes_on_with_the_enrolled_key_where_a_nonce_may_follow(self, state: State) -> None:
        session, key = IN_STATE[state](), enrolment()
        assert session.goes_on(key, NOW) is (Event.NONCE in TRANSITIONS[state])
        assert not session.goes_on(replace(key, ak_name=bytes(34)), NOW)
        assert not session.goes_on(key, session.expires_at)

    @pytest.mark.parametrize("state", IN_STATE)
    def test_time_ends_every_session_that_is_not_over(self, state: State) -> None:
        session = IN_STATE[state]()
        with suppress(AttestInputError):
            session.receive("xen1", now=NOW + timedelta(days=2))
        over = state in {State.FAILED, State.EXPIRED}
        assert session.state is (state if over else State.EXPIRED)

    def test_an_end_has_no_way_out(self) -> None:
        assert {state for state, events in TRANSITIONS.items() if not events} == {State.FAILED, State.EXPIRED}

    def test_the_page_has_the_same_table(self) -> None:
        lines = (REPOSITORY / "docs" / "enrolment.md").read_text().splitlines()
        rows = [
            [cell.strip() for cell in line.strip("| ").split("|")] for line in lines if line.startswith("| ")
        ]
        shown = {(row[0], state) for row in rows[1:] if row[0] in set(State) for state in row[2].split("; ")}
        ends = {State.FAILED, State.EXPIRED}
        assert shown == {
            (a, b) for a, events in TRANSITIONS.items() for b in events.values() if b not in ends
        }

    @pytest.mark.parametrize("event", Event)
    def test_every_refusal_that_a_command_meets_says_what_to_do(self, event: Event) -> None:
        for state in State:
            if event not in TRANSITIONS[state] and refusal(state, event) is not SessionFailure.ORDER:
                assert "shype enroll" in sentence(state, event)

    def test_refusals_are_for_what_is_not_allowed(self) -> None:
        for event, states in REFUSALS.items():
            assert all(event not in TRANSITIONS[state] for state in states)


class TestRows:
    def test_12_second_answer(self) -> None:
        assert refused(enrolled().answer, SECRET, known=(), now=NOW) is SessionFailure.NO_CHALLENGE

    def test_12_wrong_answer_ends_the_session(self) -> None:
        session = challenged()
        with pytest.raises(EnrolmentError):
            session.answer(b"x", known=(), now=NOW)
        assert session.state is State.FAILED
        assert refused(session.answer, SECRET, known=(), now=NOW) is SessionFailure.NO_CHALLENGE
        assert refused(session.send_nonce, NONCE, now=NOW) is SessionFailure.FAILED

    def test_12_late_answer_ends_the_session(self) -> None:
        session = challenged()
        with pytest.raises(EnrolmentError):
            session.answer(SECRET, known=(), now=NOW + timedelta(hours=1))
        assert session.state is State.FAILED

    @pytest.mark.parametrize("make", [new, challenged])
    def test_13_evidence_before_activation(self, make: Any) -> None:
        assert refused(make().receive, "xen1", now=NOW) is SessionFailure.EARLY

    def test_13_evidence_that_nobody_asked_for(self) -> None:
        assert refused(enrolled().receive, "xen1", now=NOW) is SessionFailure.NOT_ASKED

    def test_13_evidence_after_a_failure(self) -> None:
        assert refused(failed().receive, "xen1", now=NOW) is SessionFailure.FAILED

    @pytest.mark.parametrize("make", [received, judged])
    def test_21_second_use(self, make: Any) -> None:
        assert refused(make().receive, "xen1", now=NOW, nonce=NONCE) is SessionFailure.TWICE

    @pytest.mark.parametrize(
        "wrong", [b"", NONCE[:-1], NONCE + b"\0", b"\0" + NONCE, NONCE[::-1], OTHER, NONCE[:16] + OTHER[16:]]
    )
    def test_21_wrong_nonce_uses_it_up(self, wrong: bytes) -> None:
        session = asked()
        assert refused(session.receive, "xen1", now=NOW, nonce=wrong) is SessionFailure.WRONG_NONCE
        assert refused(session.receive, "xen1", now=NOW, nonce=NONCE) is SessionFailure.FAILED

    def test_21_late_answer_uses_it_up(self) -> None:
        session = asked()
        late = NOW + timedelta(minutes=5) + SECOND
        assert refused(session.receive, "xen1", now=late, nonce=NONCE) is SessionFailure.LATE
        assert refused(session.receive, "xen1", now=NOW, nonce=NONCE) is SessionFailure.EXPIRED

    def test_21_nonce_of_another_host(self) -> None:
        session = asked()
        assert refused(session.receive, "xen2", now=NOW, nonce=NONCE) is SessionFailure.OTHER_HOST
        assert session.state is State.FAILED

    def test_21_nonce_of_an_earlier_round(self) -> None:
        session = judged()
        session.send_nonce(OTHER, now=NOW)
        assert refused(session.receive, "xen1", now=NOW, nonce=NONCE) is SessionFailure.WRONG_NONCE

    def test_the_right_answer_gives_the_nonce_to_judge_with(self) -> None:
        assert asked().receive("xen1", now=NOW, nonce=NONCE) == NONCE
        assert asked().receive("xen1", now=NOW) == NONCE

    def test_no_error_tells_the_nonce(self) -> None:
        session = asked()
        with pytest.raises(SessionError) as error:
            session.receive("xen1", now=NOW, nonce=OTHER)
        shown = f"{error.value!r}{error.value}{asked()!r}{received()!r}"
        assert NONCE.hex() not in shown
        assert repr(NONCE) not in shown

    def test_known_host_needs_no_second_challenge(self) -> None:
        session = new()
        session.recognise(enrolment(), now=NOW)
        session.send_nonce(NONCE, now=NOW)
        assert session.receive("xen1", now=NOW, nonce=NONCE) == NONCE
        assert session.ak_name == enrolment().ak_name

    def test_what_is_of_another_host_is_wrong_usage(self) -> None:
        for call in (
            lambda: new("xen2").recognise(enrolment(), now=NOW),
            lambda: new("xen2").send_challenge(challenge(), now=NOW),
        ):
            with pytest.raises(AttestUsageError):
                call()

    def test_a_session_does_not_outlive_its_rounds(self) -> None:
        session = enrolled()
        for _ in range(MAX_ROUNDS):
            session.send_nonce(os.urandom(32), now=NOW)
            session.receive("xen1", now=NOW)
            session.judged(Verdict.AFFIRMING, now=NOW)
        assert refused(session.send_nonce, os.urandom(32), now=NOW) is SessionFailure.EXPIRED
        assert session.state is State.EXPIRED

    def test_time_without_zone_is_wrong_usage(self) -> None:
        with pytest.raises(AttestUsageError):
            asked().receive("xen1", now=NOW.replace(tzinfo=None))


class TestNonces:
    """Row 22: our own nonces are unlike each other, long, and unguessable as far as a test can tell."""

    def test_22_the_systems_source_is_good(self) -> None:
        check_source(lambda: os.urandom(32))

    @pytest.mark.parametrize(
        "draw",
        [
            lambda: NONCE,
            lambda: bytes(32),
            lambda: os.urandom(31),
            lambda: os.urandom(65),
            lambda: b"",
            lambda: os.urandom(8) * 4,
            lambda: bytes(24) + os.urandom(8),
            lambda: NONCE[:8] + os.urandom(24),
            lambda: next(COUNTER).to_bytes(32, "big"),
            lambda: next(CYCLE),
        ],
        ids=[
            "constant",
            "zero",
            "short",
            "long",
            "empty",
            "repeated",
            "64-bit",
            "prefix",
            "counter",
            "cycle",
        ],
    )
    def test_22_broken_source_is_refused(self, draw: Any) -> None:
        with pytest.raises(AttestUsageError) as error:
            check_source(draw)
        assert error.value.code == "nonce-source"

    @pytest.mark.parametrize("value", [b"", bytes(32), b"\xff" * 64, os.urandom(31), os.urandom(16) * 2])
    def test_22_weak_nonce_is_never_sent(self, value: bytes) -> None:
        session = enrolled()
        with pytest.raises(AttestUsageError) as error:
            session.send_nonce(value, now=NOW)
        assert (error.value.code, session.state) == ("nonce-weak", State.ENROLLED)

    def test_22_nonce_is_never_sent_twice(self) -> None:
        session = judged()
        with pytest.raises(AttestUsageError) as error:
            session.send_nonce(NONCE, now=NOW)
        assert (error.value.code, session.state) == ("nonce-weak", State.JUDGED)

    def test_nonce_does_not_outlive_its_session(self) -> None:
        session = Session.create("xen1", bytes(16), now=NOW, lifetime=timedelta(minutes=1))
        session.recognise(enrolment(), now=NOW)
        assert session.send_nonce(NONCE, now=NOW).expires_at == session.expires_at

    @pytest.mark.parametrize("lifetime", [timedelta(), -SECOND, timedelta(days=2)])
    def test_lifetimes_are_bounded(self, lifetime: timedelta) -> None:
        for call in (
            lambda: enrolled().send_nonce(NONCE, now=NOW, lifetime=lifetime),
            lambda: Session.create("xen1", bytes(16), now=NOW, lifetime=lifetime),
        ):
            with pytest.raises(AttestUsageError):
                call()

    def test_comparison_takes_the_whole_nonce(self) -> None:
        nonce = Nonce(NONCE, NOW)
        assert nonce.is_answered_by(NONCE)
        assert not any(
            nonce.is_answered_by(NONCE[:at] + bytes([NONCE[at] ^ 1]) + NONCE[at + 1 :]) for at in range(32)
        )
