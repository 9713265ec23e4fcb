"""The meter key: a key that signs only on a platform in its reference state, and the proof of that.

The bundle is the JSON document ``shype.meter-key/1``::

    {"schema": "shype.meter-key/1",
     "public": TPMT_PUBLIC, "creation": TPMS_ATTEST, "signature": TPMT_SIGNATURE}

with base64 values. ``creation`` is a TPM2_CertifyCreation by the host's enrolled attestation key: this
TPM made the key, with these attributes and this policy. The policy is PolicyPCR over PCR 0-9; a signature
by this key thus says that the platform had those PCR values when it signed. Sources: TPM 2.0 Part 1, 19
and 31; Part 3, 18.3 and 23.7.

Not established here: that the attestation key is that of a real TPM. Enrolment did that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from attest import canonical_json
from metering.errors import MeteringUsageError, MeterKeyError
from vtpm.errors import SignatureError, StructureError, VtpmUsageError
from vtpm.tpm2.attestation import Attest, CreationInfo
from vtpm.tpm2.constants import Alg, Attributes, Curve
from vtpm.tpm2.pcrs import PcrSelection
from vtpm.tpm2.policy import policy_pcr
from vtpm.tpm2.public import EccKey, Public, Scheme
from vtpm.tpm2.signature import Signature, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA: Final = "shype.meter-key/1"
MAX_BUNDLE: Final = 16_384
METER_PCRS: Final = tuple(range(10))
"""Firmware, loader and boot files. Runtime events (12, 13) come while a host works, and would end the key."""
SELECTION: Final = PcrSelection.of(Alg.SHA256, METER_PCRS)
QUALIFYING: Final = hashlib.sha256(SCHEMA.encode()).digest()
"""qualifyingData of the TPM2_CertifyCreation: no key that was certified for another use is a meter key."""

_FIELDS: Final = ("public", "creation", "signature")
_NEEDED: Final = (
    Attributes.SIGN_ENCRYPT
    | Attributes.FIXED_TPM
    | Attributes.FIXED_PARENT
    | Attributes.SENSITIVE_DATA_ORIGIN
)
_FORBIDDEN: Final = (
    Attributes.USER_WITH_AUTH
    | Attributes.RESTRICTED
    | Attributes.DECRYPT
    | Attributes.ENCRYPTED_DUPLICATION
    | Attributes.X509_SIGN
)


@dataclass(frozen=True, slots=True)
class MeterKeyBundle:
    """A meter key with its certificate of birth, as received: nothing is checked."""

    public: bytes
    creation: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Return the JSON document."""
        values = {name: base64.b64encode(getattr(self, name)).decode() for name in _FIELDS}
        return json.dumps({"schema": SCHEMA, **values}, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, raw: bytes) -> MeterKeyBundle:
        """Read the document strictly; raises MeterKeyError (``MALFORMED``)."""
        try:
            document = canonical_json.decode(raw, "meter key", MAX_BUNDLE)
        except canonical_json.JsonError as error:
            raise MeterKeyError(str(error)) from None
        if not isinstance(document, dict) or document.keys() != {"schema", *_FIELDS}:
            raise MeterKeyError(f"meter key: exactly the fields schema, {', '.join(_FIELDS)} are needed")
        if document["schema"] != SCHEMA:
            raise MeterKeyError(f"meter key: schema is not {SCHEMA}")
        return cls(*(_base64(document[name], name) for name in _FIELDS))

    def spki(self) -> bytes:
        """Return the key as DER SubjectPublicKeyInfo; raises MeterKeyError (``MALFORMED``)."""
        return self._public().spki()

    def _public(self) -> Public:
        try:
            return Public.decode(self.public)
        except StructureError as error:
            raise MeterKeyError(f"meter key: {error}") from None

    def verify_origin(self, ak: Public) -> None:
        """Check that the TPM of the enrolled key ``ak`` made this key, and that it signs by its policy only.

        Raises MeterKeyError: ``MALFORMED`` for what is no TPM structure, ``TAMPERED`` for a certificate that
        ``ak`` did not sign or that is of another key, ``PLATFORM`` for a key that would sign on any platform.
        """
        public = self._public()
        self._verify_certificate(ak, public)
        attributes, parameters = public.attributes, public.parameters
        if attributes & _NEEDED != _NEEDED or attributes & _FORBIDDEN or not public.auth_policy:
            raise MeterKeyError("meter key: can be used without its policy, or elsewhere", code="PLATFORM")
        ecdsa = public.signing in {Scheme(Alg.ECDSA, Alg.SHA256), Scheme()}
        if not isinstance(parameters, EccKey) or parameters.curve is not Curve.NIST_P256 or not ecdsa:
            raise MeterKeyError("meter key: is not ECDSA on P-256 with SHA-256", code="PLATFORM")

    def _verify_certificate(self, ak: Public, public: Public) -> None:
        try:
            attest = Attest.decode(self.creation)
            verify(ak, Signature.decode(self.signature), self.creation)
        except StructureError as error:
            raise MeterKeyError(f"meter key: {error}") from None
        except SignatureError as error:
            raise MeterKeyError(
                f"meter key: the enrolled key did not certify it: {error}", code="TAMPERED"
            ) from None
        if Attributes.RESTRICTED not in ak.attributes:
            raise MeterKeyError("meter key: the enrolled key signs what no TPM made", code="TAMPERED")
        if not isinstance(attest.attested, CreationInfo) or attest.attested.name != public.name():
            raise MeterKeyError(
                "meter key: the certificate is not of the creation of this key", code="TAMPERED"
            )
        if attest.extra_data != QUALIFYING:
            raise MeterKeyError("meter key: the key was certified for another use", code="TAMPERED")

    def verify_platform(self, states: Sequence[Sequence[bytes]]) -> None:
        """Check that the key works in one of the reference ``states`` only: SHA-256 values of PCR 0-9 each.

        Raises MeterKeyError (``PLATFORM``), MeteringUsageError for values that are no PCR values.
        """
        public = self._public()
        if public.auth_policy not in {policy(state, public.name_alg) for state in states}:
            raise MeterKeyError(
                "meter key: bound to a platform that is not in the reference values", code="PLATFORM"
            )


def policy(values: Sequence[bytes], name_alg: Alg = Alg.SHA256) -> bytes:
    """Return the authPolicy of a meter key for these SHA-256 values of PCR 0-9; raises MeteringUsageError."""
    try:
        return policy_pcr(name_alg, SELECTION, values)
    except VtpmUsageError as error:
        raise MeteringUsageError(f"reference values of PCR 0-9: {error}") from None


def host_id(ak_name: bytes) -> bytes:
    """Return what stands for the host in a record: SHA-256 of its attestation key's Name."""
    return hashlib.sha256(ak_name).digest()


def key_id(spki: bytes) -> bytes:
    """Return what stands for the meter key in a GENESIS: SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(spki).digest()


def _base64(value: object, name: str) -> bytes:
    try:
        raw = base64.b64decode(value.encode("ascii") if isinstance(value, str) else b"!", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise MeterKeyError(f"meter key: {name} is not base64") from None
    if base64.b64encode(raw).decode() != value:
        raise MeterKeyError(f"meter key: {name} is not canonical base64")
    return raw
