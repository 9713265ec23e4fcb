"""Checks that nothing is missing, doubled, or put in the place of something newer."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from acm.merkle import EMPTY_ROOT
from metering.case import Case, same_boot, ticks_between
from metering.history import Line, MeterEntry, UsageEntry
from metering.record import Flag, Kind, Reason
from metering.verdict import Code, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMPLETE = frozenset({Kind.TICK, Kind.CLOSE})
"""After these all domains have been read."""


def genesis(case: Case) -> Iterator[Finding]:
    """Check that the log begins with a GENESIS, and that each one names exactly the tree before it."""
    found = case.history.genesis
    if not found or found[0].at != 0 or found[0].record.reason is not Reason.FIRST:
        yield Finding(Code.INCOMPLETE, "the log does not begin with the first GENESIS of a meter")
    for entry in found:
        record = entry.record
        root = EMPTY_ROOT if entry.at == 0 else case.root(entry.at) if case.view.whole else record.prev_root
        if (record.prev_size, record.prev_root) != (entry.at, root):
            detail = f"the GENESIS at {entry.at} continues another log, of {record.prev_size} leaves"
            yield Finding(Code.ROLLBACK, detail)


def epochs(case: Case) -> Iterator[Finding]:
    """Check that boots and time since boot only go forward."""
    meter, current = case.history.meter, -1
    for before, after in itertools.pairwise(meter):
        back = after.record.epoch < before.record.epoch
        rewound = same_boot(before.record, after.record) and after.record.mono_start < before.record.mono_end
        if (
            back
            or rewound
            or (after.record.epoch != before.record.epoch and after.record.kind is not Kind.GENESIS)
        ):
            yield Finding(
                Code.ROLLBACK, f"boot {after.record.epoch} at {after.at} does not follow what is before it"
            )
    for entry in case.history.entries:
        if isinstance(entry, MeterEntry):
            current = entry.record.epoch
        elif entry.record.epoch != current:
            detail = f"a reading of boot {entry.record.epoch} stands in boot {current}"
            yield _of(Line((entry,)), Code.ROLLBACK, detail)
    wanted = case.terms.reset_count
    if wanted is not None and current < wanted:
        yield Finding(Code.ROLLBACK, f"the host is in boot {wanted}, the records end in boot {current}")


def unique(case: Case) -> Iterator[Finding]:
    """Check that no reading stands twice, and that the incarnations of a domain do not overlap."""
    for line in case.lines():
        for entry in line.repeated:
            yield _of(
                line, Code.DOUBLE, f"reading {entry.record.seq} stands twice, again at {entry.at}", entry
            )
        for before, after in line.pairs():
            if before.record.kind is Kind.FINAL:
                yield _of(line, Code.DOUBLE, "was read after its last reading", after)
    for before_line, after_line in _successors(case):
        before_last, after_first = before_line.last, after_line.first
        if same_boot(before_last, after_first) and after_first.mono_start < before_last.mono_end:
            yield _of(
                after_line, Code.DOUBLE, "began before its last incarnation had ended", after_line.entries[0]
            )


def linked(case: Case) -> Iterator[Finding]:
    """Check that every record names the leaf before it in its chain, and stands after it in the log."""
    chains: list[Sequence[MeterEntry | UsageEntry]] = [case.history.meter]
    chains += [line.entries for line in case.lines()]
    for entries in chains:
        for before, after in itertools.pairwise(entries):
            follows = after.record.seq == before.record.seq + 1
            if after.at < before.at or (follows and after.record.prev != before.leaf):
                detail = f"the record at {after.at} does not continue the one at {before.at}"
                yield _named(after, Code.TAMPERED, detail)
    for line in case.lines():
        entry = line.entries[0]
        under = case.genesis(entry.at)
        if entry.record.kind is Kind.START and under is not None and entry.record.prev != under.leaf:
            yield _of(line, Code.TAMPERED, "its START names another GENESIS", entry)


def continuous(case: Case) -> Iterator[Finding]:
    """Check that numbers, ticks and intervals of readings leave no hole but a named gap."""
    gaps = [(entry.record.gap_first, entry.record.gap_last) for entry in case.history.of_kind(Kind.GAP)]
    for line in case.lines():
        if line.first.kind is not Kind.START:
            yield _of(
                line, Code.INCOMPLETE, f"its first {line.first.seq} readings are missing", line.entries[0]
            )
        for before, after in line.pairs():
            if _hole(before, after, gaps):
                yield _missing(before, after)
    if case.view.whole:
        for one, two in itertools.pairwise(case.history.meter):
            if two.record.seq != one.record.seq + 1 or _hole(one, two, gaps):
                yield _missing(one, two)


def _hole(
    before: MeterEntry | UsageEntry, after: MeterEntry | UsageEntry, gaps: Sequence[tuple[int, int]]
) -> bool:
    one, two = before.record, after.record
    if not same_boot(one, two):
        return False
    if two.seq != one.seq + 1 or two.mono_start != one.mono_end:
        return True
    tick, stop = one.tick + 1, two.tick
    for first, last in gaps:
        if first <= tick <= last:
            tick = last + 1
    return tick < stop or two.tick < one.tick


def gaps(case: Case) -> Iterator[Finding]:
    """Name every gap; one that is longer than the auditor accepts is a violation."""
    for entry in case.history.of_kind(Kind.GAP):
        first, last, under = entry.record.gap_first, entry.record.gap_last, case.genesis(entry.at)
        period = under.record.period_ns if under else 0
        length = (last - first + 1) * period
        code = Code.OK_GAP if period and length <= case.terms.max_gap_ns else Code.INCOMPLETE
        why = "the meter came late" if entry.record.reason is Reason.LATE else "the meter did not run"
        yield Finding(code, f"{length / 1e9:.0f} s were not read: {why}", None, (first, last))


def ended(case: Case) -> Iterator[Finding]:
    """Check that every domain was read to its own end, or to the end of its boot."""
    meter = case.history.meter
    last = {entry.record.epoch: entry for entry in meter if entry.record.kind in _COMPLETE}
    for line in case.lines():
        end = last.get(line.last.epoch)
        if line.last.kind is Kind.FINAL:
            if line.last.flags & Flag.ESTIMATED:
                yield _of(line, Code.OK_GAP, "was gone before its last reading", line.entries[-1])
        elif end is not None and line.last.mono_end < end.record.mono_end:
            yield _missing(line.entries[-1], end, line)


def boots(case: Case) -> Iterator[Finding]:
    """Bound what a boot without CLOSE, or boots without records, can have hidden.

    Between the last record of one boot and the start of the next there is at most the difference of the wall
    clock less the time since boot: the host may have been off, and nothing here says that it was.
    """
    for before, after in itertools.pairwise(case.history.meter):
        old, new = before.record, after.record
        if same_boot(old, new) or (old.kind is Kind.CLOSE and new.epoch == old.epoch + 1):
            continue
        unread = (new.wall_ms - old.wall_ms) * 1_000_000 - new.mono_end
        code = Code.OK_GAP if unread <= case.terms.max_gap_ns else Code.INCOMPLETE
        skipped = new.epoch - old.epoch - 1
        missing = f"{skipped} boots after boot {old.epoch} have no records"
        what = missing if skipped else f"boot {old.epoch} has no CLOSE"
        detail = f"{what}: at most {max(unread, 0) / 1e9:.0f} s were not read"
        yield Finding(code, detail, None, (old.tick, old.tick + 1))


def current(case: Case) -> Iterator[Finding]:
    """Check that what is shown reaches the end of the tree, and the time that the auditor asks for."""
    meter, until = case.history.meter, case.terms.until_ms
    if not meter or meter[-1].at != case.view.size - 1:
        yield Finding(Code.INCOMPLETE, "the log goes on after the last reading that is shown")
        return
    end = meter[-1]
    under = case.genesis(end.at)
    period = under.record.period_ns // 1_000_000 if under else 0
    if until is None or end.record.wall_ms + 2 * period >= until:
        return
    detail = f"the records end {(until - end.record.wall_ms) / 1000:.0f} s before the time that was asked for"
    if end.record.kind is not Kind.CLOSE:
        yield Finding(Code.INCOMPLETE, detail, None, (end.record.tick + 1, end.record.tick + 1))
    for line in case.lines() if end.record.kind is Kind.CLOSE else ():
        if line.last.kind is not Kind.FINAL and same_boot(line.last, end.record):
            yield _of(line, Code.INCOMPLETE, detail, line.entries[-1])


def incarnations(case: Case) -> Iterator[Finding]:
    """Check that no incarnation of a domain is missing."""
    first = {line.first.domain: line for line in reversed(_by_incarnation(case))}
    for line in first.values():
        if line.first.incarnation != 1:
            detail = f"incarnations before {line.first.incarnation} are missing"
            yield _of(line, Code.INCOMPLETE, detail, line.entries[0])
    for before, after in _successors(case):
        if after.first.incarnation != before.first.incarnation + 1:
            detail = (
                f"incarnations between {before.first.incarnation} and {after.first.incarnation} are missing"
            )
            yield _of(after, Code.INCOMPLETE, detail, after.entries[0])


def _by_incarnation(case: Case) -> list[Line]:
    return sorted(case.lines(), key=lambda line: (line.first.domain, line.first.incarnation))


def _successors(case: Case) -> Iterator[tuple[Line, Line]]:
    for before, after in itertools.pairwise(_by_incarnation(case)):
        if before.first.domain == after.first.domain:
            yield before, after


def _missing(
    before: MeterEntry | UsageEntry, after: MeterEntry | UsageEntry, line: Line | None = None
) -> Finding:
    interval = ticks_between(before, after)
    detail = f"readings are missing after the one of tick {before.record.tick}"
    domain = line.domain if line else Line((before,)).domain if isinstance(before, UsageEntry) else None
    return Finding(Code.INCOMPLETE, detail, domain, interval)


def _of(line: Line, code: Code, detail: str, entry: UsageEntry | None = None) -> Finding:
    record = (entry or line.entries[0]).record
    return Finding(code, f"domain {line.domain}: {detail}", line.domain, (record.tick, record.tick))


def _named(entry: MeterEntry | UsageEntry, code: Code, detail: str) -> Finding:
    if isinstance(entry, UsageEntry):
        return _of(Line((entry,)), code, detail)
    return Finding(code, detail, None, (entry.record.tick, entry.record.tick))
