"""Policy updates on a host that runs: all or nothing, and nothing against the new policy lives on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from acm import policyfile
from acm.errors import UpdateError
from acm.livestate import Channel, PolicyReference
from acm.policy import Policy
from acm.update import AS_IT_IS, Amendment
from hypervisor.attach import AttachResource
from hypervisor.domctl import CreateDomain, PauseDomain, UnpauseDomain
from hypervisor.errors import (
    AccessDenied,
    BadStateError,
    HypervisorDenied,
    HypervisorUsageError,
    PageFaultError,
    UpdateRefused,
)
from hypervisor.host import XenHost
from hypervisor.hostconfig import HostDescription
from hypervisor.policyctl import ReplacePolicy
from hypervisor.state import DOM0, AccessMode, GrantKind
from tests.hypervisor.examples import POLICY
from tests.hypervisor.test_hooks import blind

Start = Callable[..., int]
Edited = Callable[[str, str], Policy]
RED_DISK = "uuid:00000000-0000-0000-0000-00000000000a"
APART = ("red-blue: {ste: [red, blue]}", "red-blue: {ste: [blue]}")


def test_reject_is_the_default_and_says_everything(host: XenHost, start: Start, edited: Edited) -> None:
    red, both = start("red"), start("red-blue")
    host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    host.guest(red).map_grant(both, host.guest(both).grant_access(red, 0, GrantKind.READ), writable=False)
    before = host.state
    with pytest.raises(UpdateRefused) as refused:
        host.replace_policy(edited(*APART))
    assert host.state is before
    assert [str(each.code) for each in refused.value.update.violations] == [
        "channel-refused",
        "grant-refused",
    ]
    assert "and 1 more" in str(refused.value)
    record = list(host.trail)[-1]
    assert (record.action, record.outcome) == ("policy update", "denied")
    assert [code for code, _ in record.why] == ["channel-refused", "grant-refused"]


def test_revoke_ends_both_sides_and_leaves_the_rest(host: XenHost, start: Start, edited: Edited) -> None:
    red, both, other = start("red"), start("red-blue"), start("red")
    first, second, third = (host.guest(each) for each in (red, both, other))
    port = first.bind_interdomain(both, second.alloc_unbound(red))
    second.send(1)
    ref = second.grant_access(red, 0, GrantKind.WRITE)
    handle = first.map_grant(both, ref, writable=True)
    kept = first.bind_interdomain(other, third.alloc_unbound(red))
    second.register_ring(5, None, (30,))
    first.send_message(both, 5, b"hello")
    host.invoke(AttachResource(DOM0, both, RED_DISK, AccessMode.WRITE))
    assert host.replace_policy(edited(*APART), revoke=True) == 2
    assert port not in host.state.domain(red).ports
    assert not host.state.domain(both).ports
    assert not host.state.domain(both).grants
    assert not host.state.domain(both).attachments
    with pytest.raises(PageFaultError):
        first.read_mapped(handle, 0, 1)
    with pytest.raises(HypervisorUsageError):
        first.send(port)
    with pytest.raises(AccessDenied):
        first.send_message(both, 5, b"again")
    first.send(kept)
    assert third.take_signals(1) == 1
    # A number that is used again brings no event of the channel that was there.
    assert first.alloc_unbound(other) == port
    assert first.take_signals(port) == 0


def test_nothing_stale_survives_in_the_cache(host: XenHost, start: Start, edited: Edited) -> None:
    red, both = start("red"), start("red-blue")
    first, second = host.guest(red), host.guest(both)
    first.alloc_unbound(both)
    ref = second.grant_access(red, 0, GrantKind.READ)
    first.unmap_grant(first.map_grant(both, ref, writable=False))
    assert host.monitor.cache_counts.entries > 0
    host.replace_policy(edited(*APART), revoke=True)
    assert host.monitor.cache_counts.entries == 0
    with pytest.raises(AccessDenied):
        first.map_grant(both, ref, writable=False)
    with pytest.raises(AccessDenied):
        second.bind_interdomain(red, 1)


def test_a_domain_in_conflict_is_not_stopped_unless_it_is_named(
    host: XenHost, start: Start, edited: Edited
) -> None:
    west, blue = start("red-west"), start("blue")
    worse = edited("blue: {ste: [blue]}", "blue: {ste: [blue], chwall: [east]}")
    before = host.state
    with pytest.raises(UpdateRefused) as refused:
        host.replace_policy(worse, revoke=True)
    assert refused.value.code == "chwall-conflict"
    assert host.state is before
    secret = host.guest(blue)
    secret.write(0, 0, b"secret")
    assert host.replace_policy(worse, Amendment(stop=frozenset({blue}))) == 2
    assert host.state.domains.keys() == {DOM0, west}
    assert start("red") == blue
    assert host.guest(blue).read(0, 0, 6) == bytes(6)


def test_what_is_named_and_what_is_revoked_happen_together(
    host: XenHost, start: Start, edited: Edited
) -> None:
    red, both, green = start("red"), start("red-blue"), start("green")
    host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    amendment = Amendment(stop=frozenset({green}), relabel={RED_DISK: "blue"})
    host.replace_policy(edited(*APART), amendment, revoke=True)
    assert host.state.domains.keys() == {DOM0, red, both}
    assert host.state.resource(RED_DISK).label == "blue"
    assert not host.live_state().channels


def test_what_is_offered_and_not_used_does_not_stand_against_an_update(
    host: XenHost, start: Start, edited: Edited
) -> None:
    """And it is worth nothing afterwards: whoever takes it up is asked about then."""
    red, both = host.guest(start("red")), host.guest(start("red-blue"))
    port, ref = red.alloc_unbound(both.domid), red.grant_access(both.domid, 0, GrantKind.READ)
    red.register_ring(1, None, (5,))
    live = host.live_state()
    assert not live.channels
    assert not live.sharings
    host.replace_policy(edited(*APART))
    for take_up in (
        lambda: both.bind_interdomain(red.domid, port),
        lambda: both.map_grant(red.domid, ref, writable=False),
        lambda: both.send_message(red.domid, 1, b"x"),
    ):
        with pytest.raises(AccessDenied):
            take_up()


def test_the_memory_of_every_stopped_domain_is_scrubbed(host: XenHost, start: Start, edited: Edited) -> None:
    """One of three is not enough: what is left in free pages comes to whoever takes them next."""
    stopped = [start("red"), start("green"), start("blue")]
    for domid in stopped:
        host.guest(domid).write(7, 0, b"secret")
    assert host._memory.touched() == len(stopped)
    free = len(host.state.free)
    host.replace_policy(edited("name: test", "name: test"), Amendment(stop=frozenset(stopped)))
    assert host._memory.touched() == 0
    assert len(host.state.free) == free + 3 * 256


def test_a_stop_takes_pending_events_with_it(host: XenHost, start: Start, edited: Edited) -> None:
    red, both = start("red"), start("red-blue")
    port = host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    host.guest(both).send(1)
    host.replace_policy(edited(*APART), Amendment(stop=frozenset({both})))
    assert host.guest(red).alloc_unbound(DOM0) == port
    assert host.guest(red).take_signals(port) == 0


def test_a_grant_that_somebody_may_still_read_stays(description: HostDescription) -> None:
    """Of two mappings of one page, the writable one goes and the read-only one stays."""
    types = "ste: {types: [red, green, blue]}\n"
    levels = "mls: {levels: [low, high], trusted: [dom0]}\n"
    lines = [
        line.replace("}", ", mls: {low: low, high: high}}" if "dom0" in line else ", mls: high}")
        if line.startswith("  ")
        else line
        for line in POLICY.decode().splitlines()
    ]
    text = "\n".join(lines).replace(types.strip(), types + levels.strip())
    old = policyfile.load(text.encode())
    text = text.replace('version: "1.0"', 'version: "1.1"\nfrom: {name: test, version: "1.0"}')
    lower = policyfile.load(
        text.replace("red: {ste: [red], mls: high}", "red: {ste: [red], mls: low}").encode()
    )
    host = XenHost(description, old)
    for number, label in enumerate(("red", "red-blue"), 1):
        uuid = f"00000000-0000-4000-8000-{number:012x}"
        host.invoke(CreateDomain(DOM0, uuid, label, label, 1, 1))
        host.invoke(UnpauseDomain(DOM0, number))
    below, above = host.guest(1), host.guest(2)
    ref = below.grant_access(2, 0, GrantKind.WRITE)
    writing, reading = (above.map_grant(1, ref, writable=writable) for writable in (True, False))
    host.replace_policy(lower, revoke=True)
    below.write(0, 0, b"news from below")
    assert above.read_mapped(reading, 0, 15) == b"news from below"
    assert ref in host.state.domain(1).grants
    with pytest.raises(PageFaultError):
        above.write_mapped(writing, 0, b"leak")


def test_everything_that_ends_is_in_the_trail(host: XenHost, start: Start, edited: Edited) -> None:
    red, both = start("red"), start("red-blue")
    count = 20
    for _ in range(count):
        host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    last = len(host.trail)
    host.replace_policy(edited(*APART), revoke=True, why="contract ended")
    records = list(host.trail)[last:]
    assert {(each.action, each.outcome) for each in records} == {("H19", "done")}
    assert records[0].why == (("asked", "contract ended"),)
    assert f"{count} revoked" in records[0].what
    ends = [detail for each in records[1:] for code, detail in each.why if code == "with-it"]
    assert len(ends) == count
    assert "revoked event channel 1:1 - 2:1" in ends


def test_renamed_labels_are_the_labels_of_the_state(host: XenHost, start: Start) -> None:
    blue = start("blue")
    host.guest(blue).alloc_unbound(DOM0)
    head = 'version: "1.1"\nfrom: {name: test, version: "1.0"}\n'
    renames = "renames: {domain_labels: {azure: blue, host0: dom0}, resource_labels: {azure: blue}}"
    text = POLICY.decode().replace('version: "1.0"', head + renames)
    for old, new in (("dom0: {ste", "host0: {ste"), ("bootstrap: dom0", "bootstrap: host0")):
        text = text.replace(old, new)
    policy = policyfile.load(text.replace("\n  blue: {ste", "\n  azure: {ste").encode())
    assert host.replace_policy(policy) == 2
    assert (host.state.domain(blue).label, host.state.domain(DOM0).label) == ("azure", "host0")
    assert host.guest(blue).alloc_unbound(DOM0) > 0
    assert {each.policy for each in [host.live_state()]} == {PolicyReference("test", "1.1", policy.digest)}
    told = [detail for record in host.trail for code, detail in record.why if code == "with-it"]
    assert "renamed label of 1: blue -> azure" in told


def test_a_measurement_that_fails_leaves_everything_as_it_was(
    host: XenHost, start: Start, edited: Edited
) -> None:
    red, both = start("red"), start("red-blue")
    host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    before = host.state

    def broken() -> None:
        raise OSError(5, "the TPM does not answer")

    update = host.judge_policy(edited(*APART), revoke=True)
    with pytest.raises(OSError, match="does not answer"):
        host.enforce(update, measure=broken)
    assert host.state is before
    host.guest(red).send(1)
    record = list(host.trail)[-1]
    assert (record.action, record.outcome, record.why[0][0]) == ("H19", "failed", "not-measured")


def test_measured_is_what_takes_effect_and_only_that(host: XenHost, start: Start, edited: Edited) -> None:
    red, both = start("red"), start("red-blue")
    host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    measured: list[int] = []
    policy = edited(*APART)
    stale = host.judge_policy(policy, revoke=True)
    host.guest(red).map_grant(both, host.guest(both).grant_access(red, 0, GrantKind.READ), writable=False)
    with pytest.raises(HypervisorDenied):
        host.enforce(stale, measure=lambda: measured.append(1))
    assert measured == []
    host.enforce(
        host.judge_policy(policy, revoke=True), measure=lambda: measured.append(host.state.policy.epoch)
    )
    assert measured == [1], "measured before it takes effect"
    assert host.state.policy.epoch == 2


def test_a_forged_judgement_does_not_get_past_the_questions(
    host: XenHost, start: Start, edited: Edited
) -> None:
    red, both = start("red"), start("red-blue")
    host.guest(red).bind_interdomain(both, host.guest(both).alloc_unbound(red))
    before = host.state
    with pytest.raises(AccessDenied):
        host.invoke(blind(edited(*APART)))
    assert host.state is before
    with pytest.raises(BadStateError):
        host.invoke(replace(blind(edited("name: test", "name: test")), policy=before.policy))


def test_an_amendment_of_what_is_not_there_changes_nothing(host: XenHost, edited: Edited) -> None:
    before = host.state
    for amendment in (
        Amendment(stop=frozenset({7})),
        Amendment(stop=frozenset({DOM0})),
        Amendment(end=frozenset({Channel(1, 1, 2, 2)})),
        Amendment(relabel={"vlan:9": "red"}),
    ):
        with pytest.raises(UpdateError):
            host.replace_policy(edited(*APART), amendment)
    assert host.state is before


def test_a_relabelled_resource_stays_attached_under_its_new_label(
    host: XenHost, start: Start, edited: Edited
) -> None:
    red = start("red")
    host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))
    policy = edited("  red: {ste: red}\n", "  crimson: {ste: red}\n")
    with pytest.raises(UpdateRefused):
        host.replace_policy(policy)
    others = {"uuid:00000000-0000-0000-0000-00000000000c": "crimson", "vlan:1": "crimson"}
    host.replace_policy(policy, Amendment(relabel={RED_DISK: "crimson", **others}))
    assert host.state.resource(RED_DISK).label == "crimson"
    assert host.state.domain(red).attachments[RED_DISK] is AccessMode.WRITE


def test_a_device_that_lost_its_resource_or_its_link_is_let_go(
    host: XenHost, start: Start, edited: Edited
) -> None:
    red, blue = start("red"), start("blue")
    for domid, identity in ((red, RED_DISK), (red, "vlan:1")):
        host.invoke(AttachResource(DOM0, domid, identity, AccessMode.WRITE))
    disk, vif = host.connect_disk(red, RED_DISK), host.connect_vif(red, "vlan:1", "00:16:3e:00:00:01")
    host.replace_policy(edited("  red: {ste: red}\n", "  red: {ste: green}\n"), revoke=True)
    assert not host.is_connected(red, disk)
    assert not host.is_connected(red, vif)
    assert not host.state.domain(DOM0).mappings
    # Numbers of the back end that are used again do not lead an old device to another guest's pages.
    ref = host.guest(blue).grant_access(DOM0, 0, GrantKind.WRITE)
    host.guest(DOM0).map_grant(blue, ref, writable=True)
    host.guest(blue).write(0, 0, b"private")
    with pytest.raises(HypervisorUsageError):
        disk.read(0, 1)
    assert host.guest(blue).read(0, 0, 7) == b"private"


def test_a_stopped_guest_may_come_back_under_its_uuid(host: XenHost, start: Start, edited: Edited) -> None:
    red = start("red")
    uuid = host.state.domain(red).uuid
    host.invoke(AttachResource(DOM0, red, RED_DISK, AccessMode.WRITE))
    host.connect_disk(red, RED_DISK).write(0, b"x" * 512)
    host.replace_policy(edited("name: test", "name: test"), Amendment(stop=frozenset({red})))
    again = host.invoke(CreateDomain(DOM0, uuid, "again", "red", 1, 1))
    host.invoke(UnpauseDomain(DOM0, again))
    assert host.counters(again).blk_wr_ops == 0
    host.invoke(AttachResource(DOM0, again, RED_DISK, AccessMode.WRITE))
    assert host.connect_disk(again, RED_DISK).read(0, 1) == b"x" * 512


def test_a_paused_guest_is_judged_like_a_running_one(host: XenHost, start: Start, edited: Edited) -> None:
    start("red-west")
    host.invoke(PauseDomain(DOM0, start("blue")))
    with pytest.raises(UpdateRefused):
        host.replace_policy(edited("blue: {ste: [blue]}", "blue: {ste: [blue], chwall: [east]}"))


def test_a_call_without_lineage_is_refused_by_the_monitor_itself(host: XenHost, policy: Policy) -> None:
    call = replace(blind(policy), amendment=AS_IT_IS)
    assert isinstance(call, ReplacePolicy)
    with pytest.raises(UpdateRefused) as refused:
        host.invoke(call)
    assert refused.value.code == "lineage-missing"
