"""That a quote goes on from what the same TPM said before: in an earlier quote, or in a verifier's memory.

The rules are those of :mod:`attest.quote_history`. What goes back is not authentic; changed firmware and a
resumed TPM are authentic and against policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attest.ak import BareKey
from attest.enrolment import Enrolment
from attest.errors import AttestUsageError
from attest.quote import QuoteError, VerifiedQuote, verify_quote
from attest.quote_history import QuoteHistory, Told
from attest.result import Reason, Verdict
from vtpm.errors import StructureError
from vtpm.tpm2.attestation import Attest

if TYPE_CHECKING:
    from vtpm.tpm2.public import Public


def went_on(
    key: Public | BareKey,
    verified: VerifiedQuote,
    *,
    earlier: tuple[bytes, bytes] | None,
    history: QuoteHistory | None,
    enrolment: Enrolment | None,
) -> list[Reason] | None:
    """Return why the quote does not go on, nothing where it does; None without anything to go on from.

    ``earlier`` is message and signature of a quote by ``key``, whose nonce was checked when it was new.
    """
    if earlier is None and history is None:
        return None
    told = Told(verified.clock, verified.firmware_version)
    reasons: list[Reason] = []
    if earlier is not None:
        reasons += _since_quote(key, told, *earlier)
    if history is not None:
        changed, resumed = history.firmware_changed(enrolment, told), history.resumed(told)
        reasons += _reasons(told.contradicts(history.told), changed, resumed)
    return reasons


def _since_quote(key: Public | BareKey, told: Told, message: bytes, signature: bytes) -> list[Reason]:
    try:
        nonce = Attest.decode(message).extra_data
        before = verify_quote(key, message, signature, extra_data=nonce)
    except (QuoteError, StructureError, AttestUsageError) as error:
        return [Reason("earlier-quote-invalid", f"the earlier quote: {error}", Verdict.NONE)]
    then = Told(before.clock, before.firmware_version)
    resumed = told.resumed(then.clock.reset_count, then.clock.restart_count)
    return _reasons(told.contradicts(then), told.firmware_changed(then), resumed)


def _reasons(back: str, changed: str, resumed: str) -> list[Reason]:
    """Each is how a rule is broken, empty where it holds; the first one that is broken counts."""
    if back:
        return [Reason("clock-back", back, Verdict.NONE)]
    if changed:
        return [Reason("tpm-firmware-changed", changed, Verdict.CONTRAINDICATED)]
    return [Reason("tpm-resumed", resumed, Verdict.CONTRAINDICATED)] if resumed else []
