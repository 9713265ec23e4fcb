"""How far the judgement of a quote has come: what was checked, what failed, what stays open."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum

from attest.eventlog.replay import ReplayError
from attest.quote import VerifiedQuote
from attest.result import Reason, Verdict
from vtpm.tpm2.constants import Alg


class Check(StrEnum):
    """What a verdict says was checked, or was not; in the order of the steps."""

    AK_FORMAT = "ak-format"
    AK_ATTRIBUTES = "ak-attributes"
    SIGNATURE = "signature"
    GENERATED = "magic"
    TYPE = "type"
    SIGNER = "qualified-signer"
    NONCE = "nonce"
    SELECTION = "pcr-selection"
    REQUIRED = "required-pcrs"
    VALUES = "pcr-values"
    EVENT_LOG = "event-log"
    CLOCK = "clock-safe"
    EARLIER = "earlier-quote"
    """That clock, counters and firmware went on since an earlier quote."""
    ENROLMENT = "enrolment"
    """That the key was proved to be in the TPM of a known host: a record was given, and it is this key."""


@dataclass(slots=True)
class Run:
    """How far the steps have come."""

    checked: list[Check] = field(default_factory=list)
    failed: list[Check] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    values: Mapping[tuple[Alg, int], bytes] = field(default_factory=dict)

    def fail(self, check: Check, code: str, detail: str, verdict: Verdict) -> None:
        """Note why a check did not hold, and what follows."""
        self.failed.append(check)
        self.reasons.append(Reason(code, detail, verdict))

    def have_no_values(self, verified: VerifiedQuote, answers: AbstractSet[int]) -> None:
        """Say that no values hash to the quote; ReplayError if the log's ``answers`` have all its PCRs."""
        if all(pcr in answers for _, pcr in verified.select.pairs()):
            raise ReplayError("event log: its replay does not hash to the digest in the quote")
        what = "the log does not answer for every quoted PCR; give the values of the quote (--pcrs)"
        self.fail(Check.EVENT_LOG, "event-log-needs-pcrs", what, Verdict.INCONCLUSIVE)

    def have_replayed(self, verified: VerifiedQuote, answers: AbstractSet[int]) -> None:
        """Say that the log replayed, and to nothing if it ``answers`` for no quoted PCR."""
        if any(pcr in answers for _, pcr in verified.select.pairs()):
            self.checked.append(Check.EVENT_LOG)
        else:
            what = "the event log says nothing about any quoted PCR"
            self.fail(Check.EVENT_LOG, "event-log-not-covered", what, Verdict.INCONCLUSIVE)
