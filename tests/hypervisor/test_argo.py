"""Argo rings: messages between domains that the policy joined, and owners and senders that lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypervisor.argo import MAX_RINGS, ConnectRing
from hypervisor.argo_ring import ArgoMessage, ArgoWindow
from hypervisor.domctl import DestroyDomain
from hypervisor.errors import (
    AccessDenied,
    BadStateError,
    NoSuchObjectError,
    OutOfResourceError,
    PageFaultError,
    RingError,
)
from hypervisor.memory import FramePage, MachineMemory
from hypervisor.state import DOM0, RingId, Virq

if TYPE_CHECKING:
    from hypervisor.host import XenHost

Start = Callable[..., int]


def test_a_message_comes_with_its_true_sender(host: XenHost, start: Start) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.register_ring(9, red.domid, (5, 6))
    port = both.bind_virq(Virq.ARGO)
    red.send_message(both.domid, 9, b"hello", kind=3, source=77)
    assert both.take_signals(port) == 1
    assert both.take_message(9, red.domid) == ArgoMessage(red.domid, 77, 3, b"hello")
    assert both.take_message(9, red.domid) is None


def test_a_ring_for_one_partner_is_for_nobody_else(host: XenHost, start: Start) -> None:
    red, both, third = (host.guest(start(label)) for label in ("red", "red-blue", "red"))
    both.register_ring(9, red.domid, (5,))
    with pytest.raises(NoSuchObjectError):
        third.send_message(both.domid, 9, b"me too")
    with pytest.raises(NoSuchObjectError):
        host.invoke(ConnectRing(third.domid, both.domid, 9))


def test_a_ring_for_anybody_is_for_those_the_policy_lets_in(host: XenHost, start: Start) -> None:
    """F4: any-source rings are no way around isolation."""
    red, green, both = (host.guest(start(label)) for label in ("red", "green", "red-blue"))
    both.register_ring(9, None, (5,))
    before = host.state
    with pytest.raises(AccessDenied):
        green.send_message(both.domid, 9, b"leak")
    assert host.state is before
    assert both.take_message(9, None) is None
    red.send_message(both.domid, 9, b"welcome")
    assert both.take_message(9, None) == ArgoMessage(red.domid, 0, 0, b"welcome")


def test_each_sender_of_a_ring_for_anybody_stays_connected(host: XenHost, start: Start) -> None:
    both, red, blue = (host.guest(start(label)) for label in ("red-blue", "red", "blue"))
    both.register_ring(9, None, (5,))
    for sender in (red, blue):
        sender.send_message(both.domid, 9, b"hello")
    assert host.state.domain(both.domid).rings[RingId(9, None)].senders == {red.domid, blue.domid}


def test_registering_for_an_unlike_partner_is_refused(host: XenHost, start: Start) -> None:
    red, green = host.guest(start("red")), host.guest(start("green"))
    with pytest.raises(AccessDenied):
        red.register_ring(9, green.domid, (5,))


def test_only_the_first_send_asks(host: XenHost, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.register_ring(9, None, (5,))
    red.send_message(both.domid, 9, b"first")
    misses = host.monitor.cache_counts.misses

    def forbidden(*_: object) -> None:
        raise AssertionError("a send asked the monitor")

    monkeypatch.setattr(type(host.monitor), "decide", forbidden)
    for _ in range(100):
        red.send_message(both.domid, 9, b"more")
        both.take_message(9, None)
    assert host.monitor.cache_counts.misses == misses


def test_a_successor_of_a_sender_or_partner_inherits_nothing(host: XenHost, start: Start) -> None:
    both, red = host.guest(start("red-blue")), host.guest(start("red"))
    both.register_ring(1, None, (5,))
    both.register_ring(2, red.domid, (6,))
    red.send_message(both.domid, 1, b"x")
    host.invoke(DestroyDomain(DOM0, red.domid))
    heir = host.guest(start("green"))
    assert heir.domid == red.domid
    for port in (1, 2):
        with pytest.raises((AccessDenied, NoSuchObjectError)):
            heir.send_message(both.domid, port, b"y")


def test_the_successor_of_a_lone_sender_is_asked_about(host: XenHost, start: Start) -> None:
    """Else a domain of any label could send by the identifier of one that is gone."""
    both, red = host.guest(start("red-blue")), host.guest(start("red"))
    both.register_ring(1, None, (5,))
    red.send_message(both.domid, 1, b"x")
    both.take_message(1, None)
    host.invoke(DestroyDomain(DOM0, red.domid))
    heir = host.guest(start("green"))
    assert heir.domid == red.domid
    with pytest.raises(AccessDenied):
        heir.send_message(both.domid, 1, b"y")
    assert both.take_message(1, None) is None


def test_a_ring_ends_with_the_partner_that_it_was_for(host: XenHost, start: Start) -> None:
    both, red = host.guest(start("red-blue")), host.guest(start("red"))
    both.register_ring(2, red.domid, (6,))
    host.invoke(DestroyDomain(DOM0, red.domid))
    assert not host.state.domain(both.domid).rings
    assert start("red") == red.domid
    both.register_ring(2, red.domid, (6,))


def test_a_ring_begins_empty_whatever_was_in_its_pages(host: XenHost, start: Start) -> None:
    red, other = host.guest(start("red")), host.guest(start("red"))
    red.write(5, 0, b"\x10\0\0\0\x20\0\0\0")
    red.register_ring(1, other.domid, (5,))
    assert red.take_message(1, other.domid) is None
    other.send_message(red.domid, 1, b"first")
    message = red.take_message(1, other.domid)
    assert message is not None
    assert message.data == b"first"


def test_rings_are_made_of_distinct_pages_of_their_owner(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    for gfns in ((5, 5), (5, 300), (-1,)):
        with pytest.raises(PageFaultError):
            red.register_ring(1, None, gfns)
    with pytest.raises(BadStateError):
        red.register_ring(1 << 32, None, (5,))
    red.register_ring(1, None, (5,))
    with pytest.raises(BadStateError, match="already"):
        red.register_ring(1, None, (6,))
    with pytest.raises(NoSuchObjectError):
        red.unregister_ring(2, None)


def test_a_ring_without_a_page_is_refused(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    with pytest.raises(BadStateError, match="1-4096 pages"):
        red.register_ring(9, None, ())


@pytest.mark.parametrize("odd", [{"kind": -1}, {"kind": 1 << 32}, {"source": -1}, {"source": 1 << 32}])
def test_a_message_with_a_number_that_does_not_fit_connects_nobody(
    odd: dict[str, int], host: XenHost, start: Start
) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.register_ring(9, None, (5,))
    before = host.state
    with pytest.raises(BadStateError, match="32 bits"):
        red.send_message(both.domid, 9, b"x", **odd)
    assert host.state is before
    assert both.take_message(9, None) is None


def test_a_domain_has_so_many_rings(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    for port in range(MAX_RINGS):
        red.register_ring(port, None, (port,))
    with pytest.raises(OutOfResourceError):
        red.register_ring(MAX_RINGS, None, (MAX_RINGS,))


def test_a_full_ring_says_so_and_goes_on(host: XenHost, start: Start) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.register_ring(9, None, (5,))
    fit = 31  # of 128 bytes each, in 4096 less the header of the ring and the slot that stays free
    for number in range(fit):
        red.send_message(both.domid, 9, bytes([number]) * 100)
    with pytest.raises(BadStateError, match="no room"):
        red.send_message(both.domid, 9, bytes(100))
    for number in range(fit):
        message = both.take_message(9, None)
        assert message is not None
        assert message.data == bytes([number]) * 100
    with pytest.raises(BadStateError, match="no room"):
        red.send_message(both.domid, 9, bytes(4096))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(page=st.binary(max_size=400), rx=st.integers(0, 2**32 - 1), tx=st.integers(0, 2**32 - 1))
def test_an_owner_that_writes_nonsense_hurts_only_itself(
    host: XenHost, page: bytes, rx: int, tx: int, start: Start
) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.register_ring(9, None, (5, 6))
    both.write(5, 64, page)
    for indices in ((rx, tx), (rx % 8000 // 16 * 16, tx % 8000 // 16 * 16)):
        both.write(5, 0, struct.pack("<II", *indices))
        before, held = host.state, _held(host, both.domid)
        with suppress(RingError, BadStateError):
            red.send_message(both.domid, 9, b"message")
        with suppress(RingError):
            both.take_message(9, None)
        assert host.state.domain(red.domid) == before.domain(red.domid)
        assert _held(host, both.domid) == held
    for domid in (red.domid, both.domid):
        host.invoke(DestroyDomain(DOM0, domid))


def _held(host: XenHost, but: int) -> dict[int, bytes]:
    """Return what lies in memory, the ring's owner aside."""
    own = host.state.domain(but).memory.frames
    return {mfn: bytes(page) for mfn, page in host._memory._frames.items() if mfn not in own}


def test_a_message_that_does_not_get_in_connects_nobody(host: XenHost, start: Start) -> None:
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    both.register_ring(9, None, (5,))
    before = host.state
    with pytest.raises(BadStateError, match="no room"):
        red.send_message(both.domid, 9, bytes(4096))
    both.write(5, 0, b"\xff" * 8)
    with pytest.raises(RingError):
        red.send_message(both.domid, 9, b"message")
    assert host.state is before


@settings(deadline=None, max_examples=60)
@given(steps=st.lists(st.one_of(st.none(), st.binary(max_size=900)), max_size=40))
def test_a_ring_is_a_queue(steps: list[Any]) -> None:
    """None takes a message, bytes put one; frames do not lie beside each other."""
    memory = MachineMemory()
    window = ArgoWindow([FramePage(memory, mfn) for mfn in (7, 3)])
    window.clear()
    queue: list[bytes] = []
    for data in steps:
        if data is None:
            message = window.take()
            assert (message.data if message else None) == (queue.pop(0) if queue else None)
            continue
        try:
            window.put(ArgoMessage(1, 2, 3, data))
        except BadStateError:
            assert sum(16 + len(each) for each in (*queue, data)) > 8000 - 16 * len(queue)
        else:
            queue.append(data)
    assert memory.touched() <= 2
