"""A virtual block device: Xen's x86-64 blkif ring between a guest and Domain-0 (``public/io/blkif.h``).

Request, 112 bytes: operation u8, segments u8, handle u16, 4 bytes of padding, id u64, first sector u64, then
11 segments of grant reference u32, first and last sector within the page u8 each, 2 bytes of padding.
Response, 16 bytes: id u64, operation u8, padding, status i16, padding. Sectors have 512 bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError
from hypervisor.frames import PAGE
from hypervisor.ring import BackRing, FrontRing
from hypervisor.state import AccessMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypervisor.link import Link
    from hypervisor.state import HostState

SECTOR: Final = 512
MAX_SEGMENTS: Final = 11
SECTORS_PER_PAGE: Final = PAGE // SECTOR
PAGES: Final = 1 + MAX_SEGMENTS
"""Pages that a link of this device needs: the ring and one buffer a segment."""

_READ, _WRITE = 0, 1
_OKAY, _ERROR = 0, -1
_REQUEST: Final = struct.Struct("<BBH4xQQ")
_SEGMENT: Final = struct.Struct("<IBB2x")
_RESPONSE: Final = struct.Struct("<QBxh4x")
_ENTRY: Final = _REQUEST.size + MAX_SEGMENTS * _SEGMENT.size


class VirtualDisk:
    """The sectors of one disk; those never written are zero, or those of ``content`` where it reaches."""

    def __init__(self, sectors: int, content: bytes = b"") -> None:
        self.sectors = sectors
        self._content = content
        self._written: dict[int, bytes] = {}

    def read(self, sector: int) -> bytes:
        """Return 512 bytes; the caller has checked the range."""
        written = self._written.get(sector)
        if written is not None:
            return written
        return self._content[sector * SECTOR : (sector + 1) * SECTOR].ljust(SECTOR, b"\0")

    def write(self, sector: int, data: bytes) -> None:
        """Replace 512 bytes; the caller has checked the range."""
        self._written[sector] = data


@dataclass(slots=True)
class BlockTally:
    """What a back end has carried out, cumulative."""

    rd_ops: int = 0
    rd_bytes: int = 0
    wr_ops: int = 0
    wr_bytes: int = 0


class BlockBackend:
    """Domain-0's half. ``mode`` tells the present right to the disk, None when it is not attached."""

    def __init__(
        self, link: Link, disk: VirtualDisk, tally: BlockTally, mode: Callable[[], AccessMode | None]
    ) -> None:
        self._link = link
        self._disk = disk
        self._tally = tally
        self._mode = mode
        self._ring = BackRing(link.back_pages[0], _ENTRY)

    def serve(self) -> None:
        """Carry out all requests that wait; raises RingError for a broken ring."""
        while (entry := self._ring.take_request(_ENTRY)) is not None:
            operation, count, _, ident, sector = _REQUEST.unpack_from(entry)
            segments = [
                _SEGMENT.unpack_from(entry, _REQUEST.size + 8 * index) for index in range(min(count, 11))
            ]
            done = count <= MAX_SEGMENTS and self._carry_out(operation, sector, segments)
            self._ring.put_response(_RESPONSE.pack(ident, operation, _OKAY if done else _ERROR))
        self._link.back.send(self._link.back_port)

    def _carry_out(self, operation: int, sector: int, segments: list[tuple[int, int, int]]) -> bool:
        mode = self._mode()
        if (
            mode is None
            or operation not in (_READ, _WRITE)
            or (operation == _WRITE and mode is AccessMode.READ)
        ):
            return False
        total = sum(last - first + 1 for _, first, last in segments)
        fits = all(first <= last < SECTORS_PER_PAGE for _, first, last in segments)
        if not segments or not fits or sector + total > self._disk.sectors:
            return False
        if any(self._link.buffer(ref) is None for ref, _, _ in segments):
            return False
        for segment in segments:
            self._move(operation, sector, segment)
            sector += segment[2] - segment[1] + 1
        self._count(operation, total * SECTOR)
        return True

    def _move(self, operation: int, sector: int, segment: tuple[int, int, int]) -> None:
        ref, first, last = segment
        page = self._link.buffer(ref)
        assert page is not None
        for index in range(last - first + 1):
            offset = (first + index) * SECTOR
            if operation == _READ:
                page.write(offset, self._disk.read(sector + index))
            else:
                self._disk.write(sector + index, page.read(offset, SECTOR))

    def _count(self, operation: int, size: int) -> None:
        if operation == _READ:
            self._tally.rd_ops += 1
            self._tally.rd_bytes += size
        else:
            self._tally.wr_ops += 1
            self._tally.wr_bytes += size


class BlockDevice:
    """The guest's half: reads and writes whole sectors through the ring."""

    def __init__(self, link: Link, backend: BlockBackend) -> None:
        self._link = link
        self._backend = backend
        self._ring = FrontRing(link.front_pages[0], _ENTRY)
        self._ident = 0

    def read(self, sector: int, count: int) -> bytes:
        """Return ``count`` sectors; raises BadStateError where the back end refuses."""
        parts = []
        for start, size in _requests(sector, count):
            self._submit(_READ, start, size)
            data = b"".join(page.read(0, PAGE) for page in self._link.front_pages[1:])
            parts.append(data[: size * SECTOR])
        return b"".join(parts)

    def write(self, sector: int, data: bytes) -> None:
        """Write whole sectors; raises BadStateError for a broken one, and where the back end refuses."""
        if len(data) % SECTOR:
            raise BadStateError("sector", f"a write is a multiple of {SECTOR} bytes, not {len(data)}")
        for start, size in _requests(sector, len(data) // SECTOR):
            part = data[(start - sector) * SECTOR :][: size * SECTOR]
            for index in range(-(-len(part) // PAGE)):
                self._link.front_pages[1 + index].write(0, part[index * PAGE : (index + 1) * PAGE])
            self._submit(_WRITE, start, size)

    def is_bound(self, state: HostState) -> bool:
        """Tell whether the link is there still; see :meth:`hypervisor.link.Link.is_bound`."""
        return self._link.is_bound(state)

    def disconnect(self) -> None:
        """End the link."""
        self._link.disconnect()

    def abandon(self) -> None:
        """Do nothing for a guest that was destroyed: what it had bound is gone already."""

    def _submit(self, operation: int, sector: int, count: int) -> None:
        segments = b""
        pages = -(-count // SECTORS_PER_PAGE)
        for index in range(pages):
            last = min(SECTORS_PER_PAGE, count - index * SECTORS_PER_PAGE) - 1
            segments += _SEGMENT.pack(self._link.refs[1 + index], 0, last)
        self._ident += 1
        request = _REQUEST.pack(operation, pages, 0, self._ident, sector) + segments
        self._ring.put_request(request.ljust(_ENTRY, b"\0"))
        self._link.front.send(self._link.front_port)
        self._interrupt()

    def _interrupt(self) -> None:
        if self._link.back.take_signals(self._link.back_port):
            self._backend.serve()
        self._link.front.take_signals(self._link.front_port)
        answer = self._ring.take_response(_RESPONSE.size)
        if answer is None or _RESPONSE.unpack(answer)[2] != _OKAY:
            raise BadStateError(
                "io-error", "the back end refused a block request: range, access or attachment"
            )


def _requests(sector: int, count: int) -> list[tuple[int, int]]:
    if sector < 0 or count < 0:
        raise BadStateError("sector", "sector and count are not negative")
    most = MAX_SEGMENTS * SECTORS_PER_PAGE
    return [(sector + done, min(most, count - done)) for done in range(0, count, most)]
