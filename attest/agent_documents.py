"""What a verifier and a host agent send each other: small JSON documents, one for each message.

Pure and strict: exactly the known fields, bytes as base64 in its one form, a nonce in hexadecimal, every size
bounded. The evidence itself is ``attest.evidence``. Nothing here is believed because it was decoded: an
endorsement is an offer (``attest.enrolment`` has its rules), an activation is what a TPM opened, or not.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from attest.enrolment import MAX_FILE as MAX_ENDORSEMENT
from attest.errors import AttestInputError
from attest.json_record import Fields, encode

MAX_REQUEST: Final = 16 * 1024
"""Bytes of a request's body: a credential is a few hundred, a nonce at most 64."""
MAX_ANSWER: Final = 16 * 1024
"""Bytes of an activation or an error."""
MIN_NONCE: Final = 32
MAX_NONCE: Final = 64
MAX_DETAIL: Final = 400
MAX_SECRET: Final = 64
MAX_SIGNATURE: Final = 256
"""Bytes of an ECDSA signature in DER; one on P-384 has at most 104."""
_EVIDENCE: Final = "shype.evidence-request/1"
_CODE: Final = re.compile(r"[a-z0-9-]{1,64}")


class DocumentError(AttestInputError):
    """A message does not have its form; it names the field."""

    code = "message-malformed"


@dataclass(frozen=True, slots=True)
class EndorsementOffer:
    """A host's name as it gives it, its EK (TPM2B_PUBLIC), EK certificate (DER) and AK (TPM2B_PUBLIC)."""

    host: str
    ek: bytes
    ek_certificate: bytes
    ak: bytes

    def encode(self) -> bytes:
        """Return ``shype.endorsement-offer/1``."""
        return encode(
            {
                "schema": "shype.endorsement-offer/1",
                "host": self.host,
                "ek": _text(self.ek),
                "ek_certificate": _text(self.ek_certificate),
                "ak": _text(self.ak),
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> EndorsementOffer:
        """Read what ``encode`` wrote; raises DocumentError."""
        names = {"host", "ek", "ek_certificate", "ak"}
        fields = _fields(raw, "shype.endorsement-offer/1", names, MAX_ENDORSEMENT)
        return cls(fields.host("host"), *map(fields.base64, ("ek", "ek_certificate", "ak")))


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """What MakeCredential made: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, contents with their sizes."""

    id_object: bytes
    encrypted_secret: bytes

    def encode(self) -> bytes:
        """Return ``shype.credential-request/1``."""
        return encode(
            {
                "schema": "shype.credential-request/1",
                "id_object": _text(self.id_object),
                "encrypted_secret": _text(self.encrypted_secret),
            }
        )

    @classmethod
    def decode(cls, raw: bytes) -> CredentialRequest:
        """Read what ``encode`` wrote; raises DocumentError."""
        names = {"id_object", "encrypted_secret"}
        fields = _fields(raw, "shype.credential-request/1", names, MAX_REQUEST)
        return cls(fields.base64("id_object"), fields.base64("encrypted_secret"))


@dataclass(frozen=True, slots=True)
class CredentialAnswer:
    """The secret that the TPM opened, at most 64 bytes."""

    secret: bytes

    def encode(self) -> bytes:
        """Return ``shype.credential-answer/1``."""
        return encode({"schema": "shype.credential-answer/1", "secret": _text(self.secret)})

    @classmethod
    def decode(cls, raw: bytes) -> CredentialAnswer:
        """Read what ``encode`` wrote; raises DocumentError."""
        secret = _fields(raw, "shype.credential-answer/1", {"secret"}, MAX_ANSWER).base64("secret")
        if len(secret) > MAX_SECRET:
            raise _malformed(f"secret has more than {MAX_SECRET} bytes")
        return cls(secret)


@dataclass(frozen=True, slots=True)
class EvidenceRequest:
    """A verifier's nonce, 32 to 64 bytes; ``signature`` is the client's under ``to_sign``, or none."""

    nonce: bytes
    signature: bytes | None = None

    def to_sign(self, channel: bytes) -> bytes:
        """Return what a client signs who asks over a channel named by 32 bytes (``attest.attester``).

        ``shype.evidence-request/1``, a zero byte, the channel, the nonce. It is no message of TLS: what a
        client signs there begins with 64 blanks (RFC 8446, 4.4.3).
        """
        return _EVIDENCE.encode() + b"\0" + channel + self.nonce

    def encode(self) -> bytes:
        """Return ``shype.evidence-request/1``."""
        signed = {} if self.signature is None else {"signature": _text(self.signature)}
        return encode({"schema": _EVIDENCE, "nonce": self.nonce.hex(), **signed})

    @classmethod
    def decode(cls, raw: bytes) -> EvidenceRequest:
        """Read what ``encode`` wrote; raises DocumentError."""
        fields = _fields(raw, _EVIDENCE, {"nonce"}, MAX_REQUEST, frozenset({"signature"}))
        nonce = fields.hex("nonce")
        if not MIN_NONCE <= len(nonce) <= MAX_NONCE:
            raise _malformed(f"nonce has {len(nonce)} bytes; {MIN_NONCE} to {MAX_NONCE} are taken")
        if "signature" not in fields.values:
            return cls(nonce)
        signature = fields.base64("signature")
        if not 0 < len(signature) <= MAX_SIGNATURE:
            raise _malformed(f"signature has {len(signature)} bytes; 1 to {MAX_SIGNATURE} are taken")
        return cls(nonce, signature)


@dataclass(frozen=True, slots=True)
class AgentRefusal:
    """Why an agent does not answer: a stable code, and one line for a person."""

    code: str
    detail: str

    def encode(self) -> bytes:
        """Return ``shype.agent-refusal/1``."""
        return encode({"schema": "shype.agent-refusal/1", "code": self.code, "detail": self.detail})

    @classmethod
    def decode(cls, raw: bytes) -> AgentRefusal:
        """Read what ``encode`` wrote; raises DocumentError."""
        fields = _fields(raw, "shype.agent-refusal/1", {"code", "detail"}, MAX_ANSWER)
        code, detail = fields.text("code"), fields.text("detail")
        if not _CODE.fullmatch(code) or len(detail) > MAX_DETAIL:
            raise _malformed("code is no word, or detail is too long")
        return cls(code, detail)


def _fields(
    raw: bytes, schema: str, names: set[str], limit: int, optional: frozenset[str] = frozenset()
) -> Fields:
    return Fields.decode(raw, schema, names, optional=optional, limit=limit, fail=_malformed)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _malformed(message: str) -> DocumentError:
    return DocumentError(f"message: {message}")
