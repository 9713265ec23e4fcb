"""The shared ring: neither side goes beyond it, whatever the other one writes, also where indices wrap."""

from __future__ import annotations

import struct

import pytest

from hypervisor.errors import BadStateError, RingError
from hypervisor.ring import BackRing, FrontRing

ENTRY = 112
SIZE = 32
"""Entries of 112 bytes in a page: a power of two."""


class Page:
    """A page that both sides have."""

    def __init__(self) -> None:
        self.data = bytearray(4096)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        assert offset + len(data) <= 4096
        self.data[offset : offset + len(data)] = data

    def index(self, offset: int, value: int) -> None:
        self.write(offset, struct.pack("<I", value % (1 << 32)))


def sides(page: Page, at: int = 0) -> tuple[FrontRing, BackRing]:
    """Return both sides of a ring whose indices have come as far as ``at``."""
    front, back = FrontRing(page, ENTRY), BackRing(page, ENTRY)
    for side in (front, back):
        side._requests = side._responses = at
    page.index(0, at)
    page.index(8, at)
    return front, back


@pytest.mark.parametrize("at", [0, 7, (1 << 32) - 5])
def test_a_full_ring_takes_no_more_until_a_response_is_taken(at: int) -> None:
    front, back = sides(Page(), at)
    for number in range(SIZE):
        assert front.free == SIZE - number
        front.put_request(bytes([number]) * ENTRY)
    for _ in range(2):
        with pytest.raises(BadStateError, match="full"):
            front.put_request(bytes(ENTRY))
    for number in range(SIZE):
        assert back.take_request(ENTRY) == bytes([number]) * ENTRY
    assert back.take_request(ENTRY) is None
    with pytest.raises(BadStateError, match="full"):
        front.put_request(bytes(ENTRY))
    back.put_response(b"answer")
    assert front.take_response(6) == b"answer"
    assert front.take_response(6) is None
    front.put_request(b"n" * ENTRY)
    assert back.take_request(ENTRY) == b"n" * ENTRY


@pytest.mark.parametrize("claimed", [1, 2, SIZE, 1 << 31, -1])
def test_a_back_end_cannot_answer_more_than_was_asked(claimed: int) -> None:
    page = Page()
    front, _ = sides(page)
    page.index(8, claimed)
    with pytest.raises(RingError, match="more responses"):
        front.take_response(16)


@pytest.mark.parametrize("claimed", [SIZE + 1, 1 << 31, -1])
def test_a_front_end_cannot_ask_more_than_the_ring_holds(claimed: int) -> None:
    page = Page()
    _, back = sides(page)
    page.index(0, claimed)
    with pytest.raises(RingError, match="more requests"):
        back.take_request(ENTRY)


def test_what_was_taken_and_not_answered_still_fills_the_ring() -> None:
    page = Page()
    _, back = sides(page)
    page.index(0, SIZE)
    for _ in range(SIZE):
        assert back.take_request(ENTRY) is not None
    page.index(0, SIZE + 1)
    with pytest.raises(RingError, match="more requests"):
        back.take_request(ENTRY)
    back.put_response(b"")
    assert back.take_request(ENTRY) is not None


def test_a_back_end_answers_only_what_it_has_taken() -> None:
    _, back = sides(Page())
    with pytest.raises(BadStateError, match="no request"):
        back.put_response(b"")
