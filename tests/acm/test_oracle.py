"""``decide`` against an oracle that decides by brute force over random policies.

The oracle shares no code with ``acm``: it asks for each pair of types and each conflict set in plain loops.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from acm import parts
from acm.engine import Operation, Request, decide
from acm.errors import RequestError
from acm.policyfile import load

if TYPE_CHECKING:
    from acm.policy import Policy

UNLABELED = "__UNLABELED__"
INACCESSIBLE = "__INACCESSIBLE__"

NAMES = ["a", "b", "c", "web", "no", "1.0", "hda (1)", "x.y-z", "SystemManagement", "_"]


@dataclass
class Model:
    """A policy as an outsider sees it: lists and dicts."""

    ste: list[str] | None
    chwall: list[str] | None
    conflict_sets: dict[str, list[str]] = field(default_factory=dict)
    domains: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    resources: dict[str, str | None] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {"format": "shype.policy/1", "name": "model", "version": "1.0"}
        found["bootstrap"] = next(iter(self.domains))
        if self.ste is None and self.chwall is None:
            found["enforce"] = "nothing"
        if self.ste is not None:
            found["ste"] = {"types": self.ste}
        if self.chwall is not None:
            found["chwall"] = {"types": self.chwall, "conflict_sets": self.conflict_sets}
        found["domain_labels"] = {
            name: ({"ste": ste} if self.ste is not None else {})
            | ({"chwall": chwall} if self.chwall is not None else {})
            for name, (ste, chwall) in self.domains.items()
        }
        found["resource_labels"] = {
            name: {"ste": held} if held is not None else {} for name, held in self.resources.items()
        }
        return found

    def as_yaml(self, *, flow: bool | None = None) -> bytes:
        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return yaml.dump(self.document(), Dumper=dumper, default_flow_style=flow, sort_keys=False).encode()

    def as_json(self) -> bytes:
        return json.dumps(self.document()).encode()


def conflicting(model: Model, one: list[str], other: list[str]) -> bool:
    """Whether some conflict set excludes a type of ``one`` and a type of ``other`` from each other."""
    for types in model.conflict_sets.values():
        for first in one:
            for second in other:
                if first != second and first in types and second in types:
                    return True
    return False


def expected(model: Model, op: str, subject: str, target: str, running: list[str]) -> str:
    """``permit``, ``deny``, or ``usage`` where the running labels cannot run together.

    ``subject`` and ``running`` are domain labels; ``target`` is ``vm:NAME`` or ``res:NAME``.
    """
    name = target.partition(":")[2]
    walls = [_types(model, label, 1) for label in running]
    if any(conflicting(model, one, other) for one in walls for other in walls):
        return "usage"
    denied = [
        target == f"res:{INACCESSIBLE}",
        (subject == UNLABELED) != (name == UNLABELED),
        op == "start"
        and any(
            conflicting(model, _types(model, subject, 1), wall) for wall in [*walls, _types(model, name, 1)]
        ),
        model.ste is not None and not _ste_permits(model, op, subject, target),
    ]
    return "deny" if any(denied) else "permit"


def _ste_permits(model: Model, op: str, subject: str, target: str) -> bool:
    kind, _, name = target.partition(":")
    mine = _types(model, subject, 0)
    theirs = _types(model, name, 0) if kind == "vm" else _resource_types(model, name)
    if op == "start":
        return all(held in theirs for held in mine)
    if op == "authorize":
        return all(held in mine for held in theirs)
    return any(held in theirs for held in mine)


def _types(model: Model, name: str, component: int) -> list[str]:
    if name == UNLABELED:
        return [UNLABELED] if component == 0 else []
    if name == INACCESSIBLE:
        return []
    return model.domains[name][component]


def _resource_types(model: Model, name: str) -> list[str]:
    if name == UNLABELED:
        return [UNLABELED]
    if name == INACCESSIBLE:
        return []
    held = model.resources[name]
    return [] if held is None else [held]


def _subset(values: list[str], least: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), unique=True, min_size=least, max_size=len(values))


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Small policies with every mix of components, dense enough that both verdicts are common."""
    ste = draw(_subset(NAMES[:5], 2) | _subset(NAMES[:5], 2) | st.none())
    chwall = draw(_subset(NAMES[2:8], 2) | _subset(NAMES[2:8], 2) | st.none())
    model = Model(ste, chwall)
    if chwall and len(chwall) > 1:
        sets = draw(st.dictionaries(st.sampled_from(NAMES), _subset(chwall, 2), min_size=1, max_size=3))
        model.conflict_sets.update(sets)
    for name in draw(_subset(NAMES, 1)):
        held = draw(_subset(ste, 1)) if ste else []
        wall = draw(_subset(chwall, 0)) if chwall else []
        model.domains[name] = (held, _without_conflict(model, wall))
    for name in draw(_subset(NAMES, 0)):
        model.resources[name] = draw(st.sampled_from(ste)) if ste else None
    return model


def _without_conflict(model: Model, wall: list[str]) -> list[str]:
    kept: list[str] = []
    for held in wall:
        if not conflicting(model, kept, [held]):
            kept.append(held)
    return kept


@st.composite
def questions(draw: st.DrawFn) -> tuple[Model, str, str, str, list[str]]:
    model = draw(models())
    domains = [*model.domains, UNLABELED]
    op = draw(st.sampled_from(["share", "read", "write", "start", "start", "start", "authorize"]))
    targets = [f"vm:{name}" for name in domains]
    if op in {"read", "write"}:
        targets += [f"res:{name}" for name in [*model.resources, UNLABELED, INACCESSIBLE]]
    running = draw(st.lists(st.sampled_from(domains), max_size=3 if op == "start" else 1))
    return model, op, draw(st.sampled_from(domains)), draw(st.sampled_from(targets)), running


def answer(policy: Policy, op: str, subject: str, target: str, running: list[str]) -> str:
    try:
        decision = decide(policy, Request(Operation(op), subject, target, tuple(running)))
    except RequestError as error:
        return "usage" if error.code == "running-conflict" else error.code
    assert all(reason.detail for reason in decision.reasons)
    return decision.verdict


@given(questions())
@settings(max_examples=150, deadline=None)
def test_every_decision_is_the_oracles(question: tuple[Model, str, str, str, list[str]]) -> None:
    model, op, subject, target, running = question
    policy = load(model.as_yaml())
    assert answer(policy, op, subject, target, running) == expected(model, op, subject, target, running)


@given(models(), st.sampled_from(["share", "read", "write"]))
@settings(max_examples=50, deadline=None)
def test_all_pairs_of_domains_in_both_directions(model: Model, op: str) -> None:
    policy = load(model.as_yaml())
    names = [*model.domains, UNLABELED]
    for one in names:
        for other in names:
            there = answer(policy, op, one, f"vm:{other}", [])
            assert there == answer(policy, op, other, f"vm:{one}", [])
            assert there == expected(model, op, one, f"vm:{other}", [])


@given(models())
@settings(max_examples=50, deadline=None)
def test_yaml_in_both_styles_and_json_say_the_same(model: Model) -> None:
    block, flow = load(model.as_yaml(flow=False)), load(model.as_yaml(flow=True))
    for other in (flow, load(model.as_json())):
        assert other.root == block.root
        assert other.domain_labels == block.domain_labels
        assert other.resource_labels == block.resource_labels
        assert set(other.conflict_sets) == set(block.conflict_sets)


@given(models(), models())
@settings(max_examples=50, deadline=None)
def test_the_root_is_the_same_only_for_the_same_policy(one: Model, other: Model) -> None:
    first, second = load(one.as_yaml()), load(other.as_yaml())

    def meaning(policy: Policy) -> tuple[object, ...]:
        names = (policy.components, policy.bootstrap, policy.ste_types, policy.chwall_types)
        labels = (dict(policy.domain_labels), dict(policy.resource_labels))
        return (*names, set(policy.conflict_sets), *labels)

    assert (first.root == second.root) == (meaning(first) == meaning(second))


@given(models(), st.data())
@settings(max_examples=50, deadline=None)
def test_every_section_of_every_policy_proves_itself(model: Model, data: st.DataObject) -> None:
    policy = load(model.as_yaml())
    names = data.draw(st.lists(st.sampled_from(sorted(policy.domain_labels)), unique=True))
    shown = parts.section(policy, names)
    parts.verify_section(bytes.fromhex(policy.root), shown)


@given(models())
@settings(max_examples=50, deadline=None)
def test_what_is_read_fits_the_schema(policy_schema: jsonschema.Draft202012Validator, model: Model) -> None:
    load(model.as_yaml())
    policy_schema.validate(model.document())


@pytest.fixture(scope="module")
def policy_schema(repository: Any) -> jsonschema.Draft202012Validator:
    schema = json.loads((repository / "configs/schema/policy.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("op", list(Operation))
@pytest.mark.parametrize("verdict", ["permit", "deny"])
def test_the_questions_reach_both_verdicts_of_every_operation(op: Operation, verdict: str) -> None:
    def reached(question: tuple[Model, str, str, str, list[str]]) -> bool:
        model, asked, subject, target, running = question
        return asked == op and expected(model, asked, subject, target, running) == verdict

    find(questions(), reached, settings=settings(max_examples=2000, database=None, phases=[Phase.generate]))
