"""States of a session between the verifier and one host, and what leads from one to the next.

Two tables are all the rules there are. ``TRANSITIONS`` has what may happen in a state; ``REFUSALS`` says by
which code whatever else is refused. FAILED and EXPIRED have no way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a session stands."""

    CREATED = "created"
    CHALLENGED = "challenged"
    """The EK is known; MakeCredential's result was sent."""
    ENROLLED = "enrolled"
    """The AK was proved to be in the TPM with that EK."""
    NONCE_SENT = "nonce-sent"
    EVIDENCE_RECEIVED = "evidence-received"
    """The nonce is used up; the verdict is not known yet."""
    JUDGED = "judged"
    FAILED = "failed"
    EXPIRED = "expired"


class Event(StrEnum):
    """What happens to a session."""

    CHALLENGE = "challenge"
    ANSWER = "answer"
    """The secret of the challenge, right and in time."""
    RECOGNISE = "recognise"
    """The enrolment record of an earlier session stands for challenge and answer."""
    NONCE = "nonce"
    EVIDENCE = "evidence"
    VERDICT = "verdict"
    """The evidence was authentic, whatever else the verdict says."""
    FAIL = "fail"
    TIMEOUT = "timeout"


class SessionFailure(StrEnum):
    """Why a session refuses what happens; the codes are stable."""

    MALFORMED = "session-malformed"
    UNKNOWN = "session-unknown"
    ORDER = "session-order"
    NO_CHALLENGE = "challenge-unknown"
    EARLY = "evidence-before-enrolment"
    NOT_ASKED = "evidence-without-nonce"
    TWICE = "evidence-twice"
    LATE = "nonce-expired"
    WRONG_NONCE = "nonce-other"
    OTHER_HOST = "session-other-host"
    OTHER_KEY = "session-other-key"
    FAILED = "session-failed"
    EXPIRED = "session-expired"


_ENDS: Final = {Event.FAIL: State.FAILED, Event.TIMEOUT: State.EXPIRED}

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = MappingProxyType(
    {
        State.CREATED: {Event.CHALLENGE: State.CHALLENGED, Event.RECOGNISE: State.ENROLLED, **_ENDS},
        State.CHALLENGED: {Event.ANSWER: State.ENROLLED, **_ENDS},
        State.ENROLLED: {Event.NONCE: State.NONCE_SENT, **_ENDS},
        State.NONCE_SENT: {Event.EVIDENCE: State.EVIDENCE_RECEIVED, **_ENDS},
        State.EVIDENCE_RECEIVED: {Event.VERDICT: State.JUDGED, **_ENDS},
        State.JUDGED: {Event.NONCE: State.NONCE_SENT, **_ENDS},
        State.FAILED: {},
        State.EXPIRED: {},
    }
)

REFUSALS: Final[Mapping[Event, Mapping[State, SessionFailure]]] = MappingProxyType(
    {
        Event.ANSWER: {
            state: SessionFailure.NO_CHALLENGE for state in State if state is not State.CHALLENGED
        },
        Event.EVIDENCE: {
            State.CREATED: SessionFailure.EARLY,
            State.CHALLENGED: SessionFailure.EARLY,
            State.ENROLLED: SessionFailure.NOT_ASKED,
            State.EVIDENCE_RECEIVED: SessionFailure.TWICE,
            State.JUDGED: SessionFailure.TWICE,
            State.FAILED: SessionFailure.FAILED,
            State.EXPIRED: SessionFailure.EXPIRED,
        },
    }
)
"""An answer that nobody waits for has one code, whatever came before: it tells an attacker nothing."""

_DEFAULT: Final = MappingProxyType(
    {State.FAILED: SessionFailure.FAILED, State.EXPIRED: SessionFailure.EXPIRED}
)


_WHAT_TO_DO: Final = MappingProxyType(
    {
        SessionFailure.NO_CHALLENGE: "no challenge is open: make one (shype enroll challenge)",
        SessionFailure.EARLY: "the host has yet to prove its TPM (shype enroll complete)",
        SessionFailure.NOT_ASKED: "nothing was asked of the host: make a nonce (shype enroll nonce)",
        SessionFailure.TWICE: "the nonce was answered before: make another (shype enroll nonce)",
        SessionFailure.FAILED: "an answer failed before: make a nonce or challenge anew (shype enroll)",
        SessionFailure.EXPIRED: "the session is over: make a nonce or challenge anew (shype enroll)",
    }
)


def sentence(state: State, event: Event) -> str:
    """Say to a person why ``event`` is refused in ``state``, and what to do."""
    return _WHAT_TO_DO.get(refusal(state, event), f"{event} does not follow {state}")


def refusal(state: State, event: Event) -> SessionFailure:
    """Return the code by which ``event`` is refused in ``state``."""
    return REFUSALS.get(event, _DEFAULT).get(state, _DEFAULT.get(state, SessionFailure.ORDER))
