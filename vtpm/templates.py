"""Templates of primary keys: the same seed and template give the same key after every start (Part 1, 27.1).

The EK templates are those of the TCG EK Credential Profile for TPM 2.0, Annex B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vtpm.tpm2.constants import Alg, Attributes, Curve, Hierarchy
from vtpm.tpm2.policy import policy_pcr, policy_secret
from vtpm.tpm2.public import EccKey, Public, RsaKey, Scheme, Symmetric

if TYPE_CHECKING:
    from vtpm.tpm2.pcrs import PcrSelection

_BORN_HERE: Final = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN
_EK: Final = _BORN_HERE | Attributes.ADMIN_WITH_POLICY | Attributes.RESTRICTED | Attributes.DECRYPT
_ATTESTATION: Final = _BORN_HERE | Attributes.NO_DA | Attributes.RESTRICTED | Attributes.SIGN_ENCRYPT
_SIGNING: Final = _BORN_HERE | Attributes.NO_DA | Attributes.SIGN_ENCRYPT

_POLICY_A: Final = policy_secret(Alg.SHA256, Hierarchy.ENDORSEMENT.to_bytes(4, "big"))
"""B.6.2: who may use the endorsement hierarchy."""

_POLICY_B_SHA384: Final = bytes.fromhex(
    "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12"
)
"""B.6.4: PolicyA, or a policy that an NV index names."""


@dataclass(frozen=True, slots=True)
class EkTemplate:
    """An EK template and the NV index where its certificate lies (EK Credential Profile, 2.2.1)."""

    public: Public
    certificate_index: int


def _ecc(curve: Curve, coordinate: bytes) -> EccKey:
    return EccKey(curve, Scheme(), coordinate, coordinate)


EK_RSA_2048: Final = EkTemplate(
    Public(
        Alg.RSA,
        Alg.SHA256,
        _EK,
        _POLICY_A,
        Symmetric(Alg.AES, 128, Alg.CFB),
        Scheme(),
        RsaKey(2048, 0, bytes(256)),
    ),
    0x01C00002,
)
"""Template L-1."""

EK_ECC_P256: Final = EkTemplate(
    Public(
        Alg.ECC,
        Alg.SHA256,
        _EK,
        _POLICY_A,
        Symmetric(Alg.AES, 128, Alg.CFB),
        Scheme(),
        _ecc(Curve.NIST_P256, bytes(32)),
    ),
    0x01C0000A,
)
"""Template L-2."""

EK_ECC_P384: Final = EkTemplate(
    Public(
        Alg.ECC,
        Alg.SHA384,
        _EK | Attributes.USER_WITH_AUTH,
        _POLICY_B_SHA384,
        Symmetric(Alg.AES, 256, Alg.CFB),
        Scheme(),
        _ecc(Curve.NIST_P384, b""),
    ),
    0x01C00016,
)
"""Template H-3, the ECC EK that swtpm_setup makes."""

EK_TEMPLATES: Final = (EK_RSA_2048, EK_ECC_P256, EK_ECC_P384)
"""In the order in which their certificates are looked for."""


@dataclass(frozen=True, slots=True)
class PcrPolicy:
    """A policy that holds while these PCRs have these values, in the order of ``selection.pairs()``."""

    selection: PcrSelection
    values: tuple[bytes, ...]

    def digest(self) -> bytes:
        """Return the SHA-256 policy digest; raises ``VtpmUsageError`` if values and selection do not fit."""
        return policy_pcr(Alg.SHA256, self.selection, self.values)


def attestation_key(policy: PcrPolicy | None) -> Public:
    """Return the template of a restricted ECDSA P-256 key, which signs only what the TPM itself made.

    Without a policy whoever reaches the TPM may use it; with one only while the PCRs have the values.
    """
    return _ecdsa_p256(_ATTESTATION, policy)


def signing_key(policy: PcrPolicy) -> Public:
    """Return the template of an ECDSA P-256 key for any SHA-256 digest, bound to PCR values."""
    return _ecdsa_p256(_SIGNING, policy)


def _ecdsa_p256(attributes: Attributes, policy: PcrPolicy | None) -> Public:
    use = Attributes.USER_WITH_AUTH if policy is None else Attributes(0)
    return Public(
        type=Alg.ECC,
        name_alg=Alg.SHA256,
        attributes=attributes | use,
        auth_policy=b"" if policy is None else policy.digest(),
        symmetric=None,
        signing=Scheme(Alg.ECDSA, Alg.SHA256),
        parameters=_ecc(Curve.NIST_P256, b""),
    )
