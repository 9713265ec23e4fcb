"""Decisions beside pycasbin and cedarpy, on one policy in one run.

The policy: labels that hold three of a hundred STE types each; two labels may share if they hold a type in
common. Each peer gets the form that is fastest for it among those tried: for pycasbin one rule with a
function that compares two sets (roles, ``g(r.sub, p.type) && g(r.obj, p.type)``, are ten times slower), for
cedarpy one policy over sets, with policies and entities parsed before. Verdicts are compared before anything
is timed.

``python -m tests.bench.policy_rows`` prints the rows as JSON. Needs the extra ``bench``.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any, Final

import casbin
import cedarpy
from casbin.model import Model

from acm.engine import Operation, Request, decide
from acm.flows import FlowGraph
from acm.labels import Label
from acm.matrix import matrix
from acm.policy import Component, Policy
from hypervisor.decision_cache import DecisionCache

TYPES: Final = 100
HELD: Final = 3
RUNS: Final = 5
SAMPLE: Final = 1000
"""Pairs of labels that the peers are asked; their cost for one decision does not depend on the number."""

_CASBIN: Final = """\
[request_definition]
r = sub, obj
[policy_definition]
p = rule
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = shares(r.sub, r.obj)
"""
_CEDAR: Final = "permit(principal, action, resource) when { principal.types.containsAny(resource.types) };"

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """Processor seconds for one decision, ours and theirs; the median of the runs, and their spread.

    The spread of a series is its largest value minus its smallest, divided by the median.
    """

    work: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    runs: int
    spread_ours: float
    spread_theirs: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Processor seconds for the whole work over so many labels."""

    work: str
    labels: int
    seconds: float


def policy_of(labels: int) -> Policy:
    """Return the policy with so many domain labels; beyond the limits of a policy file too."""
    draw = Random(labels)
    types = [f"t{number}" for number in range(TYPES)]
    held = {f"l{number}": frozenset(draw.sample(types, HELD)) for number in range(labels)}
    return Policy(
        name="bench",
        version="1.0",
        components=(Component.STE,),
        ste_types=frozenset(types),
        chwall_types=frozenset(),
        conflict_sets=(),
        domain_labels={name: Label(name, ste) for name, ste in held.items()},
        resource_labels={},
        bootstrap="l0",
        digest=f"{labels:064x}",
    )


def rows(labels: int = 1000) -> list[Row]:
    """Measure matrix, cold and cached decisions beside both peers."""
    policy = policy_of(labels)
    draw = Random(1)
    names = list(policy.domain_labels)
    pairs = [(draw.choice(names), draw.choice(names)) for _ in range(SAMPLE)]
    peers = {"pycasbin": _casbin(policy), "cedarpy": _cedar(policy)}
    expected = [_cold(policy, pair) for pair in pairs]
    for name, ask in peers.items():
        if ask(pairs) != expected:
            raise AssertionError(f"{name} decides otherwise")
    cached = _cached(policy, pairs)
    ours: dict[str, tuple[Callable[[], object], int]] = {
        "decision matrix": (lambda: matrix(policy, Operation.SHARE), (labels + 1) * (labels + 1)),
        "cold decision": (lambda: [_cold(policy, pair) for pair in pairs], SAMPLE),
        "cached decision": (lambda: cached(pairs), SAMPLE),
    }
    return [
        _row(
            f"{work}, {labels} labels",
            peer,
            _series(call, count),
            _series(lambda ask=ask: ask(pairs), SAMPLE),
        )
        for work, (call, count) in ours.items()
        for peer, ask in peers.items()
    ]


def growth(sizes: Sequence[int] = (10, 100, 1000, 10_000)) -> list[Growth]:
    """Measure matrix, transitive closure and one path over growing policies."""
    found = []
    for size in sizes:
        policy = policy_of(size)
        graph = FlowGraph(policy)
        works: dict[str, Callable[[], object]] = {
            "decision matrix": lambda policy=policy: matrix(policy, Operation.SHARE),
            "flows, all pairs": lambda policy=policy: FlowGraph(policy).closure(),
            "flow, one path": lambda graph=graph, size=size: graph.flow("l0", f"l{size - 1}"),
        }
        found += [Growth(work, size, statistics.median(_series(call, 1))) for work, call in works.items()]
    return found


def _cold(policy: Policy, pair: Pair) -> bool:
    return decide(policy, Request(Operation.SHARE, *pair)).permitted


def _cached(policy: Policy, pairs: Sequence[Pair]) -> Callable[[Sequence[Pair]], list[bool]]:
    cache = DecisionCache()
    for pair in pairs:
        request = Request(Operation.SHARE, *pair)
        cache.keep(request, 0, decide(policy, request))

    def ask(asked: Sequence[Pair]) -> list[bool]:
        found = (cache.find(Request(Operation.SHARE, *pair), 0) for pair in asked)
        return [decision is not None and decision.permitted for decision in found]

    return ask


def _casbin(policy: Policy) -> Callable[[Sequence[Pair]], list[bool]]:
    model = Model()
    model.load_model_from_text(_CASBIN)
    enforcer = casbin.Enforcer(model)
    held = {name: label.ste for name, label in policy.domain_labels.items()}
    enforcer.add_function("shares", lambda one, other: not held[one].isdisjoint(held[other]))
    enforcer.add_policy("ste")
    return lambda pairs: enforcer.batch_enforce([list(pair) for pair in pairs])


def _cedar(policy: Policy) -> Callable[[Sequence[Pair]], list[bool]]:
    entities = cedarpy.Entities.from_json_str(
        json.dumps(
            [
                {"uid": {"type": "Label", "id": name}, "attrs": {"types": sorted(label.ste)}, "parents": []}
                for name, label in policy.domain_labels.items()
            ]
        )
    )
    policies = cedarpy.PolicySet.from_str(_CEDAR)

    def ask(pairs: Sequence[Pair]) -> list[bool]:
        requests: list[dict[str, Any]] = [
            {"principal": f'Label::"{one}"', "action": 'Action::"share"', "resource": f'Label::"{other}"'}
            for one, other in pairs
        ]
        return [found.allowed for found in cedarpy.is_authorized_batch(requests, policies, entities)]

    return ask


def _series(call: Callable[[], object], count: int) -> list[float]:
    """Return the processor seconds of each run for one of ``count`` decisions; a run before warms up."""
    call()
    found = []
    for _ in range(RUNS):
        start = time.process_time()
        call()
        found.append((time.process_time() - start) / count)
    return found


def _row(work: str, peer: str, ours: list[float], theirs: list[float]) -> Row:
    mine, other = statistics.median(ours), statistics.median(theirs)
    return Row(work, peer, mine, other, other / mine, RUNS, _spread(ours), _spread(theirs))


def _spread(series: list[float]) -> float:
    return (max(series) - min(series)) / statistics.median(series)


if __name__ == "__main__":
    print(
        json.dumps(
            {"rows": [asdict(row) for row in rows()], "growth": [asdict(one) for one in growth()]}, indent=2
        )
    )
