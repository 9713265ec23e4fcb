"""Records put in order: the meter's own, and one line of readings for each incarnation of a domain."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from metering.record import Kind, MeterRecord, Record, UsageRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from metering.chain import ChainKey


class MeterEntry(NamedTuple):
    """A record of the meter, where it stands, and its leaf hash."""

    at: int
    leaf: bytes
    record: MeterRecord


class UsageEntry(NamedTuple):
    """A record of a domain, where it stands, and its leaf hash."""

    at: int
    leaf: bytes
    record: UsageRecord


@dataclass(frozen=True, slots=True)
class Line:
    """The readings of one incarnation by number; ``repeated`` have a number that was there before."""

    entries: tuple[UsageEntry, ...]
    repeated: tuple[UsageEntry, ...] = ()

    @property
    def domain(self) -> str:
        """The domain's UUID."""
        return str(UUID(bytes=self.entries[0].record.domain))

    @property
    def first(self) -> UsageRecord:
        """The reading with the lowest sequence number."""
        return self.entries[0].record

    @property
    def last(self) -> UsageRecord:
        """The reading with the highest sequence number."""
        return self.entries[-1].record

    def pairs(self) -> Iterator[tuple[UsageEntry, UsageEntry]]:
        """Yield each reading with the one before it."""
        return itertools.pairwise(self.entries)


@dataclass(frozen=True, slots=True)
class History:
    """All records of a view: in the order of the log, the meter's own, its GENESIS records, and by line."""

    entries: tuple[MeterEntry | UsageEntry, ...]
    meter: tuple[MeterEntry, ...]
    genesis: tuple[MeterEntry, ...]
    lines: Mapping[ChainKey, Line]

    @classmethod
    def of(cls, indexes: Sequence[int], leaves: Sequence[bytes], records: Sequence[Record]) -> History:
        """Sort records by chain; ``leaves`` are their leaf hashes."""
        entries: list[MeterEntry | UsageEntry] = []
        domains: dict[ChainKey, list[UsageEntry]] = {}
        for index, leaf, record in zip(indexes, leaves, records, strict=True):
            if isinstance(record, MeterRecord):
                entries.append(MeterEntry(index, leaf, record))
            else:
                entry = UsageEntry(index, leaf, record)
                entries.append(entry)
                domains.setdefault((record.domain, record.incarnation), []).append(entry)
        meter = tuple(entry for entry in entries if isinstance(entry, MeterEntry))
        genesis = tuple(entry for entry in meter if entry.record.kind is Kind.GENESIS)
        return cls(tuple(entries), meter, genesis, {key: _line(found) for key, found in domains.items()})

    def of_kind(self, *kinds: Kind) -> tuple[MeterEntry, ...]:
        """Return the meter's records of these kinds."""
        return tuple(entry for entry in self.meter if entry.record.kind in kinds)


def _line(entries: Sequence[UsageEntry]) -> Line:
    first: dict[int, UsageEntry] = {}
    repeated = [entry for entry in entries if first.setdefault(entry.record.seq, entry) is not entry]
    return Line(tuple(first[seq] for seq in sorted(first)), tuple(repeated))
