"""A shared ring: one page that a front end and a back end both have (Xen: public header ``io/ring.h``).

Little-endian: ``req_prod``, ``req_event``, ``rsp_prod``, ``rsp_event`` (u32 each), 48 bytes of padding, then
the entries, as many as a power of two. Requests and responses use the same entries. Indices run freely
modulo 2^32.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from hypervisor.errors import BadStateError, RingError
from hypervisor.frames import PAGE

HEADER: Final = 64
_INDEX: Final = struct.Struct("<I")
_REQ_PROD: Final = 0
_RSP_PROD: Final = 8
_WRAP: Final = 1 << 32


class PageAccess(Protocol):
    """How one side reaches a shared page: its own frame, or a mapping."""

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the page; raises PageFaultError."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Change bytes of the page; raises PageFaultError."""
        ...


class _Side:
    """One side's private indices; what the other side wrote is checked against them, never trusted."""

    def __init__(self, page: PageAccess, entry: int) -> None:
        self._page = page
        self._entry = entry
        self.size = 1 << (((PAGE - HEADER) // entry).bit_length() - 1)
        self._requests = 0
        self._responses = 0

    def _index(self, offset: int) -> int:
        return int(_INDEX.unpack(self._page.read(offset, _INDEX.size))[0])

    def _publish(self, offset: int, index: int) -> None:
        self._page.write(offset, _INDEX.pack(index))

    def _offset(self, index: int) -> int:
        return HEADER + (index % self.size) * self._entry


class FrontRing(_Side):
    """The front end: produces requests, consumes responses."""

    @property
    def free(self) -> int:
        """How many requests may be added."""
        return self.size - (self._requests - self._responses) % _WRAP

    def put_request(self, entry: bytes) -> None:
        """Add a request; raises BadStateError when the ring is full."""
        if self.free == 0:
            raise BadStateError("ring-full", "the ring is full: take responses first")
        self._page.write(self._offset(self._requests), entry)
        self._requests = (self._requests + 1) % _WRAP
        self._publish(_REQ_PROD, self._requests)

    def take_response(self, length: int) -> bytes | None:
        """Return the next response, or None; raises RingError for an index out of turn."""
        ready = (self._index(_RSP_PROD) - self._responses) % _WRAP
        if ready > (self._requests - self._responses) % _WRAP:
            raise RingError("ring-index", "the back end claims more responses than there were requests")
        if not ready:
            return None
        entry = self._page.read(self._offset(self._responses), length)
        self._responses = (self._responses + 1) % _WRAP
        return entry


class BackRing(_Side):
    """The back end: consumes requests, produces responses."""

    def take_request(self, length: int) -> bytes | None:
        """Return a private copy of the next request, or None; raises RingError for an index out of turn.

        The copy is read once: a front end that changes the entry afterwards changes nothing.
        """
        ready = (self._index(_REQ_PROD) - self._requests) % _WRAP
        if ready > self.size - (self._requests - self._responses) % _WRAP:
            raise RingError("ring-index", "the front end claims more requests than the ring holds")
        if not ready:
            return None
        entry = self._page.read(self._offset(self._requests), length)
        self._requests = (self._requests + 1) % _WRAP
        return entry

    def put_response(self, entry: bytes) -> None:
        """Answer the oldest request that was taken and not answered."""
        if self._responses == self._requests:
            raise BadStateError("ring-empty", "there is no request to answer")
        self._page.write(self._offset(self._responses), entry)
        self._responses = (self._responses + 1) % _WRAP
        self._publish(_RSP_PROD, self._responses)
