"""What an audit says: findings with stable codes, what was not proved, and totals.

The codes are the words of facts/metering.md, section 3. Each has the best verdict it leaves:

=============  ================  ======================================================================
code           verdict           meaning
=============  ================  ======================================================================
OK-GAP         affirming         a gap that is named, explained and bounded
INCOMPLETE     contraindicated   a reading that should be there was never written
DOUBLE         contraindicated   something was counted twice
ROLLBACK       contraindicated   an older state, boot or counter was put in the place of a newer one
FORKED         contraindicated   two different histories of one log
PLATFORM       contraindicated   the key does not stand for a platform in its reference state
CLOCK          contraindicated   wall time and time since boot do not agree
DISPUTED       contraindicated   numbers that cannot be: more CPU time than CPUs, memory that does not add up
TAMPERED       none              bytes are not those that were signed
MALFORMED      none              bytes are not what they should be
=============  ================  ======================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest.result import Node, Reason, Verdict


class Code(StrEnum):
    """A stable word for a finding; the table is in the module's docstring."""

    OK_GAP = "OK-GAP"
    INCOMPLETE = "INCOMPLETE"
    DOUBLE = "DOUBLE"
    ROLLBACK = "ROLLBACK"
    FORKED = "FORKED"
    PLATFORM = "PLATFORM"
    CLOCK = "CLOCK"
    DISPUTED = "DISPUTED"
    TAMPERED = "TAMPERED"
    MALFORMED = "MALFORMED"

    @property
    def verdict(self) -> Verdict:
        """The best verdict that this finding leaves."""
        if self is Code.OK_GAP:
            return Verdict.AFFIRMING
        return Verdict.NONE if self in {Code.TAMPERED, Code.MALFORMED} else Verdict.CONTRAINDICATED


class Unproved(StrEnum):
    """What an audit could not establish, or was not asked to."""

    UNSIGNED = "unsigned"
    """There is no checkpoint: nothing says that these records are the meter's."""
    KEY_MISSING = "key-missing"
    """There is no meter key bundle to check the checkpoint with."""
    KEY_UNCERTIFIED = "key-uncertified"
    """No enrolment was given, so the meter key may be anybody's."""
    PLATFORM = "platform"
    """No reference values were given, so the platform that signed may be any."""
    UNREAD = "unread"
    """Records could not be read; what they would have shown was not judged."""
    UNWITNESSED = "unwitnessed"
    """No witness countersigned: another reader may have been shown another history."""
    CURRENCY = "currency"
    """Nothing was said about how far the records should reach; a cut tail would not be seen."""
    WALL_CLOCK = "wall-clock"
    """The host's wall clock was not synchronised; the dates are only labels."""
    OTHER_DOMAINS = "other-domains"
    """A tenant's part cannot show that the tenant has no further domains."""
    SEEN = "seen"
    """A tenant's part holds no proof that it continues a checkpoint seen before."""


NEEDED: Final = frozenset(
    {
        Unproved.UNSIGNED,
        Unproved.KEY_MISSING,
        Unproved.KEY_UNCERTIFIED,
        Unproved.PLATFORM,
        Unproved.UNREAD,
        Unproved.SEEN,
    }
)
"""Without these an audit is inconclusive; ``unwitnessed`` joins them where a witness is demanded."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an audit found: ``domain`` and ``interval`` (first and last tick) where it has them."""

    code: Code
    detail: str
    domain: str | None = None
    interval: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """What one domain used, all incarnations together; exact integers in the units of the record."""

    domain: str
    tenant: str
    incarnations: int
    records: int
    first_wall_ms: int
    last_wall_ms: int
    cpu_ns: int
    mem_page_ns: int
    net_rx: int
    net_tx: int
    blk_rd_ops: int
    blk_rd_bytes: int
    blk_wr_ops: int
    blk_wr_bytes: int
    vtpm_ops: int


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The outcome of one audit.

    ``violations`` are all findings but OK-GAP, which are ``gaps``. ``open`` are those of ``not_proved``
    without which the audit is inconclusive, if it is not worse.
    """

    records: int
    checked: tuple[str, ...]
    violations: tuple[Finding, ...] = ()
    gaps: tuple[Finding, ...] = ()
    not_proved: tuple[Unproved, ...] = ()
    open: tuple[Unproved, ...] = ()
    totals: tuple[Total, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The verdict over everything."""
        return self.node().verdict

    def node(self, name: str = "usage records") -> Node:
        """Return the result tree, of the one type that all verdicts have."""
        found = [Reason(one.code, one.detail, one.code.verdict) for one in self.violations]
        missing = [Reason(one, f"not proved: {one}", Verdict.INCONCLUSIVE) for one in self.open]
        return Node.judge(name, (*found, *missing), notes=tuple(gap.detail for gap in self.gaps))
