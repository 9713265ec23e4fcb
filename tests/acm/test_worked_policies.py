"""The worked policies beside the data centre keep their promises as a whole, not only in examples."""

from __future__ import annotations

from functools import cache
from itertools import permutations, product

import pytest

from acm import history
from acm.admission import Admission
from acm.engine import Operation, Request, decide
from acm.operations import RULES, Question
from acm.policy import Kind, Policy
from acm.policyfile import load
from tests.conftest import REPOSITORY


@cache
def worked(name: str) -> Policy:
    return load((REPOSITORY / f"configs/policies/{name}.yaml").read_bytes())


def moves(policy: Policy, without: frozenset[str] = frozenset()) -> set[tuple[str, str]]:
    """Every (from, to) between labels that some permitted operation moves information along."""
    found = set()
    domains = [f"vm:{name}" for name in policy.domain_labels if name not in without]
    resources = [f"res:{name}" for name in policy.resource_labels]
    for op, rule in RULES.items():
        if rule.question is not Question.FLOW:
            continue
        targets = (domains if Kind.DOMAIN in rule.objects else []) + (
            resources if Kind.RESOURCE in rule.objects else []
        )
        for subject, target in product(domains, targets):
            if decide(policy, Request(Operation(op), subject, target)).permitted:
                found |= {(target, subject)} if rule.reads else set()
                found |= {(subject, target)} if rule.writes else set()
    return found


def reached(edges: set[tuple[str, str]], start: str) -> set[str]:
    seen, frontier = {start}, [start]
    while frontier:
        here = frontier.pop()
        for source, sink in edges:
            if source == here and sink not in seen:
                seen.add(sink)
                frontier.append(sink)
    return seen


def test_work_and_home_never_reach_each_other_without_the_trusted() -> None:
    edges = moves(worked("simple-domains"), frozenset({"dom0", "printer"}))
    assert reached(edges, "vm:work") == {"vm:work", "res:work-disk", "res:work-vlan"}
    assert reached(edges, "vm:home") == {"vm:home", "res:home-disk"}
    assert "res:internet-vlan" in reached(edges, "vm:browser")
    alone = moves(worked("simple-domains"), frozenset({"dom0", "printer", "firewall"}))
    assert reached(alone, "vm:browser") == {"vm:browser", "res:browser-disk"}


def test_in_the_mls_policy_information_sinks_only_through_the_trusted() -> None:
    policy = worked("mls")
    edges = moves(policy, policy.trusted)
    levels = {f"vm:{name}": label.mls for name, label in policy.domain_labels.items()}
    levels |= {f"res:{name}": label.mls for name, label in policy.resource_labels.items()}
    for start, place in levels.items():
        for end in reached(edges, start):
            assert place is not None
            assert levels[end] is not None
            assert start.partition(":")[2] in policy.trusted or levels[end].low.dominates(place.high)  # type: ignore[union-attr]  # checked above


def test_the_release_guard_brings_down_what_is_internal_and_nothing_secret() -> None:
    edges = moves(worked("mls"), frozenset({"dom0"}))
    public = {"vm:web", "res:web-disk", "res:map-store", "res:internet-vlan"}
    assert public <= reached(edges, "vm:office")
    for secret in ("vm:navy-plans", "vm:army-plans", "vm:joint-staff", "res:navy-disk", "res:audit-log"):
        assert not public & reached(edges, secret)


@pytest.mark.parametrize("order", list(permutations(["bank-a", "bank-b", "oil-a", "oil-b", "research"], 4)))
def test_no_host_ever_runs_two_of_one_conflict_set_in_whatever_order_they_come(
    order: tuple[str, ...],
) -> None:
    policy, begun = worked("chinese-wall"), history.begin(bytes(32))
    state = Admission(policy, "dom0", (), begun, begun.anchor)
    have_run: set[str] = set()
    for label in order:
        rivals = {"bank-a": "bank-b", "bank-b": "bank-a", "oil-a": "oil-b", "oil-b": "oil-a"}
        decision, state = state.admit(Operation.START, label)
        assert decision.permitted is (rivals.get(label) not in have_run)
        if decision.permitted:
            have_run.add(label)
            state = state.leave(label)


def test_no_two_clients_share_anything() -> None:
    clients = ["bank-a", "bank-b", "bank-c", "oil-a", "oil-b"]
    edges = moves(worked("chinese-wall"), frozenset({"dom0"}))
    for client in clients:
        assert reached(edges, f"vm:{client}") == {f"vm:{client}", f"res:{client}-disk"}
