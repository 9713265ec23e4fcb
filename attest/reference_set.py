"""Signed reference sets ``shype.reference-set/1``: reference values that cannot be altered or rolled back.

::

    {"schema": "shype.reference-set/1", "name", "version", "expires": "2027-01-31T00:00:00Z",
     "key": SHA-256 of the signer's SubjectPublicKeyInfo (hex),
     "payload": base64 of the exact bytes of shype.reference/1,
     "signature": base64 of r ‖ s (64 bytes)}

The signature is ES256 (RFC 7518, 3.4: ECDSA on P-256 with SHA-256) over the canonical JSON of all other
fields. ``name`` and ``version`` are those of the payload. Who verifies keeps the highest version that was
seen of each name: an older set, or another one of the same version, is refused (RFC 9334, 10: freshness; The
Update Framework, 5.3: rollback). An expired set is authentic and says nothing any more.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from attest import canonical_json
from attest.canonical_json import Json
from attest.errors import AttestInputError, AttestUsageError
from attest.json_record import Fields, stamp
from attest.reference import MAX_REFERENCE, MAX_TEXT, ReferenceValues
from attest.signer import Signer

SCHEMA: Final = "shype.reference-set/1"
SEEN_SCHEMA: Final = "shype.reference-seen/1"
MAX_SET: Final = 4 * MAX_REFERENCE // 3 + (1 << 20)
MAX_SEEN: Final = 1 << 20
MAX_NAMES: Final = 4096
_COORDINATE: Final = 32
_FIELDS: Final = frozenset({"name", "version", "expires", "key", "payload", "signature"})


class ReferenceSetError(AttestInputError):
    """A set that must not be used.

    Codes: ``reference-set`` (not well-formed), ``reference-signature`` (another key, or altered),
    ``reference-rollback`` (older than one that was seen), ``reference-seen`` (the kept state is broken).
    """

    code = "reference-set"


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """A set whose signature holds; ``digest`` is the SHA-256 (hex) of its payload."""

    values: ReferenceValues
    digest: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """The highest version that was seen of each set, by name, and the digest of its payload."""

    sets: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def admit(self, found: ReferenceSet) -> Seen:
        """Return what is seen now; raises ``ReferenceSetError`` for a set that is rolled back."""
        name, version = found.values.name, found.values.version
        known, digest = self.sets.get(name, (0, found.digest))
        if version < known:
            message = (
                f"reference set {name!a}: version {version} is older than {known}, which was seen already"
            )
            raise ReferenceSetError(message, code="reference-rollback")
        if version == known and digest != found.digest:
            message = f"reference set {name!a}: another set of version {version} was seen already"
            raise ReferenceSetError(message, code="reference-rollback")
        return Seen({**self.sets, name: (version, found.digest)})

    def encode(self) -> bytes:
        """Return the JSON document."""
        sets: dict[str, Json] = {
            name: {"version": version, "sha256": digest} for name, (version, digest) in self.sets.items()
        }
        return canonical_json.encode({"schema": SEEN_SCHEMA, "sets": sets})

    @classmethod
    def decode(cls, raw: bytes) -> Seen:
        """Read a document; raises ``AttestInputError``: a state that is not understood admits nothing."""
        document = canonical_json.decode(raw, "seen reference sets", MAX_SEEN)
        top = Fields.document(document, SEEN_SCHEMA, {"sets"}, fail=_broken)
        names = top.values["sets"]
        if not isinstance(names, dict) or len(names) > MAX_NAMES:
            raise top.refuse("sets", f"is no object with at most {MAX_NAMES} names")
        sets = Fields(names, _broken, "sets")
        return cls({name: _seen(sets, name) for name in names})


def sign(reference: bytes, signer: Signer, expires: datetime) -> bytes:
    """Return the set for the bytes of a reference file; raises ``AttestInputError`` where they are broken."""
    values = ReferenceValues.decode(reference)
    fields: dict[str, Json] = {
        "schema": SCHEMA,
        "name": values.name,
        "version": values.version,
        "expires": stamp(expires.astimezone(UTC)),
        "key": hashlib.sha256(signer.spki()).hexdigest(),
        "payload": base64.b64encode(reference).decode(),
    }
    r, s = decode_dss_signature(signer.sign(hashlib.sha256(canonical_json.encode(fields)).digest()))
    signature = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    return canonical_json.encode({**fields, "signature": base64.b64encode(signature).decode()})


def verify(raw: bytes, spki: bytes) -> ReferenceSet:
    """Return the set if ``spki`` (DER SubjectPublicKeyInfo on P-256) signed it.

    Not judged here: whether it is rolled back (``Seen.admit``) and whether it has expired. Raises
    ``ReferenceSetError``, ``ReferenceValuesError`` for a payload that is broken, ``AttestUsageError`` for a
    key of another kind.
    """
    document = canonical_json.decode(raw, "reference set", MAX_SET)
    fields = Fields.document(document, SCHEMA, _FIELDS, fail=_malformed)
    told = fields.lines("name", MAX_TEXT), fields.number("version", 53)
    expires, payload = fields.time("expires"), fields.base64("payload")
    if fields.hex("key") != hashlib.sha256(spki).digest():
        raise ReferenceSetError("reference set: signed by another key", code="reference-signature")
    signature = fields.base64("signature")
    if len(signature) != 2 * _COORDINATE:
        raise fields.refuse("signature", f"is not {2 * _COORDINATE} bytes, r and s")
    _check_signature(fields, signature, spki)
    values = ReferenceValues.decode(payload)
    if (values.name, values.version) != told:
        raise _malformed("name and version are not those of its payload")
    return ReferenceSet(values, hashlib.sha256(payload).hexdigest(), expires)


def _check_signature(fields: Fields, signature: bytes, spki: bytes) -> None:
    others = {name: value for name, value in fields.values.items() if name != "signature"}
    signed = canonical_json.encode(others)  # type: ignore[arg-type]  # they were read from JSON
    r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE], signature[_COORDINATE:]))
    try:
        _key(spki).verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        message = "reference set: the signature does not hold: the set was altered"
        raise ReferenceSetError(message, code="reference-signature") from None


def _key(spki: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise AttestUsageError("reference key: not a SubjectPublicKeyInfo in DER", code="key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise AttestUsageError("reference key: not a key on P-256", code="key")
    return key


def _malformed(message: str) -> ReferenceSetError:
    return ReferenceSetError(f"reference set: {message}")


def _seen(sets: Fields, name: str) -> tuple[int, str]:
    seen = sets.object(name, {"version", "sha256"})
    return seen.number("version", 53), seen.hex("sha256", hashlib.sha256().digest_size).hex()


def _broken(what: str) -> ReferenceSetError:
    message = f"seen reference sets: {what}; restore the file from a backup"
    return ReferenceSetError(message, code="reference-seen")
