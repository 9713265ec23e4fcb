"""``shype enroll``: make a host known by its TPM (registrar's side)."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from shype.cli.verb import Handler, Verbs, add_verb, verbs_of
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from attest.enrolment import Challenge, Enrolment
    from attest.errors import AttestInputError
    from attest.session import Session
    from shype.enrolments import EnrolmentStore
    from vtpm.tpm2.public import Public

_CHALLENGE = """\
The host answers by its TPM, with shype host activate or with tpm2-tools alone
(an EK of P-384 or RSA-3072 has no session: leave the first two lines and -P out):

  tpm2_startauthsession --policy-session -S session
  tpm2_policysecret -S session -c e
  tpm2_activatecredential -c ak.ctx -C ek.ctx -P session:session -i challenge -o secret

A second challenge for a host takes the place of the first.

Exit: 0 challenge written, 1 refused, 2 wrong usage, 3 not well-formed.

Example:
  shype enroll challenge --host xen1 --ek-certificate ek.crt --ek ek.pub --ak ak.pub \\
    --ca anchors/ --state registrar/ -o challenge
"""
_COMPLETE = """\
A challenge is answered once: a wrong answer uses it up. The enrolment is kept in
the state folder as well, as enrolled/HOST.json.

Exit: 0 enrolled, 1 refused, 2 wrong usage, 3 not well-formed.

Example:
  shype enroll complete --host xen1 --response secret --state registrar/ -o enrolment.json
"""

_NONCE = """\
The host must be enrolled in the state folder. Its answer is judged by 'shype
verify FILE --session registrar/', once: a second answer, a late one, or one to
an earlier nonce is refused. A second nonce for a host takes the place of the
first.

Exit: 0 nonce printed, 1 refused, 2 wrong usage, 3 not well-formed.

Example:
  shype enroll nonce --host xen1 --state registrar/
"""

_CLIENT_KEY = """\
A host agent answers only those whose certificate its operator has put on its
list (shype host serve --allow): give him the certificate, keep the key.

Exit: 0 written, 2 wrong usage.

Example:
  shype enroll client-key --name auditor -o /tmp/auditor.pem --certificate /tmp/auditor.crt
"""

_MAX_CERTIFICATES = 1024 * 1024
_MAX_RESPONSE = 64
_SEED_SIZE = 64
_MALFORMED = frozenset(
    {"ak-malformed", "ek-malformed", "ek-certificate-malformed", "enrolment-malformed", "session-malformed"}
)


def register(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the group."""
    verbs = verbs_of(parser)
    challenge = _verb(verbs, "challenge", "challenge a host to prove its TPM", _CHALLENGE, _challenge)
    challenge.add_argument("--ek-certificate", required=True, type=Path, metavar="FILE", help="DER or PEM")
    challenge.add_argument(
        "--intermediate",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="CAs below the roots, one or more; repeatable",
    )
    challenge.add_argument("--ek", required=True, type=Path, metavar="FILE", help="tpm2_createek -u, -f tss")
    challenge.add_argument("--ak", required=True, type=Path, metavar="FILE", help="tpm2_createak -u, -f tss")
    challenge.add_argument(
        "--ca",
        required=True,
        type=Path,
        metavar="FOLDER",
        help="certificates of trusted roots: *.pem, *.crt, *.cer, *.der",
    )
    challenge.add_argument(
        "--valid-for", type=int, default=600, metavar="SECONDS", help="time to answer (default %(default)s)"
    )
    challenge.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="challenge to send"
    )
    complete = _verb(verbs, "complete", "check the answer and enrol the host", _COMPLETE, _complete)
    complete.add_argument("--response", required=True, type=Path, metavar="FILE", help="what the TPM opened")
    complete.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="enrolment record")
    nonce = _verb(verbs, "nonce", "make a nonce for evidence of an enrolled host", _NONCE, _nonce)
    nonce.add_argument(
        "--valid-for", type=int, default=300, metavar="SECONDS", help="time to answer (default %(default)s)"
    )
    client = add_verb(
        verbs, "client-key", "make the key by which host agents know you", _CLIENT_KEY, _client_key
    )
    client.add_argument("--name", required=True, metavar="NAME", help="what you are called in their logs")
    client.add_argument(
        "--days", type=int, default=397, metavar="N", help="how long it is good (default: %(default)s)"
    )
    client.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="private key and certificate"
    )
    client.add_argument(
        "--certificate", required=True, type=Path, metavar="FILE", help="certificate, for their lists"
    )


def _verb(verbs: Verbs, name: str, line: str, epilog: str, handler: Handler) -> argparse.ArgumentParser:
    verb = add_verb(verbs, name, line, epilog, handler)
    verb.add_argument("--host", required=True, metavar="NAME", help="host name, lower case")
    verb.add_argument("--state", required=True, type=Path, metavar="FOLDER", help="the registrar's folder")
    return verb


def _challenge(arguments: argparse.Namespace) -> Report:
    from attest.errors import AttestInputError
    from attest.session import ID_SIZE, Session
    from shype.enrolments import open_store
    from shype.files import SECRET, replacing

    now = datetime.now(UTC)
    try:
        with open_store(arguments.state) as store, replacing(arguments.output, SECRET) as commit:
            challenge, blob, bent = _make(arguments, store.known(), now)
            session = Session.create(arguments.host, os.urandom(ID_SIZE), now=now)
            session.send_challenge(challenge, now=now)
            commit(blob)
            store.put_session(session)
    except AttestInputError as error:
        return _refused(arguments.host, error, {"challenge": None})
    return _challenged(challenge, bent, arguments.output)


def _make(
    arguments: argparse.Namespace, known: list[Enrolment], now: datetime
) -> tuple[Challenge, bytes, tuple[str, ...]]:
    """Return the challenge, the file to send, and what had to be put up with in the certificates."""
    from attest.certificate import decode_certificate, decode_certificates
    from attest.ek import MAX_FILE, decode_ek
    from attest.endorsement import verify_endorsement
    from attest.enrolment import SECRET_SIZE, Challenge
    from shype.anchors import read_anchors
    from shype.files import read

    certificate = decode_certificate(read(arguments.ek_certificate, _MAX_CERTIFICATES)).parts.whole
    shown = (read(path, _MAX_CERTIFICATES) for path in arguments.intermediate)
    intermediates = [each.parts.whole for raw in shown for each in decode_certificates(raw)]
    anchors = read_anchors(arguments.ca)
    challenge, blob = Challenge.create(
        arguments.host,
        certificate,
        decode_ek(read(arguments.ek, MAX_FILE)),
        _attestation_key(read(arguments.ak, MAX_FILE)),
        anchors=anchors,
        known=known,
        secret=os.urandom(SECRET_SIZE),
        seed=os.urandom(_SEED_SIZE),
        now=now,
        lifetime=_seconds(arguments.valid_for),
        intermediates=tuple(intermediates),
    )
    endorsed = verify_endorsement(certificate, anchors, now=now, intermediates=intermediates)
    return challenge, blob, endorsed.bent


def _attestation_key(raw: bytes) -> Public:
    from attest.ak import AkError, AkFailure, BareKey, decode_ak

    key = decode_ak(raw)
    if isinstance(key, BareKey):
        raise AkError(
            AkFailure.ATTRIBUTES, "a PEM key shows no attributes; give the tss form (tpm2_createak -f tss)"
        )
    return key


def _complete(arguments: argparse.Namespace) -> Report:
    from attest.errors import AttestInputError
    from shype.enrolments import open_store
    from shype.files import SECRET, read, replacing

    response = read(arguments.response, _MAX_RESPONSE)
    try:
        with open_store(arguments.state) as store, replacing(arguments.output, SECRET) as commit:
            known = store.known()
            with store.session(arguments.host) as session:
                enrolment = session.answer(response, known=known, now=datetime.now(UTC))
            store.put_enrolment(enrolment)
            commit(enrolment.encode())
    except AttestInputError as error:
        return _refused(arguments.host, error, {"enrolment": None})
    return _enrolled(enrolment, arguments.output)


def _nonce(arguments: argparse.Namespace) -> Report:
    from attest.errors import AttestInputError
    from attest.nonce import NONCE_SIZE, check_source
    from shype.enrolments import existing_store

    def draw() -> bytes:
        return os.urandom(NONCE_SIZE)

    check_source(draw)
    now, lifetime = datetime.now(UTC), _seconds(arguments.valid_for)
    try:
        with existing_store(arguments.state) as store:
            session = _session(store, arguments.host, now, lifetime)
            nonce = session.send_nonce(draw(), now=now, lifetime=lifetime)
            store.put_session(session)
    except AttestInputError as error:
        return _refused(arguments.host, error, {"nonce": None})
    made: Json = {
        "value": nonce.value.hex(),
        "session": session.id,
        "expires_at": f"{nonce.expires_at:%Y-%m-%dT%H:%M:%SZ}",
    }
    return Report(Exit.OK, {**_head(arguments.host, "asked"), "nonce": made}, nonce.value.hex())


def _session(store: EnrolmentStore, host: str, now: datetime, lifetime: timedelta) -> Session:
    """Return the session that goes on as long as the nonce, or a new one with a host that is enrolled."""
    from attest.session import ID_SIZE, Session, SessionError
    from attest.session_state import SessionFailure

    enrolment = store.enrolment(host)
    found = store.find_session(host)
    if found is not None and found.challenge is not None and now <= found.challenge.expires_at:
        what = f"{host}: a challenge is open: answer it first (shype enroll complete)"
        raise SessionError(SessionFailure.ORDER, what)
    if found is not None and found.goes_on(enrolment, now + lifetime):
        return found
    session = Session.create(host, os.urandom(ID_SIZE), now=now)
    session.recognise(enrolment, now=now)
    return session


def _seconds(count: int) -> timedelta:
    """Return a lifetime; what no timedelta holds is refused as too long by who takes it."""
    return timedelta(seconds=max(-1, min(count, 10**9)))


def _client_key(arguments: argparse.Namespace) -> Report:
    from shype import tls_key
    from shype.agent.allow import NAME
    from shype.errors import ShypeUsageError
    from shype.files import write, write_secret

    if not NAME.fullmatch(arguments.name):
        raise ShypeUsageError(f"--name {arguments.name[:80]!a}: letters, digits, and . _ @ - (at most 64)")
    if not 0 < arguments.days <= tls_key.MAX_DAYS:
        raise ShypeUsageError(f"--days: 1 to {tls_key.MAX_DAYS}")
    made = tls_key.make(arguments.name, tls_key.CLIENT, datetime.now(UTC), arguments.days)
    write_secret(arguments.output, made.secret)
    write(arguments.certificate, made.certificate)
    document: Json = {
        "name": arguments.name,
        "key": str(arguments.output),
        "certificate": str(arguments.certificate),
        "key_digest": made.spki_digest.hex(),
    }
    lines = [
        f"key          {arguments.output}",
        f"certificate  {arguments.certificate}, for the hosts' lists",
    ]
    return Report(Exit.OK, document, "\n".join(lines))


def _challenged(challenge: Challenge, bent: tuple[str, ...], output: Path) -> Report:
    member = challenge.member
    document: Json = {
        **_head(member.host, "challenged"),
        "challenge": {
            "ak_name": member.ak_name.hex(),
            "ek_name": member.ek_name.hex(),
            "manufacturer": member.manufacturer,
            "software": member.software,
            "expires_at": f"{challenge.expires_at:%Y-%m-%dT%H:%M:%SZ}",
            "notes": list(bent),
        },
    }
    lines = [
        f"challenged  {member.host}",
        *_facts(member.ak_name, member.manufacturer, software=member.software),
        *(f"note        {note}" for note in bent),
    ]
    lines.append(f"challenge   {output}, to be answered by {challenge.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    return Report(Exit.OK, document, "\n".join(lines))


def _enrolled(enrolment: Enrolment, output: Path) -> Report:
    document: Json = {**_head(enrolment.host, "enrolled"), "enrolment": enrolment.document()}
    facts = _facts(enrolment.ak_name, enrolment.manufacturer, software=enrolment.software)
    return Report(
        Exit.OK, document, "\n".join([f"enrolled    {enrolment.host}", *facts, f"record      {output}"])
    )


def _facts(ak_name: bytes, manufacturer: str, *, software: bool) -> list[str]:
    kind = "a program plays this TPM" if software else "hardware"
    return [f"AK name     {ak_name.hex()}", f"TPM         {manufacturer or 'unknown maker'}, {kind}"]


def _refused(host: str, error: AttestInputError, fields: dict[str, None]) -> Report:
    alarm = bool(getattr(error, "alarm", False))
    malformed = error.code in _MALFORMED
    document: Json = {
        **_head(host, "none" if malformed else "refused"),
        "alarm": alarm,
        "reasons": [{"code": error.code, "detail": str(error)}],
        **fields,
    }
    lines = ["ALARM" if alarm else "refused", f"  {error.code}: {error}"]
    exit_code = Exit.BROKEN if malformed else Exit.REFUSED
    return Report(exit_code, document, "\n".join(lines), f"{error.code}: {error}")


def _head(host: str, verdict: str) -> dict[str, Json]:
    return {"verdict": verdict, "host": host, "alarm": False, "reasons": []}
