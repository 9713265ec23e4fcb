"""Ballooning: pages move between a domain and the host, exactly counted, and never with what was in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypervisor.domctl import DestroyDomain, PauseDomain, ScheduleDomain
from hypervisor.errors import BadStateError, HypervisorUsageError, OutOfResourceError, PageFaultError
from hypervisor.memory_op import SetMaxMemory
from hypervisor.state import DOM0, GrantKind

if TYPE_CHECKING:
    from hypervisor.host import XenHost

Start = Callable[..., int]


def test_what_is_given_back_is_free_empty_and_gone(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    red.write(10, 0, b"secret")
    free = len(host.state.free)
    mfn = host.state.domain(red.domid).memory.machine(10)
    red.decrease_reservation(8, 4)
    assert len(host.state.free) == free + 4
    with pytest.raises(PageFaultError):
        red.read(10, 0, 6)
    other = host.guest(start("green"))
    pages = host.state.domain(other.domid).memory
    gfn = next(gfn for gfn in range(pages.pages) if pages.machine(gfn) == mfn)
    assert other.read(gfn, 0, 6) == bytes(6)


def test_a_balloon_deflates_up_to_the_limit_only(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    before = host.state
    red.decrease_reservation(0, 16)
    with pytest.raises(PageFaultError, match="has frames"):
        red.increase_reservation(15, 2)
    with pytest.raises(OutOfResourceError, match="may own 256"):
        red.increase_reservation(1000, 17)
    red.increase_reservation(0, 16)
    assert host.state == before
    with pytest.raises(OutOfResourceError, match="may own 256"):
        red.increase_reservation(256, 1)
    host.invoke(SetMaxMemory(DOM0, red.domid, 2))
    red.increase_reservation(256, 256)
    red.write(511, 0, b"new")
    assert host.state.domain(red.domid).memory.pages == 512


def test_a_balloon_may_take_the_last_free_page(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    host.invoke(SetMaxMemory(DOM0, red.domid, 64))
    red.increase_reservation(4096, len(host.state.free))
    assert not len(host.state.free)
    with pytest.raises(OutOfResourceError):
        red.increase_reservation(1 << 20, 1)


def test_no_more_than_the_host_has(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    host.invoke(SetMaxMemory(DOM0, red.domid, 64))
    with pytest.raises(OutOfResourceError, match="are free"):
        red.increase_reservation(256, len(host.state.free) + 1)
    for size in (0, 65, -1):
        with pytest.raises(BadStateError):
            host.invoke(SetMaxMemory(DOM0, red.domid, size))


@pytest.mark.parametrize(("gfn", "count"), [(-1, 1), (0, 0), (0, -5), (1 << 40, 1), (0, 1 << 30)])
def test_impossible_extents_are_refused(host: XenHost, start: Start, gfn: int, count: int) -> None:
    red = host.guest(start("red"))
    for act in (red.decrease_reservation, red.increase_reservation):
        with pytest.raises(BadStateError, match="extent"):
            act(gfn, count)
    with pytest.raises(PageFaultError):
        red.decrease_reservation(250, 7)


def test_a_page_that_somebody_reaches_is_not_given_back(host: XenHost, start: Start) -> None:
    """Else whoever has it mapped, or sends into it, would meet its next owner there."""
    red, other = host.guest(start("red")), host.guest(start("red"))
    handle = other.map_grant(red.domid, red.grant_access(other.domid, 5, GrantKind.WRITE), writable=True)
    red.register_ring(1, other.domid, (6,))
    for gfn in (5, 6):
        with pytest.raises(BadStateError, match="is mapped"):
            red.decrease_reservation(gfn, 1)
        with pytest.raises(BadStateError, match="is mapped"):
            red.transfer_page(gfn, other.domid, _hole(host, other.domid, red.domid))
    red.decrease_reservation(7, 1)
    other.unmap_grant(handle)
    red.unregister_ring(1, other.domid)
    red.decrease_reservation(5, 2)


def _hole(host: XenHost, domid: int, giver: int) -> int:
    host.guest(domid).decrease_reservation(len(host.state.domain(domid).grants), 1)
    gfn = next(gfn for gfn in range(256) if host.state.domain(domid).memory.machine(gfn) is None)
    return host.guest(domid).grant_access(giver, gfn, GrantKind.TRANSFER)


def test_memory_is_metered_page_by_page_while_it_is_held(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    host.run(1000)
    red.decrease_reservation(0, 100)
    host.run(10)
    red.increase_reservation(0, 50)
    host.run(1)
    used = host.counters(red.domid)
    assert (used.pages, used.page_ns) == (206, 256 * 1000 + 156 * 10 + 206)
    books = host.host_counters()
    assert books.pages == books.free_pages + sum(each.memory.pages for each in host.state.domains.values())


def test_a_guest_follows_the_target_that_the_toolstack_sets(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    assert red.read_store(red.domid, "memory/target") == b"1024"
    host.guest(DOM0).write_store(red.domid, "memory/target", b"512")
    surplus = 256 - int(red.read_store(red.domid, "memory/target")) // 4
    red.decrease_reservation(256 - surplus, surplus)
    assert host.counters(red.domid).pages == 128


def test_a_paused_guest_cannot_balloon(host: XenHost, start: Start) -> None:
    red = host.guest(start("red"))
    host.invoke(PauseDomain(DOM0, red.domid))
    with pytest.raises(BadStateError):
        red.decrease_reservation(0, 1)


def test_weight_and_cap_take_effect_at_once(host: XenHost, start: Start) -> None:
    red = start("red")
    host.add_work(red, 10**9)
    host.run(300_000_000)
    host.invoke(ScheduleDomain(DOM0, red, 256, 10))
    host.run(300_000_000)
    assert host.counters(red).cpu_ns == 330_000_000
    for weight, cap in ((0, 0), (256, 201), (65536, 0), (256, -1)):
        with pytest.raises(BadStateError):
            host.invoke(ScheduleDomain(DOM0, red, weight, cap))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 12)), max_size=25))
def test_a_balloon_is_a_set_of_pages(host: XenHost, start: Start, steps: list[tuple[bool, int, int]]) -> None:
    red = host.guest(start("red"))
    owned, total = set(range(256)), len(host.state.free) + 256
    for inflate, gfn, count in steps:
        extent = set(range(gfn, gfn + count))
        possible = extent <= owned if inflate else extent.isdisjoint(owned)
        act = red.decrease_reservation if inflate else red.increase_reservation
        before = host.state
        try:
            act(gfn, count)
        except HypervisorUsageError:
            assert not possible
            assert host.state is before
        else:
            assert possible
            owned = owned - extent if inflate else owned | extent
        memory = host.state.domain(red.domid).memory
        assert {gfn for gfn in range(300) if memory.machine(gfn) is not None} == owned
        assert len(memory.frames) + len(host.state.free) == total
    host.invoke(DestroyDomain(DOM0, red.domid))
