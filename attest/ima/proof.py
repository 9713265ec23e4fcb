"""One pass over a measurement list beside a quote: which beginning of it gives the quoted values.

A list grows between quote and copy, so the values are compared after each entry. A quoted PCR that the list
never extends is not explained by it, whatever it holds; whether it is one shows at the end only. So a match
that counts on such a PCR is dropped when an entry for it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from attest.eventlog.log import BANKS, HASHES
from attest.eventlog.replay import DRTM_PCRS, ReplayError
from attest.ima.entry import BANK_OF_SIZE, Entry
from attest.ima.extend import extended
from attest.ima.source import ListSource
from vtpm.tpm2.constants import Alg

LIST_BANKS: Final = tuple(BANK_OF_SIZE.values())
"""Banks that a list speaks of, whichever of them its own digests are of."""


@dataclass(frozen=True, slots=True)
class ProvedList:
    """What the quoted values of one bank prove: how many entries, and how many of them are violations."""

    entries: int
    violations: int


@dataclass(slots=True)
class _Search:
    """Looks in one bank for the entry that gives all quoted values, those of ``quoted``."""

    alg: Alg
    quoted: Mapping[int, bytes]
    values: dict[int, bytes] = field(init=False)
    differ: set[int] = field(default_factory=set)
    """PCRs that were extended and do not have their quoted value."""
    awaited: set[int] = field(init=False)
    """PCRs that were not extended, and cannot be later: they are not quoted with their start value."""
    violations: int = 0
    altered: int | None = None
    match: ProvedList | None = None

    def __post_init__(self) -> None:
        self.values = {pcr: start_value(self.alg, pcr) for pcr in self.quoted}
        self.awaited = {pcr for pcr, value in self.quoted.items() if self.values[pcr] != value}

    @property
    def is_over(self) -> bool:
        """Whether no later entry can change the answer."""
        return self.match is not None and not self.awaited

    def take(self, index: int, entry: Entry, measured: bytes, *, fits: bool) -> None:
        """Go on by an entry for a quoted PCR; ``fits`` tells whether its data are what its digest is of."""
        pcr = entry.pcr
        if pcr in self.awaited:
            self.awaited.discard(pcr)
            self.match = None
        if entry.is_violation:
            self.violations += 1
        elif not fits and self.altered is None:
            self.altered = index
        value = self.values[pcr] = HASHES[self.alg](self.values[pcr] + measured).digest()
        if value == self.quoted[pcr]:
            self.differ.discard(pcr)
            if not self.differ and self.match is None:
                self.match = ProvedList(index + 1, self.violations)
        else:
            self.differ.add(pcr)


@dataclass(frozen=True, slots=True)
class ReplayedList:
    """A list that was read to its end beside a quote: ``entries`` in all, ``pcrs`` that it extends."""

    source: ListSource
    entries: int
    pcrs: frozenset[int]
    _searches: Mapping[Alg, _Search]
    _padded: Mapping[Alg, _Search]

    def proved(self, alg: Alg) -> ProvedList:
        """Return what a bank proves, of which at least one quoted PCR is in ``pcrs``; raises ReplayError."""
        search = self._searches[alg]
        pcrs = tuple(sorted(search.quoted.keys() & self.pcrs))
        bank, padded = BANKS[alg][0], self._padded.get(alg)
        if search.match is None and padded is not None and padded.match is not None:
            what = f"event log: the kernel fills its SHA-1 digests up to {bank}; use Linux 5.8 or later"
            raise ReplayError(what, pcrs=pcrs, code="ima-padded")
        if search.match is None:
            where = ", ".join(map(str, pcrs))
            what = f"event log: replay of {bank} differs from the quoted value in PCR {where}"
            raise ReplayError(what if search.altered is None else f"{what}; {self._altered(search.altered)}")
        if search.altered is not None and search.altered < search.match.entries:
            raise ReplayError(f"event log: {self._altered(search.altered)}", pcrs=pcrs, code="data-mismatch")
        return search.match

    def _altered(self, index: int) -> str:
        at = self.source.offset_of(index)
        return f"entry {index} (byte {at}) was altered: its data do not fit its digest"


def replay_beside(source: ListSource, quoted: Mapping[Alg, Mapping[int, bytes]]) -> ReplayedList:
    """Read a list to its end and replay it beside the quoted values of some ``LIST_BANKS``.

    Raises EventLogError for a list that is not well-formed.
    """
    searches = {alg: _Search(alg, values) for alg, values in quoted.items()}
    padded: dict[Alg, _Search] = {}
    pcrs: set[int] = set()
    count = 0
    for index, entry in enumerate(source.entries()):
        count = index + 1
        listed = BANK_OF_SIZE[len(entry.digest)]
        if not index and listed is Alg.SHA1:
            padded = {alg: _Search(alg, values) for alg, values in quoted.items() if alg is not Alg.SHA1}
        pcrs.add(entry.pcr)
        open_ones = [one for one in searches.values() if not one.is_over and entry.pcr in one.quoted]
        if not open_ones:
            continue
        fits = HASHES[listed](entry.data).digest() == entry.digest
        for search in open_ones:
            search.take(index, entry, extended(listed, entry.digest, entry.data, search.alg), fits=fits)
            if other := padded.get(search.alg):
                measured = b"\xff" * len(entry.digest) if entry.is_violation else entry.digest
                other.take(index, entry, measured.ljust(BANKS[search.alg][1], b"\0"), fits=fits)
    return ReplayedList(source, count, frozenset(pcrs), searches, padded)


def start_value(alg: Alg, pcr: int) -> bytes:
    """Return what a PCR holds before the first entry: a list states no locality."""
    return (b"\xff" if pcr in DRTM_PCRS else b"\0") * BANKS[alg][1]


def refuse_other_banks(source: ListSource, algs: Iterable[Alg]) -> None:
    """Raise ReplayError for a bank of which a list says nothing."""
    for alg in algs:
        if alg in LIST_BANKS:
            continue
        listed = BANK_OF_SIZE[len(next(source.entries()).digest)]
        have = ", ".join(BANKS[bank][0] for bank in dict.fromkeys((listed, *LIST_BANKS)))
        name = BANKS[alg][0] if alg in BANKS else f"0x{alg:04x}"
        raise ReplayError(f"event log: no {name} bank; the log has {have}", code="bank")
