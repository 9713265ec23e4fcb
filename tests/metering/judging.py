"""What the tests of attacks expect of an audit, and how an attacker changes a log."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from attest.result import Verdict
from metering.record import COUNTERS, UsageRecord
from metering.verdict import AuditResult, Code, Finding
from tests.metering.world import (
    Files,
    records,
    relink,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metering.register import Reading

SECOND = 1_000_000_000


def caught(files: Files, by: str, code: Code, **terms: Any) -> Finding:
    """Assert that one violation is found, and that the audit is satisfied without the check that finds it."""
    result = files.audit(**terms)
    assert [one.code for one in result.violations] == [code], result.violations
    assert result.verdict is code.verdict
    blind = files.audit(without=by, **terms)
    assert blind.verdict is Verdict.AFFIRMING, blind.violations
    return result.violations[0]


def fine(result: AuditResult, *gaps: str) -> AuditResult:
    assert result.verdict is Verdict.AFFIRMING, result.violations or result.open
    assert len(result.gaps) == len(gaps)
    for gap, word in zip(result.gaps, gaps, strict=True):
        assert word in gap.detail
    return result


def codes(files: Files, **terms: Any) -> set[Code]:
    return {one.code for one in files.audit(**terms).violations}


def usage_at(leaves: Sequence[bytes], nth: int, domain: int = 2) -> int:
    """Return where the ``nth`` reading of the domain with this unique_id stands."""
    own = [
        at
        for at, record in enumerate(records(leaves))
        if isinstance(record, UsageRecord) and record.unique_id == domain
    ]
    return own[nth]


def edited(leaves: Sequence[bytes], at: int, **values: Any) -> list[bytes]:
    """Change one record, and chain all records anew."""
    return relink(leaves, lambda place, record: record._replace(**values) if place == at else record)


def fresh(reading: Reading, **values: Any) -> Reading:
    """Return the first reading of a domain that takes the place of another."""
    return replace(reading, **{**dict.fromkeys(COUNTERS, 0), **values})
