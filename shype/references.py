"""Where a verifier's reference values come from: a plain file, or a signed set and what was seen before."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from attest import canonical_json
from attest.ear import MAX_JWK
from attest.errors import AttestInputError
from attest.reference import ReferenceValues
from attest.reference_set import MAX_SEEN, MAX_SET, SCHEMA, ReferenceSet, Seen, verify
from shype.errors import ShypeUsageError
from shype.files import locked, read, write

_MARK: Final = SCHEMA.encode()
_COORDINATE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Reference values, the SHA-256 (hex) of their bytes, and until when they are good, None for ever."""

    values: ReferenceValues
    digest: str
    expires: datetime | None


def load(file: Path, key: Path | None, seen: Path | None) -> Loaded:
    """Read reference values; a signed set needs the ``key`` that signs it, and the file ``seen``.

    ``seen`` keeps the highest version, so that no older set is taken; it is made where it is missing. Raises
    ``AttestInputError`` for what must not be used, ``ShypeUsageError`` for options that do not fit.
    """
    if (key is None) != (seen is None):
        raise ShypeUsageError(
            "--reference-key and --reference-seen belong together: a key, and what was seen"
        )
    raw = read(file, MAX_SET)
    signed = _is_set(raw)
    if key is None or seen is None:
        if signed:
            message = f"{file}: a signed set: name its key (--reference-key) and a file (--reference-seen)"
            raise ShypeUsageError(message)
        return Loaded(ReferenceValues.decode(raw), hashlib.sha256(raw).hexdigest(), None)
    if not signed:
        raise AttestInputError(f"{file}: no signed set, and a key was named", code="reference-signature")
    found = verify(raw, public_key(read(key, MAX_JWK)))
    _remember(found, seen)
    return Loaded(found.values, found.digest, found.expires)


def public_key(raw: bytes) -> bytes:
    """Read a public key, PEM or JWK, and return it as DER SubjectPublicKeyInfo."""
    if raw.lstrip()[:1] == b"{":
        return _spki_of_jwk(raw)
    try:
        key = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise ShypeUsageError("--reference-key: neither a public key in PEM nor a JWK") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _spki_of_jwk(raw: bytes) -> bytes:
    """RFC 7517; RFC 7518, 6.2.1: an EC key on P-256, x and y of 32 bytes each in base64url."""
    members = canonical_json.decode(raw, "--reference-key", MAX_JWK)
    if not isinstance(members, dict) or (members.get("kty"), members.get("crv")) != ("EC", "P-256"):
        raise ShypeUsageError("--reference-key: no JWK with kty EC and crv P-256")
    x, y = (_COORDINATE.fullmatch(str(members.get(name))) for name in ("x", "y"))
    if x is None or y is None:
        raise ShypeUsageError("--reference-key: x and y of the JWK have 43 characters of base64url")
    first, second = (int.from_bytes(base64.urlsafe_b64decode(f"{each[0]}=")) for each in (x, y))
    try:
        key = ec.EllipticCurvePublicNumbers(first, second, ec.SECP256R1()).public_key()
    except ValueError:
        raise ShypeUsageError("--reference-key: x and y of the JWK are no point of P-256") from None
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_set(raw: bytes) -> bool:
    if _MARK not in raw or len(raw) > MAX_SET:
        return False
    top = canonical_json.decode(raw, "reference values", MAX_SET)
    return isinstance(top, dict) and top.get("schema") == SCHEMA


def _remember(found: ReferenceSet, file: Path) -> None:
    """Refuse a set that is rolled back, and keep what is seen now: two verifiers take turns."""
    with locked(file.parent):
        before = Seen.decode(read(file, MAX_SEEN)) if file.exists() else Seen()
        after = before.admit(found)
        if after != before or not file.exists():
            write(file, after.encode())
