"""One session between the verifier and one host: enrolment, nonce, evidence, verdict. Sans I/O.

The caller brings time, randomness and messages; :mod:`attest.session_state` has the rules as tables. Each
method is one thing that happens: it moves the session or raises SessionError.

- A challenge and a nonce are used up by the first answer, right or wrong; a wrong or late one ends the
  session for good (CVE-2023-38201). What comes out of order is refused and changes nothing, so that a
  stranger's message does not end a session.
- A nonce is bound to host and session, has 32 random bytes or more, and never comes twice.
- No error says what the right answer would have been.

Whoever keeps sessions in files leaves ``spent()`` there while a message is judged: a crash uses it up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from attest.enrolment import Challenge, Enrolment, EnrolmentError, check_host
from attest.errors import AttestInputError, AttestUsageError
from attest.nonce import DEFAULT_LIFETIME, MAX_LIFETIME, Nonce
from attest.result import Verdict
from attest.session_state import TRANSITIONS, Event, SessionFailure, State, refusal, sentence

ID_SIZE: Final = 16
MAX_ROUNDS: Final = 256
"""Nonces of one session; whoever needs more begins another."""


class SessionError(AttestInputError):
    """A session refuses what happened; ``code`` is the value of ``failure``."""

    def __init__(self, failure: SessionFailure, message: str) -> None:
        super().__init__(f"session: {message}", code=failure.value)
        self.failure = failure


@dataclass(slots=True)
class Session:
    """Make it by ``create``; read it back by :mod:`attest.session_file`. Times are aware.

    ``used`` has the SHA-256 of every nonce that was sent, the newest last.
    """

    id: str
    host: str
    expires_at: datetime
    state: State = State.CREATED
    challenge: Challenge | None = None
    ak_name: bytes = b""
    """Name of the attestation key; empty until it was proved."""
    nonce: Nonce | None = field(default=None, repr=False)
    used: tuple[bytes, ...] = ()

    @classmethod
    def create(cls, host: str, unique: bytes, *, now: datetime, lifetime: timedelta = MAX_LIFETIME) -> Self:
        """Begin a session with ``host``; ``unique`` is 16 random bytes. Raises AttestUsageError."""
        check_host(host)
        _check_time(now)
        if len(unique) != ID_SIZE or not timedelta() < lifetime <= MAX_LIFETIME:
            raise AttestUsageError(f"a session has {ID_SIZE} random bytes and lives at most one day")
        return cls(unique.hex(), host, _whole(now) + lifetime)

    def send_challenge(self, challenge: Challenge, *, now: datetime) -> None:
        """The challenge, made by ``Challenge.create``, goes to the host."""
        if challenge.member.host != self.host:
            raise AttestUsageError(f"the challenge is for {challenge.member.host}, the session is not")
        self._happen(Event.CHALLENGE, now)
        self.challenge = challenge

    def answer(self, response: bytes, *, known: Iterable[Enrolment], now: datetime) -> Enrolment:
        """The host's answer to the challenge; return its enrolment.

        Raises EnrolmentError for an answer that is wrong or late, which ends the session.
        """
        self._expect(Event.ANSWER, now)
        challenge, self.challenge = self.challenge, None
        if challenge is None:
            raise AttestUsageError("a challenged session without its challenge")
        try:
            enrolment = challenge.complete(response, known=known, now=now)
        except EnrolmentError:
            self._move(Event.FAIL)
            raise
        self._move(Event.ANSWER)
        self.ak_name = enrolment.ak_name
        return enrolment

    def recognise(self, enrolment: Enrolment, *, now: datetime) -> None:
        """Take the record of an earlier enrolment of this host, which the caller trusts."""
        if enrolment.host != self.host:
            raise AttestUsageError(f"the record is of {enrolment.host}, the session is not")
        self._happen(Event.RECOGNISE, now)
        self.ak_name = enrolment.ak_name

    def goes_on(self, enrolment: Enrolment, until: datetime) -> bool:
        """Tell whether another nonce, open until then, belongs into this session; else a new one begins."""
        follows = Event.NONCE in TRANSITIONS[self.state]
        return follows and self.ak_name == enrolment.ak_name and until < self.expires_at

    def send_nonce(self, value: bytes, *, now: datetime, lifetime: timedelta = DEFAULT_LIFETIME) -> Nonce:
        """A fresh nonce goes to the host, to be answered within ``lifetime``; return it.

        Raises AttestUsageError for one that is short, constant or was sent before (``nonce-weak``).
        """
        self._expect(Event.NONCE, now)
        if not timedelta() < lifetime <= MAX_LIFETIME:
            raise AttestUsageError("a nonce lives one second to one day")
        nonce = Nonce(value, min(_whole(now) + lifetime, self.expires_at))
        digest = hashlib.sha256(value).digest()
        if digest in self.used:
            raise AttestUsageError("nonce: it was sent before: the source is broken", code="nonce-weak")
        if len(self.used) == MAX_ROUNDS:
            self._move(Event.TIMEOUT)
            raise SessionError(
                SessionFailure.EXPIRED, f"{self.host}: {MAX_ROUNDS} nonces were sent: begin anew"
            )
        self.nonce, self.used = nonce, (*self.used, digest)
        self._move(Event.NONCE)
        return nonce

    def receive(
        self, host: str, *, now: datetime, nonce: bytes | None = None, ak_name: bytes | None = None
    ) -> bytes:
        """Evidence arrives from ``host``; return the nonce that its quote has to be judged with.

        ``nonce`` is what the peer says that it answers, None where only its quote can say; ``ak_name`` the
        Name of the key that it will be judged by, where another enrolment may have come in between. The
        nonce is used up here; a wrong host, key or nonce, or a late answer, ends the session. Tell
        ``judged`` the verdict.
        """
        self._expect(Event.EVIDENCE, now)
        sent, self.nonce = self.nonce, None
        if sent is None:
            raise AttestUsageError("a session that waits for evidence without its nonce")
        if now > sent.expires_at:
            self._move(Event.TIMEOUT)
            raise SessionError(SessionFailure.LATE, f"{self.host}: the answer came after its nonce expired")
        if host != self.host:
            self._move(Event.FAIL)
            raise SessionError(
                SessionFailure.OTHER_HOST, f"evidence of {host!a} in a session with {self.host}"
            )
        if ak_name is not None and ak_name != self.ak_name:
            self._move(Event.FAIL)
            what = f"{self.host}: it was enrolled with another key since its nonce was sent"
            raise SessionError(SessionFailure.OTHER_KEY, what)
        if nonce is not None and not sent.is_answered_by(nonce):
            self._move(Event.FAIL)
            raise SessionError(SessionFailure.WRONG_NONCE, f"{self.host}: another nonce was answered")
        self._move(Event.EVIDENCE)
        return sent.value

    def judged(self, verdict: Verdict, *, now: datetime) -> None:
        """The verdict over the evidence: what is not authentic ends the session."""
        self._expect(Event.VERDICT, now)
        self._move(Event.FAIL if verdict is Verdict.NONE else Event.VERDICT)

    def fail(self, *, now: datetime) -> None:
        """Something else went wrong with this peer: nothing more is taken from it."""
        self._happen(Event.FAIL, now)

    def spent(self) -> Session:
        """Return this session as failed: to be kept while a message is judged."""
        if Event.FAIL not in TRANSITIONS[self.state]:
            return replace(self)
        return replace(self, state=State.FAILED, challenge=None, nonce=None)

    def _happen(self, event: Event, now: datetime) -> None:
        self._expect(event, now)
        self._move(event)

    def _expect(self, event: Event, now: datetime) -> None:
        """Raise SessionError unless ``event`` may happen now; time ends a session before all else."""
        _check_time(now)
        if now > self.expires_at and Event.TIMEOUT in TRANSITIONS[self.state]:
            self._move(Event.TIMEOUT)
        if event not in TRANSITIONS[self.state]:
            raise SessionError(refusal(self.state, event), f"{self.host}: {sentence(self.state, event)}")

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state][event]
        if not TRANSITIONS[self.state]:
            self.challenge = self.nonce = None


def _check_time(now: datetime) -> None:
    if now.tzinfo is None:
        raise AttestUsageError("the time has no time zone; pass an aware datetime", code="time")


def _whole(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)
