"""The checks that every quote goes through, the host TPM's and every vTPM's alike.

Each check is a small function of one claim; ``attest.verifier.steps`` has their order. What a quote has
passed here says: this key signed these PCR values for this challenge. Not: whose key it is.

``attest.quote`` judges one quote of tpm2-tools with the same reason codes and stops at the first error. Here
the checks stand apart, because what one quote must be depends on the whole evidence.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from attest.evidence import PcrValue
from attest.reasons import reason
from attest.result import Reason, Verdict
from vtpm.errors import SignatureError, StructureError
from vtpm.tpm2.attestation import Attest, QuoteInfo
from vtpm.tpm2.constants import Alg
from vtpm.tpm2.pcrs import digest_of
from vtpm.tpm2.public import Public
from vtpm.tpm2.signature import Signature, verify

Subject = TypeVar("Subject")
_ALGORITHM_CODES: Final = frozenset({"scheme", "sha1", "hash"})
_REFUSALS: Final = {"magic": "quote-not-generated"}


@dataclass(frozen=True, slots=True)
class Demand:
    """What a quote has to cover: which values of extraData, which PCRs at least, and in which bank alone.

    ``signers`` are the Qualified Names that the key may have. ``elsewhere`` are values of extraData for the
    right challenge over another channel: refused, by a name of their own.
    """

    signers: frozenset[bytes]
    qualifying: frozenset[bytes]
    pcrs: frozenset[int]
    bank: Alg
    elsewhere: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class QuoteClaim:
    """A quote whose bytes have their form, with what it is to be held against. Not verified by existing."""

    key: Public
    message: bytes
    attest: Attest
    info: QuoteInfo
    signature: Signature
    shown: tuple[PcrValue, ...]
    demand: Demand

    def values(self) -> dict[int, bytes]:
        """Return PCR number -> value as shown, of the demanded bank."""
        bank = self.demand.bank.hash_name
        return {pcr.index: pcr.value for pcr in self.shown if pcr.alg == bank}


@dataclass(frozen=True, slots=True)
class Shown:
    """The bytes of a quote as they stand in the evidence."""

    key: bytes
    quote: bytes
    signature: bytes
    pcrs: tuple[PcrValue, ...]


def read(shown: Shown, demand: Callable[[Public], Demand]) -> QuoteClaim | Reason:
    """Decode the structures of a quote; a reason where one does not have its form.

    ``demand`` says what a quote by this key has to be.
    """
    try:
        key = Public.decode(shown.key)
        attest = Attest.decode(shown.quote)
        signature = Signature.decode(shown.signature)
    except StructureError as error:
        return reason(_REFUSALS.get(error.code, "quote-malformed"), str(error))
    if not isinstance(attest.attested, QuoteInfo):
        return reason("quote-wrong-type", f"its type is {attest.type.name}, not QUOTE")
    return QuoteClaim(key, shown.quote, attest, attest.attested, signature, shown.pcrs, demand(key))


def signature(claim: QuoteClaim) -> list[Reason]:
    """Check that the key signed these bytes, by its scheme, and is the signer named (Part 2, 10.12.8)."""
    try:
        verify(claim.key, claim.signature, claim.message)
    except SignatureError as error:
        code = "signature-algorithm" if error.code in _ALGORITHM_CODES else "signature-invalid"
        return [reason(code, str(error))]
    if claim.attest.qualified_signer not in claim.demand.signers:
        return [reason("signature-invalid", "qualifiedSigner is not this key in the endorsement hierarchy")]
    return []


def nonce(claim: QuoteClaim) -> list[Reason]:
    """Check that extraData is the hash over this challenge, its channel if there is one, and nothing else."""
    given = claim.attest.extra_data
    if any(hmac.compare_digest(given, wanted) for wanted in claim.demand.qualifying):
        return []
    if given in claim.demand.elsewhere:
        return [reason("channel-mismatch", "extraData has this nonce, and not the key of this connection")]
    return [reason("nonce-mismatch", "extraData is not the hash over this nonce and what was quoted with it")]


def selection(claim: QuoteClaim) -> list[Reason]:
    """Check bank, demanded PCRs, and that values are for the quoted ones (CVE-2022-0317, CVE-2024-29039)."""
    bank = claim.demand.bank
    if [alg for alg, _ in claim.info.select.banks] != [bank]:
        names = ", ".join(alg.hash_name for alg, _ in claim.info.select.banks) or "none"
        return [reason("pcr-bank", f"quoted banks: {names}; demanded: {bank.hash_name} alone")]
    quoted = claim.info.select.banks[0][1]
    missing = claim.demand.pcrs - quoted
    if missing:
        return [reason("pcr-missing", f"not in the quote: PCR {_list(missing)}")]
    name, shown = bank.hash_name, {(pcr.alg, pcr.index) for pcr in claim.shown}
    if shown != {(name, pcr) for pcr in quoted}:
        return [
            reason("pcr-selection-mismatch", f"quoted are PCR {_list(quoted)}; values are shown for others")
        ]
    return []


def digest(claim: QuoteClaim) -> list[Reason]:
    """Check that the quoted digest is over the values shown, by the scheme's hash (Part 3, 18.4)."""
    values = claim.values()
    pairs = claim.info.select.pairs()
    given = [values.get(pcr, b"") for _, pcr in pairs]
    if digest_of(claim.signature.hash_alg, given) != claim.info.digest:
        return [
            reason("pcr-digest-mismatch", f"the values shown for PCR {_list(values)} hash to another digest")
        ]
    return []


def run(checks: tuple[Callable[[Subject], list[Reason]], ...], subject: Subject) -> list[Reason]:
    """Run checks in order and collect reasons, up to the first one that says "not authentic".

    Nothing later may be read from what is not authentic.
    """
    reasons: list[Reason] = []
    for one in checks:
        reasons += one(subject)
        if any(found.verdict is Verdict.NONE for found in reasons):
            break
    return reasons


def _list(numbers: frozenset[int] | set[int] | dict[int, bytes]) -> str:
    return ", ".join(str(number) for number in sorted(numbers)) or "none"
