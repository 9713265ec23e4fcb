"""Checks that signed numbers can be true: counters, times, and who a domain is."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from metering.case import NS, Case, same_boot
from metering.record import COUNTERS, Flag, Kind, UsageRecord, counters_of
from metering.verdict import Code, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metering.history import Line, UsageEntry

READING_SKEW_NS: Final = 10_000_000
"""A counter may be read this much later than the clock beside it."""
CLOCK_SKEW_NS: Final = 2 * NS
CLOCK_DRIFT: Final = 200
"""Wall time may differ from time since boot by one part in so many (0.5 %), beside ``CLOCK_SKEW_NS``."""

_MS: Final = 1_000_000


def counters(case: Case) -> Iterator[Finding]:
    """Check that no counter fell; one that began again must be flagged, and costs at most one interval."""
    for line in case.lines():
        for before, after in line.pairs():
            pairs = zip(COUNTERS, counters_of(before.record), counters_of(after.record), strict=True)
            fell = [name for name, old, new in pairs if new < old]
            if after.record.flags & Flag.RESET:
                yield _of(line, after, Code.OK_GAP, "a counter of the source began again at 0")
            elif fell:
                yield _of(line, after, Code.ROLLBACK, f"{', '.join(fell)} fell without a flag")


def possible(case: Case) -> Iterator[Finding]:
    """Check CPU time against CPUs, memory against pages and time, and that an idle domain used nothing."""
    for line in case.lines():
        for before, after in itertools.pairwise((None, *line.entries)):
            if after is not None:
                yield from _possible(case, line, before, after)


def _possible(case: Case, line: Line, before: UsageEntry | None, after: UsageEntry) -> Iterator[Finding]:
    new, old = after.record, before.record if before else None
    under = case.genesis(after.at)
    span = new.mono_end - (new.mono_start if old is None else old.mono_end)
    memory, cpu, *others = usage(old, new)
    if under is not None and cpu > under.record.pcpus * (span + READING_SKEW_NS):
        yield _of(line, after, Code.DISPUTED, f"used {cpu / 1e9:.1f} s of CPU in {span / 1e9:.1f} s")
    if old is None or not same_boot(old, new) or new.seq != old.seq + 1:
        return
    if memory != old.pages * span:
        yield _of(line, after, Code.DISPUTED, "its memory is not pages times time")
    without = new.kind is Kind.IDLE or new.flags & Flag.ESTIMATED
    if without and (cpu or any(others)):
        yield _of(line, after, Code.DISPUTED, "used something in an interval that is said to be without use")


def usage(before: UsageRecord | None, after: UsageRecord) -> tuple[int, ...]:
    """Return what was used between two readings: page-nanoseconds, then each counter of ``COUNTERS``.

    A counter that began again counts from 0.
    """
    if before is None:
        return after.mem_page_ns, *counters_of(after)
    pairs = zip(counters_of(before), counters_of(after), strict=True)
    used = (new - old if new >= old else new for old, new in pairs)
    return after.mem_page_ns - before.mem_page_ns, *used


def clock(case: Case) -> Iterator[Finding]:
    """Check that wall time goes with time since boot, and that every tick is the tick of its time."""
    for entry in case.history.entries:
        under = case.genesis(entry.at)
        if under is not None and entry.record.tick != entry.record.mono_end // under.record.period_ns:
            detail = f"the record at {entry.at} says tick {entry.record.tick}, its time says another"
            yield Finding(Code.CLOCK, detail, None, (entry.record.tick, entry.record.tick))
    readings = {(e.record.epoch, e.record.mono_end, e.record.wall_ms): e.record for e in case.history.entries}
    for one, two in itertools.pairwise(readings[key] for key in sorted(readings)):
        if same_boot(one, two) and not (one.flags | two.flags) & Flag.UNSYNCED:
            passed, shown = two.mono_end - one.mono_end, (two.wall_ms - one.wall_ms) * _MS
            if abs(shown - passed) > CLOCK_SKEW_NS + passed // CLOCK_DRIFT:
                detail = f"the wall clock jumped by {(shown - passed) / 1e9:.0f} s"
                yield Finding(Code.CLOCK, detail, None, (one.tick, two.tick))


def identity(case: Case) -> Iterator[Finding]:
    """Check that a line is of one domain of one tenant, and no identity of Xen's has two UUIDs."""
    owners: dict[tuple[int, int], bytes] = {}
    for line in case.lines():
        for before, after in line.pairs():
            if _who(before.record) != _who(after.record):
                yield _of(
                    line, after, Code.TAMPERED, "tenant, vTPM, label or identity changed within one line"
                )
        owner = (line.first.epoch, line.first.unique_id)
        if line.first.unique_id and owners.setdefault(owner, line.first.domain) != line.first.domain:
            yield _of(line, line.entries[0], Code.TAMPERED, "is a domain that had another UUID before")


def _who(record: UsageRecord) -> tuple[str, bytes, bytes, int, bytes, int]:
    return record.tenant, record.vid, record.label, record.unique_id, record.host, record.epoch


def _of(line: Line, entry: UsageEntry, code: Code, detail: str) -> Finding:
    tick = entry.record.tick
    return Finding(code, f"domain {line.domain}: {detail}", line.domain, (tick, tick))
