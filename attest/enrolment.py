"""Enrolment: a host becomes known by the TPM it has (registrar's side).

The registrar sends a secret that only the TPM with the certified EK can open, and only if the AK with the
given Name is in that same TPM (TPM 2.0 Part 1, 24; Part 3, 12.5 and 12.6). Rules:

1. the AK is an attestation key; its Name is computed here, never taken from the host (CVE-2021-3406);
2. the EK has a TCG template, and a certificate for its key up to a configured root;
3. a host that is known keeps its TPM, and a TPM keeps its host: otherwise refuse, and raise an alarm
   (CVE-2025-13609);
4. a challenge is answered once and in time, and no error says what the answer would have been
   (CVE-2023-38201). Only the digest of the secret is kept, so there is nothing to leak.

Single use is for the caller to enforce; :mod:`attest.session` does.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from attest.ak import check_ak
from attest.ek import check_ek
from attest.endorsement import Anchors, verify_endorsement
from attest.errors import AttestInputError, AttestUsageError
from attest.json_record import Fields, encode, is_host, stamp
from vtpm.errors import StructureError
from vtpm.tpm2.credential import credential_file, make_credential
from vtpm.tpm2.public import Public

if TYPE_CHECKING:
    from collections.abc import Iterable

ENROLMENT_SCHEMA: Final = "shype.enrolment/1"
CHALLENGE_SCHEMA: Final = "shype.enrolment-challenge/1"
MAX_FILE: Final = 64 * 1024
SECRET_SIZE: Final = 32
"""Bytes of the secret: no nameAlg of an EK template has a shorter digest (Part 3, 12.6)."""
DEFAULT_LIFETIME: Final = timedelta(minutes=10)
MAX_LIFETIME: Final = timedelta(days=1)


class EnrolmentFailure(StrEnum):
    """Why an enrolment is refused, beside what AkError, EkError and EndorsementError say."""

    MALFORMED = "enrolment-malformed"
    HOST_HAS_OTHER_TPM = "host-has-other-tpm"
    TPM_HAS_OTHER_HOST = "tpm-has-other-host"
    NOT_ENROLLED = "host-not-enrolled"
    EXPIRED = "challenge-expired"
    WRONG_RESPONSE = "challenge-response"


class EnrolmentError(AttestInputError):
    """An enrolment is refused; ``code`` is the value of ``failure``. ``alarm`` asks a person to look."""

    def __init__(self, failure: EnrolmentFailure, message: str) -> None:
        super().__init__(message, code=failure.value)
        self.failure = failure
        self.alarm = failure in {EnrolmentFailure.HOST_HAS_OTHER_TPM, EnrolmentFailure.TPM_HAS_OTHER_HOST}


@dataclass(frozen=True, slots=True)
class Member:
    """A host and its TPM: what a challenge is about and an enrolment proves."""

    host: str
    ak: bytes
    """TPMT_PUBLIC."""
    ak_name: bytes
    ek_name: bytes
    ek_certificate: bytes
    """DER."""
    manufacturer: str
    """As in the EK certificate, e.g. ``id:00001014``; empty if the certificate does not say."""
    software: bool

    def enrol(self, time: datetime) -> Enrolment:
        """Return the enrolment at ``time``; for who has seen the proof."""
        return Enrolment(
            **{each.name: getattr(self, each.name) for each in dataclasses.fields(Member)}, time=time
        )

    def fields(self) -> dict[str, str | bool]:
        """Return the JSON fields: bytes are base64, Names hexadecimal."""
        return {
            "host": self.host,
            "ak": base64.b64encode(self.ak).decode(),
            "ak_name": self.ak_name.hex(),
            "ek_name": self.ek_name.hex(),
            "ek_certificate": base64.b64encode(self.ek_certificate).decode(),
            "manufacturer": self.manufacturer,
            "software": self.software,
        }

    @classmethod
    def of_fields(cls, fields: Fields) -> Member:
        """Read the JSON fields; the Name of the AK must be that of its public area."""
        member = cls(
            host=fields.host("host"),
            ak=fields.base64("ak"),
            ak_name=fields.hex("ak_name"),
            ek_name=fields.hex("ek_name"),
            ek_certificate=fields.base64("ek_certificate"),
            manufacturer=fields.text("manufacturer"),
            software=fields.flag("software"),
        )
        try:
            name = Public.decode(member.ak).name()
        except StructureError as error:
            raise _malformed(f"ak: {error}") from None
        if name != member.ak_name:
            raise _malformed("ak_name is not the Name of ak")
        return member


@dataclass(frozen=True, slots=True)
class Enrolment(Member):
    """A host whose TPM was proved to hold the AK. Trusted by whoever verifies evidence of that host."""

    time: datetime

    def document(self) -> dict[str, str | bool]:
        """Return the fields of the JSON document ``shype.enrolment/1``."""
        return {"schema": ENROLMENT_SCHEMA, **self.fields(), "enrolled_at": stamp(self.time)}

    def encode(self) -> bytes:
        """Return the JSON document."""
        return encode(self.document())

    @classmethod
    def decode(cls, raw: bytes) -> Enrolment:
        """Read what ``encode`` wrote; raises EnrolmentError."""
        names = _MEMBER | {"enrolled_at"}
        fields = Fields.decode(raw, ENROLMENT_SCHEMA, names, limit=MAX_FILE, fail=_malformed)
        return Member.of_fields(fields).enrol(fields.time("enrolled_at"))


@dataclass(frozen=True, slots=True)
class Challenge:
    """An open challenge, as the registrar keeps it. It holds the digest of the secret, not the secret."""

    member: Member
    response_digest: bytes
    created_at: datetime
    expires_at: datetime

    @classmethod
    def create(
        cls,
        host: str,
        ek_certificate: bytes,
        ek: Public,
        ak: Public,
        *,
        anchors: Anchors,
        known: Iterable[Enrolment],
        secret: bytes,
        seed: bytes,
        now: datetime,
        lifetime: timedelta = DEFAULT_LIFETIME,
        intermediates: tuple[bytes, ...] = (),
    ) -> tuple[Challenge, bytes]:
        """Apply rules 1 to 3 and return the challenge with the file for ``tpm2_activatecredential -i``.

        ``secret`` is 32 and ``seed`` 64 fresh random bytes, never used before. ``known`` are all enrolments.
        Raises AkError, EkError, EndorsementError, EnrolmentError; AttestUsageError for other arguments.
        """
        if len(secret) != SECRET_SIZE or not timedelta() < lifetime <= MAX_LIFETIME:
            raise AttestUsageError(
                f"a challenge has {SECRET_SIZE} secret bytes and lives one second to one day"
            )
        check_host(host)
        check_ak(ak)
        check_ek(ek)
        endorsement = verify_endorsement(ek_certificate, anchors, now=now, ek=ek, intermediates=intermediates)
        member = Member(
            host=host,
            ak=ak.encode(),
            ak_name=ak.name(),
            ek_name=ek.name(),
            ek_certificate=endorsement.certificate,
            manufacturer=endorsement.identity.manufacturer if endorsement.identity else "",
            software=endorsement.is_software,
        )
        check_known(member, known)
        blob = credential_file(*make_credential(ek, member.ak_name, secret, seed=seed))
        start = now.astimezone(UTC).replace(microsecond=0)
        return cls(member, hashlib.sha256(secret).digest(), start, start + lifetime), blob

    def complete(self, response: bytes, *, known: Iterable[Enrolment], now: datetime) -> Enrolment:
        """Apply rules 3 and 4 to an answer, and return the enrolment; raises EnrolmentError."""
        if not self.created_at <= now <= self.expires_at:
            raise EnrolmentError(EnrolmentFailure.EXPIRED, f"{self.member.host}: the challenge is too old")
        if not hmac.compare_digest(hashlib.sha256(response).digest(), self.response_digest):
            raise EnrolmentError(
                EnrolmentFailure.WRONG_RESPONSE, f"{self.member.host}: not the secret of the challenge"
            )
        check_known(self.member, known)
        return self.member.enrol(now.astimezone(UTC).replace(microsecond=0))

    def document(self) -> dict[str, str | bool]:
        """Return the fields of the JSON document ``shype.enrolment-challenge/1``, which a session holds."""
        return {
            "schema": CHALLENGE_SCHEMA,
            **self.member.fields(),
            "response_digest": self.response_digest.hex(),
            "created_at": stamp(self.created_at),
            "expires_at": stamp(self.expires_at),
        }

    @classmethod
    def of_document(cls, value: object) -> Challenge:
        """Read what ``document`` returned; raises EnrolmentError."""
        names = _MEMBER | {"response_digest", "created_at", "expires_at"}
        fields = Fields.document(value, CHALLENGE_SCHEMA, names, fail=_malformed)
        digest = fields.hex("response_digest", hashlib.sha256().digest_size)
        return cls(Member.of_fields(fields), digest, fields.time("created_at"), fields.time("expires_at"))


def check_host(host: str) -> None:
    """Raise AttestUsageError unless ``host`` is a lower-case host name (RFC 1123): a safe file name too."""
    if not is_host(host):
        raise AttestUsageError(f"{host[:80]!a} is not a host name in lower case", code="host-name")


def check_known(member: Member, known: Iterable[Enrolment]) -> None:
    """Rule 3: raise EnrolmentError, with ``alarm``, if the host has another TPM or the TPM another host."""
    for enrolment in known:
        same_host = enrolment.host == member.host
        same_tpm = enrolment.ek_name == member.ek_name
        if same_host and not same_tpm:
            what = f"{member.host} is enrolled with another TPM since {stamp(enrolment.time)}"
            raise EnrolmentError(EnrolmentFailure.HOST_HAS_OTHER_TPM, what)
        if same_tpm and not same_host:
            what = f"the TPM shown for {member.host} is that of {enrolment.host}"
            raise EnrolmentError(EnrolmentFailure.TPM_HAS_OTHER_HOST, what)


_MEMBER: Final = {each.name for each in dataclasses.fields(Member)}


def _malformed(message: str) -> EnrolmentError:
    return EnrolmentError(EnrolmentFailure.MALFORMED, f"enrolment record: {message}")
