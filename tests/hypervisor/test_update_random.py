"""Policy updates of random hosts to random policies: what-if and monitor agree, and revoking revokes all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import policyfile, statefile
from acm.engine import Operation, Request, decide
from acm.errors import AcmUsageError
from acm.labels import INACCESSIBLE
from acm.mending import mend
from acm.policy import Policy
from acm.update import Update, judge
from acm.violations import OF_DOMAINS, Fault
from hypervisor import hostconfig
from hypervisor.attach import AttachResource
from hypervisor.domctl import CreateDomain, UnpauseDomain
from hypervisor.errors import (
    HypervisorDenied,
    HypervisorUsageError,
    UpdateRefused,
)
from hypervisor.host import XenHost
from hypervisor.state import DOM0, AccessMode, GrantKind, HostState
from tests.acm.hosts import LABELS, successor
from tests.hypervisor.test_hooks import blind

SEEDS = st.integers(0, 1 << 32)

OLD = policyfile.load(
    json.dumps(
        {
            "format": "shype.policy/1",
            "name": "old",
            "version": "1.0",
            "bootstrap": "dom0",
            "ste": {"types": ["a"]},
            "domain_labels": {name: {"ste": ["a"]} for name in ["dom0", *LABELS]},
            "resource_labels": {name: {"ste": "a"} for name in ["ra", "rb", "rc"]},
        }
    ).encode()
)
"""Everything is permitted, so that everything can be bound."""
HOST = hostconfig.parse(
    b"""
schema: shype.host/1
name: test
pcpus: "1"
memory: 32 MiB
dom0: {label: dom0, memory: 8 MiB, vcpus: "1"}
profile: p.yaml
policy: p.yaml
resources:
  - {kind: disk, identity: "uuid:00000000-0000-0000-0000-00000000000a", label: ra, access: r, size: 1 MiB}
  - {kind: disk, identity: "uuid:00000000-0000-0000-0000-00000000000b", label: rb, access: r, size: 1 MiB}
  - {kind: vlan, id: "1", label: rc}
"""
)


def lively(draw: Random) -> XenHost:
    """A host under the old policy on which a few guests share at random."""
    host = XenHost(HOST, OLD)
    for number in range(1, draw.randint(1, 5)):
        uuid = f"00000000-0000-4000-8000-{number:012x}"
        domid = host.invoke(CreateDomain(DOM0, uuid, f"d{number}", draw.choice(LABELS), 1, 1))
        host.invoke(UnpauseDomain(DOM0, domid))
    for _ in range(draw.randint(0, 8)):
        one, other = (draw.choice(list(host.state.domains)) for _ in range(2))
        bind(host, draw, one, other)
    return host


def bind(host: XenHost, draw: Random, one: int, other: int) -> None:
    """Bind two domains, or one of them and a resource, in one way or another."""
    left, right = host.guest(one), host.guest(other)
    way = draw.randrange(5)
    if way == 0:
        right.bind_interdomain(one, left.alloc_unbound(other))
    elif way == 1:
        kind = draw.choice([GrantKind.READ, GrantKind.WRITE])
        ref = left.grant_access(other, draw.randrange(4), kind)
        for _ in range(draw.randint(1, 2)):
            right.map_grant(one, ref, writable=kind is GrantKind.WRITE and draw.random() < 0.5)
    elif way == 2:
        port = len(host.state.domain(one).rings)
        left.register_ring(port, draw.choice([None, other]), (8 + port,))
        right.send_message(one, port, b"hello")
    else:
        identity = draw.choice(list(host.state.resources))
        if identity not in host.state.domain(one).attachments:
            host.invoke(AttachResource(DOM0, one, identity, AccessMode.READ))


def new_policy(draw: Random) -> Policy:
    return policyfile.load(json.dumps(successor(draw)).encode())


def permits(policy: Policy, op: Operation, subject: str, target: str) -> bool:
    try:
        return decide(policy, Request(op, f"vm:{subject}", target)).permitted
    except AcmUsageError:
        return False


def live(state: HostState) -> Iterator[tuple[Operation, str, str]]:
    """Everything that is bound, read from the domains' own tables: operation, subject, object."""
    labels = {domid: domain.label for domid, domain in state.domains.items()}
    for domain in state.domains.values():
        for port in domain.ports.values():
            if port.remote_port is not None:
                yield Operation.EVENT_CHANNEL, domain.label, f"vm:{labels[port.remote]}"
        for one in domain.mappings.values():
            op = Operation.GRANT_MAP_WRITE if one.writable else Operation.GRANT_MAP_READ
            yield op, domain.label, f"vm:{labels[one.granter]}"
        for ring in domain.rings.values():
            for sender in ring.senders:
                yield Operation.ARGO, labels[sender], f"vm:{domain.label}"
        for identity in domain.attachments:
            op = Operation.VLAN_ATTACH if identity.startswith("vlan") else Operation.RESOURCE_READ
            yield op, domain.label, f"res:{state.resource(identity).label}"


def check_consistent(host: XenHost) -> None:
    """Nothing leads to what is not there, and every page is somebody's."""
    state = host.state
    for domid, domain in state.domains.items():
        for number, port in domain.ports.items():
            if port.remote_port is not None:
                assert state.domain(port.remote).ports[port.remote_port].remote_port == number
        for one in domain.mappings.values():
            assert state.domain(one.granter).grants[one.ref].grantee == domid
        for ring_id, ring in domain.rings.items():
            assert ring.senders <= state.domains.keys()
            assert ring_id.partner is None or ring.senders == {ring_id.partner}
    owned = [mfn for domain in state.domains.values() for mfn in domain.memory.frames]
    assert len(owned) + len(state.free) == state.pages
    assert statefile.decode(statefile.encode(host.live_state())) == host.live_state()


def replaced(host: XenHost, policy: Policy, *, revoke: bool = False) -> Update | None:
    """Replace the policy; return what was refused, and make sure that a refusal changed nothing."""
    before, engine = host.state, host.monitor.engine
    try:
        assert host.replace_policy(policy, revoke=revoke) == 2
    except UpdateRefused as refused:
        assert host.state is before
        assert host.monitor.engine is engine
        return refused.update
    return None


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_what_if_says_what_the_monitor_does(seed: int) -> None:
    draw = Random(seed)
    host, policy = lively(draw), new_policy(draw)
    before = host.state
    update = judge(policy, host.live_state())
    refused = replaced(host, policy)
    assert (refused is None) == update.holds
    if refused is None:
        assert all(permits(policy, *each) for each in live(host.state))
        return
    assert refused == update
    # Question by question, without the judgement of the whole, the answer is the same.
    if {each.code for each in update.violations} - {Fault.LABEL_DELETED}:
        with pytest.raises(HypervisorDenied):
            host.invoke(blind(policy))
        assert host.state is before


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_after_a_revoking_update_nothing_lives_against_the_policy(seed: int) -> None:
    draw = Random(seed)
    host, policy = lively(draw), new_policy(draw)
    before, was = host.state, host.live_state()
    refused = replaced(host, policy, revoke=True)
    if refused is not None:
        assert {each.code for each in refused.violations} <= OF_DOMAINS
        assert {each.parties[0].kind for each in refused.violations} == {"domain"}
        return
    after = host.state
    check_consistent(host)
    assert after.policy.digest == policy.digest
    assert after.domains.keys() == before.domains.keys()
    assert all(permits(policy, *each) for each in live(after))
    assert all(one.label in {*policy.resource_labels, INACCESSIBLE.name} for one in after.resources.values())
    # And nothing that the policy permits was ended.
    ended = set(was.sharings) - set(host.live_state().sharings)
    assert ended == {each.sharing for each in judge(policy, was).violations} - {None}


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_every_mend_is_carried_out_by_the_monitor(seed: int) -> None:
    draw = Random(seed)
    host, policy = lively(draw), new_policy(draw)
    found = mend(judge(policy, host.live_state()))
    if found is None:
        return
    stopped = found.amendment.stop
    gone = [host.guest(domid) for domid in stopped]
    assert host.replace_policy(policy, found.amendment) == 2
    check_consistent(host)
    assert not stopped & host.state.domains.keys()
    assert all(permits(policy, *each) for each in live(host.state))
    assert judge(replace(policy, lineage=None), host.live_state()).violations == ()
    for guest in gone:
        with pytest.raises(HypervisorUsageError):
            guest.read(0, 0, 1)
