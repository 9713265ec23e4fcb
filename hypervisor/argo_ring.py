"""The bytes of an Argo ring (Xen: public header ``argo.h``).

Little-endian: ``rx_ptr`` u32, ``tx_ptr`` u32, 56 bytes reserved, then the ring. A message takes whole slots
of 16 bytes: length u32 (header included), source port u32, source domain u16, padding u16, type u32, bytes.
It may wrap. ``rx_ptr == tx_ptr`` is an empty ring, and one slot stays free.

The ring lies in its owner's pages. Both indices are read from there and checked, so an owner that writes
nonsense spoils nothing but its own messages.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypervisor.errors import BadStateError, RingError
from hypervisor.frames import PAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypervisor.ring import PageAccess

HEADER: Final = 64
SLOT: Final = 16
_U32: Final = (1 << 32) - 1
_INDICES: Final = struct.Struct("<II")
_MESSAGE: Final = struct.Struct("<IIHHI")


@dataclass(frozen=True, slots=True)
class ArgoMessage:
    """A message: its bytes, and the domain and port that the hypervisor says it came from."""

    domid: int
    port: int
    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ArgoWindow:
    """A ring over ``pages``, as its owner or the hypervisor reaches them."""

    pages: Sequence[PageAccess]

    def put(self, message: ArgoMessage) -> None:
        """Append a message; raises BadStateError, RingError where the owner broke the ring.

        BadStateError: the ring has no room, or the sender's port or the kind is no number of 32 bits.
        """
        if not 0 <= message.port <= _U32 or not 0 <= message.kind <= _U32:
            raise BadStateError("bad-number", "a message has a port and a type of 32 bits")
        rx, tx, size = self._indices()
        need = _slots(_MESSAGE.size + len(message.data))
        if need > (rx - tx - SLOT) % size:
            raise BadStateError("ring-full", f"the ring has no room for {len(message.data)} bytes")
        head = _MESSAGE.pack(_MESSAGE.size + len(message.data), message.port, message.domid, 0, message.kind)
        self._write(tx, (head + message.data).ljust(need, b"\0"))
        self._store(_INDICES.size // 2, (tx + need) % size)

    def take(self) -> ArgoMessage | None:
        """Remove and return the oldest message, or None; raises RingError for a broken ring."""
        rx, tx, size = self._indices()
        if rx == tx:
            return None
        length, port, domid, _, kind = _MESSAGE.unpack(self._read(rx, _MESSAGE.size))
        if length < _MESSAGE.size or _slots(length) > (tx - rx) % size:
            raise RingError("ring-index", "a message of this ring is longer than what was put into it")
        data = self._read((rx + _MESSAGE.size) % size, length - _MESSAGE.size)
        self._store(0, (rx + _slots(length)) % size)
        return ArgoMessage(domid, port, kind, data)

    def clear(self) -> None:
        """Make the ring empty, as its owner does before registering it."""
        self.pages[0].write(0, bytes(HEADER))

    def _indices(self) -> tuple[int, int, int]:
        size = len(self.pages) * PAGE - HEADER
        rx, tx = _INDICES.unpack(self.pages[0].read(0, _INDICES.size))
        if rx >= size or tx >= size or rx % SLOT or tx % SLOT:
            raise RingError("ring-index", "an index of this ring lies outside of it")
        return rx, tx, size

    def _store(self, offset: int, index: int) -> None:
        self.pages[0].write(offset, index.to_bytes(4, "little"))

    def _read(self, at: int, length: int) -> bytes:
        return b"".join(
            self.pages[page].read(offset, count) for page, offset, count in self._pieces(at, length)
        )

    def _write(self, at: int, data: bytes) -> None:
        done = 0
        for page, offset, count in self._pieces(at, len(data)):
            self.pages[page].write(offset, data[done : done + count])
            done += count

    def _pieces(self, at: int, length: int) -> list[tuple[int, int, int]]:
        """Cut a stretch of the ring, which may wrap, into (page, offset, length)."""
        size = len(self.pages) * PAGE - HEADER
        pieces = []
        while length:
            page, offset = divmod(HEADER + at, PAGE)
            count = min(length, PAGE - offset)
            pieces.append((page, offset, count))
            at = (at + count) % size
            length -= count
        return pieces


def _slots(length: int) -> int:
    return -(-length // SLOT) * SLOT
