"""The data plane: bytes in page frames and pending events. No decision is taken here.

What may be reached was settled when a page was mapped or a channel bound; this is what the MMU and the
shared-info page then do by themselves. A frame costs memory only once something is in it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypervisor.frames import PAGE, Frames, PhysicalMap

if TYPE_CHECKING:
    from hypervisor.transition import PageCopy, PagePlacement, Transition


@dataclass(frozen=True, slots=True)
class FramePage:
    """A frame as the hypervisor itself reaches it; only the reference monitor makes one."""

    memory: MachineMemory
    mfn: int

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the frame."""
        return self.memory.read(self.mfn, offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the frame."""
        self.memory.write(self.mfn, offset, data)


class MachineMemory:
    """Page frames of 4096 bytes, all zero until written, and the pending bits of event channel ports."""

    def __init__(self) -> None:
        self._frames: dict[int, bytearray | memoryview] = {}
        self._pending: dict[tuple[int, int], int] = {}

    def read(self, mfn: int, offset: int, length: int) -> bytes:
        """Return bytes of one frame; the caller has checked the bounds."""
        frame = self._frames.get(mfn)
        return bytes(length) if frame is None else bytes(frame[offset : offset + length])

    def write(self, mfn: int, offset: int, data: bytes) -> None:
        """Change bytes of one frame; the caller has checked the bounds."""
        self._writable(mfn)[offset : offset + len(data)] = data

    def touched(self) -> int:
        """Return how many frames hold something."""
        return len(self._frames)

    def contents(self, memory: PhysicalMap) -> tuple[tuple[int, bytes], ...]:
        """Return (gfn, page) for every frame of a domain that holds something."""
        held, pages = sorted(self._frames), []
        for extent in memory.extents:
            first, last = (bisect_left(held, mfn) for mfn in (extent.mfn, extent.mfn + extent.count))
            pages += [(extent.gfn + mfn - extent.mfn, self.read(mfn, 0, PAGE)) for mfn in held[first:last]]
        return tuple(pages)

    def signal(self, domid: int, port: int) -> None:
        """Set a port's event pending."""
        key = (domid, port)
        self._pending[key] = self._pending.get(key, 0) + 1

    def take_signals(self, domid: int, port: int) -> int:
        """Return how often the port was signalled since the last call, and clear it."""
        return self._pending.pop((domid, port), 0)

    def commit(self, transition: Transition) -> None:
        """Move the data of a transition: copies and placements, scrub what became free, then signal."""
        if transition.copy is not None:
            self._copy(transition.copy)
        for placement in transition.placements:
            self._place(placement)
        self._scrub(transition.scrub)
        for end in transition.closed:
            self._pending.pop(end, None)
        for end in transition.signals:
            self.signal(*end)

    def _copy(self, copy: PageCopy) -> None:
        data = self.read(copy.source, copy.source_offset, copy.length)
        self.write(copy.target, copy.target_offset, data)

    def _place(self, placement: PagePlacement) -> None:
        # Whole pages are views of the image: the bytes that were hashed, held once for all their readers.
        image = memoryview(placement.image)
        for index, mfn in enumerate(placement.frames):
            page = image[index * PAGE : (index + 1) * PAGE]
            self._frames[mfn] = page if len(page) == PAGE else bytearray(bytes(page).ljust(PAGE, b"\0"))

    def _scrub(self, frames: Frames) -> None:
        if len(frames) > len(self._frames):
            for mfn in [mfn for mfn in self._frames if mfn in frames]:
                del self._frames[mfn]
            return
        for mfn in frames:
            self._frames.pop(mfn, None)

    def _writable(self, mfn: int) -> bytearray:
        frame = self._frames.get(mfn)
        if not isinstance(frame, bytearray):
            frame = bytearray(PAGE if frame is None else frame)
            self._frames[mfn] = frame
        return frame
