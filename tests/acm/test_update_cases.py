"""What an update breaks, case by case: lineage, renames, deleted labels, each kind of sharing, and mends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from acm.errors import UpdateError
from acm.labels import INACCESSIBLE
from acm.livestate import (
    ArgoRing,
    Attachment,
    Channel,
    GrantMapping,
    LiveDomain,
    LiveResource,
    LiveState,
    Mode,
    PolicyReference,
    ResourceKind,
)
from acm.mending import Cost, mend
from acm.policy import Policy
from acm.policyfile import load
from acm.update import Amendment, judge, revocation
from acm.violations import Fault
from acm.walls import EXACT_KINDS

HEAD = 'format: shype.policy/1\nname: new\nversion: "1.1"\nbootstrap: dom0\n'
FROM = 'from: {name: old, version: "1.0"}\n'
STE = "ste: {types: [a, b]}\n"
DISK, VLAN = "uuid:disk", "vlan:7"


def policy(domains: str, resources: str = "", more: str = FROM) -> Policy:
    labels = f"domain_labels: {{dom0: {{ste: [a, b]}}, {domains}}}\n"
    return load((HEAD + STE + more + labels + f"resource_labels: {{{resources}}}\n").encode())


BOTH = policy("one: {ste: [a]}, two: {ste: [a]}", "disk: {ste: a}, net: {ste: a}")
"""Everything below is permitted by this one."""
LIVE = LiveState(
    policy=PolicyReference("old", "1.0"),
    domains=(
        LiveDomain(0, "Domain-0", "dom0"),
        LiveDomain(1, "first", "one"),
        LiveDomain(2, "second", "two"),
    ),
    resources=(
        LiveResource(ResourceKind.DISK, DISK, "disk"),
        LiveResource(ResourceKind.VLAN, VLAN, "net"),
    ),
    attachments=(Attachment(1, DISK, Mode.READ), Attachment(2, VLAN, Mode.WRITE)),
    channels=(Channel(1, 3, 2, 4), Channel(0, 9, 1, 5)),
    grants=(GrantMapping(1, 8, 2, 0, Mode.READ),),
    argo=(ArgoRing(2, 80, 1),),
)


def codes(new: Policy, live: LiveState = LIVE) -> list[str]:
    return [str(each.code) for each in judge(new, live).violations]


def test_nothing_breaks_and_the_lineage_holds() -> None:
    update = judge(BOTH, LIVE)
    assert update.holds
    assert (update.violations, update.lineage) == ((), ())
    found = mend(update)
    assert found is not None
    assert (found.amendment, found.cost, found.optimal) == (Amendment(), Cost(0, 0), True)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("", "lineage-missing"),
        ('from: {name: older, version: "1.0"}\n', "lineage-mismatch"),
        ('from: {name: old, version: "0.9"}\n', "lineage-mismatch"),
    ],
)
def test_a_policy_that_is_no_successor(more: str, code: str) -> None:
    update = judge(policy("one: {ste: [a]}, two: {ste: [a]}", "disk: {ste: a}, net: {ste: a}", more), LIVE)
    assert [one.code for one in update.lineage] == [code]
    assert update.violations == ()
    assert not update.holds


def test_the_version_must_grow_number_by_number() -> None:
    running = replace(LIVE, policy=PolicyReference("old", "1.0"))
    assert judge(replace(BOTH, version="1.10"), running).lineage == ()
    assert [one.code for one in judge(replace(BOTH, version="0.99"), running).lineage] == [
        "version-not-newer"
    ]
    assert [one.code for one in judge(replace(BOTH, version="1.0"), running).lineage] == ["version-not-newer"]


def test_a_renamed_label_is_the_same_label() -> None:
    renames = f"{FROM}renames: {{domain_labels: {{uno: one}}, resource_labels: {{plate: disk}}}}\n"
    new = policy("uno: {ste: [a]}, two: {ste: [a]}", "plate: {ste: a}, net: {ste: a}", renames)
    update = judge(new, LIVE)
    assert update.holds
    assert (update.names[1], update.names[2], update.names[DISK]) == ("uno", "two", "plate")


def test_two_labels_may_swap_their_names() -> None:
    renames = f"{FROM}renames: {{domain_labels: {{one: two, two: one}}}}\n"
    new = policy("one: {ste: [b]}, two: {ste: [a]}", "disk: {ste: a}, net: {ste: b}", renames)
    update = judge(new, LIVE)
    assert (update.names[1], update.names[2]) == ("two", "one")
    assert {each.code for each in update.violations} == {
        Fault.CHANNEL_REFUSED,
        Fault.GRANT_REFUSED,
        Fault.ARGO_REFUSED,
    }


def test_a_name_that_went_to_another_label_does_not_take_its_former_holders_in() -> None:
    """Label 'two' of the old policy is gone; what is called 'two' now is the former 'one'."""
    renames = f"{FROM}renames: {{domain_labels: {{two: one}}}}\n"
    update = judge(policy("two: {ste: [a]}", "disk: {ste: a}, net: {ste: a}", renames), LIVE)
    assert (update.names[1], update.names[2]) == ("two", None)
    assert (Fault.LABEL_DELETED, 2) in [(each.code, each.parties[0].id) for each in update.violations]


def test_a_deleted_label_in_use_names_its_holder_and_all_it_shares() -> None:
    update = judge(policy("one: {ste: [a]}", "disk: {ste: a}, net: {ste: a}"), LIVE)
    assert [str(each.code) for each in update.violations] == [
        "label-deleted",
        "vlan-refused",
        "channel-refused",
        "grant-refused",
        "argo-refused",
    ]
    assert {why.code for each in update.violations for why in each.why} == {"unknown-label"}
    gone, vlan = update.violations[:2]
    assert [why.detail for why in gone.why] == ["policy 'new' 1.1 has no domain label 'two'"]
    assert vlan.why == gone.why
    found = mend(update)
    assert found is not None
    assert found.amendment == Amendment(stop=frozenset({2}))


def test_a_deleted_label_of_a_resource_is_told_as_one() -> None:
    update = judge(policy("one: {ste: [a]}, two: {ste: [a]}", "disk: {ste: a}"), LIVE)
    assert [(str(each.code), each.why[0].detail) for each in update.violations] == [
        ("label-deleted", "policy 'new' 1.1 has no resource label 'net'"),
        ("vlan-refused", "policy 'new' 1.1 has no resource label 'net'"),
    ]


def test_a_deleted_label_of_a_resource_that_nobody_uses_is_in_use_still() -> None:
    """Or a later policy could bring the name back, with another meaning."""
    live = replace(LIVE, attachments=())
    update = judge(policy("one: {ste: [a]}, two: {ste: [a]}", "net: {ste: a}"), live)
    assert [(each.code, each.parties[0].id) for each in update.violations] == [(Fault.LABEL_DELETED, DISK)]
    assert revocation(update) == Amendment(relabel={DISK: INACCESSIBLE.name})


def test_domain_0_without_a_label_is_beyond_mending() -> None:
    labels = "domain_labels: {host: {ste: [a, b]}, one: {ste: [a]}, two: {ste: [a]}}\n"
    new = load((HEAD.replace("dom0", "host") + STE + FROM + labels + "resource_labels: {}\n").encode())
    update = judge(new, LIVE)
    assert update.violations[0].code is Fault.DOMAIN0_LABEL
    assert mend(update) is None


def test_what_is_unlabelled_stays_what_it_is() -> None:
    live = LiveState(
        PolicyReference("old", "1.0"),
        (LiveDomain(0, "Domain-0", "dom0"), LiveDomain(1, "stray", "__UNLABELED__")),
        (LiveResource(ResourceKind.DISK, DISK, "__INACCESSIBLE__"),),
    )
    update = judge(BOTH, live)
    assert (update.names[1], update.names[DISK]) == ("__UNLABELED__", "__INACCESSIBLE__")
    assert [(each.code, each.why[0].code) for each in update.violations] == [
        (Fault.NOT_ADMITTED, "unlabeled-confined")
    ]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (("one: {ste: [a]}, two: {ste: [a]}", "disk: {ste: b}, net: {ste: a}"), ["disk-refused"]),
        (("one: {ste: [a]}, two: {ste: [a]}", "disk: {ste: a}, net: {ste: b}"), ["vlan-refused"]),
        (
            ("one: {ste: [a]}, two: {ste: [b]}", "disk: {ste: a}, net: {ste: b}"),
            ["channel-refused", "grant-refused", "argo-refused"],
        ),
    ],
)
def test_each_kind_of_sharing_has_its_code(new: tuple[str, str], expected: list[str]) -> None:
    update = judge(policy(*new), LIVE)
    assert [str(each.code) for each in update.violations] == expected
    for each in update.violations:
        assert each.op is not None
        assert each.sharing in LIVE.sharings
        assert [why.code for why in each.why] == ["ste-no-shared-type"]


def test_levels_tell_a_reader_from_a_writer() -> None:
    """The reader below may not map the page above; read-only from above it may."""
    more = FROM + "mls: {levels: [low, high], trusted: [dom0]}\n"
    labels = "domain_labels: {dom0: {ste: [a], mls: {low: low, high: high}}, "
    labels += "one: {ste: [a], mls: low}, two: {ste: [a], mls: high}}\n"
    new = load((HEAD + STE + more + labels).encode())
    live = replace(LIVE, resources=(), attachments=(), channels=(), argo=())
    assert codes(new, live) == []
    assert codes(new, replace(live, grants=(GrantMapping(1, 8, 2, 0, Mode.WRITE),))) == ["grant-refused"]
    assert codes(new, replace(live, grants=(GrantMapping(2, 8, 1, 0, Mode.READ),))) == ["grant-refused"]
    assert codes(new, replace(live, channels=LIVE.channels[:1])) == ["channel-refused"]


def wall(names: list[str], sets: str, *, history: bool = False, dom0: str = "") -> Policy:
    """A policy of labels that hold the one Chinese Wall type of their own name."""
    types = ", ".join(names)
    labels = "".join(f", {name}: {{chwall: [{name}]}}" for name in names)
    text = f"chwall: {{types: [{types}], history: {str(history).lower()}, conflict_sets: {{{sets}}}}}\n"
    return load((HEAD + FROM + text + f"domain_labels: {{dom0: {{chwall: [{dom0}]}}{labels}}}\n").encode())


def running(*labels: str, past: frozenset[str] | None = None) -> LiveState:
    domains = [LiveDomain(0, "Domain-0", "dom0")]
    domains += [LiveDomain(domid, f"d{domid}", label) for domid, label in enumerate(labels, 1)]
    return LiveState(PolicyReference("old", "1.0"), tuple(domains), past_types=past)


def test_a_new_conflict_set_names_everybody_in_it_and_the_fewest_stop() -> None:
    update = judge(wall(["x", "y", "z"], "apart: [x, y]"), running("x", "y", "x", "z"))
    (violation,) = update.violations
    assert (violation.code, violation.why[0].code) == (Fault.CHWALL_CONFLICT, "chwall-conflict")
    assert sorted((each.id, each.holds) for each in violation.parties) == [
        (1, ("x",)),
        (2, ("y",)),
        (3, ("x",)),
    ]
    found = mend(update)
    assert found is not None
    assert (found.amendment.stop, found.cost) == (frozenset({2}), Cost(1, 0))


def test_who_conflicts_with_domain_0_has_to_stop() -> None:
    update = judge(wall(["x", "y"], "apart: [x, y]", dom0="x"), running("y", "y"))
    assert {each.code for each in update.violations} == {Fault.NOT_ADMITTED}
    found = mend(update)
    assert found is not None
    assert found.amendment.stop == {1, 2}


def test_every_rule_that_refuses_a_domain_is_named() -> None:
    """The engine stops at its first component; who mends a policy wants to know of all of them."""
    text = "chwall: {types: [x, y], conflict_sets: {apart: [x, y]}}\n"
    labels = "domain_labels: {dom0: {ste: [a], chwall: [x]}, one: {ste: [b], chwall: [y]}}\n"
    update = judge(load((HEAD + STE + FROM + text + labels).encode()), running("one"))
    assert [why.code for each in update.violations for why in each.why] == [
        "chwall-conflict",
        "ste-not-authorized",
    ]


@pytest.mark.parametrize(
    ("past", "code"),
    [(frozenset({"x", "z"}), []), (frozenset({"x", "y"}), ["chwall-history"]), (None, ["history-missing"])],
)
def test_past_runs_count_where_the_policy_counts_them(past: frozenset[str] | None, code: list[str]) -> None:
    live = running("x", past=past)
    update = judge(wall(["x", "y", "z"], "apart: [x, y]", history=True), live)
    assert [why.code for each in update.violations for why in each.why] == code
    assert judge(wall(["x", "y", "z"], "apart: [x, y]"), live).holds


def test_of_two_smallest_choices_the_one_that_cuts_less_sharing() -> None:
    """x and y exclude each other; y has shared with z what neither may any more, so y goes."""
    text = "chwall: {types: [x, y], conflict_sets: {apart: [x, y]}}\n"
    labels = "x: {ste: [a], chwall: [x]}, y: {ste: [a], chwall: [y]}, z: {ste: [b]}"
    new = load((HEAD + STE + FROM + text + f"domain_labels: {{dom0: {{ste: [a, b]}}, {labels}}}\n").encode())
    live = replace(running("x", "y", "z"), channels=(Channel(2, 1, 3, 1), Channel(2, 2, 3, 2)))
    found = mend(judge(new, live))
    assert found is not None
    assert (found.amendment, found.cost) == (Amendment(stop=frozenset({2})), Cost(1, 0))


def test_a_relabel_is_proposed_where_it_saves_revocations() -> None:
    users = tuple(Attachment(domid, DISK, Mode.WRITE) for domid in (1, 2))
    live = replace(LIVE, attachments=users)
    labels = "one: {ste: [a]}, two: {ste: [a]}"
    found = mend(judge(policy(labels, "disk: {ste: b}, other: {ste: a}, net: {ste: a}"), live))
    assert found is not None
    assert (found.amendment, found.cost) == (Amendment(relabel={DISK: "net"}), Cost(0, 1))
    alone = mend(judge(policy(labels, "disk: {ste: b}, net: {ste: b}"), live))
    assert alone is not None
    assert alone.amendment == Amendment(end=frozenset(users))


def test_beyond_the_exact_size_the_answer_says_how_far_it_may_be_off() -> None:
    """A ring of labels, each of which excludes its two neighbours."""
    count = EXACT_KINDS + 4
    names = [f"t{i}" for i in range(count)]
    sets = ", ".join(f"s{i}: [t{i}, t{(i + 1) % count}]" for i in range(count))
    update = judge(wall(names, sets), running(*names))
    found = mend(update)
    assert found is not None
    assert not found.optimal
    best = (count + 1) // 2
    assert found.bound.stops <= best <= found.cost.stops <= 2 * found.bound.stops
    assert not judge(update.new, update.live, found.amendment).violations


def test_of_labels_that_do_the_same_the_one_that_the_fewest_can_read_is_proposed() -> None:
    """Label 'all' is read by everybody, 'few' by the one who uses the disk and by Domain-0."""
    labels = "one: {ste: [a, b]}, two: {ste: [a]}, three: {ste: [a]}"
    for order in (
        "all: {ste: a}, few: {ste: b}",
        "aa-few: {ste: b}, all: {ste: a}",
        "few: {ste: b}, zz: {ste: a}",
    ):
        update = judge(policy(labels, f"{order}, net: {{ste: a}}"), LIVE)
        found = mend(update)
        assert found is not None
        assert found.amendment.relabel[DISK].endswith("few")


def test_beyond_the_exact_size_no_mend_is_below_the_stated_bound() -> None:
    """Stopping everybody revokes nothing, so nothing can be said of revocations."""
    count = EXACT_KINDS + 4
    names = [f"t{i}" for i in range(count)]
    sets = ", ".join(f"s{i}: [t{i}, t{(i + 1) % count}]" for i in range(count))
    labels = "".join(f", {name}: {{ste: [a], chwall: [{name}]}}" for name in names[1:])
    text = (
        f"{STE}chwall: {{types: [{', '.join(names)}], conflict_sets: {{{sets}}}}}\n"
        f"domain_labels: {{dom0: {{ste: [a, b]}}, t0: {{ste: [b], chwall: [t0]}}{labels}}}\n"
    )
    channels = tuple(Channel(1, 10 + other, other, 1) for other in range(2, count + 1))
    update = judge(load((HEAD + FROM + text).encode()), replace(running(*names), channels=channels))
    found = mend(update)
    assert found is not None
    assert not found.optimal
    everybody = Amendment(stop=frozenset(range(1, count + 1)))
    assert not judge(update.new, update.live, everybody).violations
    assert found.bound.others == 0
    assert found.bound.stops <= found.cost.stops


def test_many_small_walls_are_solved_exactly() -> None:
    """Sixty kinds of domains, in thirty pairs that have nothing to do with each other."""
    names = [f"t{i}" for i in range(60)]
    sets = ", ".join(f"s{i}: [t{2 * i}, t{2 * i + 1}]" for i in range(30))
    found = mend(judge(wall(names, sets), running(*names)))
    assert found is not None
    assert (found.optimal, found.cost, found.bound) == (True, Cost(30, 0), Cost(30, 0))


@pytest.mark.parametrize(
    ("amendment", "code"),
    [
        (Amendment(stop=frozenset({9})), "no-such-domain"),
        (Amendment(stop=frozenset({0})), "stop-domain-0"),
        (Amendment(end=frozenset({Channel(1, 1, 2, 1)})), "no-such-sharing"),
        (Amendment(relabel={"uuid:none": "disk"}), "no-such-resource"),
        (Amendment(relabel={DISK: "one"}), "no-such-label"),
    ],
)
def test_an_amendment_of_what_is_not_there_is_wrong_usage(amendment: Amendment, code: str) -> None:
    with pytest.raises(UpdateError) as caught:
        judge(BOTH, LIVE, amendment)
    assert caught.value.code == code


def test_amendments_add_up() -> None:
    one: Any = Amendment(frozenset({1}), frozenset(LIVE.channels), {DISK: "a"})
    assert one | Amendment(frozenset({2}), relabel={DISK: "b"}) == Amendment(
        frozenset({1, 2}), frozenset(LIVE.channels), {DISK: "b"}
    )
    assert not Amendment()
