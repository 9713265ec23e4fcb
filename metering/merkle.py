"""The tree of an append-only log (RFC 6962, 2.1): a frontier for the writer, covers for those who see a part.

A *cover* proves many leaves at once: it holds the hash of every largest subtree in which the reader has
no leaf, left to right. It is the smallest set of hashes that gives the root, and its length follows from
size and indexes alone; a cover has no form to play with. The hashing rule is that of ``acm.merkle``.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm.merkle import EMPTY_ROOT, HASH_SIZE, levels, node_hash
from metering.errors import MeteringUsageError, ProofError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_SIZE: Final = 1 << 48
"""Leaves; at 20,000 a second a log gets there in 400 years, and the depth of every walk is bounded."""


class Frontier:
    """The right edge of a growing tree: as many hashes as its size has bits set."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self._peaks: list[bytes] = []
        self.size = 0

    def append(self, leaf: bytes) -> None:
        """Add one leaf *hash*."""
        carry, node = self.size, leaf
        while carry & 1:
            node = node_hash(self._peaks.pop(), node)
            carry >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the tree hash of everything appended so far."""
        if not self._peaks:
            return EMPTY_ROOT
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = node_hash(peak, node)
        return node


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the tree hash over leaf *hashes*."""
    return levels(hashes)[-1][0] if hashes else EMPTY_ROOT


def cover(tree: Sequence[Sequence[bytes]], indexes: Sequence[int]) -> tuple[bytes, ...]:
    """Return the cover of the leaves at ``indexes`` (ascending) in a tree given by its ``levels``."""
    size = len(tree[0])
    if not indexes or not 0 <= indexes[0] <= indexes[-1] < size:
        raise MeteringUsageError(f"indexes of leaves in a tree of {size} are needed")
    return tuple(
        tree[(hi - lo - 1).bit_length()][lo >> (hi - lo - 1).bit_length()]
        for lo, hi in _blanks(indexes, size)
    )


def _blanks(indexes: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Yield the subtrees [lo, hi) without an index, left to right."""
    stack = [(0, size, 0, len(indexes))]
    while stack:
        lo, hi, first, last = stack.pop()
        if first == last:
            yield lo, hi
        elif last - first < hi - lo:
            middle = _split(lo, hi)
            between = bisect_left(indexes, middle, first, last)
            stack += ((middle, hi, between, last), (lo, middle, first, between))


def _split(lo: int, hi: int) -> int:
    """Return where RFC 6962 divides [lo, hi): after the largest power of two below its length."""
    return lo + (1 << (hi - lo - 1).bit_length() - 1)


def root_from_cover(
    size: int, indexes: Sequence[int], hashes: Sequence[bytes], supplied: Sequence[bytes]
) -> bytes:
    """Return the root that leaf ``hashes`` at ``indexes`` (ascending) and a cover give for ``size`` leaves.

    The result proves nothing until it is compared with a root that was signed. Raises ProofError when the
    cover does not have exactly the hashes that size and indexes ask for.
    """
    if not 0 < size <= MAX_SIZE or len(indexes) != len(hashes) or not indexes:
        raise ProofError(f"no cover of {len(indexes)} leaves in a tree of {size}")
    if indexes[0] < 0 or indexes[-1] >= size or any(len(one) != HASH_SIZE for one in (*hashes, *supplied)):
        raise ProofError(f"leaf indexes lie outside the tree of {size}, or a hash has not {HASH_SIZE} bytes")
    rest = iter(supplied)
    root = _Known(indexes, hashes, rest).fold(0, size, 0, len(indexes))
    if next(rest, None) is not None:
        raise ProofError(f"the cover is longer than a tree of {size} leaves asks for")
    return root


@dataclass(frozen=True, slots=True)
class _Known:
    """Leaves that are known, and the hashes of what is not, in the order of the walk."""

    indexes: Sequence[int]
    hashes: Sequence[bytes]
    rest: Iterator[bytes]

    def fold(self, lo: int, hi: int, first: int, last: int) -> bytes:
        """Return the hash of the subtree [lo, hi), in which the known leaves ``first`` to ``last`` stand."""
        if first == last:
            node = next(self.rest, None)
            if node is None:
                raise ProofError("the cover is shorter than the tree asks for")
            return node
        if last - first == hi - lo:
            return root_of(self.hashes[first:last])
        middle = _split(lo, hi)
        between = bisect_left(self.indexes, middle, first, last)
        left = self.fold(lo, middle, first, between)
        return node_hash(left, self.fold(middle, hi, between, last))
