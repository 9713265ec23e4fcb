"""Sessions as a verifier keeps them, and whatever a peer and the clock may do to one."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from attest.errors import AttestInputError, AttestUsageError
from attest.session import SessionError
from attest.session_file import decode_session, encode_session
from attest.session_state import Event, SessionFailure, State
from tests.attest.test_enrolment import NOW, SECRET, enrolment
from tests.attest.test_session import HAPPEN, IN_STATE, OTHER, asked, challenged, failed, new, refused
from tests.schemas import validator


class TestFile:
    @pytest.mark.parametrize("state", IN_STATE)
    def test_every_state_comes_back_and_fits_its_schema(self, state: State) -> None:
        session = IN_STATE[state]()
        raw = encode_session(session)
        validator("session").validate(json.loads(raw))
        assert decode_session(raw) == session

    def test_kept_session_does_not_hold_the_secret(self) -> None:
        assert SECRET.hex().encode() not in encode_session(challenged())

    @pytest.mark.parametrize("state", IN_STATE)
    def test_spent_session_takes_nothing(self, state: State) -> None:
        session = IN_STATE[state]()
        spent = decode_session(encode_session(session.spent()))
        assert spent.state is (State.EXPIRED if state is State.EXPIRED else State.FAILED)
        assert session.state is state

    @pytest.mark.parametrize(
        ("make", "changes"),
        [
            (asked, {"state": "enrolled"}),
            (asked, {"state": "judged"}),
            (asked, {"nonce": None}),
            (asked, {"nonce_expires_at": None}),
            (asked, {"nonce": "00" * 32}),
            (asked, {"nonce": "ab"}),
            (asked, {"ak_name": None}),
            (asked, {"ak_name": "000b00"}),
            (asked, {"used": ["00"]}),
            (asked, {"used": ["00" * 32] * 2}),
            (asked, {"used": [1]}),
            (asked, {"used": "no"}),
            (asked, {"id": "00"}),
            (asked, {"host": "../x"}),
            (asked, {"expires_at": 5}),
            (asked, {"more": 1}),
            (asked, {"schema": "shype.session/2"}),
            (failed, {"state": "nonce-sent"}),
            (failed, {"state": "challenged"}),
            (new, {"state": "enrolled"}),
            (challenged, {"challenge": None}),
            (challenged, {"challenge": {}}),
            (challenged, {"challenge": 7}),
            (challenged, {"host": "xen2"}),
            (challenged, {"state": "no"}),
        ],
    )
    def test_altered_session_is_refused(self, make: Any, changes: dict[str, object]) -> None:
        values = {**json.loads(encode_session(make())), **changes}
        assert refused(decode_session, json.dumps(values).encode()) is SessionFailure.MALFORMED


class Sessions(RuleBasedStateMachine):
    """Whatever a peer and the clock do, no nonce is judged twice, late, or before its host was enrolled."""

    def __init__(self) -> None:
        super().__init__()
        self.session = new()
        self.now = NOW
        self.given: list[bytes] = []
        self.over = False

    @rule(event=st.sampled_from(sorted(set(HAPPEN) - {Event.EVIDENCE})))
    def happen(self, event: Event) -> None:
        with suppress(AttestInputError, AttestUsageError):
            HAPPEN[event](self.session)

    @rule(seconds=st.integers(1, 900))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def ask(self) -> None:
        with suppress(AttestInputError):
            self.session.send_nonce(os.urandom(32), now=self.now)

    @rule(host=st.sampled_from(["xen1", "xen1", "xen2"]), knows=st.sampled_from([None, True, False]))
    def send(self, host: str, knows: bool | None) -> None:  # noqa: FBT001 - drawn by hypothesis
        sent = self.session.nonce
        shown = None if knows is None else sent.value if sent and knows else OTHER[::-1]
        with suppress(SessionError):
            taken = self.session.receive(host, now=self.now, nonce=shown)
            assert sent is not None
            assert taken == sent.value
            assert self.now <= sent.expires_at
            assert (host, self.session.ak_name) == ("xen1", enrolment().ak_name)
            assert shown in {None, taken}
            self.given.append(taken)

    @rule()
    def keep_and_read_back(self) -> None:
        self.session = decode_session(encode_session(self.session))

    @invariant()
    def no_nonce_twice(self) -> None:
        assert len(set(self.given)) == len(self.given)

    @precondition(lambda self: self.session.state in {State.FAILED, State.EXPIRED})
    @rule()
    def end(self) -> None:
        self.over = True

    @invariant()
    def over_is_over(self) -> None:
        assert not self.over or self.session.state in {State.FAILED, State.EXPIRED}


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
