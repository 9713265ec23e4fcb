"""The bytes of an Argo ring to the last slot, and once around."""

from __future__ import annotations

import struct

import pytest

from hypervisor.argo_ring import ArgoMessage, ArgoWindow
from hypervisor.errors import BadStateError, RingError
from tests.hypervisor.test_ring import Page

HEADER, SLOT = 64, 16


def message(size: int, number: int = 0) -> ArgoMessage:
    return ArgoMessage(1, 2, 3, bytes([number % 256]) * size)


@pytest.mark.parametrize("pages", [1, 3])
def test_one_slot_stays_free_and_no_more(pages: int) -> None:
    ring = ArgoWindow([Page() for _ in range(pages)])
    room = pages * 4096 - HEADER - SLOT
    with pytest.raises(BadStateError, match="no room"):
        ring.put(message(room - SLOT + 1))
    ring.put(message(room - SLOT, 7))
    with pytest.raises(BadStateError, match="no room"):
        ring.put(message(0))
    assert ring.take() == message(room - SLOT, 7)
    assert ring.take() is None


@pytest.mark.parametrize("size", [0, 1, 16, 1000, 3000])
def test_messages_come_whole_while_the_ring_turns(size: int) -> None:
    ring = ArgoWindow([Page(), Page()])
    for number in range(60):
        ring.put(message(size, number))
        assert ring.take() == message(size, number)
        assert ring.take() is None


@pytest.mark.parametrize(("rx", "tx"), [(4096 - HEADER, 0), (0, 4096 - HEADER), (8, 0), (0, 8), (1 << 31, 0)])
def test_an_index_that_is_none_is_refused_by_both_sides(rx: int, tx: int) -> None:
    page = Page()
    page.write(0, struct.pack("<II", rx, tx))
    for act in (lambda: ArgoWindow([page]).put(message(0)), lambda: ArgoWindow([page]).take()):
        with pytest.raises(RingError, match="lies outside"):
            act()


@pytest.mark.parametrize("length", [0, 15, 33, 1 << 31])
def test_a_message_that_is_longer_than_what_was_put_is_refused(length: int) -> None:
    page = Page()
    page.write(0, struct.pack("<II", 0, 32))
    page.write(HEADER, struct.pack("<I", length))
    with pytest.raises(RingError, match="longer than"):
        ArgoWindow([page]).take()


def test_an_owner_clears_its_ring() -> None:
    ring = ArgoWindow([Page()])
    ring.put(message(5))
    ring.clear()
    assert ring.take() is None
