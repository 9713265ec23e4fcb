"""The audit: what a set of usage records proves, to someone who trusts an enrolment and reference values.

Pure: takes bytes and values. Steps:

1. read the view, its records and what came with them; what cannot be read is MALFORMED;
2. run every check of ``CHECKS``, none of which relies on another;
3. say what was not proved, and add up what each domain used.

Not established: that the hypervisor counted truly (that is what its measurement is for), and, without a
witness, that everyone was shown the same history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from metering import authenticity, continuity, plausibility
from metering.case import Case, Check, Claims, Terms, Trust, record_of
from metering.checkpoint import Checkpoint, Note
from metering.errors import MeteringInputError, RecordError
from metering.key import MeterKeyBundle
from metering.record import COUNTERS, Flag, Record, decode
from metering.verdict import NEEDED, AuditResult, Code, Finding, Total, Unproved
from metering.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from metering.history import Line

CHECKS: Final = (
    Check("meter-key", authenticity.meter_key),
    Check("checkpoint", authenticity.checkpoint),
    Check("signed-root", authenticity.signed_root),
    Check("genesis-key", authenticity.genesis_key),
    Check("host", authenticity.host),
    Check("tenant", authenticity.tenant),
    Check("earlier-checkpoints", authenticity.earlier_checkpoints),
    Check("genesis", continuity.genesis),
    Check("epochs", continuity.epochs),
    Check("unique", continuity.unique),
    Check("linked", continuity.linked),
    Check("continuous", continuity.continuous),
    Check("gaps", continuity.gaps),
    Check("ended", continuity.ended),
    Check("boots", continuity.boots),
    Check("current", continuity.current),
    Check("incarnations", continuity.incarnations),
    Check("counters", plausibility.counters),
    Check("possible", plausibility.possible),
    Check("clock", plausibility.clock),
    Check("identity", plausibility.identity),
)
MAX_UNREAD: Final = 20
"""So many leaves that cannot be read are named; the others are counted."""

_T = TypeVar("_T")


def audit(
    log: bytes,
    checkpoint: bytes | None,
    meter_key: bytes | None,
    trust: Trust,
    terms: Terms,
    *,
    checks: Sequence[Check] = CHECKS,
) -> AuditResult:
    """Audit a ``usage.log`` with its checkpoint and meter key bundle, None for what is missing.

    Never raises on what the three files hold: what is wrong with them is in the result.
    """
    unread: list[Finding] = []
    bundle = _attempt(unread, lambda: MeterKeyBundle.decode(meter_key) if meter_key is not None else None)
    head = _attempt(unread, lambda: _head(checkpoint) if checkpoint is not None else None)
    view = _attempt(unread, lambda: View.decode(log))
    records = _records(view, unread) if view else []
    if view is None or len(records) != len(view.leaves):
        return AuditResult(len(records), (), tuple(unread), (), (Unproved.UNREAD,), (Unproved.UNREAD,))
    case = Case.of(view, records, Claims(checkpoint, head, bundle), trust, terms)
    found = [finding for check in checks for finding in check.run(case)]
    not_proved = tuple(_not_proved(case, meter_key))
    return AuditResult(
        records=len(records),
        checked=tuple(check.name for check in checks),
        violations=(*unread, *(one for one in found if one.code is not Code.OK_GAP)),
        gaps=tuple(one for one in found if one.code is Code.OK_GAP),
        not_proved=not_proved,
        open=tuple(
            one for one in not_proved if one in NEEDED or (terms.witness and one is Unproved.UNWITNESSED)
        ),
        totals=tuple(totals(case)),
    )


def _attempt(unread: list[Finding], read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except MeteringInputError as error:
        unread.append(Finding(Code(error.code), str(error)))
        return None


def _head(raw: bytes) -> Checkpoint:
    return Checkpoint.of_text(Note.decode(raw).text)


def _records(view: View, unread: list[Finding]) -> list[Record]:
    records, bad = [], 0
    for index, leaf in zip(view.indexes, view.leaves, strict=True):
        try:
            records.append(decode(record_of(leaf)))
        except RecordError as error:
            bad += 1
            if bad <= MAX_UNREAD:
                unread.append(Finding(Code.MALFORMED, f"leaf {index}: {error}"))
    if bad > MAX_UNREAD:
        unread.append(Finding(Code.MALFORMED, f"{bad - MAX_UNREAD} more leaves cannot be read"))
    return records


def _not_proved(case: Case, meter_key: bytes | None) -> Iterator[Unproved]:
    part = not case.view.whole
    open_questions = {
        Unproved.UNSIGNED: case.claims.checkpoint is None,
        Unproved.KEY_MISSING: meter_key is None,
        Unproved.KEY_UNCERTIFIED: case.trust.ak is None,
        Unproved.PLATFORM: case.trust.states is None,
        Unproved.SEEN: part and any(head.size != case.view.size for head in case.terms.seen),
        Unproved.UNWITNESSED: True,
        Unproved.CURRENCY: case.terms.until_ms is None,
        Unproved.WALL_CLOCK: any(e.record.flags & Flag.UNSYNCED for e in case.history.entries),
        Unproved.OTHER_DOMAINS: part,
    }
    yield from (word for word, is_open in open_questions.items() if is_open)


def totals(case: Case) -> Iterator[Total]:
    """Yield what each domain used, of the tenant that is audited for or of all, by UUID."""
    domains: dict[str, list[Line]] = {}
    for line in case.lines():
        if case.terms.tenant in {None, line.first.tenant}:
            domains.setdefault(line.domain, []).append(line)
    for domain in sorted(domains):
        yield _total(domain, domains[domain])


def _total(domain: str, lines: Sequence[Line]) -> Total:
    parts = [part for line in lines for part in _parts(line)]
    used = dict(zip(("mem_page_ns", *COUNTERS), map(sum, zip(*parts, strict=True)), strict=True))
    return Total(
        domain=domain,
        tenant=lines[0].first.tenant,
        incarnations=len(lines),
        records=sum(len(line.entries) for line in lines),
        first_wall_ms=min(line.first.wall_ms for line in lines),
        last_wall_ms=max(line.last.wall_ms for line in lines),
        **used,
    )


def _parts(line: Line) -> Iterator[tuple[int, ...]]:
    """Yield what each interval used."""
    yield plausibility.usage(None, line.first)
    for before, after in line.pairs():
        yield plausibility.usage(before.record, after.record)
