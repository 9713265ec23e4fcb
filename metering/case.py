"""What an audit works on: the records of one view, what came with them, and what the auditor trusts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm.merkle import leaf_hash
from metering import merkle
from metering.history import History, Line, MeterEntry, UsageEntry
from metering.record import SALT_BYTES, Record
from metering.verdict import Finding

if TYPE_CHECKING:
    from metering.checkpoint import Checkpoint
    from metering.key import MeterKeyBundle
    from metering.view import View
    from vtpm.tpm2.public import Public

NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Trust:
    """What the auditor brings: the host's enrolled attestation key, and its reference states.

    A state is the SHA-256 values of PCR 0-9; ``states`` is None where there are no reference values.
    """

    ak: Public | None = None
    states: tuple[tuple[bytes, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What the auditor asks for.

    ``until_ms`` is the wall time that the records must reach, ``reset_count`` the boot that the host's
    last quote showed, ``max_gap_ns`` the longest gap that is accepted if it is explained. ``seen`` are
    checkpoints of this log seen before, ``peers`` those that other readers have.
    """

    tenant: str | None = None
    until_ms: int | None = None
    reset_count: int | None = None
    max_gap_ns: int = 3600 * NS
    witness: bool = False
    seen: tuple[Checkpoint, ...] = ()
    peers: tuple[Checkpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Claims:
    """What came with the records, as received; None for what is missing.

    ``head`` is what ``checkpoint`` says, read but not checked.
    """

    checkpoint: bytes | None = None
    head: Checkpoint | None = None
    bundle: MeterKeyBundle | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One audit's material."""

    view: View
    hashes: Sequence[bytes]
    history: History
    claims: Claims
    trust: Trust
    terms: Terms

    @classmethod
    def of(cls, view: View, records: Sequence[Record], claims: Claims, trust: Trust, terms: Terms) -> Case:
        """Hash the leaves and sort the records."""
        hashes = [leaf_hash(leaf) for leaf in view.leaves]
        return cls(view, hashes, History.of(view.indexes, hashes, records), claims, trust, terms)

    @property
    def head(self) -> Checkpoint | None:
        """What the checkpoint says, whoever signed it."""
        return self.claims.head

    def root(self, size: int) -> bytes | None:
        """Return the root of the first ``size`` leaves; None if this view cannot give it."""
        if self.view.whole:
            return merkle.root_of(self.hashes[:size]) if size <= self.view.size else None
        if size != self.view.size:
            return None
        return merkle.root_from_cover(size, self.view.indexes, self.hashes, self.view.cover)

    def genesis(self, at: int) -> MeterEntry | None:
        """Return the GENESIS under which the record at ``at`` was written."""
        found = self.history.genesis
        place = bisect_right(found, at, key=lambda entry: entry.at)
        return found[place - 1] if place else None

    def lines(self) -> Iterable[Line]:
        """Return the readings of all incarnations of all domains."""
        return self.history.lines.values()


def record_of(leaf: bytes) -> bytes:
    """Return the record bytes of a leaf."""
    return leaf[SALT_BYTES:]


def ticks_between(before: MeterEntry | UsageEntry, after: MeterEntry | UsageEntry) -> tuple[int, int]:
    """Return the first and last tick that should lie between two records, at least one."""
    first = before.record.tick + 1
    return first, max(first, after.record.tick - 1)


def same_boot(before: Record, after: Record) -> bool:
    """Tell whether two records are of one boot, so that their times can be compared."""
    return before.epoch == after.epoch


CheckFunction = Callable[[Case], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """A named check; it yields what it finds and needs no other check to have run."""

    name: str
    run: CheckFunction
