"""Event channels, grants, transfers: what they move, to whom, and what stays when things end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from hypervisor.domctl import BuildDomain, CreateDomain, DestroyDomain, UnpauseDomain
from hypervisor.errors import (
    AccessDenied,
    BadStateError,
    NoSuchObjectError,
    OutOfResourceError,
    PageFaultError,
)
from hypervisor.gnttab import CopyEnd
from hypervisor.state import DOM0, GrantKind

if TYPE_CHECKING:
    from hypervisor.host import XenHost

Start = Callable[..., int]


def test_a_bound_channel_carries_events_both_ways(host: XenHost, start: Start) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    theirs = second.alloc_unbound(red)
    with pytest.raises(BadStateError, match="not bound"):
        second.send(theirs)
    mine = first.bind_interdomain(both, theirs)
    first.send(mine)
    first.send(mine)
    second.send(theirs)
    assert (second.take_signals(theirs), second.take_signals(theirs), first.take_signals(mine)) == (2, 0, 1)


def test_a_closed_end_stops_both_ways_and_drops_pending_events(host: XenHost, start: Start) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    theirs = second.alloc_unbound(red)
    mine = first.bind_interdomain(both, theirs)
    first.send(mine)
    first.close(mine)
    assert second.take_signals(theirs) == 0
    with pytest.raises(BadStateError):
        second.send(theirs)
    assert first.bind_interdomain(both, theirs) == mine


def test_only_the_named_domain_can_bind(host: XenHost, start: Start) -> None:
    first, second, third = start("red"), start("red"), start("red")
    port = host.guest(first).alloc_unbound(second)
    with pytest.raises(NoSuchObjectError):
        host.guest(third).bind_interdomain(first, port)
    with pytest.raises(NoSuchObjectError):
        host.guest(third).map_grant(
            first, host.guest(first).grant_access(second, 0, GrantKind.READ), writable=False
        )


def test_a_grant_moves_real_bytes_with_the_rights_it_gives(host: XenHost, start: Start) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    second.write(3, 100, b"from both")
    read_only = second.grant_access(red, 3, GrantKind.READ)
    handle = first.map_grant(both, read_only, writable=False)
    assert first.read_mapped(handle, 100, 9) == b"from both"
    with pytest.raises(PageFaultError):
        first.write_mapped(handle, 0, b"x")
    with pytest.raises(BadStateError):
        first.map_grant(both, read_only, writable=True)
    with pytest.raises(BadStateError, match="is mapped"):
        second.end_access(read_only)
    first.unmap_grant(handle)
    second.end_access(read_only)
    with pytest.raises(PageFaultError):
        first.read_mapped(handle, 0, 1)
    with pytest.raises(NoSuchObjectError):
        first.map_grant(both, read_only, writable=False)


@pytest.mark.parametrize(("offset", "length"), [(4090, 7), (-1, 1), (0, 4097), (0, -1)])
def test_no_access_crosses_a_page(host: XenHost, start: Start, offset: int, length: int) -> None:
    guest = host.guest(start("red"))
    with pytest.raises(PageFaultError):
        guest.read(0, offset, length)
    with pytest.raises(PageFaultError):
        guest.copy_grant(CopyEnd(guest.domid, 0, offset), CopyEnd(guest.domid, 1, 0), length)


@pytest.mark.parametrize("gfn", [256, -1, 1 << 70])
def test_no_frame_outside_the_own_memory_is_reached_or_offered(host: XenHost, start: Start, gfn: int) -> None:
    guest = host.guest(start("red"))
    with pytest.raises(PageFaultError):
        guest.read(gfn, 0, 1)
    with pytest.raises(PageFaultError):
        guest.grant_access(DOM0, gfn, GrantKind.READ)


def test_copy_moves_bytes_without_a_mapping(host: XenHost, start: Start) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    second.write(0, 0, b"secret")
    source, target = second.grant_access(red, 0, GrantKind.READ), second.grant_access(red, 1, GrantKind.WRITE)
    first.copy_grant(CopyEnd(both, source), CopyEnd(red, 9, 10), 6)
    assert first.read(9, 10, 6) == b"secret"
    first.copy_grant(CopyEnd(red, 9, 10), CopyEnd(both, target, 4), 6)
    assert second.read(1, 4, 6) == b"secret"
    with pytest.raises(BadStateError):
        first.copy_grant(CopyEnd(red, 9), CopyEnd(both, source), 6)


def test_transfer_moves_the_page_and_its_content(host: XenHost, start: Start) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    first.write(5, 0, b"gift")
    pages = host.state.domain(red).memory.pages
    with pytest.raises(OutOfResourceError, match="may own"):
        first.transfer_page(5, both, second.grant_access(red, 301, GrantKind.TRANSFER))
    second.decrease_reservation(200, 2)
    first.transfer_page(5, both, second.grant_access(red, 300, GrantKind.TRANSFER))
    assert second.read(300, 0, 4) == b"gift"
    assert host.state.domain(red).memory.pages == pages - 1
    assert host.state.domain(both).memory.pages == pages - 1
    with pytest.raises(PageFaultError):
        first.read(5, 0, 4)


def test_a_mapped_page_cannot_be_given_away(host: XenHost, start: Start) -> None:
    """Else whoever has it mapped would read what its next owner writes."""
    first, second, third = start("red"), start("red"), start("red-blue")
    giver = host.guest(first)
    handle = host.guest(second).map_grant(
        first, giver.grant_access(second, 5, GrantKind.READ), writable=False
    )
    host.guest(third).decrease_reservation(200, 1)
    hole = host.guest(third).grant_access(first, 200, GrantKind.TRANSFER)
    with pytest.raises(BadStateError, match="unmap it first"):
        giver.transfer_page(5, third, hole)
    host.guest(second).unmap_grant(handle)
    giver.transfer_page(5, third, hole)


def test_an_offer_of_a_page_that_was_given_back_leads_nowhere(host: XenHost, start: Start) -> None:
    red, other = host.guest(start("red")), host.guest(start("red"))
    ref = red.grant_access(other.domid, 5, GrantKind.WRITE)
    red.decrease_reservation(5, 1)
    for act in (
        lambda: other.map_grant(red.domid, ref, writable=False),
        lambda: other.copy_grant(CopyEnd(red.domid, ref), CopyEnd(other.domid, 0), 16),
        lambda: other.copy_grant(CopyEnd(other.domid, 0), CopyEnd(red.domid, ref), 16),
    ):
        with pytest.raises(PageFaultError, match="any more"):
            act()
    red.increase_reservation(5, 1)
    assert other.read_mapped(other.map_grant(red.domid, ref, writable=False), 0, 1) == b"\0"


def test_a_domain_has_so_many_grants_and_mappings(
    host: XenHost, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypervisor.gnttab.MAX_GRANTS", 10)
    monkeypatch.setattr("hypervisor.gnttab.MAX_MAPPINGS", 1)
    red, other = host.guest(start("red")), host.guest(start("red"))
    first, second = (red.grant_access(other.domid, gfn, GrantKind.READ) for gfn in (0, 1))
    with pytest.raises(OutOfResourceError, match="grant entry"):
        red.grant_access(other.domid, 2, GrantKind.READ)
    other.map_grant(red.domid, first, writable=False)
    with pytest.raises(OutOfResourceError, match="handle"):
        other.map_grant(red.domid, second, writable=False)


def test_the_end_of_a_domain_takes_no_event_from_others(host: XenHost, start: Start) -> None:
    """And leaves none behind at a port that led to it, for whoever gets its number next."""
    one, two, dead = (host.guest(start("red")) for _ in range(3))
    kept = one.alloc_unbound(two.domid)
    two.send(two.bind_interdomain(one.domid, kept))
    lost = one.alloc_unbound(dead.domid)
    dead.send(dead.bind_interdomain(one.domid, lost))
    host.invoke(DestroyDomain(DOM0, dead.domid))
    assert one.take_signals(kept) == 1
    assert one.alloc_unbound(two.domid) == lost
    assert one.take_signals(lost) == 0


def test_defect_d3_copy_and_transfer_are_mediated(host: XenHost, start: Start) -> None:
    """Xen 3.x mediated only map: colluding unlike domains passed data by copy or transfer (facts/acm.md)."""
    red, green = start("red"), start("green")
    first, second = host.guest(red), host.guest(green)
    first.write(0, 0, b"leak")
    read_ref, write_ref = (second.grant_access(red, gfn, kind) for gfn, kind in ((1, "read"), (2, "write")))
    hole = second.grant_access(red, 400, GrantKind.TRANSFER)
    before = host.state
    with pytest.raises(AccessDenied):
        first.copy_grant(CopyEnd(red, 0), CopyEnd(green, write_ref), 4)
    with pytest.raises(AccessDenied):
        first.copy_grant(CopyEnd(green, read_ref), CopyEnd(red, 0), 4)
    with pytest.raises(AccessDenied):
        first.transfer_page(0, green, hole)
    assert host.state is before
    assert second.read(2, 0, 4) == bytes(4)


def test_destroyed_memory_is_empty_for_its_next_owner(host: XenHost, start: Start) -> None:
    red = start("red")
    for gfn in range(256):
        host.guest(red).write(gfn, 0, b"secret")
    host.invoke(DestroyDomain(DOM0, red))
    green = host.guest(start("green"))
    assert all(green.read(gfn, 0, 6) == bytes(6) for gfn in range(256))


def test_destroying_a_granter_ends_all_mappings_of_its_pages(host: XenHost, start: Start) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    handle = first.map_grant(both, second.grant_access(red, 0, GrantKind.WRITE), writable=True)
    host.invoke(DestroyDomain(DOM0, both))
    with pytest.raises(PageFaultError):
        first.read_mapped(handle, 0, 1)
    with pytest.raises(NoSuchObjectError):
        second.read(0, 0, 1)


def test_a_view_of_a_destroyed_domain_has_no_power_over_its_successor(host: XenHost, start: Start) -> None:
    old = host.guest(start("red"))
    host.invoke(DestroyDomain(DOM0, old.domid))
    assert start("red") == old.domid
    for act in (lambda: old.read(0, 0, 1), lambda: old.alloc_unbound(DOM0), lambda: old.take_signals(1)):
        with pytest.raises(NoSuchObjectError, match="another one"):
            act()


def test_create_then_destroy_is_the_state_before(host: XenHost, start: Start) -> None:
    start("red")
    before = host.state
    host.invoke(DestroyDomain(DOM0, start("blue", memory_mib=5)))
    assert host.state == before


def test_an_image_is_placed_only_before_the_first_run(host: XenHost) -> None:
    call = CreateDomain(DOM0, "44444444-4444-4444-8444-444444444444", "new", "red", 1, 1)
    new = host.invoke(call)
    image = bytes(range(256)) * 20
    assert host.invoke(BuildDomain(DOM0, new, 2, image)) == 2
    with pytest.raises(OutOfResourceError):
        host.invoke(BuildDomain(DOM0, new, 255, image))
    host.invoke(UnpauseDomain(DOM0, new))
    guest = host.guest(new)
    assert guest.read(2, 0, 4096) + guest.read(3, 0, 1024) == image
    guest.write(2, 0, b"changed")
    assert image[:3] == b"\x00\x01\x02"
    with pytest.raises(BadStateError):
        host.invoke(BuildDomain(DOM0, new, 0, image))


@pytest.mark.parametrize(
    "change", [{"memory_mib": 57}, {"memory_mib": 0}, {"vcpus": 0}, {"weight": 0}, {"cap": 201}, {"cap": -1}]
)
def test_impossible_domains_are_refused(host: XenHost, start: Start, change: dict[str, int]) -> None:
    before = host.state
    with pytest.raises((BadStateError, OutOfResourceError)):
        start("red", **change)
    assert host.state is before


def test_names_are_unique(start: Start) -> None:
    start("red", "same")
    with pytest.raises(BadStateError):
        start("red", "same")
