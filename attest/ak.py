"""Attestation keys: what a key must be before its signature over a quote means anything.

A TPM signs a structure that begins with TPM_GENERATED only by itself, and refuses to sign such bytes for
anybody with a *restricted* signing key (TPM 2.0 Part 1, 23.4 and Part 3, 15.4 TPM2_Hash). Without that
attribute the owner of the key can have any "quote" signed, so the attributes are the root of the argument.
They stand in the TPMT_PUBLIC only; a PEM key cannot show them.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from attest.errors import AttestInputError
from vtpm.errors import StructureError
from vtpm.tpm2.constants import Alg, Attributes, Curve
from vtpm.tpm2.public import DEFAULT_EXPONENT, EccKey, Public, RsaKey

MAX_FILE: Final = 8192
"""Bytes of a public key file; an RSA-4096 key has fewer than 800 in any of the forms."""

_REQUIRED: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.RESTRICTED
    | Attributes.SIGN_ENCRYPT
)
_FORBIDDEN: Final = Attributes.DECRYPT | Attributes.ENCRYPTED_DUPLICATION
_HASHES: Final = frozenset({Alg.SHA256, Alg.SHA384, Alg.SHA512})
_SCHEMES: Final = {Alg.RSA: frozenset({Alg.RSASSA, Alg.RSAPSS}), Alg.ECC: frozenset({Alg.ECDSA})}
_CURVES: Final = {"secp256r1": Curve.NIST_P256, "secp384r1": Curve.NIST_P384}
_RSA_BITS: Final = frozenset({2048, 3072, 4096})
_BEGIN: Final = b"-----BEGIN PUBLIC KEY-----"
_END: Final = b"-----END PUBLIC KEY-----"
_PEM_LINE: Final = 64
_DER: Final = b"\x30"
_GIVE: Final = "give what tpm2_createak -u or tpm2_readpublic -o writes (-f tss or -f pem)"


class AkFailure(StrEnum):
    """Why a key is not taken as an attestation key."""

    MALFORMED = "ak-malformed"
    ATTRIBUTES = "ak-attributes"
    SCHEME = "ak-scheme"
    STRENGTH = "ak-strength"


_NOT_TAKEN: Final = {"weak": AkFailure.STRENGTH, "scheme": AkFailure.SCHEME}
"""Code of a well-formed public area that is not read -> why it is refused."""


class AkError(AttestInputError):
    """A key is no attestation key; ``code`` is the value of ``failure``."""

    def __init__(self, failure: AkFailure, message: str) -> None:
        super().__init__(f"attestation key: {message}", code=failure.value)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class BareKey:
    """A public key without its TPM attributes (PEM): a signature by it may have been made outside any TPM."""

    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey


def decode_ak(raw: bytes) -> Public | BareKey:
    """Read a key file of tpm2-tools: TPM2B_PUBLIC (``-f tss``), bare TPMT_PUBLIC, or PEM SPKI (``-f pem``).

    Every byte counts; in PEM only one line end after the last line is optional. The key is not judged yet.
    Raises AkError: ``ak-malformed``; ``ak-strength`` and ``ak-scheme`` for what nobody here computes with.
    """
    if len(raw) > MAX_FILE:
        raise AkError(AkFailure.MALFORMED, f"{len(raw)} bytes; a public key has at most {MAX_FILE}")
    if raw.startswith(b"-----"):
        return _decode_pem(raw)
    try:
        sized = int.from_bytes(raw[:2], "big") == len(raw) - 2
        return Public.decode_sized(raw) if sized else Public.decode(raw)
    except StructureError as error:
        if error.code in _NOT_TAKEN:
            raise AkError(_NOT_TAKEN[error.code], str(error)) from None
        found = "a key in DER" if raw.startswith(_DER) else str(error)
        raise AkError(AkFailure.MALFORMED, f"{found}; {_GIVE}") from None


def check_ak(public: Public) -> None:
    """Raise AkError unless ``public`` is a restricted, TPM-bound signing key with a strong, fixed scheme.

    TPM 2.0 Part 2, 8.3 (attributes) and 12.2.3 (parameters); Part 1, 25.1.5 (attestation keys).
    """
    missing = _REQUIRED & ~public.attributes
    if missing:
        raise AkError(AkFailure.ATTRIBUTES, f"it lacks {_words(missing)}")
    excess = _FORBIDDEN & public.attributes
    if excess:
        raise AkError(AkFailure.ATTRIBUTES, f"it has {_words(excess)}")
    if public.scheme not in _SCHEMES[public.type]:
        raise AkError(
            AkFailure.SCHEME, f"a restricted {public.type.name} key does not sign by {public.scheme.name}"
        )
    if public.scheme_hash not in _HASHES or public.name_alg not in _HASHES:
        raise AkError(AkFailure.STRENGTH, "its signing hash and nameAlg must be SHA-2 of 256 bits or more")
    if public.symmetric is not None:
        raise AkError(AkFailure.SCHEME, "a signing key has no symmetric algorithm")
    _check_parameters(public.parameters)


def check_bare(key: BareKey) -> None:
    """Raise AkError unless the numbers of a PEM key are strong enough."""
    match key.key:
        case rsa.RSAPublicKey():
            exponent = key.key.public_numbers().e
            if key.key.key_size not in _RSA_BITS or exponent != DEFAULT_EXPONENT:
                raise AkError(
                    AkFailure.STRENGTH, f"RSA-{key.key.key_size} with exponent {exponent} is not taken"
                )
        case ec.EllipticCurvePublicKey():
            if key.key.curve.name not in _CURVES:
                raise AkError(AkFailure.STRENGTH, f"{key.key.curve.name} is not P-256 or P-384")


def _check_parameters(parameters: RsaKey | EccKey) -> None:
    match parameters:
        case RsaKey(bits, exponent, _):
            if bits not in _RSA_BITS or exponent not in {0, DEFAULT_EXPONENT}:
                raise AkError(AkFailure.STRENGTH, f"RSA-{bits} with exponent {exponent} is not taken")
        case EccKey(curve, kdf, _, _):
            if curve not in _CURVES.values():
                raise AkError(AkFailure.STRENGTH, f"{curve.name} is not P-256 or P-384")
            if kdf.alg is not Alg.NULL:
                raise AkError(AkFailure.SCHEME, "a signing key has no key derivation scheme")


def _words(attributes: Attributes) -> str:
    return ", ".join(each.name.lower() for each in Attributes if each in attributes and each.name)


def _decode_pem(raw: bytes) -> BareKey:
    der = _pem_body(raw)
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AkError(AkFailure.MALFORMED, f"PEM holds no public key that can be read: {error}") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise AkError(AkFailure.STRENGTH, "PEM holds a key that is neither RSA nor ECC")
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise AkError(AkFailure.MALFORMED, "PEM holds a key in another than its one DER encoding")
    return BareKey(key)


def _pem_body(raw: bytes) -> bytes:
    """Return the bytes of the one PEM block (RFC 7468, strict: lines of 64 characters)."""
    lines = raw.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n")
    if lines[0] != _BEGIN or lines[-1] != _END:
        raise AkError(AkFailure.MALFORMED, f"PEM must be one PUBLIC KEY block and nothing else; {_GIVE}")
    text = b"".join(lines[1:-1])
    try:
        der = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AkError(AkFailure.MALFORMED, f"PEM body is not base64: {error}") from None
    encoded = base64.b64encode(der)
    if lines[1:-1] != [encoded[at : at + _PEM_LINE] for at in range(0, len(encoded), _PEM_LINE)]:
        raise AkError(AkFailure.MALFORMED, "PEM body is not the one base64 encoding of its bytes")
    return der
