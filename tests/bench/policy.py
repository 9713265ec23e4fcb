"""Decisions beside pycasbin and cedarpy, on one policy in one run.

The policy: labels that hold three of a hundred STE types each; two labels may share if they hold a type in
common. Each peer gets the form that is fastest for it among those tried: for pycasbin one rule with a
function that compares two sets (roles, ``g(r.sub, p.type) && g(r.obj, p.type)``, are ten times slower), for
cedarpy one policy over sets, with policies and entities parsed before; both are asked in batches. We are
asked one question after another, and get them as a hook does. Verdicts are compared before anything is timed,
and all times are for one decision: what a peer takes for one does not depend on how many labels there are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import casbin
import cedarpy
from casbin.model import Model

from acm import policyfile
from acm.decider import Decider
from acm.engine import Operation, Request, decide
from acm.flows import FlowGraph
from acm.matrix import matrix
from acm.policy import Policy
from hypervisor.decision_cache import DecisionCache
from hypervisor.transition import between
from tests.bench.measure import Pair, Side, Size

LABELS: Final = 1000
TYPES: Final = 100
HELD: Final = 3
SAMPLE: Final = 1000
"""Pairs of labels that are asked in one run."""
ROUNDS: Final = 50
"""How often we are asked all of them in one run, so that both sides run for about as long."""
SIZES: Final = (10, 100, 1000, 10_000)
SMALL: Final = 20

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

Names = tuple[str, str]
Ask = Callable[[Sequence[Names]], list[bool]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A policy, and the pairs of labels that are asked; ours and the peer's way to ask."""

    policy: Policy
    pairs: list[Names]
    ours: Ask


def matrix_beside(peer: str) -> Callable[[Path, Size], AbstractContextManager[Pair]]:
    """Return the row of the whole matrix, with the growth of it and of the flows as facts."""

    @contextmanager
    def prepare(folder: Path, size: Size) -> Iterator[Pair]:
        del folder
        asked = _asked(size, _engine)
        count = (len(asked.policy.domain_labels) + 1) ** 2
        sizes = SIZES[:1] if size is Size.SMALL else SIZES
        yield Pair(
            Side("acm.matrix", lambda: matrix(asked.policy, Operation.SHARE), count=count),
            _peer(peer, asked),
            dict(growth(sizes)) if peer == "pycasbin" else {},
        )

    return prepare


def single_beside(peer: str, ours: str) -> Callable[[Path, Size], AbstractContextManager[Pair]]:
    """Return a row of single decisions: ``verdict``, ``decision`` or ``cached``."""

    @contextmanager
    def prepare(folder: Path, size: Size) -> Iterator[Pair]:
        del folder
        asked = _asked(size, _WAYS[ours])
        often = asked.pairs * (1 if size is Size.SMALL else ROUNDS)
        run = Side(f"acm, {ours}", lambda: asked.ours(often), count=len(often))
        yield Pair(run, _peer(peer, asked))

    return prepare


def file_of(labels: int) -> bytes:
    """Return the file of the policy with so many domain labels."""
    draw = Random(labels)
    types = [f"t{number}" for number in range(TYPES)]
    rows = (f"  l{number}: {{ste: [{', '.join(draw.sample(types, HELD))}]}}\n" for number in range(labels))
    head = 'format: shype.policy/1\nname: bench\nversion: "1.0"\nbootstrap: l0\n'
    return f"{head}ste: {{types: [{', '.join(types)}]}}\ndomain_labels:\n{''.join(rows)}".encode()


def policy_of(labels: int) -> Policy:
    """Return the policy with so many domain labels."""
    return policyfile.load(file_of(labels))


def growth(sizes: Sequence[int] = SIZES) -> Iterator[tuple[str, float]]:
    """Measure over growing policies, in microseconds: reading, loading, matrix, closure and one path."""
    for size in sizes:
        data = file_of(size)
        policy = policyfile.load(data)
        graph = FlowGraph(policy)
        works: dict[str, Callable[[], object]] = {
            "read a policy file": lambda data=data: policyfile.load(data),
            "load a decider": lambda policy=policy: Decider(policy),
            "matrix": lambda policy=policy: matrix(policy, Operation.SHARE),
            "flows, all pairs": lambda policy=policy: FlowGraph(policy).closure(),
            "flow, one path": lambda graph=graph, size=size: graph.flow("l0", f"l{size - 1}"),
        }
        for work, call in works.items():
            call()
            begun = time.process_time()
            call()
            yield f"us for {work}, {size} labels", 1e6 * (time.process_time() - begun)


def _asked(size: Size, way: Callable[[Policy, Sequence[Names]], Ask]) -> Asked:
    small = size is Size.SMALL
    policy = policy_of(SMALL if small else LABELS)
    draw, names = Random(1), list(policy.domain_labels)
    pairs = [(draw.choice(names), draw.choice(names)) for _ in range(SMALL if small else SAMPLE)]
    return Asked(policy, pairs, way(policy, pairs))


def _peer(name: str, asked: Asked) -> Side:
    ask = _PEERS[name](asked.policy)
    if not ask(asked.pairs) == asked.ours(asked.pairs) == _engine(asked.policy, ())(asked.pairs):
        raise AssertionError(f"{name} decides otherwise")
    return Side(name, lambda: ask(asked.pairs), count=len(asked.pairs))


def _engine(policy: Policy, _: Sequence[Names]) -> Ask:
    return lambda pairs: [decide(policy, Request(Operation.SHARE, *pair)).permitted for pair in pairs]


def _decision(policy: Policy, _: Sequence[Names]) -> Ask:
    """A decision as a hook asks for it: its reasons are there when somebody asks for them."""
    asking, op = Decider(policy).decide, Operation.SHARE
    return lambda pairs: [asking(between(op, one, other)).permitted for one, other in pairs]


def _verdict(policy: Policy, _: Sequence[Names]) -> Ask:
    """The verdict alone, which is all that the peers give."""
    asking, op = Decider(policy).permits, Operation.SHARE
    return lambda pairs: [asking(op, one, other) for one, other in pairs]


def _cached(policy: Policy, kept: Sequence[Names]) -> Ask:
    cache, op = DecisionCache(), Operation.SHARE
    for pair in kept:
        request = between(op, *pair)
        cache.keep(request, 1, decide(policy, request))

    find = cache.find

    def ask(pairs: Sequence[Names]) -> list[bool]:
        return [
            (found := find(between(op, one, other), 1)) is not None and found.permitted
            for one, other in pairs
        ]

    return ask


_WAYS: Final = {"verdict": _verdict, "decision": _decision, "cached": _cached}


def _casbin(policy: Policy) -> Ask:
    model = Model()
    model.load_model_from_text(_CASBIN)
    enforcer = casbin.Enforcer(model)
    held = {name: label.ste for name, label in policy.domain_labels.items()}
    enforcer.add_function("shares", lambda one, other: not held[one].isdisjoint(held[other]))
    enforcer.add_policy("ste")
    return lambda pairs: enforcer.batch_enforce([list(pair) for pair in pairs])


def _cedar(policy: Policy) -> Ask:
    entities = cedarpy.Entities.from_json_str(
        json.dumps(
            [
                {"uid": {"type": "Label", "id": name}, "attrs": {"types": sorted(label.ste)}, "parents": []}
                for name, label in policy.domain_labels.items()
            ]
        )
    )
    policies = cedarpy.PolicySet.from_str(_CEDAR)

    def ask(pairs: Sequence[Names]) -> list[bool]:
        requests: list[dict[str, Any]] = [
            {"principal": f'Label::"{one}"', "action": 'Action::"share"', "resource": f'Label::"{other}"'}
            for one, other in pairs
        ]
        return [found.allowed for found in cedarpy.is_authorized_batch(requests, policies, entities)]

    return ask


_PEERS: Final[dict[str, Callable[[Policy], Ask]]] = {"pycasbin": _casbin, "cedarpy": _cedar}
