"""A quote by a host that was enrolled: the record says whose key it is (RFC 9334, 7.1).

The record, not the file beside the quote, gives the public area: a PEM key gains the attributes that the
enrolment saw. Its EK gives the only places where the key can stand.
"""

from __future__ import annotations

from attest.ak import BareKey
from attest.enrolment import Enrolment
from attest.quote import QuoteError, QuoteFailure, VerifiedQuote, endorsed_signers
from vtpm.tpm2.public import Public


def enrolled_key(shown: Public | BareKey, enrolment: Enrolment) -> Public:
    """Return the enrolled key; raises QuoteError with ``ak-not-enrolled`` if ``shown`` is another one."""
    enrolled = Public.decode(enrolment.ak)
    same = (
        shown.name() == enrolled.name()
        if isinstance(shown, Public)
        else shown.key.public_numbers() == enrolled.key().public_numbers()
    )
    if not same:
        raise QuoteError(
            QuoteFailure.NOT_ENROLLED, f"the attestation key is not the one that {enrolment.host} enrolled"
        )
    return enrolled


def check_place(verified: VerifiedQuote, enrolment: Enrolment) -> None:
    """Raise QuoteError unless the signer stands in the endorsement hierarchy, where the enrolment saw it."""
    names = endorsed_signers(Public.decode(enrolment.ak), enrolment.ek_name)
    if verified.attest.qualified_signer not in names:
        what = (
            "qualifiedSigner is not the enrolled key under its EK: make it with tpm2_createak, and enrol it"
        )
        raise QuoteError(QuoteFailure.SIGNER, what)
