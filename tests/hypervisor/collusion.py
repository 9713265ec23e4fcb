"""Colluding domains do all they can to spread what they know; no byte goes where policy has no path.

Each domain has a marker of its own. Any domain reads any page that it can reach and writes what it read into
any page, ring, value, disk or network that it can write, so markers spread as far as the mechanism lets them.
What is permitted is told by the oracle of the world alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hypervisor.attach import AttachResource, DetachResource, RelabelResource
from hypervisor.domctl import CreateDomain, DestroyDomain, PauseDomain, UnpauseDomain
from hypervisor.errors import HypervisorDenied, HypervisorUsageError, RingError
from hypervisor.gnttab import CopyEnd
from hypervisor.savectl import Arrival, RestoreDomain, SavedDomain
from hypervisor.state import DOM0, AccessMode, GrantKind
from tests.hypervisor.worlds import DISKS, VLANS, World, merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypervisor.guest import Guest

KINDS = st.sampled_from((GrantKind.WRITE, GrantKind.READ, GrantKind.TRANSFER))
WHO = st.integers(0, 9)
GFNS = st.integers(0, 5)
REFS = st.one_of(st.none(), st.integers(8, 11))
"""A grant reference that may be anything, or None for the one that was just offered."""
SELDOM = st.integers(0, 9).map(lambda number: number == 9)


class Collusion(RuleBasedStateMachine):
    """Random operations of guests, with Domain-0 creating, attaching, saving and destroying at random.

    Rules name a guest by a number; it stands for one of those that live.
    """

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.host = self.world.host()
        self.count = 0
        self.existed: set[str] = set()
        self.images: list[SavedDomain] = []

    @initialize(numbers=st.lists(st.integers(0, 5), min_size=3, max_size=5))
    def populate(self, numbers: list[int]) -> None:
        for number in numbers:
            self.create(number)

    def living(self, number: int) -> Guest:
        """Return one of the guests that live; there is one always."""
        domids = sorted(self.host.state.domains.keys() - {DOM0})
        return self.host.guest(domids[number % len(domids)] if domids else self.create(0))

    def pair(self, one: int, two: int) -> tuple[Guest, Guest]:
        """Return two guests; mostly two between which something may flow, so that much is bound."""
        first = self.living(one)
        others = [self.host.guest(each) for each in sorted(self.host.state.domains.keys() - {DOM0})]
        friends = [
            each
            for each in others
            if each.domid != first.domid
            and (self.may(first, each, reads=True) or self.may(first, each, writes=True))
        ]
        return first, friends[two % len(friends)] if friends and two < 8 else self.living(two)

    def label(self, guest: Guest) -> str:
        return self.host.state.domain(guest.domid).label

    def attempt(self, act: Callable[[], Any], *, allowed: bool = True) -> Any:
        """Carry out; a denial must be the oracle's, and anything refused must leave the state as it was."""
        before = self.host.state
        try:
            result = act()
        except (HypervisorDenied, HypervisorUsageError, RingError) as error:
            refused: Exception = error
        else:
            assert allowed, "permitted what policy refuses"
            return result
        assert self.host.state is before
        denied = isinstance(refused, HypervisorDenied)
        assert not (allowed and denied), f"refused what policy permits: {refused}"
        return None

    def may(self, one: Guest, two: Guest, *, reads: bool = False, writes: bool = False) -> bool:
        return self.world.may(self.label(one), self.label(two), reads=reads, writes=writes)

    def admitted(self, label: str) -> bool:
        running = set(self.host.state.running_labels())
        return not any(frozenset({label, other}) in self.world.excluded for other in running)

    @rule(number=st.integers(0, 5))
    def run_another(self, number: int) -> None:
        self.create(number)

    def create(self, number: int) -> int:
        """Run a domain of a label; returns its identifier, that of any other one where it may not run."""
        label = self.world.names[number]
        self.count += 1
        uuid = f"00000000-0000-4000-8000-{self.count:012x}"
        call = CreateDomain(DOM0, uuid, f"d{self.count}", label, 1, 1)
        domid = self.attempt(lambda: self.host.invoke(call), allowed=self.admitted(label))
        if domid is None:
            return max(self.host.state.domains)
        self.existed.add(label)
        self.host.invoke(UnpauseDomain(DOM0, domid))
        self.host.guest(domid).write(0, 0, self.world.own(label))
        return int(domid)

    @rule(who=WHO, really=SELDOM)
    def destroy(self, who: int, *, really: bool) -> None:
        if really:
            self.host.invoke(DestroyDomain(DOM0, self.living(who).domid))

    @rule(who=WHO, pause=SELDOM)
    def pause_or_unpause(self, who: int, *, pause: bool) -> None:
        call = (PauseDomain if pause else UnpauseDomain)(DOM0, self.living(who).domid)
        self.attempt(lambda: self.host.invoke(call))

    @rule(who=WHO, really=SELDOM)
    def save(self, who: int, *, really: bool) -> None:
        if not really:
            return
        domid = self.living(who).domid
        self.attempt(lambda: self.host.invoke(PauseDomain(DOM0, domid)))
        self.images.append(self.host.save(domid))

    @rule(number=WHO, arrival=st.sampled_from(Arrival))
    def restore(self, number: int, arrival: Arrival) -> None:
        if self.images:
            image = self.images[number % len(self.images)]
            call = RestoreDomain(DOM0, image, arrival)
            domid = self.attempt(lambda: self.host.invoke(call), allowed=self.admitted(image.label))
            if domid is not None:
                self.host.invoke(UnpauseDomain(DOM0, domid))

    @rule(one=WHO, two=WHO)
    def channel(self, one: int, two: int) -> None:
        first, second = self.pair(one, two)
        allowed = self.may(first, second, reads=True, writes=True)
        port = self.attempt(lambda: first.alloc_unbound(second.domid), allowed=allowed)
        bound = port and self.attempt(lambda: second.bind_interdomain(first.domid, port), allowed=allowed)
        if bound:
            self.attempt(lambda: second.send(bound))

    def offer(self, giver: Guest, taker: Guest, gfn: int, kind: GrantKind) -> int:
        """Grant a page, or a hole, and return the reference; any other one where that cannot be."""
        if kind is GrantKind.TRANSFER:
            self.attempt(lambda: giver.decrease_reservation(gfn, 1))
        return self.attempt(lambda: giver.grant_access(taker.domid, gfn, kind)) or 8

    @rule(one=WHO, two=WHO, gfn=GFNS, kind=KINDS, ref=REFS, writable=st.booleans())
    def map_grant(
        self, one: int, two: int, gfn: int, kind: GrantKind, ref: int | None, *, writable: bool
    ) -> None:
        taker, giver = self.pair(one, two)
        at = self.offer(giver, taker, gfn, kind) if ref is None else ref
        allowed = self.may(taker, giver, reads=True, writes=writable)
        self.attempt(lambda: taker.map_grant(giver.domid, at, writable=writable), allowed=allowed)
        self.learn(taker, self.knowledge(taker))

    @rule(who=WHO, handle=st.integers(0, 3), ref=st.integers(8, 11))
    def unmap_and_end(self, who: int, handle: int, ref: int) -> None:
        guest = self.living(who)
        self.attempt(lambda: guest.unmap_grant(handle))
        self.attempt(lambda: guest.end_access(ref))

    @rule(one=WHO, two=WHO, gfn=GFNS, kind=KINDS, into=GFNS, out=st.booleans())
    def copy(self, one: int, two: int, gfn: int, kind: GrantKind, into: int, *, out: bool) -> None:
        caller, other = self.pair(one, two)
        ref = self.offer(other, caller, gfn, kind)
        if caller.domid != other.domid:
            ends = (CopyEnd(caller.domid, into), CopyEnd(other.domid, ref))
            source, target = ends if out else ends[::-1]
            allowed = self.may(caller, other, reads=not out, writes=out)
            self.attempt(lambda: caller.copy_grant(source, target, self.world.payload), allowed=allowed)

    @rule(one=WHO, two=WHO, gfn=GFNS, into=GFNS)
    def transfer(self, one: int, two: int, gfn: int, into: int) -> None:
        giver, taker = self.pair(one, two)
        ref = self.offer(taker, giver, into, GrantKind.TRANSFER)
        allowed = self.may(giver, taker, writes=True)
        self.attempt(lambda: giver.transfer_page(gfn, taker.domid, ref), allowed=allowed)

    @rule(who=WHO, gfn=GFNS, count=st.integers(1, 2), inflate=st.booleans())
    def balloon(self, who: int, gfn: int, count: int, *, inflate: bool) -> None:
        guest = self.living(who)
        act = guest.decrease_reservation if inflate else guest.increase_reservation
        self.attempt(lambda: act(gfn, count))

    @rule(one=WHO, two=WHO, gfn=st.integers(5, 7), anybody=st.booleans(), register=st.booleans())
    def message(self, one: int, two: int, gfn: int, *, anybody: bool, register: bool) -> None:
        sender, owner = self.pair(one, two)
        allowed = self.may(sender, owner, reads=True, writes=True)
        if register:
            named = None if anybody else sender.domid
            act = lambda: owner.register_ring(1, named, (gfn,))  # noqa: E731 - one thing to try
            self.attempt(act, allowed=anybody or allowed)
        known = self.knowledge(sender)
        self.attempt(lambda: sender.send_message(owner.domid, 1, known), allowed=allowed)
        for partner in (None, sender.domid):
            message = self.attempt(lambda partner=partner: owner.take_message(1, partner))
            if message is not None:
                self.learn(owner, message.data)

    @rule(one=WHO, two=WHO, mode=st.sampled_from((*AccessMode, None)), share=st.booleans(), put=st.booleans())
    def store(self, one: int, two: int, mode: AccessMode | None, *, share: bool, put: bool) -> None:
        owner, user = self.pair(one, two)
        allowed = self.may(owner, user, reads=True, writes=True)
        if share:
            value = self.knowledge(owner)
            self.attempt(lambda: owner.write_store(owner.domid, "data", value))
            act = lambda: owner.share_store("data", user.domid, mode)  # noqa: E731 - one thing to try
            self.attempt(act, allowed=mode is None or allowed)
        allowed = allowed or owner.domid == user.domid
        if put:
            own = self.knowledge(user)
            self.attempt(lambda: user.write_store(owner.domid, "data", own), allowed=allowed)
        known = self.attempt(lambda: user.read_store(owner.domid, "data"), allowed=allowed)
        if known:
            self.learn(user, known)

    @rule(who=WHO, identity=st.sampled_from(DISKS + VLANS), mode=st.sampled_from(AccessMode))
    def attach(self, who: int, identity: str, mode: AccessMode) -> None:
        guest = self.living(who)
        writes = mode is AccessMode.WRITE or identity in VLANS
        allowed = self.world.may_use(self.label(guest), identity, reads=True, writes=writes)
        call = AttachResource(DOM0, guest.domid, identity, mode)
        self.attempt(lambda: self.host.invoke(call), allowed=allowed)

    @rule(who=WHO, identity=st.sampled_from(DISKS + VLANS))
    def detach(self, who: int, identity: str) -> None:
        call = DetachResource(DOM0, self.living(who).domid, identity)
        self.attempt(lambda: self.host.invoke(call))

    @rule(identity=st.sampled_from(DISKS + VLANS))
    def relabel_is_only_for_what_nobody_uses(self, identity: str) -> None:
        users = [each for each in self.host.state.domains.values() if identity in each.attachments]
        old, new = (self.world.resources[each] for each in (identity, DISKS[identity == DISKS[0]]))
        if users:
            self.attempt(lambda: self.host.invoke(RelabelResource(DOM0, identity, old, new)))
            assert self.host.state.resource(identity).label == old

    @rule()
    def gossip(self) -> None:
        """Every guest writes all that it can read wherever it can write."""
        for domid in sorted(self.host.state.domains.keys() - {DOM0}):
            guest = self.host.guest(domid)
            self.learn(guest, self.knowledge(guest))

    @rule(who=WHO, identity=st.sampled_from(DISKS))
    def gossip_through_a_disk(self, who: int, identity: str) -> None:
        guest = self.living(who)
        if identity not in self.host.state.domain(guest.domid).attachments:
            return
        try:
            disk = self.host.connect_disk(guest.domid, identity)
            known = merged(disk.read(0, 1)[: self.world.payload], self.knowledge(guest))
            self.learn(guest, known)
            disk.write(0, known.ljust(512, b"\0"))
        except HypervisorUsageError:
            pass
        finally:
            self.attempt(lambda: self.host.disconnect(guest.domid))

    @rule(identity=st.sampled_from(VLANS))
    def gossip_through_a_vlan(self, identity: str) -> None:
        vifs = {}
        for domid, domain in self.host.state.domains.items():
            if identity in domain.attachments and domain.status == "running":
                try:
                    vifs[domid] = self.host.connect_vif(domid, identity, f"00:16:3e:00:00:{domid:02x}")
                except HypervisorUsageError:
                    continue
        for domid, vif in vifs.items():
            known = self.knowledge(self.host.guest(domid))
            self.attempt(lambda vif=vif, known=known: vif.send(b"\xff" * 6, known))
        for domid, vif in vifs.items():
            for frame in vif.receive():
                self.learn(self.host.guest(domid), frame[14:])
            self.host.disconnect(domid)

    def knowledge(self, guest: Guest) -> bytes:
        """Return all that a guest can read in its first pages and in what it has mapped."""
        known, size = bytes(self.world.payload), self.world.payload
        for gfn in range(6):
            known = merged(known, _or_nothing(guest.read, gfn, size))
        for handle in self.host.state.domain(guest.domid).mappings:
            known = merged(known, _or_nothing(guest.read_mapped, handle, size))
        return known

    def learn(self, guest: Guest, known: bytes) -> None:
        """Write knowledge over every page that a guest can write."""
        for gfn in range(6):
            self.attempt(lambda gfn=gfn: guest.write(gfn, 0, known))
        for handle in self.host.state.domain(guest.domid).mappings:
            self.attempt(lambda handle=handle: guest.write_mapped(handle, 0, known))

    @invariant()
    def no_byte_is_where_policy_has_no_path(self) -> None:
        for domid, domain in self.host.state.domains.items():
            if domid == DOM0:
                continue
            held = [page for _, page in self.host._memory.contents(domain.memory)]
            held += [self.host._memory.read(each.mfn, 0, 4096) for each in domain.mappings.values()]
            known = self.world.known(b"\0".join([*held, *(each.value for each in domain.store.values())]))
            if not known <= {domain.label}:
                sources = self.world.sources(domain.label, self.existed)
                assert known <= sources, f"{domain.label} knows {known}"

    @invariant()
    def running_domains_never_conflict(self) -> None:
        running = set(self.host.state.running_labels())
        assert not any(pair <= running for pair in self.world.excluded)

    @invariant()
    def every_frame_has_one_owner(self) -> None:
        owned = [frame for each in self.host.state.domains.values() for frame in each.memory.frames.ranges]
        total = sorted((*owned, *self.host.state.free.ranges))
        assert sum(count for _, count in total) == self.host.state.pages
        assert all(one[0] + one[1] <= two[0] for one, two in pairwise(total))

    @invariant()
    def what_is_reached_is_owned(self) -> None:
        """A mapping, or a ring, leads to a frame of the domain that it names."""
        for domain in self.host.state.domains.values():
            for mapping in domain.mappings.values():
                assert mapping.mfn in self.host.state.domain(mapping.granter).memory.frames
            for ring in domain.rings.values():
                assert all(mfn in domain.memory.frames for mfn in ring.mfns)


def _or_nothing(read: Callable[[int, int, int], bytes], at: int, size: int) -> bytes:
    try:
        return read(at, 0, size)
    except HypervisorUsageError:
        return bytes(size)
