"""Save, resume and migrate-in: the same domain comes back, and only where it could have started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hypervisor.attach import AttachResource
from hypervisor.domctl import PauseDomain, RelabelDomain, UnpauseDomain
from hypervisor.errors import (
    AccessDenied,
    BadStateError,
    HypervisorUsageError,
    NoSuchObjectError,
    OutOfResourceError,
    PolicyMismatch,
    Undecided,
)
from hypervisor.host import XenHost
from hypervisor.savectl import Arrival, RestoreDomain, SavedDomain
from hypervisor.state import DOM0, AccessMode

if TYPE_CHECKING:
    from acm.policy import Policy
    from hypervisor.hostconfig import HostDescription

Start = Callable[..., int]


def saved(host: XenHost, domid: int) -> SavedDomain:
    host.invoke(PauseDomain(DOM0, domid))
    return host.save(domid, actor="alice", why="maintenance")


@pytest.mark.parametrize("arrival", Arrival)
def test_a_saved_domain_comes_back_as_it_was(
    arrival: Arrival, host: XenHost, start: Start, description: HostDescription, policy: Policy
) -> None:
    guest = host.guest(start("red", memory_mib=2, vcpus=2, weight=512, cap=50))
    for gfn in (0, 17, 511):
        guest.write(gfn, 100, b"page %d" % gfn)
    guest.decrease_reservation(100, 30)
    before = host.state.domain(guest.domid)
    image = saved(host, guest.domid)
    assert guest.domid not in host.state.domains
    assert host._memory.touched() == 0
    other = XenHost(description, policy)
    target = other if arrival is Arrival.MIGRATE_IN else host
    domid = target.invoke(RestoreDomain(DOM0, image, arrival))
    after = target.state.domain(domid)
    for name in ("uuid", "name", "label", "vcpus", "weight", "cap", "started", "max_pages"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.status == "paused"
    assert after.memory.pages == 482
    target.invoke(UnpauseDomain(DOM0, domid))
    restored = target.guest(domid)
    assert [restored.read(gfn, 100, 6) for gfn in (0, 17, 511)] == [b"page 0", b"page 1", b"page 5"]
    assert restored.read(1, 0, 10) == bytes(10)
    assert saved(target, domid) == image


@pytest.mark.parametrize("arrival", Arrival)
def test_the_chinese_wall_stands_against_a_return(arrival: Arrival, host: XenHost, start: Start) -> None:
    image = saved(host, start("red-west"))
    start("red-east")
    before = host.state
    with pytest.raises(AccessDenied) as denied:
        host.invoke(RestoreDomain(DOM0, image, arrival))
    assert denied.value.code == "chwall-conflict"
    assert host.state is before


def test_a_label_that_is_not_valid_here_is_refused(host: XenHost, start: Start) -> None:
    image = saved(host, start("red"))
    with pytest.raises(Undecided):
        host.invoke(RestoreDomain(DOM0, replace(image, label="purple"), Arrival.MIGRATE_IN))
    with pytest.raises(PolicyMismatch):
        host.invoke(RestoreDomain(DOM0, replace(image, policy_digest="0" * 64), Arrival.MIGRATE_IN))


def test_a_host_without_authority_takes_no_guest(
    host: XenHost, start: Start, description: HostDescription, edited: Callable[[str, str], Policy]
) -> None:
    image = saved(host, start("green"))
    poorer = XenHost(description, edited("dom0: {ste: [red, green, blue]}", "dom0: {ste: [red, blue]}"))
    with pytest.raises(AccessDenied) as denied:
        poorer.invoke(RestoreDomain(DOM0, image, Arrival.MIGRATE_IN))
    assert denied.value.code == "ste-not-authorized"


def test_only_a_paused_guest_is_saved(host: XenHost, start: Start) -> None:
    red = start("red")
    before = host.state
    with pytest.raises(BadStateError, match="pause it"):
        host.save(red)
    with pytest.raises(NoSuchObjectError):
        host.save(DOM0)
    assert host.state is before


def test_a_save_that_is_refused_cuts_no_device(host: XenHost, start: Start) -> None:
    red = start("red")
    host.invoke(AttachResource(DOM0, red, "vlan:1", AccessMode.WRITE))
    vif = host.connect_vif(red, "vlan:1", "00:16:3e:00:00:01")
    before = host.state
    with pytest.raises(BadStateError, match="pause it"):
        host.save(red)
    assert host.state is before
    assert host.is_connected(red, vif)
    vif.send(b"\xff" * 6, b"still there")


def test_a_saved_guest_leaves_its_vlan(host: XenHost, start: Start) -> None:
    red = start("red")
    host.invoke(AttachResource(DOM0, red, "vlan:1", AccessMode.WRITE))
    host.connect_vif(red, "vlan:1", "00:16:3e:00:00:01")
    image = saved(host, red)
    back = host.invoke(RestoreDomain(DOM0, image, Arrival.RESUME))
    host.invoke(UnpauseDomain(DOM0, back))
    host.invoke(AttachResource(DOM0, back, "vlan:1", AccessMode.WRITE))
    host.connect_vif(back, "vlan:1", "00:16:3e:00:00:01").send(b"\xff" * 6, b"here again")


def test_the_trail_tells_who_came_and_went_without_their_memory(host: XenHost, start: Start) -> None:
    guest = host.guest(start("red", "web"))
    guest.write(0, 0, b"top secret")
    image = saved(host, guest.domid)
    host.invoke(RestoreDomain(DOM0, image, Arrival.RESUME), actor="bob")
    *_, left, came = host.trail
    assert (left.action, left.why) == ("H32", (("asked", "maintenance"),))
    assert came.who.startswith("bob on")
    assert came.what == "RestoreDomain(saved=web (red), arrival=resume)"


@pytest.mark.parametrize(
    "change",
    [
        {"extents": ()},
        {"extents": ((0, 2), (1, 2))},
        {"extents": ((-1, 2),)},
        {"extents": ((0, 2), (5, 0))},
        {"extents": ((0, 2), (5, -1))},
        {"extents": ((0, 1 << 40),)},
        {"extents": (((1 << 40) - 1, 2),)},
        {"extents": ((1 << 70, 1),)},
        {"max_pages": 1},
        {"max_pages": 1 << 40},
        {"pages": ((999, bytes(4096)),)},
        {"pages": ((0, bytes(4095)),)},
        {"vcpus": 0},
        {"weight": 0},
        {"cap": -1},
        {"name": "taken"},
    ],
)
def test_a_broken_image_is_refused_as_a_whole(change: dict[str, object], host: XenHost, start: Start) -> None:
    image = saved(host, start("red"))
    start("red", "taken")
    before = host.state
    with pytest.raises((BadStateError, OutOfResourceError)):
        host.invoke(RestoreDomain(DOM0, replace(image, **change), Arrival.RESUME))  # type: ignore[arg-type]  # any field
    assert host.state is before
    assert host._memory.touched() == 0


def test_a_returned_domain_that_ran_keeps_its_label(host: XenHost, start: Start) -> None:
    domid = host.invoke(RestoreDomain(DOM0, saved(host, start("red")), Arrival.RESUME))
    with pytest.raises(HypervisorUsageError, match="keeps its label"):
        host.invoke(RelabelDomain(DOM0, domid, "red", "red-blue"))
