"""The decider says what the engine says: verdict, reasons, errors, for every way to name a label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import decider
from acm.decider import Decider
from acm.decision import Code, Decision, Reason, Verdict, deny, permit
from acm.engine import Request, decide
from acm.errors import AcmUsageError
from acm.history import History
from acm.operations import Operation
from acm.policy import Policy
from acm.policyfile import load
from tests.acm.policies import policies

NEW = History("00" * 32, 0, frozenset())


@pytest.fixture(scope="module")
def datacenter(repository: Path) -> Policy:
    return load((repository / "configs" / "policies" / "datacenter.yaml").read_bytes())


def names(policy: Policy) -> list[str]:
    """Every way to name a label, and some that name none."""
    bare = {*policy.domain_labels, *policy.resource_labels, "__UNLABELED__", "__INACCESSIBLE__"}
    return [name for each in sorted(bare) for name in (each, f"vm:{each}", f"res:{each}")] + ["", "nobody"]


def said(ask: Decider | Policy, request: Request) -> tuple[object, ...]:
    try:
        decision = ask.decide(request) if isinstance(ask, Decider) else decide(ask, request)
    except AcmUsageError as error:
        return error.code, str(error)
    return decision.permitted, decision.verdict, decision.reasons


def alone(ask: Decider, op: Operation, subject: str, target: str) -> object:
    try:
        return ask.permits(op, subject, target)
    except AcmUsageError as error:
        return error.code


@given(policies())
@settings(max_examples=25, deadline=None)
def test_every_question_by_every_name_is_answered_as_by_the_engine(policy: Policy) -> None:
    ready, called = Decider(policy), names(policy)
    for op in Operation:
        for subject in called:
            for target in called:
                expected = said(policy, Request(op, subject, target))
                assert said(ready, Request(op, subject, target)) == expected
                assert alone(ready, op, subject, target) == expected[0]


@given(policies(), st.data())
@settings(max_examples=50, deadline=None)
def test_questions_that_name_more_are_answered_as_by_the_engine(policy: Policy, data: st.DataObject) -> None:
    ready, called = Decider(policy), sorted(policy.domain_labels)
    draw = st.sampled_from(called)
    for op in Operation:
        request = Request(
            op,
            data.draw(draw),
            data.draw(st.sampled_from([None, f"vm:{called[0]}", f"res:{called[0]}"])),
            tuple(data.draw(st.lists(draw, max_size=2))),
            *data.draw(st.sampled_from([(None, None), (NEW, None), (NEW, NEW.anchor)])),
        )
        assert said(ready, request) == said(policy, request)


@given(policies(), st.data())
@settings(max_examples=30, deadline=None)
def test_labels_that_no_file_can_give_are_answered_alike(policy: Policy, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(policy.domain_labels)))
    bare = replace(policy.domain_labels[name], ste=frozenset(), mls=None)
    odd = replace(policy, domain_labels={**policy.domain_labels, name: bare})
    ready = Decider(odd)
    for op in (Operation.SHARE, Operation.READ, Operation.WRITE, Operation.AUTHORIZE):
        for other in odd.domain_labels:
            for one, two in ((name, other), (other, name)):
                request = Request(op, one, f"vm:{two}")
                assert said(ready, request) == said(odd, request)


def test_an_operation_that_no_rule_describes_is_denied(datacenter: Policy) -> None:
    request = Request("teleport", "cola-web", "vm:cola-web")  # type: ignore[arg-type]
    assert [each.code for each in Decider(datacenter).decide(request).reasons] == [Code.UNKNOWN_OPERATION]


class TestDecisions:
    """A decision is a value, whenever its reasons are put together."""

    def test_equal_by_verdict_and_reasons(self, datacenter: Policy) -> None:
        request = Request(Operation.SHARE, "cola-web", "vm:cola-db")
        soon, late = decide(datacenter, request), Decider(datacenter).decide(request)
        assert type(soon) is not type(late)
        assert (late, hash(late), repr(late)) == (soon, hash(soon), repr(soon))
        assert late != Decider(datacenter).decide(Request(Operation.SHARE, "cola-web", "vm:juice-web"))
        assert late != "permit"

    def test_never_without_a_reason(self) -> None:
        with pytest.raises(ValueError, match="without a reason"):
            Decision(Verdict.DENY, ())

    def test_the_reason_is_part_of_the_value(self) -> None:
        one, other = Reason(Code.STE_AUTHORIZED, "one"), Reason(Code.STE_AUTHORIZED, "other")
        assert permit(one) == permit(one)
        assert permit(one) != permit(other)
        assert permit(one) != deny(one)

    def test_a_verdict_that_the_engine_does_not_share_is_a_defect_that_shows(
        self, datacenter: Policy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late = Decider(datacenter).decide(Request(Operation.SHARE, "cola-web", "vm:cola-db"))
        reason = Reason(Code.STE_NO_SHARED_TYPE, "other engine")
        monkeypatch.setattr(decider, "decide", lambda *_: deny(reason))
        with pytest.raises(AssertionError, match="decided as permit, explained as"):
            _ = late.reasons


def test_many_types_levels_and_categories_are_told_apart() -> None:
    types = [f"t{i}" for i in range(200)]
    document = {
        "format": "shype.policy/1",
        "name": "wide",
        "version": "1.0",
        "ste": {"types": types},
        "mls": {"levels": ["low", "high"], "categories": ["a", "b"], "trusted": ["SystemManagement"]},
        "domain_labels": {
            "SystemManagement": {
                "ste": types,
                "mls": {"low": "low", "high": {"level": "high", "categories": ["a", "b"]}},
            },
            **{f"d{i}": {"ste": [types[i], types[i - 1]], "mls": "low"} for i in range(200)},
        },
    }
    policy = load(json.dumps(document).encode())
    ready = Decider(policy)
    shared = [i for i in range(200) if ready.permits(Operation.SHARE, "d7", f"d{i}")]
    assert shared == [6, 7, 8]
