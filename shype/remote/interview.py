"""Asking one host, from its enrolment to what it shows for a fresh nonce; only its TPM is believed.

1. Without a record of the host, and asked to: EK, EK certificate and AK are taken as an offer, the rules of
   ``attest.enrolment`` applied, a credential made that only this EK with this AK opens, and its answer taken
   once.
2. A fresh nonce goes out, for this host and a few minutes; the answer uses it up (``attest.session``).
3. The evidence is judged with that nonce and with the key of this connection (``Expectation.channel``).

A host whose registers never stand still is asked ``ROUNDS`` times, each time with another nonce, and then is
not as it should be: what grows without end cannot be appraised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attest.agent_documents import (
    MAX_ANSWER,
    AgentRefusal,
    CredentialAnswer,
    CredentialRequest,
    DocumentError,
    EndorsementOffer,
)
from attest.ak import BareKey, decode_ak
from attest.ek import decode_ek
from attest.enrolment import MAX_FILE as MAX_OFFER
from attest.enrolment import SECRET_SIZE, Challenge, Enrolment, EnrolmentError
from attest.errors import AttestInputError
from attest.evidence import MAX_BYTES, Evidence, EvidenceError
from attest.nonce import NONCE_SIZE, check_source
from attest.reasons import CODES, reason
from attest.result import Node, Result
from attest.session import ID_SIZE, Session, SessionError
from attest.verifier.claims import Channel, Expectation
from attest.verifier.verify import policy_ids, verify
from shype.enrolments import open_store
from shype.errors import ShypeInputError
from shype.quotehistory import remembered
from shype.remote.client import Client
from shype.remote.link import AgentLink, Answer, AnswerError, NotLetInError, Place, QuietError
from vtpm.tpm2.credential import read_credential_file
from vtpm.tpm2.public import Public

ROUNDS: Final = 3
SEED_SIZE: Final = 64
_QUIET: Final = frozenset({"busy", "host-away"})
_MOVING: Final = "pcrs-moving"


@dataclass(frozen=True, slots=True)
class Interview:
    """Who is asked: ``place``, by ``client``, known as ``host`` in ``anchors``.

    ``record`` is the file of its enrolment; what its TPM said last lies beside it. A host without enrolment
    in ``expected`` is enrolled. The nonce in ``expected`` is that of the first round; more are drawn.
    """

    place: Place
    host: str
    client: Client
    anchors: Path
    record: Path
    expected: Expectation
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def hold(self) -> Result:
        """Ask and judge; whatever comes back, or does not, is a result.

        Raises AttestUsageError for a broken source of nonces, AttestInputError for a broken record of one's
        own.
        """
        check_source(_draw)
        try:
            with AgentLink(self.place, self.client) as link:
                record = self._enrol(link) if self.expected.enrolment is None else self.expected.enrolment
                return self._rounds(link, replace(self.expected, enrolment=record), record)
        except (QuietError, NotLetInError, AnswerError) as error:
            return self._without_answer(error.code, str(error))
        except _RefusedError as refused:
            return self._without_answer(refused.code, str(refused))
        except DocumentError as error:
            return self._without_answer("answer-malformed", str(error))

    def _enrol(self, link: AgentLink) -> Enrolment:
        """Enrol the host by what its TPM can open; raises _RefusedError."""
        offer = EndorsementOffer.decode(_body(link.ask("/v1/endorsement", None, MAX_OFFER)))
        session = self._session()
        challenge, credential = self._challenge(offer)
        session.send_challenge(challenge, now=self.clock())
        request = CredentialRequest(*read_credential_file(credential))
        answer = link.ask("/v1/activate", request.encode(), MAX_ANSWER)
        secret = CredentialAnswer.decode(_body(answer)).secret
        with open_store(self.anchors) as store:
            known = store.known()
            try:
                enrolment = session.answer(secret, known=known, now=self.clock())
            except EnrolmentError as error:
                raise _RefusedError.of(error) from None
            store.put_enrolment(enrolment)
        return enrolment

    def _challenge(self, offer: EndorsementOffer) -> tuple[Challenge, bytes]:
        with open_store(self.anchors) as store:
            known = store.known()
        try:
            return Challenge.create(
                self.host,
                offer.ek_certificate,
                decode_ek(offer.ek),
                _attestation_key(offer.ak),
                anchors=self.expected.anchors,
                known=known,
                secret=os.urandom(SECRET_SIZE),
                seed=os.urandom(SEED_SIZE),
                now=self.clock(),
            )
        except AttestInputError as error:
            raise _RefusedError.of(error) from None

    def _rounds(self, link: AgentLink, expected: Expectation, record: Enrolment) -> Result:
        for number in range(ROUNDS):
            session = self._session()
            session.recognise(record, now=self.clock())
            value = _draw() if number else expected.nonce
            nonce = session.send_nonce(value, now=self.clock()).value
            answer = link.ask("/v1/evidence", self.client.question(nonce, link.channel), MAX_BYTES)
            if isinstance(answer, Answer):
                channel = Channel(link.channel, answer.claimed)
                asked = replace(expected, nonce=nonce, channel=channel, now=self.clock())
                return self._judge(session, answer.body, asked, record)
            if answer.code != _MOVING:
                raise _RefusedError.by(answer)
        what = f"{ROUNDS} rounds, and they changed during each: what grows for ever is not appraised"
        return self._without_answer("registers-never-still", what)

    def _judge(self, session: Session, raw: bytes, expected: Expectation, record: Enrolment) -> Result:
        now = expected.now
        try:
            shown = Evidence.decode(raw)
        except EvidenceError:
            session.fail(now=now)
            return verify(raw, expected)
        try:
            nonce = session.receive(shown.host.name, now=now)
        except SessionError as error:
            return self._without_answer("host-name-mismatch", str(error))
        with remembered(self.record, record) as (earlier, remember):
            result = verify(shown, replace(expected, nonce=nonce, earlier=earlier))
            if result.told is not None:
                remember(result.told)
        session.judged(result.verdict, now=now)
        return result

    def _session(self) -> Session:
        return Session.create(self.host, os.urandom(ID_SIZE), now=self.clock())

    def _without_answer(self, code: str, detail: str) -> Result:
        root = Node.judge(f"host {self.host}", [reason(code, detail)])
        return Result(root, self.expected.nonce, policy_ids(self.expected))


class _RefusedError(ShypeInputError):
    """No evidence will come; ``code`` is one of ``attest.reasons``."""

    @classmethod
    def of(cls, error: AttestInputError) -> _RefusedError:
        """Return the refusal of an enrolment: alarms by their own codes, all others by one."""
        return cls._with(error.code if error.code in CODES else "enrolment-refused", f"{error.code}: {error}")

    @classmethod
    def by(cls, answer: AgentRefusal) -> _RefusedError:
        """Return the refusal that an agent gives."""
        code = "host-quiet" if answer.code in _QUIET else "host-refuses"
        return cls._with(code, f"{answer.code}: {answer.detail}")

    @classmethod
    def _with(cls, code: str, detail: str) -> _RefusedError:
        made = cls(detail)
        made.code = code
        return made


def with_standing(result: Result, failures: tuple[str, ...], since: datetime | None) -> Result:
    """Return the result of a host whose failure of ``since`` stands."""
    if since is None:
        return result
    root = result.root
    what = f"since {since:%Y-%m-%d %H:%M:%SZ}: {', '.join(failures)}"
    standing = Node.judge("standing", [reason("failed-before", what)])
    return replace(result, root=Node.judge(root.name, root.reasons, [*root.children, standing], root.notes))


def _body(answer: Answer | AgentRefusal) -> bytes:
    if isinstance(answer, AgentRefusal):
        raise _RefusedError.by(answer)
    return answer.body


def _attestation_key(raw: bytes) -> Public:
    key = decode_ak(raw)
    if isinstance(key, BareKey):
        raise AnswerError("the host offers an attestation key without attributes")
    return key


def _draw() -> bytes:
    return os.urandom(NONCE_SIZE)
