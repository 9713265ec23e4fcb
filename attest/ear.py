"""EAR: the signed attestation result that a relying party gets (draft-ietf-rats-ear-04, AR4SI, RFC 9711).

A JWT (RFC 7519) signed with ES256. Submods: ``platform``, and ``domain:NAME`` for each domain; each has its
status, its trustworthiness vector and, as annotation, the part of the result tree that it stands for.

Two dialects name the claims. Veraison and Trustee write and read ``ear.status`` with their own profile tag;
draft 04 renamed the claims to ``ear_status`` under a new one. We write the first unless told otherwise, and
read both.

Trusted when reading: the key that the relying party gives. Not trusted: everything in the token until its
signature holds, its ``alg`` above all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from attest import canonical_json
from attest.errors import AttestInputError, AttestUsageError

ALGORITHM: Final = "ES256"
MAX_TOKEN: Final = 1024 * 1024
MAX_JWK: Final = 8192
MAX_LIFETIME: Final = 31 * 24 * 3600
LEEWAY: Final = 60
"""Seconds by which the clocks of verifier and relying party may differ."""
COORDINATE: Final = 32
"""Bytes of one coordinate of P-256, and of r and s."""
VALUES: Final = range(-128, 128)
WARNING: Final = 32
CONTRAINDICATED: Final = 96
"""Where the tiers of a trustworthiness claim begin (AR4SI 2.3.1)."""
_TIERS: Final = {"affirming": 0, "warning": 1, "contraindicated": 2, "none": 2}
"""Trust of a status, 0 the most: nothing is known of ``none``, so it never is better than contraindicated."""


class Dialect(Enum):
    """The names of the claims, and the profile (``eat_profile``) that says which names these are."""

    VERAISON = ("tag:github.com,2023:veraison/ear", "ear.", "-", "ear.veraison.annotated-evidence")
    DRAFT_04 = ("tag:ietf.org,2026:rats/ear#04", "ear_", "_", "ear_verifier_claims")

    @property
    def profile(self) -> str:
        """The value of ``eat_profile``."""
        return str(self.value[0])

    @property
    def annotation(self) -> str:
        """The claim that carries what the verifier found, in full."""
        return str(self.value[3])

    def claim(self, words: str) -> str:
        """Return the name of a claim: of ``verifier id`` it is ``ear.verifier-id`` or ``ear_verifier_id``."""
        return str(self.value[1]) + words.replace(" ", str(self.value[2]))


class EarError(AttestInputError):
    """A token that a relying party must refuse.

    ``code``: ``token-malformed``, ``token-algorithm``, ``token-signature``, ``token-expired``,
    ``token-not-yet-valid``, ``nonce-mismatch``, ``audience-mismatch``, ``status-order``, ``submod-missing``.
    """

    code = "token-malformed"


@dataclass(frozen=True, slots=True)
class Appraisal:
    """The status of one submod and the values of its trustworthiness vector."""

    status: str
    vector: Mapping[str, int]
    annotation: object


@dataclass(frozen=True, slots=True)
class Ear:
    """A verified token. ``status`` is never better than that of a submod."""

    status: str
    issued: int
    expires: int
    verifier: str
    submods: Mapping[str, Appraisal]


def verify_ear(
    token: str,
    jwk: bytes,
    *,
    now: int,
    nonce: bytes | None = None,
    audience: str | None = None,
    submods: Sequence[str] = (),
) -> Ear:
    """Return the claims of a token that ``jwk`` (a public JWK, RFC 7517) signed and that is good at ``now``.

    ``nonce`` and ``audience`` must be the token's where they are given, and a token with an audience is
    refused to a reader that names none; ``submods`` must all be in it. Raises EarError.
    """
    claims = _verified_claims(token, jwk)
    dialect = next((one for one in Dialect if one.profile == claims.get("eat_profile")), None)
    if dialect is None:
        raise EarError("token: eat_profile is no EAR profile that is known here")
    issued, expires = _times(claims, now)
    _check_audience(claims.get("aud"), audience)
    if nonce is not None and not _same_text(claims.get("eat_nonce"), base64url(nonce)):
        raise EarError("token: eat_nonce is not the nonce given", code="nonce-mismatch")
    appraisals = _submods(claims.get("submods"), dialect)
    for name in submods:
        if name not in appraisals:
            raise EarError(f"token: no submod {name!a}", code="submod-missing")
    status = _status(claims.get(dialect.claim("status")), "token")
    if any(_TIERS[status] < _TIERS[one.status] for one in appraisals.values()):
        raise EarError("token: its status is better than that of a submod", code="status-order")
    return Ear(status, issued, expires, _verifier(claims.get(dialect.claim("verifier id"))), appraisals)


def public_jwk(spki: bytes) -> dict[str, str]:
    """Return the JWK (RFC 7517, RFC 7518 6.2.1) of a P-256 key in DER; AttestUsageError for anything else."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        raise AttestUsageError("not a public key in DER (SubjectPublicKeyInfo)", code="key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise AttestUsageError("results are signed with ECDSA on P-256; give such a key", code="key")
    point = key.public_numbers()
    x, y = (base64url(number.to_bytes(COORDINATE, "big")) for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the SHA-256 thumbprint of an EC JWK (RFC 7638)."""
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return base64url(hashlib.sha256(canonical_json.encode(members)).digest())


def base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _verified_claims(token: str, jwk: bytes) -> Mapping[str, object]:
    """Check the signature first; nothing of the payload is read before (RFC 7515, 5.2; RFC 8725, 3.1).

    Header and payload are signed as they are written; only the signature itself could be written in two ways.
    """
    key = _key(jwk)
    token = token.strip()
    if len(token) > MAX_TOKEN or not token.isascii():
        raise EarError(f"token: not a compact JWS of at most {MAX_TOKEN} characters")
    try:
        payload = jwt.PyJWS().decode(token, key, algorithms=[ALGORITHM])
    except jwt.InvalidAlgorithmError:
        raise EarError(f"token: it is not signed by {ALGORITHM}", code="token-algorithm") from None
    except jwt.InvalidSignatureError:
        raise EarError("token: another key signed it, or it was changed", code="token-signature") from None
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise EarError(f"token: not a compact JWS: {str(error)[:80]!a}") from None
    signature = token.rpartition(".")[2]
    if base64url(_unbase64url(signature)) != signature:
        raise EarError("token: its signature is not the one base64url encoding of its bytes")
    try:
        claims = canonical_json.decode(payload, "claims", MAX_TOKEN)
    except canonical_json.JsonError as error:
        raise EarError(f"token: {error}") from None
    if not isinstance(claims, dict):
        raise EarError("token: its claims are not an object")
    return claims


def _key(jwk: bytes) -> ec.EllipticCurvePublicKey:
    if jwk.lstrip().startswith(b"-----"):
        raise AttestUsageError(
            "key: PEM, not a JWK: shype result jwk makes one of the private key", code="key"
        )
    try:
        members = canonical_json.decode(jwk, "JWK", MAX_JWK)
    except canonical_json.JsonError as error:
        raise AttestUsageError(f"key: {error}", code="key") from None
    if not isinstance(members, dict) or (members.get("kty"), members.get("crv")) != ("EC", "P-256"):
        raise AttestUsageError("key: not a JWK with kty EC and crv P-256", code="key")
    if members.get("alg", ALGORITHM) != ALGORITHM or members.get("use", "sig") != "sig":
        raise AttestUsageError(f"key: this JWK is not for {ALGORITHM} signatures", code="key")
    try:
        x, y = (int.from_bytes(_unbase64url(members.get(name))) for name in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise AttestUsageError("key: x and y of the JWK are no point of P-256", code="key") from None


def _times(claims: Mapping[str, object], now: int) -> tuple[int, int]:
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        raise EarError("token: iat and exp must be whole seconds")
    if not 0 < expires - issued <= MAX_LIFETIME:
        raise EarError("token: exp does not follow iat within a month")
    if now >= expires:
        raise EarError(f"token: it expired {now - expires} seconds ago", code="token-expired")
    if max(issued, _number(claims.get("nbf"), issued)) > now + LEEWAY:
        raise EarError("token: it was issued in the future", code="token-not-yet-valid")
    return issued, expires


def _number(value: object, absent: int) -> int:
    if value is None:
        return absent
    if type(value) is not int:
        raise EarError("token: nbf must be whole seconds")
    return value


def _check_audience(given: object, wanted: str | None) -> None:
    audiences = given if isinstance(given, list) else [] if given is None else [given]
    if wanted is None and not audiences:
        return
    if wanted is None or not any(_same_text(one, wanted) for one in audiences):
        raise EarError("token: it was made for another audience", code="audience-mismatch")


def _submods(value: object, dialect: Dialect) -> dict[str, Appraisal]:
    if not isinstance(value, dict) or not value:
        raise EarError("token: submods must be an object with at least one entry")
    return {str(name): _appraisal(str(name), one, dialect) for name, one in value.items()}


def _appraisal(name: str, value: object, dialect: Dialect) -> Appraisal:
    if not isinstance(value, dict):
        raise EarError(f"token: submod {name[:60]!a} is not an object")
    status = _status(value.get(dialect.claim("status")), f"submod {name[:60]!a}")
    vector = value.get(dialect.claim("trustworthiness vector"), {})
    if not isinstance(vector, dict) or not all(type(one) is int and one in VALUES for one in vector.values()):
        raise EarError(f"token: submod {name[:60]!a} has no well-formed trustworthiness vector")
    if any(_TIERS[status] < _tier(one) for one in vector.values()):
        raise EarError(f"token: submod {name[:60]!a} is better than its vector", code="status-order")
    return Appraisal(status, dict(vector), value.get(dialect.annotation))


def _tier(value: int) -> int:
    """Return the tier of an AR4SI value (2.3.1): -1..1 no claim, up to 31 affirming, up to 95 warning."""
    return sum(abs(value) >= limit for limit in (WARNING, CONTRAINDICATED))


def _status(value: object, where: str) -> str:
    if not isinstance(value, str) or value not in _TIERS:
        raise EarError(f"{where}: its status is none of {', '.join(_TIERS)}")
    return value


def _verifier(value: object) -> str:
    if not isinstance(value, dict) or not all(
        isinstance(value.get(one), str) for one in ("developer", "build")
    ):
        raise EarError("token: the verifier id must have developer and build")
    return f"{value['build']} ({value['developer']})"


def _same_text(given: object, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())


def _unbase64url(text: object) -> bytes:
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("not base64url")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
