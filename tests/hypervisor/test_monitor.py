"""The reference monitor: transactions, the cache, the epoch, and that nothing goes around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from acm.decision import Code, Reason, permit
from acm.engine import Operation, Request
from acm.errors import LabelError
from acm.policy import Policy
from hypervisor.attach import AttachResource, DetachResource, RelabelResource
from hypervisor.decision_cache import DecisionCache
from hypervisor.domctl import CreateDomain, DestroyDomain, PauseDomain, RelabelDomain
from hypervisor.errors import AccessDenied, BadStateError, NoSuchObjectError, Undecided, UpdateRefused
from hypervisor.evtchn import AllocUnbound
from hypervisor.host import XenHost
from hypervisor.state import DOM0, AccessMode, GrantKind
from hypervisor.transition import between, upon

RED_DISK = "uuid:00000000-0000-0000-0000-00000000000a"
RED_ROM = "uuid:00000000-0000-0000-0000-00000000000c"
Start = Callable[..., int]
Edited = Callable[[str, str], Policy]


def test_a_refused_call_leaves_the_very_same_state(host: XenHost, start: Start) -> None:
    red, green = start("red"), start("green")
    before = host.state
    with pytest.raises(AccessDenied) as denied:
        host.invoke(AllocUnbound(red, green))
    assert host.state is before
    assert denied.value.code == "ste-no-shared-type"
    with pytest.raises(NoSuchObjectError):
        host.guest(red).close(77)
    assert host.state is before


def test_a_call_that_cannot_be_recorded_does_not_happen(host: XenHost, start: Start) -> None:
    red = start("red")
    before = host.state

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    host.trail._sink = full
    with pytest.raises(OSError, match="No space"):
        host.invoke(PauseDomain(DOM0, red))
    assert host.state is before


def test_an_update_that_is_recorded_in_part_is_told_as_failed(
    host: XenHost, start: Start, edited: Edited
) -> None:
    """The first record says that it is done; one that tells what ends with it finds no room."""
    first, second = host.guest(start("red")), host.guest(start("red-west"))
    second.bind_interdomain(first.domid, first.alloc_unbound(second.domid))
    policy = edited("red-west: {ste: [red]", "red-west: {ste: [blue]")
    before, lines = host.state, list[bytes]()

    def filling(line: bytes) -> None:
        if len(lines) == 1:
            raise OSError(28, "No space left on device")
        lines.append(line)

    host.trail._sink = filling
    with pytest.raises(OSError, match="No space"):
        host.replace_policy(policy, revoke=True)
    assert host.state is before
    host.trail._sink = None
    host.invoke(PauseDomain(DOM0, first.domid))
    *_, done, failed, paused = host.trail
    assert [(each.action, each.outcome) for each in (done, failed, paused)] == [
        ("H19", "done"),
        ("H19", "failed"),
        ("H04", "done"),
    ]
    assert failed.why[0][0] == "not-recorded"


def test_a_paused_domain_cannot_call(host: XenHost, start: Start) -> None:
    red, other = start("red"), start("red")
    host.invoke(PauseDomain(DOM0, red))
    with pytest.raises(BadStateError):
        host.invoke(AllocUnbound(red, other))
    with pytest.raises(BadStateError):
        host.guest(red).read(0, 0, 1)


def test_a_paused_domain_does_nothing_by_what_it_has_bound(host: XenHost, start: Start) -> None:
    """The data path asks no policy, so it is here that a paused domain is kept from it."""
    red, other = host.guest(start("red")), host.guest(start("red"))
    port = red.bind_interdomain(other.domid, other.alloc_unbound(red.domid))
    ref = other.grant_access(red.domid, 0, GrantKind.WRITE)
    handle = red.map_grant(other.domid, ref, writable=True)
    other.register_ring(1, red.domid, (5,))
    red.register_ring(1, other.domid, (5,))
    host.invoke(PauseDomain(DOM0, red.domid))
    for act in (
        lambda: red.send(port),
        lambda: red.take_signals(port),
        lambda: red.read_mapped(handle, 0, 1),
        lambda: red.write_mapped(handle, 0, b"x"),
        lambda: red.write(0, 0, b"x"),
        lambda: red.send_message(other.domid, 1, b"x"),
        lambda: red.take_message(1, other.domid),
    ):
        with pytest.raises(BadStateError, match="paused"):
            act()
    assert other.take_message(1, red.domid) is None
    assert other.read(0, 0, 1) == b"\0"


def test_decisions_are_taken_once_per_label_pair_operation_and_epoch(
    host: XenHost, start: Start, watched: Any
) -> None:
    first, second, third = start("red"), start("red"), start("green")
    bench = watched(host.state)
    for remote in (second, second, first):
        bench.monitor.invoke(AllocUnbound(first, remote))
    assert len(bench.engine.asked) == 1
    bench.monitor.invoke(AllocUnbound(first, third))
    assert len(bench.engine.asked) == 2


def test_the_data_path_asks_nothing(host: XenHost, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    port = first.bind_interdomain(both, second.alloc_unbound(red))
    handle = first.map_grant(both, second.grant_access(red, 0, GrantKind.WRITE), writable=True)
    second.register_ring(1, red, (5,))
    host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))
    host.invoke(AttachResource(DOM0, red, "vlan:1", AccessMode.WRITE))
    disk, vif = host.connect_disk(red, RED_DISK), host.connect_vif(red, "vlan:1", "00:16:3e:00:00:01")
    asked: list[str] = []
    for kind, names in (
        (type(host.monitor), ("decide", "invoke", "_prepare", "judge")),
        (type(host.monitor.engine), ("decide",)),
        (DecisionCache, ("find",)),
    ):
        for name in names:
            monkeypatch.setattr(kind, name, lambda *_, name=name: asked.append(name))
    for _ in range(100):
        first.send(port)
        first.write_mapped(handle, 0, b"payload")
        assert second.read(0, 0, 7) == b"payload"
        assert first.read_mapped(handle, 0, 7) == b"payload"
        first.send_message(both, 1, b"message")
        assert second.take_message(1, red)
        disk.write(0, bytes(512))
        assert disk.read(0, 1) == bytes(512)
        vif.send(b"\xff" * 6, b"hello")
    assert asked == []


def test_the_cache_counts_what_it_answered_and_what_the_engine_did(host: XenHost, start: Start) -> None:
    red, other = start("red"), start("red")
    before = host.monitor.cache_counts
    for _ in range(10):
        host.guest(red).alloc_unbound(other)
    after = host.monitor.cache_counts
    assert (after.hits - before.hits, after.misses - before.misses) == (9, 1)
    assert after.entries == before.entries + 1


def test_defect_d1_a_relabel_leaves_no_stale_permit(host: XenHost, start: Start) -> None:
    """Xen 3.x kept permits by domain identifier and did not flush them on relabel (facts/acm.md, D1)."""
    red = start("red")
    host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))
    host.invoke(DetachResource(DOM0, red, RED_DISK))
    host.invoke(RelabelResource(DOM0, RED_DISK, "red", "green"))
    with pytest.raises(AccessDenied):
        host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))


def test_defect_d1_a_reused_domain_identifier_inherits_no_permit(host: XenHost, start: Start) -> None:
    first, second = start("red"), start("red")
    host.guest(first).alloc_unbound(second)
    port, ref = (
        host.guest(second).alloc_unbound(first),
        host.guest(second).grant_access(first, 0, GrantKind.READ),
    )
    host.invoke(DestroyDomain(DOM0, first))
    assert start("green") == first
    with pytest.raises(AccessDenied):
        host.guest(first).bind_interdomain(second, port)
    with pytest.raises(AccessDenied):
        host.guest(first).map_grant(second, ref, writable=False)
    assert not host.state.domain(second).ports
    assert not host.state.domain(second).grants


def test_a_running_or_used_domain_keeps_its_label(host: XenHost, start: Start) -> None:
    red = start("red")
    before = host.state
    with pytest.raises(BadStateError, match="running"):
        host.invoke(RelabelDomain(DOM0, red, "red", "red-blue"))
    assert host.state is before
    host.invoke(PauseDomain(DOM0, red))
    with pytest.raises(BadStateError, match="keeps its label"):
        host.invoke(RelabelDomain(DOM0, red, "red", "red-blue"))


def test_relabel_is_compare_and_swap_and_judged_under_the_new_label(host: XenHost, start: Start) -> None:
    start("red-west")
    uuid = "33333333-3333-4333-8333-333333333333"
    new = host.invoke(CreateDomain(DOM0, uuid, "new", "green", 1, 1))
    with pytest.raises(AccessDenied) as denied:
        host.invoke(RelabelDomain(DOM0, new, "green", "red-east"))
    assert denied.value.code == "chwall-conflict"
    with pytest.raises(BadStateError, match="not blue"):
        host.invoke(RelabelDomain(DOM0, new, "blue", "red"))
    host.invoke(RelabelDomain(DOM0, new, "green", "red"))
    assert host.state.domain(new).label == "red"


def test_a_resource_in_use_keeps_its_label(host: XenHost, start: Start) -> None:
    host.invoke(AttachResource(DOM0, start("red"), RED_DISK, AccessMode.READ))
    with pytest.raises(BadStateError, match="in use"):
        host.invoke(RelabelResource(DOM0, RED_DISK, "red", "green"))


def test_the_chinese_wall_holds_until_the_competitor_is_gone(host: XenHost, start: Start) -> None:
    west = start("red-west")
    start("red-west")
    with pytest.raises(AccessDenied) as denied:
        start("red-east")
    assert denied.value.code == "chwall-conflict"
    host.invoke(DestroyDomain(DOM0, west))
    with pytest.raises(AccessDenied):
        start("red-east")
    host.invoke(DestroyDomain(DOM0, 2))
    start("red-east")


def test_an_unknown_label_is_refused_and_recorded(host: XenHost, start: Start) -> None:
    before = host.state
    with pytest.raises(Undecided) as refused:
        start("purple")
    assert refused.value.code == "unknown-label"
    assert host.state is before
    assert [record.outcome for record in host.trail] == ["denied"]


def test_a_policy_that_live_sharing_violates_is_rejected(host: XenHost, start: Start, edited: Edited) -> None:
    red, both = start("red"), start("red-blue")
    second = host.guest(both)
    host.guest(red).bind_interdomain(both, second.alloc_unbound(red))
    before = host.state
    apart = edited("red-blue: {ste: [red, blue]}", "red-blue: {ste: [blue]}")
    with pytest.raises(UpdateRefused) as denied:
        host.replace_policy(apart)
    assert denied.value.code == "channel-refused"
    assert host.state is before
    host.invoke(DestroyDomain(DOM0, both))
    assert host.replace_policy(apart) == 2
    assert host.state.policy.digest == apart.digest
    new = start("red-blue")
    with pytest.raises(AccessDenied):
        host.guest(red).alloc_unbound(new)


def test_a_policy_that_runs_competitors_together_is_rejected(
    host: XenHost, start: Start, edited: Edited
) -> None:
    start("red-west")
    start("blue")
    worse = edited("blue: {ste: [blue]}", "blue: {ste: [blue], chwall: [east]}")
    with pytest.raises(UpdateRefused) as denied:
        host.replace_policy(worse)
    assert denied.value.code == "chwall-conflict"


def test_a_policy_without_a_live_label_is_rejected(host: XenHost, start: Start, edited: Edited) -> None:
    start("blue")
    with pytest.raises(UpdateRefused) as refused:
        host.replace_policy(edited("  blue: {ste: [blue]}\n", ""))
    assert refused.value.code == "label-deleted"
    assert host.state.policy.epoch == 1


def test_a_refused_policy_leaves_nothing_in_the_cache(host: XenHost, start: Start, edited: Edited) -> None:
    red, both, blue = start("red"), start("red-blue"), start("blue")
    second = host.guest(both)
    host.guest(red).bind_interdomain(both, second.alloc_unbound(red))
    # This one would let red meet blue, and fails only for the channel between red and red-blue.
    opened = edited("  red: {ste: [red]}\n  red-west", "  red: {ste: [blue]}\n  red-west")
    opened_apart = edited("red-blue: {ste: [red, blue]}", "red-blue: {ste: [red]}")
    second.map_grant(blue, host.guest(blue).grant_access(both, 0, GrantKind.READ), writable=False)
    with pytest.raises(UpdateRefused):
        host.replace_policy(opened_apart)
    assert host.replace_policy(opened) == 2
    host.guest(red).alloc_unbound(blue)


def test_a_domain_0_label_must_be_in_the_policy(description: Any, edited: Edited) -> None:
    with pytest.raises(LabelError):
        XenHost(dataclasses.replace(description, dom0_label="nobody"), edited("name: test", "name: other"))


def test_the_trail_tells_who_when_what_and_why(host: XenHost, start: Start) -> None:
    red, green = start("red"), start("green")
    host.invoke(PauseDomain(DOM0, green), actor="alice", why="maintenance")
    host.run(5)
    with pytest.raises(AccessDenied):
        host.guest(red).map_grant(green, 8, writable=True)
    done, denied = list(host.trail)[-2:]
    assert (done.who, done.outcome) == ("alice on domain 0 Domain-0 (dom0)", "done")
    assert done.why == (("asked", "maintenance"),)
    assert (denied.time_ns, denied.action, denied.outcome) == (5, "H12", "denied")
    assert denied.what == "MapGrant(granter=2, ref=8, writable=True)"
    assert denied.why[0][0] == "ste-no-shared-type"


def test_a_cached_decision_is_not_found_in_another_epoch_or_for_another_label() -> None:
    cache, permitted = DecisionCache(), permit(Reason(Code.NOT_MEDIATED, "test"))
    asked = Request(Operation.SHARE, "vm:red", "vm:blue")
    cache.keep(asked, 1, permitted)
    assert cache.find(asked, 1) is permitted
    assert cache.find(asked, 2) is None
    for other in (
        asked._replace(op=Operation.READ),
        asked._replace(subject="vm:green"),
        asked._replace(object="vm:green"),
    ):
        assert cache.find(other, 1) is None


def test_a_question_is_made_once_and_never_taken_for_another() -> None:
    op = Operation.READ
    asked = between(op, "red", "blue")
    assert between(op, "red", "blue") is asked
    assert asked == Request(op, "vm:red", "vm:blue")
    # A domain and a resource may share a name.
    assert upon(op, "red", "blue") == Request(op, "vm:red", "res:blue")
    assert between(Operation.WRITE, "red", "blue").op is Operation.WRITE
    assert between(op, "blue", "red") == Request(op, "vm:blue", "vm:red")


def test_a_new_epoch_forgets_all_decisions_of_an_older_one() -> None:
    cache, permitted = DecisionCache(), permit(Reason(Code.NOT_MEDIATED, "test"))
    asked = Request(Operation.SHARE, "vm:red", "vm:blue")
    cache.keep(asked, 1, permitted)
    cache.keep(asked._replace(op=Operation.READ), 2, permitted)
    assert cache.find(asked, 2) is None
    assert cache.find(asked, 1) is None
    assert cache.counts.entries == 1


def test_a_cache_never_holds_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypervisor.decision_cache.LIMIT", 3)
    cache, permitted = DecisionCache(), permit(Reason(Code.NOT_MEDIATED, "test"))
    for number in range(10):
        asked = Request(Operation.SHARE, f"vm:{number}", "vm:blue")
        cache.keep(asked, 1, permitted)
        assert cache.find(asked, 1) is permitted
        assert cache.counts.entries <= 3
