"""Flows against a graph that asks ``decide`` for every pair and walks in plain loops."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm.closure import closure
from acm.engine import Operation, Request, decide
from acm.errors import LabelError
from acm.flows import FlowGraph
from acm.policyfile import load
from tests.acm.policies import policies, references

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from acm.flows import Flow
    from acm.policy import Policy

UNLABELED = "vm:__UNLABELED__"

MLS = """\
format: shype.policy/1
name: offices
version: "1.0"
bootstrap: dom0
ste: {types: [a, b]}
mls: {levels: [public, secret], trusted: [dom0, guard]}
domain_labels:
  dom0: {ste: [a, b], mls: {low: public, high: secret}}
  guard: {ste: [a], mls: {low: public, high: secret}}
  desk: {ste: [a], mls: public}
  vault: {ste: [a], mls: secret}
  other: {ste: [b], mls: secret}
resource_labels:
  news: {ste: a, mls: public}
  plans: {ste: a, mls: secret}
"""


def edges(policy: Policy) -> dict[str, set[str]]:
    """Who can send to whom in one step, as the engine decides it."""
    domains, resources = references(policy)

    def may(op: Operation, subject: str, target: str) -> bool:
        return decide(policy, Request(op, subject, target)).permitted

    found: dict[str, set[str]] = {name: set() for name in [*domains, *resources]}
    for one in domains:
        for other in [*domains, *resources]:
            if may(Operation.READ, one, other):
                found[other].add(one)
            if may(Operation.WRITE, one, other):
                found[one].add(other)
    return found


def walk(graph: dict[str, set[str]], source: str, silent: set[str]) -> dict[str, int]:
    """How many steps it takes to everybody who is reached; ``silent`` pass nothing on."""
    distance, layer = {source: 0}, {source}
    while layer:
        senders = {one for one in layer if one == source or one not in silent}
        layer = {other for one in senders for other in graph[one]} - distance.keys()
        distance |= dict.fromkeys(layer, max(distance.values()) + 1)
    return distance


def full(graph: FlowGraph, number: int) -> str:
    one = graph.labels.labels[number]
    return f"{one.kind}:{one.label.name}"


def full_path(graph: FlowGraph, flow: Flow) -> list[str]:
    return [full(graph, graph.labels.number(name) or 0) for name in flow.path]


@st.composite
def questions(draw: st.DrawFn) -> tuple[Policy, list[str]]:
    policy = draw(policies())
    domains, resources = references(policy)
    return policy, draw(st.lists(st.sampled_from([*domains, *resources]), max_size=2))


@given(questions())
@settings(max_examples=40, deadline=None)
def test_flows_are_those_of_a_walk_over_the_decisions(question: tuple[Policy, list[str]]) -> None:
    policy, without = question
    graph, asked = edges(policy), FlowGraph(policy, without)
    closed = asked.closure()
    for number in range(len(asked.labels)):
        source = full(asked, number)
        distance = walk(graph, source, set(without))
        reached = {full(asked, each) for each in range(len(asked.labels)) if asked.reach(number) >> each & 1}
        assert reached == distance.keys() - {source}
        assert closed[number] == asked.reach(number)
        for target in graph:
            flow = asked.flow(source, target)
            assert (flow is not None) == (target in distance)
            if flow is not None:
                path = full_path(asked, flow)
                assert (path[0], path[-1], len(path) - 1) == (source, target, distance[target])
                assert all(after in graph[before] for before, after in pairwise(path))
                assert not set(path[1:-1]) & set(without)


@given(questions())
@settings(max_examples=25, deadline=None)
def test_all_flows_from_and_to_are_the_same_flows(question: tuple[Policy, list[str]]) -> None:
    graph = FlowGraph(*question)
    everything = {(flow.path[0], flow.path[-1]): len(flow.path) for flow in graph.all_flows()}
    names = [graph.labels.name(number) for number in range(len(graph.labels))]
    for name in names:
        outward = {flow.path[-1]: len(flow.path) for flow in graph.flows_from(name)}
        inward = {flow.path[0]: len(flow.path) for flow in graph.flows_to(name)}
        assert outward == {end: length for (start, end), length in everything.items() if start == name}
        assert inward == {start: length for (start, end), length in everything.items() if end == name}
        assert len(outward) == graph.reach(graph.labels.number(name) or 0).bit_count()


@given(policies())
@settings(max_examples=25, deadline=None)
def test_each_step_names_operations_that_the_engine_permits(policy: Policy) -> None:
    graph = FlowGraph(policy)
    for flow in graph.all_flows():
        for step in flow.steps:
            for op in step.operations:
                reads = op is Operation.READ
                subject, target = (step.target, step.source) if reads else (step.source, step.target)
                if op is Operation.SHARE or subject != "__UNLABELED__":
                    assert decide(policy, Request(op, subject, target)).permitted, step
        assert [one.label for one in flow.through] == list(flow.path[1:-1])
        ends = {
            full(graph, graph.labels.number(name) or 0).partition(":")[0]
            for name in (flow.path[0], flow.path[-1])
        }
        for one in flow.through if ends != {"res"} else ():
            joins = set(one.received).isdisjoint(one.passed)
            assert joins or one.span is not None, "each label on the way joins types or spans levels"


def number_of_paths(flows: Iterator[Flow]) -> int:
    return sum(1 for _ in flows)


def test_information_moves_up_and_comes_down_through_the_trusted_only() -> None:
    policy = load(MLS.encode())
    graph = FlowGraph(policy)
    up = graph.flow("desk", "vault")
    assert up is not None
    assert up.path == ("desk", "vault")
    assert up.steps[0].operations == (Operation.READ, Operation.WRITE)
    down = graph.flow("vault", "desk")
    assert down is not None
    assert down.path == ("vault", "guard", "desk"), "through Domain-0 only where there is no other way"
    assert down.through[0].span == "public to secret"
    assert FlowGraph(policy, ["guard"]).flow("vault", "desk").path == ("vault", "dom0", "desk")  # type: ignore[union-attr]  # that is asserted
    assert FlowGraph(policy, ["dom0", "guard"]).flow("vault", "desk") is None
    assert FlowGraph(policy, ["dom0", "guard"]).flow("news", "plans").path == ("news", "desk", "plans")  # type: ignore[union-attr]  # that is asserted


def test_types_are_joined_through_services_and_the_path_says_by_which(repository: Path) -> None:
    policy = load((repository / "configs/policies/datacenter.yaml").read_bytes())
    flow = FlowGraph(policy, ["dom0"]).flow("cola-web", "juice-web")
    assert flow is not None
    assert flow.path == ("cola-web", "dns", "juice-web")
    assert (flow.through[0].received, flow.through[0].passed) == (("dns-cola",), ("dns-juice",))
    trusted = ["dom0", "dom0-bank", "dns", "backup"]
    assert FlowGraph(policy, trusted).flow("cola-web", "juice-web") is None
    assert FlowGraph(policy, trusted).flow("cola-db", "cola-vlan") is not None


def test_what_stands_in_a_path_is_not_what_begins_or_ends_it(repository: Path) -> None:
    policy = load((repository / "configs/policies/datacenter.yaml").read_bytes())
    graph = FlowGraph(policy, ["dns"])
    assert graph.flow("cola-web", "dns") is not None
    assert graph.flow("dns", "juice-web") is not None


def test_a_wall_takes_no_flow_away() -> None:
    head = 'format: shype.policy/1\nname: p\nversion: "1.0"\nbootstrap: d\n'
    walls = "ste: {types: [a]}\nchwall: {types: [x, y], conflict_sets: {s: [x, y]}}\n"
    labels = "domain_labels: {d: {ste: [a]}, e: {ste: [a], chwall: [x]}, f: {ste: [a], chwall: [y]}}\n"
    flow = FlowGraph(load((head + walls + labels).encode())).flow("e", "f")
    assert flow is not None
    assert flow.path == ("e", "f")


def test_nothing_comes_from_or_to_what_is_inaccessible() -> None:
    graph = FlowGraph(load(MLS.encode()))
    assert graph.flow("dom0", "__INACCESSIBLE__") is None
    assert graph.flow("__INACCESSIBLE__", "dom0") is None
    assert number_of_paths(graph.flows_from("__INACCESSIBLE__")) == 0
    assert number_of_paths(graph.flows_to("__INACCESSIBLE__")) == 0
    assert graph.flow("res:__UNLABELED__", UNLABELED).path == ("__UNLABELED__",)  # type: ignore[union-attr]  # that is asserted


@pytest.mark.parametrize(("reference", "code"), [("nobody", "unknown-label"), ("vm:news", "unknown-label")])
def test_an_unknown_label_has_no_flows(reference: str, code: str) -> None:
    graph = FlowGraph(load(MLS.encode()))
    for ask in (
        lambda: graph.flow(reference, "dom0"),
        lambda: graph.flow("dom0", reference),
        lambda: list(graph.flows_from(reference)),
        lambda: list(graph.flows_to(reference)),
        lambda: FlowGraph(load(MLS.encode()), [reference]),
    ):
        with pytest.raises(LabelError) as caught:
            ask()
        assert caught.value.code == code


@given(st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_the_closure_of_any_graph_is_that_of_walks(size: int, data: st.DataObject) -> None:
    sets = st.integers(0, 2**size - 1)
    out_of = data.draw(st.lists(sets, min_size=size, max_size=size))
    passing = data.draw(sets)
    into = [sum(1 << one for one in range(size) if out_of[one] >> other & 1) for other in range(size)]
    graph = {
        str(one): {str(other) for other in range(size) if out_of[one] >> other & 1} for one in range(size)
    }
    silent = {str(one) for one in range(size) if not passing >> one & 1}
    for one, found in enumerate(closure(out_of, into, passing)):
        reached = {str(other) for other in range(size) if found >> other & 1}
        assert reached == walk(graph, str(one), silent).keys() - {str(one)}


def test_what_goes_both_ways_is_told_as_sharing_and_one_level_as_no_span() -> None:
    policy = load(
        MLS.replace("other: {ste: [b]", "peer: {ste: [a, b], mls: secret}\n  other: {ste: [b]").encode()
    )
    flow = FlowGraph(policy, ("dom0", "guard")).flow("vault", "other")
    assert flow is not None
    assert flow.path == ("vault", "peer", "other")
    assert [step.operations for step in flow.steps] == [(Operation.SHARE,), (Operation.SHARE,)]
    assert flow.through[0].span is None
