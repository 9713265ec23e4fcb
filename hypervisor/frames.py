"""Page frames as integers: sets of machine frames, and the map of a domain's own frames to them.

A frame is 4096 bytes, numbered from 0 (Xen's "mfn"; "gfn" is the number that a guest uses for it).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE: Final = 4096
"""Bytes in a page frame."""
PAGES_PER_MIB: Final = 256


@dataclass(frozen=True, slots=True)
class Frames:
    """A set of machine frames as ``(first, count)`` ranges: sorted, disjoint, never adjacent.

    That form is unique, so equal sets compare equal.
    """

    ranges: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(ranges: Iterable[tuple[int, int]]) -> Frames:
        """Return the set of all frames in ``ranges``, which must not overlap."""
        merged: list[tuple[int, int]] = []
        for first, count in sorted(ranges):
            if merged and merged[-1][0] + merged[-1][1] == first:
                merged[-1] = (merged[-1][0], merged[-1][1] + count)
            else:
                merged.append((first, count))
        return Frames(tuple(merged))

    def __len__(self) -> int:
        return sum(count for _, count in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for first, count in self.ranges:
            yield from range(first, first + count)

    def __contains__(self, frame: int) -> bool:
        at = bisect_right(self.ranges, frame, key=lambda pair: pair[0]) - 1
        return at >= 0 and frame < self.ranges[at][0] + self.ranges[at][1]

    def join(self, other: Frames) -> Frames:
        """Return the union with a disjoint set."""
        return Frames.of((*self.ranges, *other.ranges))

    def take(self, count: int) -> tuple[Frames, Frames]:
        """Split off the lowest ``count`` frames: ``(taken, rest)``; there must be that many."""
        taken: list[tuple[int, int]] = []
        rest: list[tuple[int, int]] = []
        for first, size in self.ranges:
            part = min(size, count)
            if part:
                taken.append((first, part))
            if part < size:
                rest.append((first + part, size - part))
            count -= part
        return Frames(tuple(taken)), Frames(tuple(rest))


NO_FRAMES: Final = Frames()


@dataclass(frozen=True, slots=True)
class Extent:
    """``count`` guest frames from ``gfn`` on are the machine frames from ``mfn`` on."""

    gfn: int
    mfn: int
    count: int


@dataclass(frozen=True, slots=True)
class PhysicalMap:
    """A domain's own frames: extents sorted by gfn, disjoint (Xen's p2m)."""

    extents: tuple[Extent, ...] = ()

    @staticmethod
    def of(frames: Frames) -> PhysicalMap:
        """Return a map that numbers ``frames`` from gfn 0 on without holes."""
        extents: list[Extent] = []
        gfn = 0
        for first, count in frames.ranges:
            extents.append(Extent(gfn, first, count))
            gfn += count
        return PhysicalMap(tuple(extents))

    @property
    def pages(self) -> int:
        """How many frames the domain owns."""
        return sum(extent.count for extent in self.extents)

    @property
    def end(self) -> int:
        """The first gfn above all frames."""
        return self.extents[-1].gfn + self.extents[-1].count if self.extents else 0

    @property
    def frames(self) -> Frames:
        """The machine frames, as a set."""
        return Frames.of((extent.mfn, extent.count) for extent in self.extents)

    def machine(self, gfn: int) -> int | None:
        """Return the machine frame behind ``gfn``, or None where there is a hole."""
        at = bisect_right(self.extents, gfn, key=lambda extent: extent.gfn) - 1
        if at < 0 or gfn >= self.extents[at].gfn + self.extents[at].count:
            return None
        return self.extents[at].mfn + gfn - self.extents[at].gfn

    def within(self, gfn: int, count: int) -> Frames:
        """Return the machine frames behind ``count`` gfns from ``gfn`` on; holes have none."""
        parts = ((extent, *_overlap(extent, gfn, count)) for extent in self.extents)
        return Frames.of((extent.mfn + first - extent.gfn, size) for extent, first, size in parts if size > 0)

    def without(self, gfn: int, count: int = 1) -> PhysicalMap:
        """Return the map with holes at ``count`` gfns from ``gfn`` on."""
        extents: list[Extent] = []
        for extent in self.extents:
            first, size = _overlap(extent, gfn, count)
            if size <= 0:
                extents.append(extent)
                continue
            before, after = first - extent.gfn, first - extent.gfn + size
            if before:
                extents.append(Extent(extent.gfn, extent.mfn, before))
            if after < extent.count:
                extents.append(Extent(first + size, extent.mfn + after, extent.count - after))
        return PhysicalMap(tuple(extents))

    def with_frames(self, gfn: int, frames: Frames) -> PhysicalMap:
        """Return the map with ``frames``, in their order, in the holes from ``gfn`` on."""
        added = []
        for mfn, count in frames.ranges:
            added.append(Extent(gfn, mfn, count))
            gfn += count
        return _joined((*self.extents, *added))


def _overlap(extent: Extent, gfn: int, count: int) -> tuple[int, int]:
    """Return the first gfn that an extent has of a range, and how many; none where that is not positive."""
    first = max(gfn, extent.gfn)
    return first, min(gfn + count, extent.gfn + extent.count) - first


def _joined(extents: Iterable[Extent]) -> PhysicalMap:
    """Return a map in which neighbours in gfn and in mfn are one extent, so that it stays short."""
    joined: list[Extent] = []
    for extent in sorted(extents, key=lambda each: each.gfn):
        last = joined[-1] if joined else None
        if last and (last.gfn + last.count, last.mfn + last.count) == (extent.gfn, extent.mfn):
            joined[-1] = Extent(last.gfn, last.mfn, last.count + extent.count)
        else:
            joined.append(extent)
    return PhysicalMap(tuple(joined))
