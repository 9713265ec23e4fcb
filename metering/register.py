"""The meter's register: turns readings into linked records. Time, readings and salts come from the caller.

One call of ``tick`` makes one batch: a GAP if ticks were missed, a reading of every domain, domains of
one tenant side by side, and a TICK that says all were read. The first reading of a domain is a START,
whose interval begins where the domain can have begun at the earliest; so all that its counters show is
accounted for.
"""

from __future__ import annotations

import functools
import hashlib
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from metering.chain import Chains
from metering.errors import MeteringUsageError
from metering.record import (
    COUNTERS,
    CPU_BITS,
    SALT_BYTES,
    ZERO_HASH,
    Flag,
    Kind,
    MeterRecord,
    Reason,
    Record,
    UsageRecord,
    counters_of,
    tenant_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_U64: Final = 1 << 64
_CPU_MASK: Final = (1 << CPU_BITS) - 1


@dataclass(frozen=True, slots=True)
class Time:
    """Nanoseconds since boot, milliseconds since 1970, and whether the wall clock is synchronised."""

    mono_ns: int
    wall_ms: int
    synced: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """The raw counters of one domain, cumulative since it began.

    ``domain`` is a UUID, ``vid`` 32 hexadecimal digits (zeros without a vTPM). ``unique_id`` is the
    number that the hypervisor gives no other domain in this boot; 0 if it has none. Raises
    MeteringUsageError for values that no record can hold.
    """

    domain: str
    tenant: str
    vid: str
    label: str
    pages: int
    cpu_ns: int
    unique_id: int = 0
    net_rx: int = 0
    net_tx: int = 0
    blk_rd_ops: int = 0
    blk_rd_bytes: int = 0
    blk_wr_ops: int = 0
    blk_wr_bytes: int = 0
    vtpm_ops: int = 0

    def __post_init__(self) -> None:
        tenant_bytes(self.tenant)
        try:
            good = len(_uuid(self.domain)) == len(_vid(self.vid))
        except ValueError:
            good = False
        counts = (self.pages, self.unique_id, *counters_of(self))
        if not good or min(counts) < 0 or max(counts) >= _U64:
            what = f"reading of domain {self.domain[:36]!a}"
            raise MeteringUsageError(f"{what}: a UUID, 32 digits of vid and counts of 64 bits are needed")


@dataclass(frozen=True, slots=True)
class Setup:
    """What every record of this meter repeats, and what its GENESIS says.

    ``host`` is ``key.host_id`` of the host's attestation key, ``epoch`` the TPM's resetCount, ``key`` is
    ``key.key_id`` of the meter key; ``pcpus`` bounds how much CPU time there can be.
    """

    host: bytes
    epoch: int
    key: bytes
    pcpus: int
    period_ns: int


class Register:
    """Open lines of all domains, and the chains they are linked into."""

    def __init__(self, setup: Setup, salt: Callable[[int], bytes]) -> None:
        """``salt`` returns so many random bytes."""
        self._setup = setup
        self._salt = salt
        self._chains = Chains()
        self._lines: dict[bytes, UsageRecord] = {}
        self._incarnations: dict[bytes, UsageRecord] = {}
        self._last: MeterRecord | None = None
        self._read_to = 0
        self._period = 0
        self._running = False
        self._complete = False

    @property
    def complete(self) -> bool:
        """Whether the last record is the meter's own, so that a tree that ends here shows how far it came."""
        return self._complete

    def replay(self, record: Record, leaf: bytes) -> None:
        """Take in a record that is in the log already, in its order, with its leaf hash."""
        self._chains.advance(record, leaf)
        self._note(record)

    def open(self, now: Time, readings: Sequence[Reading]) -> list[bytes]:
        """Begin: GENESIS, a GAP since the last record of this boot, and a reading of all domains.

        Raises MeteringUsageError for a boot or a time before that of the last record.
        """
        last, setup = self._last, self._setup
        reason = self._why_open(now)
        self._running = True
        genesis = self._meter(Kind.GENESIS, now)._replace(
            period_ns=setup.period_ns, pcpus=setup.pcpus, key=setup.key, reason=reason
        )
        since = last.tick if last is not None and reason is Reason.RESTART else genesis.tick
        return [self._write(genesis), *self._reading(now, readings, since, Reason.DOWN)]

    def _why_open(self, now: Time) -> Reason:
        last, epoch = self._last, self._setup.epoch
        if last is None:
            return Reason.FIRST
        if epoch < last.epoch or (epoch == last.epoch and now.mono_ns < last.mono_end):
            raise MeteringUsageError(f"boot {epoch} is before the last record, which is of boot {last.epoch}")
        if self._setup.host != last.host:
            raise MeteringUsageError("this log is of another host; begin a new one")
        if epoch == last.epoch and self._setup.period_ns != self._period:
            raise MeteringUsageError("the period can change at a reboot only, not within a boot")
        return Reason.REBOOT if epoch > last.epoch else Reason.RESTART

    def tick(self, now: Time, readings: Sequence[Reading]) -> list[bytes]:
        """Read all domains."""
        return self._reading(now, readings, self._checked(now).tick, Reason.LATE)

    def observe(self, now: Time, reading: Reading) -> list[bytes]:
        """Read one domain between ticks: when it starts, balloons, or gets another device."""
        self._checked(now)
        return self._domain(now, reading)

    def stop(self, now: Time, reading: Reading) -> list[bytes]:
        """Read a domain for the last time, before it is destroyed."""
        self._checked(now)
        leaves = [] if self._line_of(reading) else self._domain(now, reading)
        return [*leaves, self._write(self._usage(now, reading, self._line_of(reading), Kind.FINAL))]

    def close(self, now: Time, readings: Sequence[Reading]) -> list[bytes]:
        """Read all domains, and end."""
        leaves = self.tick(now, readings)
        leaves.append(self._write(self._meter(Kind.CLOSE, now)))
        self._running = False
        return leaves

    def _checked(self, now: Time) -> MeterRecord:
        if not self._running or self._last is None:
            raise MeteringUsageError("the meter is not open")
        if now.mono_ns < self._last.mono_end:
            raise MeteringUsageError(f"time since boot went back, to {now.mono_ns} ns")
        return self._last

    def _reading(self, now: Time, readings: Sequence[Reading], since: int, why: Reason) -> list[bytes]:
        leaves = []
        missed = (since + 1, now.mono_ns // self._setup.period_ns - 1)
        if missed[0] <= missed[1]:
            gap = self._meter(Kind.GAP, now)._replace(gap_first=missed[0], gap_last=missed[1], reason=why)
            leaves.append(self._write(gap))
        present = {_uuid(reading.domain) for reading in readings}
        gone = [line for domain, line in self._lines.items() if domain not in present]
        leaves += [self._write(_vanished(line)) for line in gone]
        for reading in sorted(readings, key=lambda one: (one.tenant, one.domain)):
            leaves += self._domain(now, reading)
        return [*leaves, self._write(self._meter(Kind.TICK, now))]

    def _domain(self, now: Time, reading: Reading) -> list[bytes]:
        """Read one domain; another identity under its UUID is another incarnation."""
        leaves, line = [], self._line_of(reading)
        other = self._lines.get(_uuid(reading.domain)) if line is None else None
        if other is not None:
            leaves.append(self._write(_vanished(other)))
        kind = Kind.USAGE if line else Kind.START
        return [*leaves, self._write(self._usage(now, reading, line, kind))]

    def _line_of(self, reading: Reading) -> UsageRecord | None:
        line = self._lines.get(_uuid(reading.domain))
        if line is None:
            return None
        who = (reading.tenant, _vid(reading.vid), _label(reading.label), reading.unique_id)
        return line if (line.tenant, line.vid, line.label, line.unique_id) == who else None

    def _usage(self, now: Time, reading: Reading, line: UsageRecord | None, kind: Kind) -> UsageRecord:
        domain = _uuid(reading.domain)
        cpu, *others = counters_of(reading)
        counters = (cpu & _CPU_MASK, *others)
        before = counters_of(line) if line else counters
        fell = any(map(operator.lt, counters, before))
        flags = self._flags(now) | (Flag.MASKED if cpu > _CPU_MASK else 0) | (Flag.RESET if fell else 0)
        start = line.mono_end if line else self._earliest(domain)
        if kind is Kind.USAGE and counters == before:
            kind = Kind.IDLE
        return UsageRecord(
            **self._head(kind, flags, now, line.seq + 1 if line else 0, start),
            tenant=reading.tenant,
            domain=domain,
            vid=_vid(reading.vid),
            label=_label(reading.label),
            incarnation=line.incarnation if line else self._next_incarnation(domain),
            unique_id=reading.unique_id,
            pages=reading.pages,
            mem_page_ns=line.mem_page_ns + line.pages * (now.mono_ns - line.mono_end) if line else 0,
            **dict(zip(COUNTERS, counters, strict=True)),
        )

    def _meter(self, kind: Kind, now: Time) -> MeterRecord:
        last = self._last
        same = last is not None and last.epoch == self._setup.epoch
        start = last.mono_end if last is not None and same else 0
        return MeterRecord(**self._head(kind, self._flags(now), now, last.seq + 1 if last else 0, start))

    def _head(self, kind: Kind, flags: int, now: Time, seq: int, start: int) -> dict[str, Any]:
        return {
            "kind": kind,
            "flags": flags,
            "host": self._setup.host,
            "epoch": self._setup.epoch,
            "tick": now.mono_ns // self._setup.period_ns,
            "seq": seq,
            "mono_start": start,
            "mono_end": now.mono_ns,
            "wall_ms": now.wall_ms,
            "prev": ZERO_HASH,
        }

    def _flags(self, now: Time) -> int:
        return 0 if now.synced else int(Flag.UNSYNCED)

    def _earliest(self, domain: bytes) -> int:
        """Return when a domain that is seen for the first time can have begun at the earliest."""
        before = self._incarnations.get(domain)
        ended = before.mono_end if before is not None and before.epoch == self._setup.epoch else 0
        return max(self._read_to, ended)

    def _next_incarnation(self, domain: bytes) -> int:
        before = self._incarnations.get(domain)
        return before.incarnation + 1 if before else 1

    def _write(self, record: Record) -> bytes:
        leaf = self._chains.link(record, self._salt(SALT_BYTES))
        self._note(record)
        return leaf

    def _note(self, record: Record) -> None:
        """Remember what later records build on."""
        self._complete = isinstance(record, MeterRecord)
        if isinstance(record, MeterRecord):
            self._last = record
            if record.kind in {Kind.TICK, Kind.CLOSE}:
                self._read_to = record.mono_end
            if record.kind is Kind.GENESIS:
                self._period = record.period_ns
            if record.reason is Reason.REBOOT:
                self._lines.clear()
                self._read_to = 0
            return
        self._incarnations[record.domain] = record
        if record.kind is Kind.FINAL:
            self._lines.pop(record.domain, None)
        else:
            self._lines[record.domain] = record


def _vanished(line: UsageRecord) -> UsageRecord:
    """Return the last record of a domain that was gone before it was read: what it had when it was seen."""
    flags = (line.flags & Flag.UNSYNCED) | Flag.ESTIMATED
    return line._replace(kind=Kind.FINAL, flags=flags, seq=line.seq + 1, mono_start=line.mono_end)


@functools.lru_cache(maxsize=4096)
def _uuid(text: str) -> bytes:
    return UUID(text).bytes


@functools.lru_cache(maxsize=4096)
def _vid(text: str) -> bytes:
    return bytes.fromhex(text)


@functools.lru_cache(maxsize=4096)
def _label(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
