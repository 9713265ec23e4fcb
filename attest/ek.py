"""Endorsement keys: the templates that the TCG defines, and no other.

A credential for an EK is worth something only if the EK opens credentials inside its TPM and does nothing
else: an unrestricted decryption key would open them for anybody (TPM 2.0 Part 1, 24.1). The templates of the
TCG EK Credential Profile 2.6, annex B, fix every attribute and the policy; a TPM that gets another template
derives another key, which no certificate is for.
"""

from __future__ import annotations

from dataclasses import dataclass
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
_POLICY_C: Final = {
    Alg.SHA256: "3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde",
    Alg.SHA384: "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5"
    "b4947c2d73e63005eed2dc2b3593d165",
    Alg.SHA512: "589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105f"
    "ba5388dd1dea702f35240c184933121e2c61b8f50d3ef91393a49a38c3f73fc8",
}
"""PolicyC of B.6.4: PolicyAuthorizeNV with the index of the nameAlg."""


@dataclass(frozen=True, slots=True)
class Template:
    """One template of annex B: ``key`` is the size of an RSA key in bits, or a curve."""

    name: str
    key: int | Curve
    name_alg: Alg
    high: bool

    def fits(self, public: Public) -> bool:
        """Tell whether nameAlg, attributes, policy, symmetric algorithm and key are those of the template."""
        attributes, policy = _kind(self.name_alg, high=self.high)
        symmetric = Symmetric(Alg.AES, 128 if self.name_alg is Alg.SHA256 else 256, Alg.CFB)
        return (
            public.name_alg is self.name_alg
            and (public.attributes, public.auth_policy) == (attributes, policy)
            and (public.symmetric, public.signing) == (symmetric, Scheme())
            and _size(public.parameters) == self.key
        )


TEMPLATES: Final = (
    Template("L-1", 2048, Alg.SHA256, high=False),
    Template("L-2", Curve.NIST_P256, Alg.SHA256, high=False),
    Template("H-1", 2048, Alg.SHA256, high=True),
    Template("H-2", Curve.NIST_P256, Alg.SHA256, high=True),
    Template("H-3", Curve.NIST_P384, Alg.SHA384, high=True),
    Template("H-6", 3072, Alg.SHA384, high=True),
    Template("H-7", 4096, Alg.SHA384, high=True),
)
"""Low and high range. Left out: H-4 (P-521) and H-5 (SM2), for which nothing here makes credentials."""


class EkFailure(StrEnum):
    """Why a key is not taken as an endorsement key."""

    MALFORMED = "ek-malformed"
    TEMPLATE = "ek-template"
    STRENGTH = "ek-strength"


_NOT_TAKEN: Final = {"weak": EkFailure.STRENGTH, "scheme": EkFailure.TEMPLATE}
"""Code of a well-formed public area that is not read -> why it is refused."""


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
        if error.code in _NOT_TAKEN:
            raise EkError(_NOT_TAKEN[error.code], str(error)) from None
        what = f"{error}; give what tpm2_createek -u writes (-f tss)"
        raise EkError(EkFailure.MALFORMED, what) from None


def check_ek(public: Public) -> None:
    """Raise EkError unless ``public`` is an EK of a TCG template with a key that credentials are made for."""
    if not any(template.fits(public) for template in TEMPLATES):
        what = f"{_describe(public)}: these attributes, policy and algorithms are in no TCG template"
        raise EkError(EkFailure.TEMPLATE, what)
    match public.parameters:
        case RsaKey(_, exponent, _):
            usual = exponent in {0, DEFAULT_EXPONENT}
        case EccKey(_, kdf, _, _):
            usual = kdf == Scheme()
    if not usual:
        raise EkError(EkFailure.STRENGTH, "an exponent other than 65537, or a key derivation scheme")


def _kind(alg: Alg, *, high: bool) -> tuple[Attributes, bytes]:
    """Return attributes and authPolicy of low and high templates: PolicyA (B.6.2), PolicyB (B.6.5)."""
    policy_a = policy_secret(alg, Hierarchy.ENDORSEMENT.to_bytes(4, "big"))
    if not high:
        return _LOW, policy_a
    return _HIGH, policy_or(alg, [policy_a, bytes.fromhex(_POLICY_C[alg])])


def _size(parameters: RsaKey | EccKey) -> int | Curve:
    return parameters.bits if isinstance(parameters, RsaKey) else parameters.curve


def _describe(public: Public) -> str:
    size = _size(public.parameters)
    key = size.name if isinstance(size, Curve) else f"RSA-{size}"
    return f"{key} with {public.name_alg.name} and attributes {public.attributes:#010x}"
