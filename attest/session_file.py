"""Sessions as JSON (``shype.session/1``), for a verifier that ends between two messages."""

from __future__ import annotations

from typing import Final

from attest.canonical_json import Json
from attest.enrolment import MAX_FILE as MAX_CHALLENGE
from attest.enrolment import Challenge, EnrolmentError
from attest.errors import AttestUsageError
from attest.json_record import Fields, encode, stamp
from attest.nonce import Nonce
from attest.session import ID_SIZE, MAX_ROUNDS, Session, SessionError
from attest.session_state import SessionFailure, State
from vtpm.tpm2.fields import name_problem

SCHEMA: Final = "shype.session/1"
MAX_FILE: Final = MAX_CHALLENGE + 64 * 1024
_DIGEST: Final = 32
_NAMES: Final = {
    "id",
    "host",
    "state",
    "expires_at",
    "challenge",
    "ak_name",
    "nonce",
    "nonce_expires_at",
    "used",
}


def encode_session(session: Session) -> bytes:
    """Return the JSON document; it holds no secret but the nonce that is open."""
    challenge: Json = None if session.challenge is None else session.challenge.document()
    return encode(
        {
            "schema": SCHEMA,
            "id": session.id,
            "host": session.host,
            "state": str(session.state),
            "expires_at": stamp(session.expires_at),
            "challenge": challenge,
            "ak_name": session.ak_name.hex() or None,
            "nonce": session.nonce.value.hex() if session.nonce else None,
            "nonce_expires_at": stamp(session.nonce.expires_at) if session.nonce else None,
            "used": [digest.hex() for digest in session.used],
        }
    )


def decode_session(raw: bytes) -> Session:
    """Read what ``encode_session`` wrote; raises SessionError with ``session-malformed``."""
    fields = Fields.decode(raw, SCHEMA, _NAMES, limit=MAX_FILE, fail=_malformed)
    session = Session(
        id=fields.hex("id").hex(),
        host=fields.host("host"),
        expires_at=fields.time("expires_at"),
        state=_state(fields),
        challenge=_challenge(fields),
        ak_name=fields.or_null("ak_name", fields.hex) or b"",
        nonce=_nonce(fields),
        used=_used(fields),
    )
    _check(session)
    return session


def _state(fields: Fields) -> State:
    try:
        return State(fields.text("state"))
    except ValueError:
        raise _malformed("state is none of a session") from None


def _challenge(fields: Fields) -> Challenge | None:
    value = fields.values["challenge"]
    if value is None:
        return None
    try:
        return Challenge.of_document(value)
    except EnrolmentError as error:
        raise _malformed(f"challenge: {error}") from None


def _nonce(fields: Fields) -> Nonce | None:
    if fields.values["nonce"] is None and fields.values["nonce_expires_at"] is None:
        return None
    value, expires_at = fields.hex("nonce"), fields.time("nonce_expires_at")
    try:
        return Nonce(value, expires_at)
    except AttestUsageError as error:
        raise _malformed(str(error)) from None


def _used(fields: Fields) -> tuple[bytes, ...]:
    found = fields.each("used", MAX_ROUNDS, lambda each, name: each.hex(name, _DIGEST))
    if len(set(found)) != len(found):
        raise fields.refuse("used", "holds a digest twice")
    return found


def _check(session: Session) -> None:
    """Refuse a session whose parts contradict its state."""
    if len(session.id) != 2 * ID_SIZE:
        raise _malformed(f"id has not {ID_SIZE} bytes")
    if session.ak_name and name_problem(session.ak_name):
        raise _malformed("ak_name is no Name")
    if (session.challenge is not None) != (session.state is State.CHALLENGED):
        raise _malformed("a challenge stands in a challenged session, and nowhere else")
    if session.challenge is not None and session.challenge.member.host != session.host:
        raise _malformed("its challenge is for another host")
    if (session.nonce is not None) != (session.state is State.NONCE_SENT):
        raise _malformed("a nonce stands in a session that sent one, and nowhere else")
    if session.state in _PROVED and not session.ak_name:
        raise _malformed(f"a session is {session.state} with a proved key only")


_PROVED: Final = frozenset({State.ENROLLED, State.NONCE_SENT, State.EVIDENCE_RECEIVED, State.JUDGED})


def _malformed(message: str) -> SessionError:
    return SessionError(SessionFailure.MALFORMED, f"record: {message}")
