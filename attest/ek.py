"""Endorsement keys: the templates that the TCG defines, and no other.

A credential for an EK is worth something only if the EK opens credentials inside its TPM and does nothing
else: an unrestricted decryption key would open them for anybody (TPM 2.0 Part 1, 24.1). The templates of the
TCG EK Credential Profile 2.6, annex B, fix every attribute and the policy; a TPM that gets another template
derives another key, which no certificate is for.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from attest.errors import AttestInputError
from vtpm.errors import StructureError
from vtpm.tpm2.constants import Alg, Attributes, Curve, Hierarchy
from vtpm.tpm2.policy import policy_or, policy_secret
from vtpm.tpm2.public import DEFAULT_EXPONENT, EccKey, Public, RsaKey, Scheme, Symmetric

MAX_FILE: Final = 8192

_LOW: Final = (
    Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
    | Attributes.ADMIN_WITH_POLICY
    | Attributes.RESTRICTED
    | Attributes.DECRYPT
)
"""Attributes of the templates L-1 and L-2 (B.3)."""
_HIGH: Final = _LOW | Attributes.USER_WITH_AUTH
"""Attributes of the templates H-1 to H-7 (B.4)."""
_SYMMETRIC: Final = {
    Alg.SHA256: Symmetric(Alg.AES, 128, Alg.CFB),
    Alg.SHA384: Symmetric(Alg.AES, 256, Alg.CFB),
    Alg.SHA512: Symmetric(Alg.AES, 256, Alg.CFB),
}
_POLICY_C: Final = {
    Alg.SHA256: "3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde",
    Alg.SHA384: "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5"
    "b4947c2d73e63005eed2dc2b3593d165",
    Alg.SHA512: "589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105f"
    "ba5388dd1dea702f35240c184933121e2c61b8f50d3ef91393a49a38c3f73fc8",
}
"""PolicyC of B.6.4: PolicyAuthorizeNV with the index of the nameAlg."""
_RSA_BITS: Final = frozenset({2048, 3072, 4096})
_CURVES: Final = frozenset({Curve.NIST_P256, Curve.NIST_P384})


class EkFailure(StrEnum):
    """Why a key is not taken as an endorsement key."""

    MALFORMED = "ek-malformed"
    TEMPLATE = "ek-template"
    STRENGTH = "ek-strength"


class EkError(AttestInputError):
    """A key is no endorsement key; ``code`` is the value of ``failure``."""

    def __init__(self, failure: EkFailure, message: str) -> None:
        super().__init__(f"endorsement key: {message}", code=failure.value)
        self.failure = failure


def decode_ek(raw: bytes) -> Public:
    """Read a TPM2B_PUBLIC (``tpm2_createek -u``, ``-f tss``) or a bare TPMT_PUBLIC; raises EkError."""
    if len(raw) > MAX_FILE:
        raise EkError(EkFailure.MALFORMED, f"{len(raw)} bytes; a public area has at most {MAX_FILE}")
    try:
        sized = int.from_bytes(raw[:2], "big") == len(raw) - 2
        return Public.decode_sized(raw) if sized else Public.decode(raw)
    except StructureError as error:
        raise EkError(EkFailure.MALFORMED, str(error)) from None


def check_ek(public: Public) -> None:
    """Raise EkError unless ``public`` is an EK of a TCG template with a key that credentials are made for."""
    if public.name_alg not in _SYMMETRIC:
        raise EkError(EkFailure.TEMPLATE, f"no template has nameAlg {public.name_alg.name}")
    if (public.attributes, public.auth_policy) not in _kinds(public.name_alg):
        what = f"attributes {public.attributes:#010x} with this policy are in no TCG template"
        raise EkError(EkFailure.TEMPLATE, what)
    if public.symmetric != _SYMMETRIC[public.name_alg] or public.signing != Scheme():
        raise EkError(EkFailure.TEMPLATE, "symmetric algorithm or scheme are those of no TCG template")
    match public.parameters:
        case RsaKey(bits, exponent, _):
            strong = bits in _RSA_BITS and exponent in {0, DEFAULT_EXPONENT}
        case EccKey(curve, kdf, _, _):
            strong = curve in _CURVES and kdf == Scheme()
    if not strong:
        raise EkError(EkFailure.STRENGTH, "neither RSA-2048 to 4096 with exponent 65537, nor P-256, P-384")


def _kinds(alg: Alg) -> tuple[tuple[Attributes, bytes], ...]:
    """Return (attributes, authPolicy) of templates with this nameAlg: PolicyA (B.6.2), PolicyB (B.6.5)."""
    policy_a = policy_secret(alg, Hierarchy.ENDORSEMENT.to_bytes(4, "big"))
    policy_b = policy_or(alg, [policy_a, bytes.fromhex(_POLICY_C[alg])])
    return (_LOW, policy_a), (_HIGH, policy_b)
