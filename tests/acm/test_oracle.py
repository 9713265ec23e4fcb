"""``decide`` against the oracle over random policies: every component, operation, order and history."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from acm import parts
from acm.engine import Operation, Request, decide
from acm.errors import RequestError
from acm.history import Anchor, History
from acm.policyfile import load
from tests.acm import oracle
from tests.acm.oracle import Model, Question, expected, models, questions

if TYPE_CHECKING:
    from acm.policy import Policy

DENIED_BY = {
    "unlabeled-confined": "confined",
    "resource-inaccessible": "inaccessible",
    "history-missing": "chwall",
    "history-stale": "chwall",
    "history-mismatch": "chwall",
}


def request_of(asked: Question) -> Request:
    history = None if asked.past is None else History("a1" * 32, len(asked.past), frozenset(asked.past))
    shown = history or History("a1" * 32, 0, frozenset())
    anchors = {
        "newest": shown.anchor,
        "older": Anchor(shown.sequence + 1, shown.digest),
        "other": Anchor(shown.sequence, "b2" * 32),
        "none": None,
    }
    running = tuple(asked.running)
    operation = Operation(asked.op)
    return Request(operation, asked.subject, asked.target, running, history, anchors[asked.anchor])


def answer(policy: Policy, asked: Question) -> str:
    """Return what ``expected`` returns, from the decision's own words."""
    try:
        decision = decide(policy, request_of(asked))
    except RequestError as error:
        return "usage" if error.code == "running-conflict" else error.code
    assert all(reason.detail for reason in decision.reasons)
    if decision.permitted:
        return "permit"
    (who,) = {DENIED_BY.get(reason.code, reason.code.partition("-")[0]) for reason in decision.reasons}
    return who


@given(models(grants=True))
@settings(max_examples=25, deadline=None)
def test_every_operation_between_all_pairs_is_decided_as_by_the_oracle(model: Model) -> None:
    policy = load(model.as_yaml())
    domains = [*model.domains, oracle.UNLABELED]
    resources = [*model.resources, oracle.UNLABELED, oracle.INACCESSIBLE]
    for op in oracle.OPERATIONS:
        targets = [f"vm:{name}" for name in domains] if op in oracle.ON_DOMAINS else []
        targets += [f"res:{name}" for name in resources] if op in oracle.ON_RESOURCES else []
        for subject in domains:
            for target in targets:
                asked = Question(op, subject, target, [], [], "newest")
                assert answer(policy, asked) == expected(model, asked)


@given(questions(("start", "resume", "migrate-in")))
@settings(max_examples=100, deadline=None)
def test_every_admission_is_decided_as_by_the_oracle(case: tuple[Model, Question]) -> None:
    """With labels that run, and with histories that are missing, old, another host's or the newest."""
    model, asked = case
    assert answer(load(model.as_yaml()), asked) == expected(model, asked)


@given(models(grants=True))
@settings(max_examples=25, deadline=None)
def test_what_is_read_one_way_is_written_the_other_way(model: Model) -> None:
    policy = load(model.as_yaml())
    names = [*model.domains, oracle.UNLABELED]
    for one in names:
        for other in names:
            read = answer(policy, Question("read", one, f"vm:{other}", [])) == "permit"
            written = answer(policy, Question("write", other, f"vm:{one}", [])) == "permit"
            shared = answer(policy, Question("share", one, f"vm:{other}", [])) == "permit"
            assert read is written
            back = answer(policy, Question("read", other, f"vm:{one}", [])) == "permit"
            assert shared is (read and back)


@given(models(grants=True), st.data())
@settings(max_examples=25, deadline=None)
def test_the_order_of_components_never_changes_a_verdict(model: Model, data: st.DataObject) -> None:
    op = data.draw(st.sampled_from(oracle.OPERATIONS))
    subject, other = (data.draw(st.sampled_from(sorted(model.domains))) for _ in range(2))
    targets = [f"vm:{other}"] if op in oracle.ON_DOMAINS else [f"res:{oracle.UNLABELED}"]
    asked = Question(op, subject, targets[0], [], [], "newest")
    verdicts = set()
    for order in (model.components, model.components[::-1]):
        model.order = order or None
        verdicts.add(decide(load(model.as_yaml()), request_of(asked)).verdict)
    assert len(verdicts) == 1


@given(models(grants=True))
@settings(max_examples=25, deadline=None)
def test_yaml_in_both_styles_and_json_say_the_same(model: Model) -> None:
    block, flow = load(model.as_yaml(flow=False)), load(model.as_yaml(flow=True))
    for other in (flow, load(model.as_json())):
        assert other.root == block.root
        assert other.domain_labels == block.domain_labels
        assert other.resource_labels == block.resource_labels
        assert set(other.conflict_sets) == set(block.conflict_sets)


@given(models(grants=True), models(grants=True))
@settings(max_examples=25, deadline=None)
def test_the_root_is_the_same_only_for_the_same_policy(one: Model, other: Model) -> None:
    first, second = load(one.as_yaml()), load(other.as_yaml())

    def meaning(policy: Policy) -> tuple[object, ...]:
        names = (policy.components, policy.bootstrap, policy.ste_types, policy.chwall_types)
        labels = (dict(policy.domain_labels), dict(policy.resource_labels))
        levels = (policy.levels, policy.categories, policy.trusted, policy.history)
        return (*names, set(policy.conflict_sets), *labels, *levels)

    assert (first.root == second.root) == (meaning(first) == meaning(second))


@given(models(grants=True), st.data())
@settings(max_examples=25, deadline=None)
def test_every_section_of_every_policy_proves_itself(model: Model, data: st.DataObject) -> None:
    policy = load(model.as_yaml())
    names = data.draw(st.lists(st.sampled_from(sorted(policy.domain_labels)), unique=True))
    shown = parts.section(policy, names)
    parts.verify_section(bytes.fromhex(policy.root), shown)


@given(models(grants=True))
@settings(max_examples=25, deadline=None)
def test_what_is_read_fits_the_schema(policy_schema: jsonschema.Draft202012Validator, model: Model) -> None:
    load(model.as_yaml())
    policy_schema.validate(model.document())


@pytest.fixture(scope="module")
def policy_schema(repository: Any) -> jsonschema.Draft202012Validator:
    schema = json.loads((repository / "configs/schema/policy.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("op", list(Operation))
@pytest.mark.parametrize("permitted", [True, False])
def test_the_questions_reach_both_verdicts_of_every_operation(op: Operation, *, permitted: bool) -> None:
    def reached(case: tuple[Model, Question]) -> bool:
        outcome = expected(*case)
        return outcome != "usage" and (outcome == "permit") is permitted

    limits = settings(max_examples=250, database=None, phases=[Phase.generate])
    find(questions((str(op),)), reached, settings=limits)


@pytest.mark.parametrize("component", ["chwall", "ste", "mls"])
def test_the_questions_reach_every_component_as_the_one_that_denies(component: str) -> None:
    limits = settings(max_examples=250, database=None, phases=[Phase.generate])
    find(questions(("start",)), lambda case: expected(*case) == component, settings=limits)


def test_the_oracle_knows_every_operation() -> None:
    assert set(oracle.OPERATIONS) == set(Operation)
