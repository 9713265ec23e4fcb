"""Colluding domains never move a byte where policy has no path, and every permitted move is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import settings

import hypervisor.monitor
from acm.flows import FlowGraph
from hypervisor import gnttab
from hypervisor.argo import ConnectRing, RegisterRing
from hypervisor.attach import AttachResource
from hypervisor.domctl import CreateDomain, DestroyDomain, UnpauseDomain
from hypervisor.errors import HypervisorDenied
from hypervisor.gnttab import CopyEnd
from hypervisor.guest import Guest
from hypervisor.host import XenHost
from hypervisor.hypercalls import HYPERCALLS, nothing_asked
from hypervisor.state import DOM0, AccessMode, GrantKind
from tests.hypervisor.collusion import Collusion
from tests.hypervisor.worlds import COALITIONS, DISKS, LEVELS, WORLDS, World


class CoalitionsCollusion(Collusion):
    """Under type enforcement and a Chinese Wall."""

    world = COALITIONS


class LevelsCollusion(Collusion):
    """Under type enforcement and levels: some flows have one direction."""

    world = LEVELS


TestCoalitions = CoalitionsCollusion.TestCase
TestCoalitions.settings = settings(deadline=None, max_examples=15, stateful_step_count=80)
TestLevels = LevelsCollusion.TestCase
TestLevels.settings = TestCoalitions.settings

HOLES = (gnttab.MapGrant, gnttab.CopyGrant, gnttab.TransferPage, RegisterRing, ConnectRing)


def spread(machine: CoalitionsCollusion, hole: type, red: int, green: int) -> None:
    """Let green learn what red knows, by the one way that is open."""
    giver, taker = machine.host.guest(red), machine.host.guest(green)
    if hole is gnttab.MapGrant:
        taker.map_grant(red, giver.grant_access(green, 0, GrantKind.READ), writable=False)
    elif hole is gnttab.CopyGrant:
        ref = giver.grant_access(green, 0, GrantKind.READ)
        taker.copy_grant(CopyEnd(red, ref), CopyEnd(green, 1), machine.world.payload)
    elif hole is gnttab.TransferPage:
        taker.decrease_reservation(9, 1)
        giver.transfer_page(0, green, taker.grant_access(red, 9, GrantKind.TRANSFER))
    else:
        taker.register_ring(1, red if hole is RegisterRing else None, (5,))
        machine.message(0, 9, 5, anybody=hole is ConnectRing, register=False)
    machine.no_byte_is_where_policy_has_no_path()


@pytest.mark.parametrize("hole", HOLES)
def test_a_hook_that_is_taken_out_is_noticed(hole: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine can fail: with a hook taken out, a marker crosses and is seen."""
    rows = dict(HYPERCALLS)
    rows[hole] = replace(rows[hole], accesses=nothing_asked)
    monkeypatch.setattr(hypervisor.monitor, "HYPERCALLS", rows)
    machine = CoalitionsCollusion()
    names = machine.world.names
    red, green = machine.create(names.index("red")), machine.create(names.index("green"))
    machine.no_byte_is_where_policy_has_no_path()
    with pytest.raises(AssertionError, match=r"green knows|permitted what policy refuses"):
        spread(machine, hole, red, green)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_oracle_and_the_flow_graph_are_one(world: World) -> None:
    """Domain-0, which every domain must share with, is trusted to pass nothing on."""
    graph = FlowGraph(world.policy, without=["vm:dom0"])
    nodes = {f"vm:{name}": held for name, held in world.labels.items()}
    nodes |= {f"res:{name}": held for name, held in world.holders.items()}
    for (one, holder), (two, other) in product(nodes.items(), repeat=2):
        if one == two:
            continue
        flow = graph.flow(one, two)
        resources = one.startswith("res:") and two.startswith("res:")
        direct = flow is not None and len(flow.path) == 2
        assert direct == (world.flows(holder, other) and not resources), (one, two)
        if one.startswith("vm:") and two.startswith("vm:"):
            sources = world.sources(two[3:], world.names)
            assert (flow is not None) == (one[3:] in sources), (one, two)


def run(host: XenHost, label: str, uuid: int) -> Guest:
    call = CreateDomain(DOM0, f"00000000-0000-4000-8000-{uuid:012x}", f"d{uuid}", label, 1, 1)
    domid = host.invoke(call)
    host.invoke(UnpauseDomain(DOM0, domid))
    return host.guest(domid)


def by_map_read(source: Guest, target: Guest, secret: bytes) -> bytes:
    ref = source.grant_access(target.domid, 0, GrantKind.READ)
    return target.read_mapped(target.map_grant(source.domid, ref, writable=False), 0, len(secret))


def by_map_write(source: Guest, target: Guest, secret: bytes) -> bytes:
    ref = target.grant_access(source.domid, 3, GrantKind.WRITE)
    source.write_mapped(source.map_grant(target.domid, ref, writable=True), 0, secret)
    return target.read(3, 0, len(secret))


def by_copy_from(source: Guest, target: Guest, secret: bytes) -> bytes:
    ref = source.grant_access(target.domid, 0, GrantKind.READ)
    target.copy_grant(CopyEnd(source.domid, ref), CopyEnd(target.domid, 3), len(secret))
    return target.read(3, 0, len(secret))


def by_copy_to(source: Guest, target: Guest, secret: bytes) -> bytes:
    ref = target.grant_access(source.domid, 3, GrantKind.WRITE)
    source.copy_grant(CopyEnd(source.domid, 0), CopyEnd(target.domid, ref), len(secret))
    return target.read(3, 0, len(secret))


def by_transfer(source: Guest, target: Guest, secret: bytes) -> bytes:
    target.decrease_reservation(3, 1)
    source.transfer_page(0, target.domid, target.grant_access(source.domid, 3, GrantKind.TRANSFER))
    return target.read(3, 0, len(secret))


def by_argo(source: Guest, target: Guest, secret: bytes) -> bytes:
    target.register_ring(1, None, (3,))
    source.send_message(target.domid, 1, secret)
    message = target.take_message(1, None)
    assert message is not None
    return message.data


def by_argo_partner(source: Guest, target: Guest, secret: bytes) -> bytes:
    target.register_ring(1, source.domid, (3,))
    source.send_message(target.domid, 1, secret)
    message = target.take_message(1, source.domid)
    assert message is not None
    return message.data


def by_store(source: Guest, target: Guest, secret: bytes) -> bytes:
    source.write_store(source.domid, "data", secret)
    source.share_store("data", target.domid, AccessMode.READ)
    return target.read_store(source.domid, "data")


def by_signal(source: Guest, target: Guest, secret: bytes) -> bytes:
    """One bit a signal; enough to tell that it came."""
    port = target.alloc_unbound(source.domid)
    source.send(source.bind_interdomain(target.domid, port))
    return secret if target.take_signals(port) else b""


Way = Callable[[Guest, Guest, bytes], bytes]
WAYS: dict[Way, tuple[bool, bool]] = {
    by_map_read: (True, False),
    by_map_write: (True, True),
    by_copy_from: (True, False),
    by_copy_to: (True, False),
    by_transfer: (True, False),
    by_argo: (True, True),
    by_argo_partner: (True, True),
    by_store: (True, True),
    by_signal: (True, True),
}
"""How a byte gets from a source to a target, and which flows that is: there, and back."""


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_byte_moves_by_each_way_exactly_where_the_oracle_permits_it(world: World, way: Way) -> None:
    there, back = WAYS[way]
    for one, two in product(world.names, repeat=2):
        if frozenset({one, two}) in world.excluded:
            continue
        host = world.host()
        source, target = run(host, one, 1), run(host, two, 2)
        source.write(0, 0, world.marker(one))
        permitted = world.may(one, two, writes=there, reads=back)
        try:
            moved = way(source, target, world.marker(one)) == world.marker(one)
        except HypervisorDenied:
            moved = False
        assert moved == permitted, (one, two)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_byte_passes_a_disk_exactly_where_the_oracle_permits_it(world: World) -> None:
    for one, two, disk in product(world.names, world.names, DISKS):
        host = world.host()
        try:
            writer = run(host, one, 1)
            host.invoke(AttachResource(DOM0, writer.domid, disk, AccessMode.WRITE))
            host.connect_disk(writer.domid, disk).write(0, world.own(one).ljust(512, b"\0"))
            host.invoke(DestroyDomain(DOM0, writer.domid))
            reader = run(host, two, 2)
            host.invoke(AttachResource(DOM0, reader.domid, disk, AccessMode.READ))
            moved = world.known(host.connect_disk(reader.domid, disk).read(0, 1)) == {one}
        except HypervisorDenied:
            moved = False
        written = world.may_use(one, disk, reads=True, writes=True)
        assert moved == (written and world.may_use(two, disk, reads=True)), (one, two, disk)
