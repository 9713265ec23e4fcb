"""Linking records: each names the leaf before it in its chain, and a GENESIS names the whole tree before it.

There is one chain of the meter's own records and one for each incarnation of a domain, whose START names the
GENESIS it ran under. Whoever may write records can link them; what makes them evidence is the signed root.
"""

from __future__ import annotations

from typing import Final

from acm.merkle import leaf_hash
from metering.errors import MeteringUsageError
from metering.merkle import Frontier
from metering.record import SALT_BYTES, ZERO_HASH, Kind, MeterRecord, Record, encode

ChainKey = tuple[bytes, int]
"""Domain uuid (16 bytes) and incarnation."""

_ENDS: Final = frozenset({Kind.FINAL})


class Chains:
    """The heads of all chains, and the frontier of the log they stand in."""

    __slots__ = ("_domains", "_genesis", "_meter", "frontier")

    def __init__(self) -> None:
        self.frontier = Frontier()
        self._meter = ZERO_HASH
        self._genesis = ZERO_HASH
        self._domains: dict[ChainKey, bytes] = {}

    def link(self, record: Record, salt: bytes) -> bytes:
        """Return the leaf (``salt`` ‖ record) with ``record`` linked to what came before, and advance.

        Raises MeteringUsageError for a record whose chain has not begun, or a salt that is not 16 bytes.
        """
        if len(salt) != SALT_BYTES:
            raise MeteringUsageError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
        linked = self._linked(record)
        leaf = salt + encode(linked)
        self.advance(linked, leaf_hash(leaf))
        return leaf

    def _linked(self, record: Record) -> Record:
        if isinstance(record, MeterRecord):
            if record.kind is not Kind.GENESIS:
                return record._replace(prev=self._meter)
            return record._replace(
                prev=self._meter, prev_size=self.frontier.size, prev_root=self.frontier.root()
            )
        if record.kind is Kind.START:
            return record._replace(prev=self._genesis)
        head = self._domains.get((record.domain, record.incarnation))
        if head is None:
            raise MeteringUsageError(
                f"{record.kind.name} of domain {record.domain.hex()}: its chain has no START"
            )
        return record._replace(prev=head)

    def advance(self, record: Record, leaf: bytes) -> None:
        """Take in a record that stands in the log already, with its leaf *hash*."""
        self.frontier.append(leaf)
        if isinstance(record, MeterRecord):
            self._meter = leaf
            if record.kind is Kind.GENESIS:
                self._genesis = leaf
        elif record.kind in _ENDS:
            self._domains.pop((record.domain, record.incarnation), None)
        else:
            self._domains[record.domain, record.incarnation] = leaf
