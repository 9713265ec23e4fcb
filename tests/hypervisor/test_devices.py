"""Virtual disks and networks: real bytes over shared rings, real counters, and front ends that lie."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypervisor import blkif, netif
from hypervisor.attach import AttachResource, DetachResource
from hypervisor.counters import Counters
from hypervisor.domctl import CreateDomain, DestroyDomain
from hypervisor.errors import AccessDenied, BadStateError, HypervisorUsageError, RingError
from hypervisor.state import DOM0, AccessMode, GrantKind

if TYPE_CHECKING:
    from hypervisor.host import XenHost

RED_DISK = "uuid:00000000-0000-0000-0000-00000000000a"
RED_ROM = "uuid:00000000-0000-0000-0000-00000000000c"
ALL = b"\xff" * 6
Start = Callable[..., int]


def attached(host: XenHost, domid: int, identity: str, mode: AccessMode = AccessMode.WRITE) -> int:
    host.invoke(AttachResource(DOM0, domid, identity, mode))
    return domid


def test_what_is_written_is_read_and_counted(host: XenHost, start: Start) -> None:
    red = attached(host, start("red"), RED_DISK)
    disk = host.connect_disk(red, RED_DISK)
    data = os.urandom(200 * 512)
    disk.write(5, data)
    assert disk.read(5, 200) == data
    assert disk.read(0, 5) == bytes(5 * 512)
    used = host.counters(red)
    assert (used.blk_wr_ops, used.blk_wr_bytes) == (3, 200 * 512)
    assert (used.blk_rd_ops, used.blk_rd_bytes) == (4, 205 * 512)


def test_a_disk_keeps_its_content_for_its_next_user(host: XenHost, start: Start) -> None:
    first, second = attached(host, start("red"), RED_DISK), start("red")
    host.connect_disk(first, RED_DISK).write(0, b"kept".ljust(512, b"\0"))
    with pytest.raises(BadStateError, match="in use"):
        host.invoke(AttachResource(DOM0, second, RED_DISK, AccessMode.READ))
    host.disconnect(first)
    host.invoke(DetachResource(DOM0, first, RED_DISK))
    attached(host, second, RED_DISK, AccessMode.READ)
    assert host.connect_disk(second, RED_DISK).read(0, 1).startswith(b"kept")


def test_the_back_end_refuses_writes_to_a_read_only_attachment(host: XenHost, start: Start) -> None:
    disk = host.connect_disk(attached(host, start("red"), RED_ROM, AccessMode.READ), RED_ROM)
    with pytest.raises(BadStateError, match="refused"):
        disk.write(0, bytes(512))
    assert disk.read(0, 1) == bytes(512)


def test_a_read_only_resource_is_never_attached_for_writing(host: XenHost, start: Start) -> None:
    with pytest.raises(BadStateError, match="read-only"):
        attached(host, start("red"), RED_ROM)


@pytest.mark.parametrize(("sector", "count"), [(2048, 1), (2047, 2), (-1, 1), (0, -1), (1 << 63, 1)])
def test_no_sector_outside_the_disk(host: XenHost, start: Start, sector: int, count: int) -> None:
    disk = host.connect_disk(attached(host, start("red"), RED_DISK), RED_DISK)
    with pytest.raises(BadStateError):
        disk.read(sector, count)


def test_a_connection_needs_an_attachment_and_ends_with_it(host: XenHost, start: Start) -> None:
    red = start("red")
    with pytest.raises(BadStateError, match="not attached"):
        host.connect_disk(red, RED_DISK)
    attached(host, red, RED_DISK)
    disk = host.connect_disk(red, RED_DISK)
    host.invoke(DetachResource(DOM0, red, RED_DISK))
    with pytest.raises(BadStateError, match="refused"):
        disk.read(0, 1)


def test_disconnecting_leaves_nothing_bound(host: XenHost, start: Start) -> None:
    red = attached(host, attached(host, start("red"), RED_DISK), "vlan:1")
    before = host.state
    host.connect_disk(red, RED_DISK)
    host.connect_vif(red, "vlan:1", "00:16:3e:00:00:01")
    assert host.state != before
    host.disconnect(red)
    assert host.state == before


def test_frames_reach_the_vlan_and_are_counted(host: XenHost, start: Start) -> None:
    doms = [attached(host, start("red"), "vlan:1") for _ in range(3)]
    vifs = [host.connect_vif(domid, "vlan:1", f"00:16:3e:00:00:0{domid}") for domid in doms]
    vifs[0].send(vifs[1].mac, b"for one")
    vifs[0].send(ALL, b"for all")
    assert [[frame[14:] for frame in vif.receive()] for vif in vifs] == [
        [],
        [b"for one", b"for all"],
        [b"for all"],
    ]
    used = [host.counters(domid) for domid in doms]
    assert [(each.net_tx_packets, each.net_tx_bytes) for each in used] == [(2, 42), (0, 0), (0, 0)]
    assert [(each.net_rx_packets, each.net_rx_bytes) for each in used] == [(0, 0), (2, 42), (1, 21)]


def test_vlans_never_meet(host: XenHost, start: Start) -> None:
    red, green = attached(host, start("red"), "vlan:1"), attached(host, start("green"), "vlan:2")
    one = host.connect_vif(red, "vlan:1", "00:16:3e:00:00:01")
    two = host.connect_vif(green, "vlan:2", "00:16:3e:00:00:02")
    one.send(ALL, b"secret")
    one.send(two.mac, b"secret")
    assert two.receive() == ()
    with pytest.raises(AccessDenied):
        attached(host, green, "vlan:1")


def test_a_guest_cannot_send_as_another(host: XenHost, start: Start) -> None:
    first, second = (attached(host, start("red"), "vlan:1") for _ in range(2))
    one = host.connect_vif(first, "vlan:1", "00:16:3e:00:00:01")
    with pytest.raises(BadStateError, match="in use"):
        host.connect_vif(second, "vlan:1", "00:16:3e:00:00:01")
    one.mac = b"\x00\x16\x3e\x00\x00\x02"
    with pytest.raises(BadStateError, match="refused"):
        one.send(ALL, b"spoofed")


def test_a_detached_vlan_neither_takes_nor_brings_a_frame(host: XenHost, start: Start) -> None:
    """The link is there still; what counts is the attachment of this moment."""
    doms = [attached(host, start("red"), "vlan:1") for _ in range(2)]
    inside, outside = (host.connect_vif(each, "vlan:1", f"00:16:3e:00:00:0{each}") for each in doms)
    host.invoke(DetachResource(DOM0, doms[1], "vlan:1"))
    inside.send(ALL, b"for those inside")
    assert outside.receive() == ()
    assert host.counters(doms[1]).net_rx_packets == 0
    with pytest.raises(BadStateError, match="refused"):
        outside.send(ALL, b"from outside")
    assert inside.receive() == ()


@pytest.mark.parametrize(("offset", "size"), [(0, 13), (0, 1515), (0, 4000), (4090, 14), (4096, 0)])
def test_a_frame_of_an_impossible_size_is_not_forwarded(
    offset: int, size: int, host: XenHost, start: Start
) -> None:
    doms = [attached(host, start("red"), "vlan:1") for _ in range(2)]
    one, two = (host.connect_vif(each, "vlan:1", f"00:16:3e:00:00:0{each}") for each in doms)
    one._link.front_pages[2].write(min(offset, 4000), ALL + one.mac)
    one._tx.put_request(struct.pack("<IHHHH", one._link.refs[2], offset, 0, 7, size))
    one._link.front.send(one._link.front_port)
    assert one._link.back.take_signals(one._link.back_port)
    one._backend.serve()
    assert one._tx.take_response(4) == struct.pack("<Hh", 7, -1)
    assert two.receive() == ()


@pytest.mark.parametrize("to", [b"", ALL[:5], ALL + b"\xff"])
def test_a_frame_goes_to_an_address_of_six_bytes(to: bytes, host: XenHost, start: Start) -> None:
    vif = host.connect_vif(attached(host, start("red"), "vlan:1"), "vlan:1", "00:16:3e:00:00:01")
    with pytest.raises(BadStateError, match="6-byte address"):
        vif.send(to, b"x")


def test_each_side_of_a_link_is_notified(host: XenHost, start: Start) -> None:
    doms = [attached(host, start("red"), "vlan:1") for _ in range(2)]
    one, two = (host.connect_vif(each, "vlan:1", f"00:16:3e:00:00:0{each}") for each in doms)
    one.send(ALL, b"x")
    assert host.guest(doms[0]).take_signals(one._link.front_port) == 1
    assert host.guest(doms[1]).take_signals(two._link.front_port) == 1


def test_a_full_receiver_drops_and_goes_on(host: XenHost, start: Start) -> None:
    first, second = (attached(host, start("red"), "vlan:1") for _ in range(2))
    one = host.connect_vif(first, "vlan:1", "00:16:3e:00:00:01")
    two = host.connect_vif(second, "vlan:1", "00:16:3e:00:00:02")
    for number in range(20):
        one.send(ALL, bytes([number]))
    assert [frame[14] for frame in two.receive()] == list(range(8))
    one.send(ALL, b"again")
    assert two.receive()[0][14:] == b"again"
    assert host.counters(second).net_rx_packets == 9


@pytest.mark.parametrize("misdeed", ["breaks its ring", "closes its port", "is paused"])
def test_a_receiver_that_goes_wrong_takes_nothing_from_its_neighbours(
    misdeed: str, host: XenHost, start: Start
) -> None:
    """One guest could silence its whole VLAN: a sender was refused what a receiver had broken."""
    doms = [attached(host, start("red"), "vlan:1") for _ in range(3)]
    vifs = [host.connect_vif(domid, "vlan:1", f"00:16:3e:00:00:0{domid}") for domid in doms]
    if misdeed == "breaks its ring":
        vifs[1]._link.front_pages[1].write(0, struct.pack("<I", 1 << 31))
    elif misdeed == "closes its port":
        host.guest(doms[1]).close(vifs[1]._link.front_port)
    else:
        host.pause(doms[1])
    for payload in (b"first", b"second"):
        vifs[0].send(ALL, payload)
        assert [frame[14:] for frame in vifs[2].receive()] == [payload]
    vifs[0].send(vifs[1].mac, b"for it alone")


def test_a_destroyed_guest_leaves_its_vlan_and_its_successor_inherits_nothing(
    host: XenHost, start: Start
) -> None:
    first, second = (attached(host, start("red"), "vlan:1") for _ in range(2))
    one = host.connect_vif(first, "vlan:1", "00:16:3e:00:00:01")
    gone = host.connect_vif(second, "vlan:1", "00:16:3e:00:00:02")
    host.monitor.invoke(DestroyDomain(DOM0, second))
    heir = attached(host, start("red"), "vlan:1")
    assert heir == second
    one.send(gone.mac, b"secret")
    host.run(1)
    assert host.counters(heir).net_rx_bytes == 0
    host.connect_vif(heir, "vlan:1", "00:16:3e:00:00:02")
    with pytest.raises(HypervisorUsageError):
        gone.send(ALL, b"from the grave")


def test_devices_of_one_guest_have_pages_of_their_own(host: XenHost, start: Start) -> None:
    red = attached(host, attached(host, start("red"), RED_DISK), "vlan:1")
    links = [host.connect_disk(red, RED_DISK)._link]
    links.append(host.connect_vif(red, "vlan:1", "00:16:3e:00:00:01")._link)
    used = [page.gfn for link in links for page in link.front_pages]
    assert len(used) == len(set(used)) == blkif.PAGES + netif.PAGES


def test_a_back_end_knows_its_guest_from_the_successor(host: XenHost, start: Start) -> None:
    first = attached(host, start("red"), RED_DISK)
    disk = host.connect_disk(first, RED_DISK)
    assert disk._backend._mode() is AccessMode.WRITE
    host.invoke(DestroyDomain(DOM0, first))
    assert disk._backend._mode() is None
    assert attached(host, start("red"), RED_DISK) == first
    assert disk._backend._mode() is None


def test_the_address_of_a_destroyed_guest_is_free_at_once(host: XenHost, start: Start) -> None:
    first = attached(host, start("red"), "vlan:1")
    host.connect_vif(first, "vlan:1", "00:16:3e:00:00:01")
    host.invoke(DestroyDomain(DOM0, first))
    host.connect_vif(attached(host, start("red"), "vlan:1"), "vlan:1", "00:16:3e:00:00:01")


def test_a_guest_that_comes_back_under_its_uuid_begins_anew(host: XenHost, start: Start) -> None:
    first = attached(host, start("red"), RED_DISK)
    host.connect_disk(first, RED_DISK).write(0, bytes(512))
    host.add_work(first, 1000)
    host.run(2000)
    domain = host.state.domain(first)
    host.destroy(first)
    again = host.invoke(CreateDomain(DOM0, domain.uuid, domain.name, "red", 1, 1))
    assert host.counters(again) == Counters(pages=256)


def test_a_connection_that_fails_costs_the_guest_no_memory(host: XenHost, start: Start) -> None:
    host.connect_vif(attached(host, start("red"), "vlan:1"), "vlan:1", "00:16:3e:00:00:01")
    second = attached(host, start("red"), "vlan:1")
    before = host.state
    for _ in range(host.state.domain(second).memory.pages // netif.PAGES + 1):
        with pytest.raises(BadStateError, match="in use"):
            host.connect_vif(second, "vlan:1", "00:16:3e:00:00:01")
    assert host.state == before
    host.connect_vif(second, "vlan:1", "00:16:3e:00:00:02")


def test_memory_and_time_are_metered(host: XenHost, start: Start) -> None:
    red = start("red", memory_mib=2, cap=50)
    host.add_work(red, 10**9)
    host.run(300_000_000)
    used = host.counters(red)
    assert used.cpu_ns == 150_000_000
    assert used.page_ns == 512 * 300_000_000
    books = host.host_counters()
    domains = sum(host.counters(domid).cpu_ns for domid in host.state.domains)
    assert domains + sum(books.idle_ns) + books.retired_cpu_ns == 2 * books.time_ns
    host.invoke(DestroyDomain(DOM0, red))
    books = host.host_counters()
    assert books.retired_cpu_ns == used.cpu_ns
    assert books.pages == books.free_pages + sum(each.memory.pages for each in host.state.domains.values())


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(page=st.binary(max_size=1200), producer=st.integers(0, 2**32 - 1))
def test_a_front_end_that_writes_nonsense_hurts_only_itself(
    host: XenHost, page: bytes, producer: int, start: Start
) -> None:
    red = start("red")
    host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))
    disk = host.connect_disk(red, RED_DISK)
    guest, ring = host.guest(red), disk._ring._page
    guest.write(ring.gfn, 64, page)
    guest.write(ring.gfn, 0, struct.pack("<I", producer))
    guest.send(disk._link.front_port)
    before = host.state
    with suppress(RingError, BadStateError):
        disk._interrupt()
    assert host.state is before
    host.disconnect(red)
    host.invoke(DestroyDomain(DOM0, red))


def test_a_request_cannot_name_a_page_that_was_not_shared(host: XenHost, start: Start) -> None:
    red = attached(host, start("red"), RED_DISK)
    disk = host.connect_disk(red, RED_DISK)
    segment = struct.pack("<IBB2x", 4000, 0, 7)
    disk._ring.put_request((struct.pack("<BBH4xQQ", 0, 1, 0, 9, 0) + segment).ljust(112, b"\0"))
    disk._link.front.send(disk._link.front_port)
    with pytest.raises(BadStateError, match="refused"):
        disk._interrupt()
    assert host.counters(red).blk_rd_ops == 0


def asked_raw(disk: blkif.BlockDevice, operation: int, count: int, sector: int, *segments: bytes) -> int:
    """Put a request together as no honest front end does; return the status of its answer."""
    head = struct.pack("<BBH4xQQ", operation, count, 0, 9, sector)
    disk._ring.put_request((head + b"".join(segments)).ljust(112, b"\0")[:112])
    disk._link.front.send(disk._link.front_port)
    assert disk._link.back.take_signals(disk._link.back_port)
    disk._backend.serve()
    assert disk._link.front.take_signals(disk._link.front_port) == 1
    return int(struct.unpack("<QBxh4x", disk._ring.take_response(16) or b"")[2])


def test_segments_follow_each_other_on_the_disk_wherever_they_lie_in_their_pages(
    host: XenHost, start: Start
) -> None:
    disk = host.connect_disk(attached(host, start("red"), RED_DISK), RED_DISK)
    refs, pages = disk._link.refs, disk._link.front_pages
    pages[1].write(2 * 512, b"1" * 512 + b"2" * 512)
    pages[2].write(7 * 512, b"3" * 512)
    segments = (struct.pack("<IBB2x", refs[1], 2, 3), struct.pack("<IBB2x", refs[2], 7, 7))
    assert asked_raw(disk, 1, 2, 40, *segments) == 0
    assert disk.read(39, 5) == bytes(512) + b"1" * 512 + b"2" * 512 + b"3" * 512 + bytes(512)


def test_the_last_sector_is_reached_from_the_end_of_a_page(host: XenHost, start: Start) -> None:
    domid = attached(host, start("red"), RED_DISK)
    disk = host.connect_disk(domid, RED_DISK)
    last = (1 << 20) // 512 - 1
    segment = struct.pack("<IBB2x", disk._link.refs[1], 7, 7)
    assert asked_raw(disk, 1, 1, last, segment) == 0
    assert asked_raw(disk, 1, 1, last + 1, segment) == -1
    assert disk.read(last, 1) == bytes(512)
    assert (host.counters(domid).blk_wr_bytes, host.counters(domid).blk_rd_bytes) == (512, 512)


@pytest.mark.parametrize("count", [0, 12, 255])
def test_a_request_of_an_impossible_number_of_segments_is_refused(
    count: int, host: XenHost, start: Start
) -> None:
    domid = attached(host, start("red"), RED_DISK)
    disk = host.connect_disk(domid, RED_DISK)
    segments = [struct.pack("<IBB2x", disk._link.refs[1], 0, 0)] * 11
    assert asked_raw(disk, 1, count, 0, *segments) == -1
    assert host.counters(domid).blk_wr_ops == 0


@pytest.mark.parametrize(("first", "last"), [(0, 8), (8, 8), (3, 2), (0, 255)])
def test_a_segment_lies_within_its_page(first: int, last: int, host: XenHost, start: Start) -> None:
    disk = host.connect_disk(attached(host, start("red"), RED_DISK), RED_DISK)
    assert asked_raw(disk, 1, 1, 0, struct.pack("<IBB2x", disk._link.refs[1], first, last)) == -1


def test_a_link_is_bound_while_all_its_parts_are(host: XenHost, start: Start) -> None:
    """Its numbers come again: what stands under them later must not pass for it."""
    domid, other = attached(host, start("red"), RED_DISK), start("red")
    for sever in ("port", "mapping", "another's page"):
        disk = host.connect_disk(domid, RED_DISK)
        assert disk.is_bound(host.state)
        if sever == "port":
            host.guest(domid).close(disk._link.front_port)
        else:
            host.guest(DOM0).unmap_grant(disk._link._handles[3])
            assert not disk.is_bound(host.state)
        if sever == "another's page":
            ref = host.guest(other).grant_access(DOM0, 0, GrantKind.WRITE)
            assert host.guest(DOM0).map_grant(other, ref, writable=True) == disk._link._handles[3]
        assert not disk.is_bound(host.state)
        host.disconnect(domid)
    disk = host.connect_disk(domid, RED_DISK)
    host.destroy(domid)
    assert not disk.is_bound(host.state)


def test_the_ring_layout_is_that_of_xen() -> None:
    assert (blkif._ENTRY, blkif._RESPONSE.size, blkif._SEGMENT.size) == (112, 16, 8)
