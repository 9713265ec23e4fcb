"""The usage record: 308 bytes, big-endian, one layout for domains and one for the meter itself.

Common header, 112 bytes::

    u8 version (1) | u8 kind | u16 flags | 32 host | u32 epoch | u64 tick | u64 seq
    u64 mono_start, u64 mono_end (ns since boot) | u64 wall_ms (ms since 1970) | 32 prev

Body of a domain record, 196 bytes::

    32 tenant (UTF-8, zero-padded) | 16 domain uuid | 16 vid | 32 SHA-256(label) | u32 incarnation
    u64 unique_id | u64 pages | u64 cpu_ns | u128 mem_page_ns | u64 net_rx, net_tx (bytes)
    u64 blk_rd_ops, blk_rd_bytes, blk_wr_ops, blk_wr_bytes | u64 vtpm_ops

Body of a meter record, 101 bytes and 95 zeros::

    u64 period_ns | u32 pcpus | u8 reason | 32 SHA-256(SPKI of the meter key)
    u64 prev_size | 32 prev_root | u64 gap_first | u64 gap_last

Counters are raw and cumulative; what an interval used is worked out by the auditor. ``mem_page_ns`` is the
step sum of pages times nanoseconds. ``prev`` is the RFC 6962 leaf hash of the record before it in its chain.

A leaf of the log is 16 random bytes and the record, so that the hash of a neighbour's leaf can't be guessed.
All records have one length: sizes tell nothing either. Sources: facts/metering.md 2.2; RFC 6962, 2.1.
"""

from __future__ import annotations

import functools
import operator
import struct
from enum import IntEnum
from typing import Final, NamedTuple

from metering.errors import MeteringUsageError, RecordError

VERSION: Final = 1
SALT_BYTES: Final = 16
RECORD_BYTES: Final = 308
LEAF_BYTES: Final = SALT_BYTES + RECORD_BYTES
TENANT_BYTES: Final = 32
CPU_BITS: Final = 63
"""Xen once leaked a flag into bit 63 of a runstate time; a record never holds a counter with it."""
ZERO_HASH: Final = bytes(32)


class Kind(IntEnum):
    """What a record says; below 16 of the meter, from 16 of a domain."""

    GENESIS = 1
    """The meter begins: a new log, after a reboot, or after a restart."""
    TICK = 2
    """All domains were read; the record after them."""
    GAP = 3
    """Ticks ``gap_first`` to ``gap_last`` were not read, and why."""
    CLOSE = 4
    """The meter ended as it should."""
    START = 16
    """First reading of a domain; ``mono_start`` is the earliest time it can have begun."""
    USAGE = 17
    IDLE = 18
    """Nothing but memory was used."""
    FINAL = 19
    """Last reading of a domain."""


class Flag(IntEnum):
    """Bits of ``flags``."""

    MASKED = 1
    """Bit 63 of the source's cpu_ns was set and was removed."""
    RESET = 2
    """A counter of the source fell: it began again at 0 inside this interval."""
    ESTIMATED = 4
    """The domain was gone before its last reading: all but ``seq`` is as in the record before."""
    UNSYNCED = 8
    """The wall clock was not synchronised."""


class Reason(IntEnum):
    """Why a GENESIS or a GAP was written."""

    NONE = 0
    FIRST = 1
    REBOOT = 2
    RESTART = 3
    LATE = 4
    """The meter ran, and came too late."""
    DOWN = 5
    """The meter did not run."""


class MeterRecord(NamedTuple):
    """A record about the meter itself.

    A named tuple is as immutable as a frozen dataclass and much faster to make: an audit makes millions.
    """

    kind: Kind
    flags: int
    host: bytes
    epoch: int
    tick: int
    seq: int
    mono_start: int
    mono_end: int
    wall_ms: int
    prev: bytes = ZERO_HASH
    period_ns: int = 0
    pcpus: int = 0
    reason: Reason = Reason.NONE
    key: bytes = ZERO_HASH
    prev_size: int = 0
    prev_root: bytes = ZERO_HASH
    gap_first: int = 0
    gap_last: int = 0


class UsageRecord(NamedTuple):
    """A reading of one domain."""

    kind: Kind
    flags: int
    host: bytes
    epoch: int
    tick: int
    seq: int
    mono_start: int
    mono_end: int
    wall_ms: int
    prev: bytes
    tenant: str
    domain: bytes
    vid: bytes
    label: bytes
    incarnation: int
    unique_id: int
    pages: int
    cpu_ns: int
    mem_page_ns: int
    net_rx: int
    net_tx: int
    blk_rd_ops: int
    blk_rd_bytes: int
    blk_wr_ops: int
    blk_wr_bytes: int
    vtpm_ops: int


Record = MeterRecord | UsageRecord

COUNTERS: Final = (
    "cpu_ns",
    "net_rx",
    "net_tx",
    "blk_rd_ops",
    "blk_rd_bytes",
    "blk_wr_ops",
    "blk_wr_bytes",
    "vtpm_ops",
)
"""Raw counters of the source, in the order of the record; ``mem_page_ns`` is the meter's own sum."""
counters_of: Final = operator.attrgetter(*COUNTERS)
"""Return the raw counters of a UsageRecord, or of a Reading."""

_HEADER: Final = struct.Struct(">BBH32sIQQQQQ32s")
_METER: Final = struct.Struct(">QIB32sQ32sQQ95s")
_USAGE: Final = struct.Struct(">32s16s16s32sIQQQ16s7Q")
_PADDING: Final = bytes(95)
_KINDS: Final = {int(kind): kind for kind in Kind}
_REASONS: Final = {int(reason): reason for reason in Reason}
_FIRST_DOMAIN_KIND: Final = Kind.START
_MEMORY_FIELD: Final = 8
_METER_FLAGS: Final = int(Flag.UNSYNCED)
_USAGE_FLAGS: Final = Flag.MASKED | Flag.RESET | Flag.UNSYNCED
_METER_DEFAULTS: Final = MeterRecord(Kind.TICK, 0, ZERO_HASH, 0, 0, 0, 0, 0, 0)[10:]
_METER_FIELDS: Final = {
    Kind.GENESIS: frozenset({"period_ns", "pcpus", "reason", "key", "prev_size", "prev_root"}),
    Kind.TICK: frozenset[str](),
    Kind.GAP: frozenset({"reason", "gap_first", "gap_last"}),
    Kind.CLOSE: frozenset[str](),
}
_REASONS_OF: Final = {
    Kind.GENESIS: frozenset({Reason.FIRST, Reason.REBOOT, Reason.RESTART}),
    Kind.TICK: frozenset({Reason.NONE}),
    Kind.GAP: frozenset({Reason.LATE, Reason.DOWN}),
    Kind.CLOSE: frozenset({Reason.NONE}),
}


def encode(record: Record) -> bytes:
    """Return the 308 bytes; raises MeteringUsageError for a value that has no encoding."""
    head, body = record[:10], record[10:]
    try:
        header = _HEADER.pack(VERSION, *head)
        if isinstance(record, MeterRecord):
            raw = header + _METER.pack(*body, _PADDING)
        else:
            tenant, memory = tenant_bytes(record.tenant), record.mem_page_ns.to_bytes(16, "big")
            raw = header + _USAGE.pack(tenant, *body[1:_MEMORY_FIELD], memory, *body[_MEMORY_FIELD + 1 :])
        _check(record)
    except (struct.error, OverflowError, RecordError) as error:
        raise MeteringUsageError(f"this record has no encoding: {error}") from None
    return raw


def decode(raw: bytes) -> Record:
    """Read a record, every byte of it; raises RecordError (``MALFORMED``)."""
    if len(raw) != RECORD_BYTES:
        raise RecordError("record", f"{len(raw)} bytes, not {RECORD_BYTES}")
    version, number, *head = _HEADER.unpack_from(raw)
    if version != VERSION:
        raise RecordError("version", f"{version} is not {VERSION}")
    kind = _KINDS.get(number)
    if kind is None:
        raise RecordError("kind", f"{number} is not known")
    record = _meter(kind, head, raw) if kind < _FIRST_DOMAIN_KIND else _usage(kind, head, raw)
    _check(record)
    return record


def _meter(kind: Kind, head: list[int | bytes], raw: bytes) -> MeterRecord:
    period, pcpus, reason, *rest, padding = _METER.unpack_from(raw, _HEADER.size)
    if padding != _PADDING:
        raise RecordError("padding", "is not zero")
    if reason not in _REASONS:
        raise RecordError("reason", f"{reason} is not known")
    return MeterRecord._make((kind, *head, period, pcpus, _REASONS[reason], *rest))


def _usage(kind: Kind, head: list[int | bytes], raw: bytes) -> UsageRecord:
    tenant, *body = _USAGE.unpack_from(raw, _HEADER.size)
    body[_MEMORY_FIELD - 1] = int.from_bytes(body[_MEMORY_FIELD - 1], "big")
    return UsageRecord._make((kind, *head, _tenant(tenant), *body))


def _check(record: Record) -> None:
    if record.mono_start > record.mono_end:
        raise RecordError("mono_start", f"{record.mono_start} is after mono_end {record.mono_end}")
    if isinstance(record, MeterRecord):
        _check_meter(record)
        return
    allowed = _USAGE_FLAGS | Flag.ESTIMATED if record.kind is Kind.FINAL else _USAGE_FLAGS
    if record.flags & ~allowed:
        raise RecordError("flags", f"{record.flags:#x} has bits that {record.kind.name} does not know")
    if record.kind < _FIRST_DOMAIN_KIND:
        raise RecordError("kind", f"{record.kind.name} is not of a domain")
    if record.cpu_ns >> CPU_BITS:
        raise RecordError("cpu_ns", f"bit {CPU_BITS} is set; it is no time")
    if (record.kind is Kind.START) is not (record.seq == 0):
        raise RecordError("seq", f"{record.seq} cannot be of {record.kind.name}: only START has 0")


def _check_meter(record: MeterRecord) -> None:
    if record.flags & ~_METER_FLAGS:
        raise RecordError("flags", f"{record.flags:#x} has bits that {record.kind.name} does not know")
    used = _METER_FIELDS.get(record.kind)
    if used is None:
        raise RecordError("kind", f"{record.kind.name} is not of the meter")
    for name, value, unused in zip(MeterRecord._fields[10:], record[10:], _METER_DEFAULTS, strict=True):
        if name not in used and value != unused:
            raise RecordError(name, f"has no meaning in {record.kind.name} and is not zero")
    if record.reason not in _REASONS_OF[record.kind]:
        raise RecordError("reason", f"{record.reason.name} is no reason of {record.kind.name}")
    if record.kind is Kind.GENESIS and not (record.period_ns and record.pcpus):
        raise RecordError("period_ns", "a GENESIS has a period and a number of CPUs above 0")
    if record.gap_first > record.gap_last:
        raise RecordError("gap_first", f"{record.gap_first} is after gap_last {record.gap_last}")


def tenant_bytes(tenant: str) -> bytes:
    """Return a tenant's name as it stands in a record: 1 to 32 printable bytes; raises MeteringUsageError."""
    raw = tenant.encode("utf-8", errors="replace").ljust(TENANT_BYTES, b"\0")
    try:
        good = _tenant(raw) == tenant
    except RecordError:
        good = False
    if not good:
        raise MeteringUsageError(
            f"tenant {tenant!a}: 1 to {TENANT_BYTES} bytes of printable UTF-8 are needed"
        )
    return raw


@functools.lru_cache(maxsize=1024)
def _tenant(raw: bytes) -> str:
    name = raw.rstrip(b"\0")
    try:
        tenant = name.decode("utf-8")
    except UnicodeDecodeError:
        raise RecordError("tenant", "is not UTF-8") from None
    if not tenant or len(raw) != TENANT_BYTES or not tenant.isprintable():
        raise RecordError("tenant", f"is not 1 to {TENANT_BYTES} printable bytes, padded with zeros")
    return tenant
