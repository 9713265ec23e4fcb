"""Making a meter key in a TPM: bound to the platform's state, and certified by its attestation key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from metering.key import QUALIFYING, SELECTION, MeterKeyBundle
from vtpm.templates import PcrPolicy
from vtpm.tpm2.signature import Signature

if TYPE_CHECKING:
    from vtpm.key import Key
    from vtpm.tpm2.pcrs import PcrSelection


class KeyTpm(Protocol):
    """What is needed of a TPM; ``vtpm.tpm.Tpm`` fits."""

    def pcr_read(self, selection: PcrSelection) -> tuple[bytes, ...]:
        """Return the values of the selected PCRs, in the order of ``selection.pairs()``."""
        ...

    def create_signing_key(self, policy: PcrPolicy) -> Key:
        """Make a key that signs any SHA-256 digest, and only while the PCRs have these values."""
        ...

    def certify_creation(self, key: Key, by: Key, extra: bytes) -> tuple[bytes, bytes]:
        """Return (TPMS_ATTEST of CREATION, TPMT_SIGNATURE)."""
        ...

    def sign(self, key: Key, digest: bytes) -> bytes:
        """Return the TPMT_SIGNATURE over a SHA-256 digest."""
        ...


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """A meter key in its TPM; an ``attest.signer.Signer``. It stops to sign when PCR 0-9 change."""

    tpm: KeyTpm
    key: Key

    def spki(self) -> bytes:
        """Return the key as DER SubjectPublicKeyInfo."""
        return self.key.public.spki()

    def sign(self, digest: bytes) -> bytes:
        """Return the DER signature over a SHA-256 digest; raises what the TPM raises."""
        return Signature.decode(self.tpm.sign(self.key, digest)).der()


def make_platform_key(tpm: KeyTpm, ak: Key) -> tuple[PlatformKey, MeterKeyBundle]:
    """Make a meter key for the state that the platform is in now, certified by ``ak``."""
    policy = PcrPolicy(SELECTION, tpm.pcr_read(SELECTION))
    key = tpm.create_signing_key(policy)
    creation, signature = tpm.certify_creation(key, ak, QUALIFYING)
    return PlatformKey(tpm, key), MeterKeyBundle(key.public.encode(), creation, signature)
