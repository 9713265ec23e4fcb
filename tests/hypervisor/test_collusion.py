"""Colluding domains do all they can to spread what they know; no byte goes where policy has no path.

Each domain has a marker of its own. Any domain reads any page that it can reach and writes what it read into
any page, disk or network that it can write, so markers spread as far as the mechanism lets them. The oracle
is the graph over labels whose edges are shared types, worked out here by hand and without :mod:`acm`.
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import hypervisor.monitor
from acm import policyfile
from hypervisor import gnttab, hostconfig
from hypervisor.attach import AttachResource, DetachResource, RelabelResource
from hypervisor.domctl import CreateDomain, DestroyDomain, PauseDomain, UnpauseDomain
from hypervisor.errors import HypervisorDenied, HypervisorUsageError
from hypervisor.gnttab import CopyEnd
from hypervisor.host import XenHost
from hypervisor.hypercalls import HYPERCALLS
from hypervisor.state import DOM0, AccessMode, GrantKind, HostState

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypervisor.guest import Guest

TYPES = {
    "red": {"red"},
    "red-west": {"red"},
    "red-east": {"red"},
    "green": {"green"},
    "blue": {"blue"},
    "red-blue": {"red", "blue"},
}
EXCLUDED = {frozenset({"red-west", "red-east"})}
LABELS = sorted(TYPES)
RESOURCES = {
    "uuid:00000000-0000-0000-0000-00000000000a": "red",
    "uuid:00000000-0000-0000-0000-00000000000b": "green",
    "vlan:1": "red",
    "vlan:2": "green",
}
SLOT = 16


def reachable(label: str, existed: set[str]) -> set[str]:
    """Labels whose bytes may have come to ``label``: the closure of shared types over all that existed."""
    nodes = {each: TYPES[each] for each in existed} | {f"res:{kind}": {kind} for kind in RESOURCES.values()}
    found, edge = {label}, [label]
    while edge:
        here = edge.pop()
        new = {each for each, types in nodes.items() if types & nodes[here]} - found
        found |= new
        edge += new
    return found


def marker(label: str) -> bytes:
    return f"<{label}>".encode().ljust(SLOT, b".")


def merged(one: bytes, two: bytes) -> bytes:
    """Each label has a slot; a slot that either side has filled is filled."""
    return bytes(max(left, right) for left, right in zip(one, two, strict=True))


PAYLOAD = SLOT * len(LABELS)


class Collusion(RuleBasedStateMachine):
    """Random operations of guests, with Domain-0 creating, attaching and destroying at random."""

    domains: Bundle[tuple[int, str]] = Bundle("domains")

    def __init__(self) -> None:
        super().__init__()
        self.host = XenHost(hostconfig.parse(HOST), policyfile.load(POLICY))
        self.count = 0
        self.existed: set[str] = set()

    def labels(self) -> dict[int, str]:
        return {each.domid: each.label for each in self.host.state.domains.values() if each.domid}

    def guest(self, domid: int) -> Guest | None:
        return self.host.guest(domid) if domid in self.host.state.domains else None

    def attempt(self, act: Callable[[], object], *, allowed: bool) -> object:
        """Carry out; a denial must be the oracle's, and anything refused must leave the state as it was."""
        before: HostState = self.host.state
        try:
            result = act()
        except HypervisorDenied:
            assert not allowed, "refused what policy permits"
            assert self.host.state is before
            return None
        except HypervisorUsageError:
            assert self.host.state is before
            return None
        assert allowed, "permitted what policy refuses"
        return result

    def may_share(self, one: int, two: int) -> bool:
        labels = self.labels()
        return bool(TYPES[labels[one]] & TYPES[labels[two]])

    @rule(target=domains, label=st.sampled_from(LABELS))
    def create(self, label: str) -> tuple[int, str]:
        self.count += 1
        uuid = f"00000000-0000-4000-8000-{self.count:012x}"
        running = set(self.labels().values())
        allowed = not any(frozenset({label, other}) in EXCLUDED for other in running)
        call = CreateDomain(DOM0, uuid, f"d{self.count}", label, 1, 1)
        domid = self.attempt(lambda: self.host.invoke(call), allowed=allowed)
        if not isinstance(domid, int):
            return (-1, label)
        self.existed.add(label)
        self.host.invoke(UnpauseDomain(DOM0, domid))
        own = merged(
            bytes(PAYLOAD), b"".join(marker(each) if each == label else bytes(SLOT) for each in LABELS)
        )
        self.host.guest(domid).write(0, 0, own)
        return (domid, label)

    @rule(domain=domains)
    def destroy(self, domain: tuple[int, str]) -> None:
        if domain[0] in self.labels():
            self.host.invoke(DestroyDomain(DOM0, domain[0]))

    @rule(domain=domains)
    def pause_or_unpause(self, domain: tuple[int, str]) -> None:
        kind = PauseDomain if self.count % 2 else UnpauseDomain
        self.attempt(lambda: self.host.invoke(kind(DOM0, domain[0])), allowed=True)

    @rule(one=domains, two=domains)
    def channel(self, one: tuple[int, str], two: tuple[int, str]) -> None:
        first, second = self.guest(one[0]), self.guest(two[0])
        if first and second:
            allowed = self.may_share(one[0], two[0])
            port = self.attempt(lambda: first.alloc_unbound(second.domid), allowed=allowed)
            if isinstance(port, int):
                bound = self.attempt(lambda: second.bind_interdomain(first.domid, port), allowed=allowed)
                if isinstance(bound, int):
                    second.send(bound)

    @rule(one=domains, two=domains, gfn=st.integers(0, 3), kind=st.sampled_from(GrantKind))
    def offer(self, one: tuple[int, str], two: tuple[int, str], gfn: int, kind: GrantKind) -> None:
        first = self.guest(one[0])
        if first:
            gfn += 300 if kind is GrantKind.TRANSFER else 0
            self.attempt(lambda: first.grant_access(two[0], gfn, kind), allowed=True)

    @rule(one=domains, two=domains, ref=st.integers(8, 12), writable=st.booleans())
    def map_grant(self, one: tuple[int, str], two: tuple[int, str], ref: int, *, writable: bool) -> None:
        first = self.guest(one[0])
        if first and two[0] in self.labels():
            allowed = self.may_share(one[0], two[0])
            self.attempt(lambda: first.map_grant(two[0], ref, writable=writable), allowed=allowed)

    @rule(one=domains, handle=st.integers(0, 3))
    def unmap(self, one: tuple[int, str], handle: int) -> None:
        first = self.guest(one[0])
        if first:
            self.attempt(lambda: first.unmap_grant(handle), allowed=True)

    @rule(one=domains, two=domains, ref=st.integers(8, 12), gfn=st.integers(0, 3), out=st.booleans())
    def copy(self, one: tuple[int, str], two: tuple[int, str], ref: int, gfn: int, *, out: bool) -> None:
        first = self.guest(one[0])
        if first and two[0] in self.labels() and one[0] != two[0]:
            ends = (CopyEnd(one[0], gfn), CopyEnd(two[0], ref))
            source, target = ends if out else ends[::-1]
            allowed = self.may_share(one[0], two[0])
            self.attempt(lambda: first.copy_grant(source, target, PAYLOAD), allowed=allowed)

    @rule(one=domains, two=domains, ref=st.integers(8, 12), gfn=st.integers(0, 3))
    def transfer(self, one: tuple[int, str], two: tuple[int, str], ref: int, gfn: int) -> None:
        first = self.guest(one[0])
        if first and two[0] in self.labels():
            allowed = self.may_share(one[0], two[0])
            self.attempt(lambda: first.transfer_page(gfn, two[0], ref), allowed=allowed)

    @rule(domain=domains, identity=st.sampled_from(sorted(RESOURCES)), mode=st.sampled_from(AccessMode))
    def attach(self, domain: tuple[int, str], identity: str, mode: AccessMode) -> None:
        label = self.labels().get(domain[0])
        if label is not None:
            allowed = RESOURCES[identity] in TYPES[label]
            self.attempt(
                lambda: self.host.invoke(AttachResource(DOM0, domain[0], identity, mode)), allowed=allowed
            )

    @rule(domain=domains, identity=st.sampled_from(sorted(RESOURCES)))
    def detach(self, domain: tuple[int, str], identity: str) -> None:
        self.attempt(lambda: self.host.invoke(DetachResource(DOM0, domain[0], identity)), allowed=True)

    @rule(identity=st.sampled_from(sorted(RESOURCES)))
    def relabel_is_only_for_what_nobody_uses(self, identity: str) -> None:
        users = [each for each in self.host.state.domains.values() if identity in each.attachments]
        if users:
            label = RESOURCES[identity]
            call = RelabelResource(DOM0, identity, label, "blue")
            self.attempt(lambda: self.host.invoke(call), allowed=True)
            assert self.host.state.resource(identity).label == label

    @rule(domain=domains, source=st.integers(0, 7), into=st.integers(0, 7))
    def gossip(self, domain: tuple[int, str], source: int, into: int) -> None:
        """Pass on all that a domain can read, wherever it can write: 0-3 own pages, 4-7 mappings."""
        guest = self.guest(domain[0])
        if guest is None:
            return
        read = guest.read if source < 4 else guest.read_mapped
        look = guest.read if into < 4 else guest.read_mapped
        put = guest.write if into < 4 else guest.write_mapped

        def pass_on() -> None:
            known = read(source % 4, 0, PAYLOAD)
            put(into % 4, 0, merged(known, look(into % 4, 0, PAYLOAD)))

        self.attempt(pass_on, allowed=True)

    @rule(domain=domains, identity=st.sampled_from([each for each in sorted(RESOURCES) if "uuid" in each]))
    def gossip_through_a_disk(self, domain: tuple[int, str], identity: str) -> None:
        guest = self.guest(domain[0])
        if guest is None or identity not in self.host.state.domain(domain[0]).attachments:
            return

        def exchange() -> None:
            disk = self.host.connect_disk(domain[0], identity)
            try:
                known = merged(disk.read(0, 1)[:PAYLOAD], guest.read(0, 0, PAYLOAD))
                guest.write(0, 0, known)
                disk.write(0, known.ljust(512, b"\0"))
            finally:
                self.host.disconnect(domain[0])

        try:
            exchange()
        except HypervisorUsageError:
            return

    @rule(identity=st.sampled_from(["vlan:1", "vlan:2"]))
    def gossip_through_a_vlan(self, identity: str) -> None:
        vifs = {}
        for domid in self.labels():
            domain = self.host.state.domain(domid)
            if identity in domain.attachments and domain.status == "running":
                try:
                    vifs[domid] = self.host.connect_vif(domid, identity, f"00:16:3e:00:00:{domid:02x}")
                except HypervisorUsageError:
                    continue
        for domid, vif in vifs.items():
            self.attempt(
                allowed=True, act=lambda vif=vif, domid=domid: vif.send(b"\xff" * 6, self.page(domid))
            )
        for domid, vif in vifs.items():
            for frame in vif.receive():
                self.attempt(lambda domid=domid, frame=frame: self.learn(domid, frame[14:]), allowed=True)
            self.host.disconnect(domid)

    def page(self, domid: int) -> bytes:
        return self.host.guest(domid).read(0, 0, PAYLOAD)

    def learn(self, domid: int, known: bytes) -> None:
        self.host.guest(domid).write(0, 0, merged(known, self.page(domid)))

    @invariant()
    def no_byte_is_where_policy_has_no_path(self) -> None:
        for domid, label in self.labels().items():
            domain = self.host.state.domain(domid)
            frames = [frame for frame in self.host._memory._frames if frame in domain.memory.frames]
            frames += [mapping.mfn for mapping in domain.mappings.values()]
            held = b"".join(self.host._memory.read(frame, 0, 4096) for frame in frames)
            known = {each for each in LABELS if marker(each) in held}
            assert known <= reachable(label, self.existed), f"{label} knows {known}"

    @invariant()
    def running_domains_never_conflict(self) -> None:
        running = set(self.labels().values())
        assert not any(pair <= running for pair in EXCLUDED)

    @invariant()
    def every_frame_has_one_owner(self) -> None:
        owned = [frame for each in self.host.state.domains.values() for frame in each.memory.frames.ranges]
        total = sorted((*owned, *self.host.state.free.ranges))
        assert sum(count for _, count in total) == self.host.state.pages
        assert all(one[0] + one[1] <= two[0] for one, two in pairwise(total))


HOST = b"""
schema: shype.host/1
name: test
pcpus: "1"
memory: 16 MiB
dom0: {label: dom0, memory: 1 MiB, vcpus: "1"}
profile: p.yaml
policy: p.yaml
resources:
  - {kind: disk, identity: "uuid:00000000-0000-0000-0000-00000000000a", label: red, access: rw, size: 1 MiB}
  - {kind: disk, identity: "uuid:00000000-0000-0000-0000-00000000000b", label: green, access: rw, size: 1 MiB}
  - {kind: vlan, id: "1", label: red}
  - {kind: vlan, id: "2", label: green}
"""

POLICY = b"""
format: shype.policy/1
name: test
version: "1.0"
bootstrap: dom0
ste: {types: [red, green, blue]}
chwall: {types: [west, east], conflict_sets: {sides: [west, east]}}
domain_labels:
  dom0: {ste: [red, green, blue]}
  red: {ste: [red]}
  red-west: {ste: [red], chwall: [west]}
  red-east: {ste: [red], chwall: [east]}
  green: {ste: [green]}
  blue: {ste: [blue]}
  red-blue: {ste: [red, blue]}
resource_labels: {red: {ste: red}, green: {ste: green}, blue: {ste: blue}}
"""

TestCollusion = Collusion.TestCase
TestCollusion.settings = settings(deadline=None, max_examples=25, stateful_step_count=40)


@pytest.mark.parametrize("hole", [gnttab.MapGrant, gnttab.CopyGrant, gnttab.TransferPage])
def test_a_hook_that_is_taken_out_is_noticed(hole: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine above can fail: with a hook taken out, a marker crosses and the invariant sees it."""
    rows = dict(HYPERCALLS)
    rows[hole] = dataclasses.replace(rows[hole], accesses=lambda _state, _call: ())
    monkeypatch.setattr(hypervisor.monitor, "HYPERCALLS", rows)
    machine = Collusion()
    (red, _), (green, _) = machine.create("red"), machine.create("green")
    giver, taker = machine.host.guest(red), machine.host.guest(green)
    ref = giver.grant_access(green, 0, GrantKind.READ)
    hole_ref = taker.grant_access(red, 300, GrantKind.TRANSFER)
    machine.no_byte_is_where_policy_has_no_path()
    if hole is gnttab.MapGrant:
        taker.map_grant(red, ref, writable=False)
    elif hole is gnttab.CopyGrant:
        taker.copy_grant(CopyEnd(red, ref), CopyEnd(green, 1), PAYLOAD)
    else:
        giver.transfer_page(0, green, hole_ref)
    with pytest.raises(AssertionError, match="green knows"):
        machine.no_byte_is_where_policy_has_no_path()
