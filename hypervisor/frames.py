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

    def without(self, gfn: int) -> PhysicalMap:
        """Return the map with a hole at ``gfn``, which must have a frame."""
        extents: list[Extent] = []
        for extent in self.extents:
            offset = gfn - extent.gfn
            if not 0 <= offset < extent.count:
                extents.append(extent)
                continue
            if offset:
                extents.append(Extent(extent.gfn, extent.mfn, offset))
            if offset + 1 < extent.count:
                extents.append(Extent(gfn + 1, extent.mfn + offset + 1, extent.count - offset - 1))
        return PhysicalMap(tuple(extents))

    def with_page(self, gfn: int, mfn: int) -> PhysicalMap:
        """Return the map with machine frame ``mfn`` in the hole at ``gfn``."""
        extents = sorted((*self.extents, Extent(gfn, mfn, 1)), key=lambda extent: extent.gfn)
        return PhysicalMap(tuple(extents))
