"""Verification of one TPM quote: this key signed these PCRs for this challenge.

Rules, in the order in which ``verify_quote`` applies them; nothing is read from the message before its
signature holds (TPM 2.0 Library, Part and section):

1. the key is an attestation key: :func:`attest.ak.check_ak` (Part 1, 25.1.5; Part 2, 8.3);
2. the signature is of the scheme and hash that the key fixes, SHA-256 or better, and signs the message as it
   is (Part 2, 11.3.4; Part 3, 18.4);
3. the message is a TPMS_ATTEST to its last byte, made inside a TPM (Part 2, 10.12.8; magic: 6.2);
4. it is a quote, not a certification, an audit or another thing that the key signs (Part 2, 6.9);
5. its signer has a Qualified Name of the key's nameAlg (Part 1, 16.3);
6. extraData is the whole challenge and nothing else (Part 3, 18.4: qualifyingData);
7. at least one PCR is selected (CVE-2022-0317).

``check_required`` and ``check_pcrs`` follow. Not established here: who owns the key (enrolment), that the
platform is good (appraisal), that the clock is newer than in an earlier quote.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest.ak import BareKey, check_ak, check_bare
from attest.errors import AttestInputError, AttestUsageError
from vtpm.errors import SignatureError, StructureError
from vtpm.tpm2.attestation import Attest, ClockInfo, QuoteInfo
from vtpm.tpm2.constants import Alg, Hierarchy
from vtpm.tpm2.fields import name_problem
from vtpm.tpm2.pcrs import PcrSelection, digest_of
from vtpm.tpm2.public import Public, RsaKey
from vtpm.tpm2.signature import Signature, verify, verify_with_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from attest.pcrfile import PcrFile

MAX_NONCE: Final = 64
"""Bytes of extraData that TPM2_Quote takes: TPM2B_DATA less the algorithm of a TPMT_HA (Part 2, 10.4.3)."""

_DER_SEQUENCE: Final = 0x30
_HASHES: Final = (Alg.SHA256, Alg.SHA384, Alg.SHA512)
"""Hashes of signatures that are admitted, the usual one first."""
_HIERARCHIES: Final = (Hierarchy.ENDORSEMENT, Hierarchy.OWNER, Hierarchy.PLATFORM, Hierarchy.NULL)


class QuoteFailure(StrEnum):
    """Why a quote, or what is shown beside it, is not believed."""

    SIGNATURE_MALFORMED = "signature-malformed"
    SIGNATURE_ALGORITHM = "signature-algorithm"
    SIGNATURE_INVALID = "signature-invalid"
    MALFORMED = "quote-malformed"
    NOT_GENERATED = "quote-not-generated"
    WRONG_TYPE = "quote-wrong-type"
    SIGNER = "quote-signer"
    NOT_ENROLLED = "ak-not-enrolled"
    NONCE = "nonce-mismatch"
    EMPTY = "pcr-selection-empty"
    PCR_MISSING = "pcr-missing"
    BANK = "pcr-bank"
    PCR_SELECTION = "pcr-selection-mismatch"
    PCR_DIGEST = "pcr-digest-mismatch"


class QuoteError(AttestInputError):
    """A quote is not believed; ``code`` is the value of ``failure``."""

    def __init__(self, failure: QuoteFailure, message: str) -> None:
        super().__init__(message, code=failure.value)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class VerifiedQuote:
    """What a quote says, after ``verify_quote``; make it in no other way."""

    attest: Attest
    info: QuoteInfo
    hash_alg: Alg
    """Hash of the signature, which is also that of ``info.digest`` (Part 3, 18.4)."""
    hierarchy: Hierarchy | None
    """Where the key is a primary key, by its Qualified Name; None if it has a parent, which nobody showed."""

    @property
    def select(self) -> PcrSelection:
        """The quoted PCRs, in the order of the digest."""
        return self.info.select

    @property
    def clock(self) -> ClockInfo:
        """Clock in milliseconds, reset and restart counter, and whether the clock can be relied on."""
        return self.attest.clock

    @property
    def firmware_version(self) -> int:
        """The version of the TPM's firmware, as its maker counts."""
        return self.attest.firmware_version


@dataclass(frozen=True, slots=True)
class VerifiedPcrs:
    """PCR values that are under a verified quote, each and all of them; make it by ``check_pcrs`` only."""

    values: Mapping[tuple[Alg, int], bytes]


def verify_quote(
    key: Public | BareKey, message: bytes, signature: bytes, *, extra_data: bytes
) -> VerifiedQuote:
    """Apply rules 1 to 7 to a TPMS_ATTEST and its signature, as ``tpm2_quote -m -s`` writes them.

    ``extra_data`` is the whole qualifyingData, 1 to 64 bytes. With a BareKey rule 1 checks strength only and
    rule 5 is void. Raises AkError, QuoteError; AttestUsageError for an ``extra_data`` that no quote can have.
    """
    if not 0 < len(extra_data) <= MAX_NONCE:
        raise AttestUsageError(
            f"a nonce has 1 to {MAX_NONCE} bytes, not {len(extra_data)}", code="nonce-length"
        )
    if isinstance(key, Public):
        check_ak(key)
    else:
        check_bare(key)
    signed = _signed(key, decode_signature(signature, key), message)
    attest = _decode_message(message)
    if not isinstance(attest.attested, QuoteInfo):
        raise QuoteError(
            QuoteFailure.WRONG_TYPE, f"the signed structure is a {attest.type.name}, not a QUOTE"
        )
    hierarchy = _signer_hierarchy(key, attest.qualified_signer) if isinstance(key, Public) else None
    if not hmac.compare_digest(attest.extra_data, extra_data):
        raise QuoteError(
            QuoteFailure.NONCE, "extraData is not the nonce given: another challenge was answered"
        )
    if not attest.attested.select.pairs():
        raise QuoteError(QuoteFailure.EMPTY, "the quote selects no PCR, so it says nothing")
    return VerifiedQuote(attest, attest.attested, signed.hash_alg, hierarchy)


def check_required(verified: VerifiedQuote, required: PcrSelection) -> None:
    """Raise QuoteError unless every required PCR is in the quote, and no bank but the required ones.

    Another bank is what a verifier that counts values would be led astray by.
    """
    quoted, wanted = verified.select.pairs(), required.pairs()
    missing = sorted(set(wanted) - set(quoted))
    if missing:
        names = ", ".join(f"{alg.hash_name}:{pcr}" for alg, pcr in missing)
        raise QuoteError(QuoteFailure.PCR_MISSING, f"not in the quote: {names}")
    others = sorted({alg.hash_name for alg, _ in quoted} - {alg.hash_name for alg, _ in wanted})
    if others:
        what = f"banks that nobody asked for are in the quote: {', '.join(others)}"
        raise QuoteError(QuoteFailure.BANK, what)


def check_pcrs(verified: VerifiedQuote, values: Mapping[tuple[Alg, int], bytes]) -> VerifiedPcrs:
    """Return ``values`` as verified if they are for exactly the quoted PCRs and hash to the quoted digest.

    Raises QuoteError (CVE-2024-29039: values for other PCRs than those quoted).
    """
    pairs = verified.select.pairs()
    if values.keys() != set(pairs) or any(len(values[pair]) != pair[0].digest_size for pair in pairs):
        raise QuoteError(QuoteFailure.PCR_SELECTION, "the PCR values are not one for each quoted PCR")
    digest = digest_of(verified.hash_alg, [values[pair] for pair in pairs])
    if not hmac.compare_digest(digest, verified.info.digest):
        raise QuoteError(QuoteFailure.PCR_DIGEST, "the PCR values do not hash to the digest in the quote")
    return VerifiedPcrs(MappingProxyType(dict(values)))


def check_pcr_file(verified: VerifiedQuote, file: PcrFile) -> VerifiedPcrs:
    """Return the values of a PCR file as ``check_pcrs`` does; a selection in the file must be the quote's."""
    if file.selection is not None and file.selection != verified.select:
        raise QuoteError(QuoteFailure.PCR_SELECTION, "the PCR file selects other PCRs than the quote")
    return check_pcrs(verified, file.values)


def decode_signature(raw: bytes, key: Public | BareKey) -> tuple[Signature, ...]:
    """Read a signature file of tpm2-tools: TPMT_SIGNATURE (``-f tss``), or bare (``-f plain``).

    Bare is an RSA value as long as the modulus, or DER of r and s for ECDSA: it says no scheme. The key's is
    taken; of a BareKey, which fixes none, all that a TPMT_SIGNATURE could name are returned. The forms cannot
    be confused: a TPMT_SIGNATURE is 6 bytes longer than the modulus and begins with 00. Raises QuoteError.
    """
    if _is_bare(raw, key):
        return _decode_bare(raw, key)
    try:
        return (Signature.decode(raw),)
    except StructureError as error:
        raise QuoteError(QuoteFailure.SIGNATURE_MALFORMED, str(error)) from None


def qualified_name(public: Public, hierarchy: Hierarchy) -> bytes:
    """Return the Qualified Name of a primary key: nameAlg ‖ H(hierarchy ‖ Name) (Part 1, 16.3)."""
    digest = public.name_alg.digest(hierarchy.to_bytes(4, "big") + public.name())
    return public.name_alg.to_bytes(2, "big") + digest


def endorsed_signers(public: Public, ek_name: bytes) -> frozenset[bytes]:
    """Return the Qualified Names of a key that is a primary endorsement key, or is under the EK ``ek_name``.

    In another hierarchy the TPM obfuscates the counters and the version that it signs (Part 1, 36.7).
    """
    names = {qualified_name(public, Hierarchy.ENDORSEMENT)}
    if not name_problem(ek_name):
        parent = _qualify(ek_name, Hierarchy.ENDORSEMENT.to_bytes(4, "big"))
        names.add(_qualify(public.name(), parent))
    return frozenset(names)


def _qualify(name: bytes, parent: bytes) -> bytes:
    """Return the Qualified Name of the object ``name`` under ``parent`` (Part 1, 16.3)."""
    return name[:2] + Alg(int.from_bytes(name[:2], "big")).digest(parent + name)


def _is_bare(raw: bytes, key: Public | BareKey) -> bool:
    bits = _rsa_bits(key)
    return len(raw) == bits // 8 if bits else raw[:1] == bytes([_DER_SEQUENCE])


def _rsa_bits(key: Public | BareKey) -> int:
    """Return the size of the modulus; 0 for an ECC key."""
    if isinstance(key, Public):
        return key.parameters.bits if isinstance(key.parameters, RsaKey) else 0
    return key.key.key_size if isinstance(key.key, rsa.RSAPublicKey) else 0


def _decode_bare(raw: bytes, key: Public | BareKey) -> tuple[Signature, ...]:
    value = (raw,) if _rsa_bits(key) else _decode_dss(raw, _coordinate_size(key))
    if isinstance(key, Public) and key.scheme_hash is not None:
        return (Signature(key.scheme, key.scheme_hash, value),)
    schemes = (Alg.RSASSA, Alg.RSAPSS) if _rsa_bits(key) else (Alg.ECDSA,)
    return tuple(Signature(scheme, hash_alg, value) for scheme in schemes for hash_alg in _HASHES)


def _decode_dss(raw: bytes, size: int) -> tuple[bytes, bytes]:
    try:
        r, s = decode_dss_signature(raw)
        return r.to_bytes(size, "big"), s.to_bytes(size, "big")
    except (ValueError, OverflowError):
        raise QuoteError(QuoteFailure.SIGNATURE_MALFORMED, "signature: not DER of r and s") from None


def _coordinate_size(key: Public | BareKey) -> int:
    numbers = key.key() if isinstance(key, Public) else key.key
    return (numbers.key_size + 7) // 8


def _signed(key: Public | BareKey, readings: tuple[Signature, ...], message: bytes) -> Signature:
    """Return the reading of a signature by which the key signed the message."""
    *others, last = readings
    for reading in others:
        try:
            _check_signature(key, reading, message)
        except QuoteError:
            continue
        return reading
    _check_signature(key, last, message)
    return last


def _check_signature(key: Public | BareKey, signature: Signature, message: bytes) -> None:
    try:
        if isinstance(key, Public):
            verify(key, signature, message)
        else:
            verify_with_key(key.key, signature, message)
    except SignatureError as error:
        invalid = error.code in {"signature", "key"}
        failure = QuoteFailure.SIGNATURE_INVALID if invalid else QuoteFailure.SIGNATURE_ALGORITHM
        raise QuoteError(failure, str(error)) from None


def _decode_message(message: bytes) -> Attest:
    try:
        return Attest.decode(message)
    except StructureError as error:
        failure = QuoteFailure.NOT_GENERATED if error.code == "magic" else QuoteFailure.MALFORMED
        raise QuoteError(failure, str(error)) from None


def _signer_hierarchy(public: Public, signer: bytes) -> Hierarchy | None:
    if signer[:2] != public.name_alg.to_bytes(2, "big") or len(signer) != 2 + public.name_alg.digest_size:
        raise QuoteError(QuoteFailure.SIGNER, "qualifiedSigner is no Name of the key's nameAlg")
    return next((each for each in _HIERARCHIES if qualified_name(public, each) == signer), None)
