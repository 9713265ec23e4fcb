"""The table of operations: complete, as documented, and the only source of what is asked."""

from __future__ import annotations

import re
from typing import cast

import pytest

from acm import operations
from acm.decision import Code
from acm.engine import Request, decide
from acm.operations import RULES, Operation, Question
from acm.policy import Kind
from acm.policyfile import load

POLICY = load(b"""\
format: shype.policy/1
name: p
version: "1.0"
bootstrap: dom0
mls: {levels: [low, middle, high], trusted: [dom0]}
domain_labels:
  dom0: {mls: {low: low, high: high}}
  one: {mls: middle}
  above: {mls: high}
  below: {mls: low}
resource_labels:
  same: {mls: middle}
  above: {mls: high}
  below: {mls: low}
""")


@pytest.mark.parametrize("op", list(Operation))
def test_every_operation_has_a_rule(op: Operation) -> None:
    rule = RULES[op]
    assert rule.objects
    assert (rule.reads or rule.writes) is (rule.question is Question.FLOW)


def test_the_table_in_the_documentation_is_the_table() -> None:
    assert operations.__doc__ is not None
    lines = operations.__doc__.splitlines()
    ruler = next(line for line in lines if line.startswith("="))
    columns = [slice(*found.span()) for found in re.finditer("=+", ruler)]
    documented = {}
    for line in lines:
        cells = [line[column].strip() for column in columns]
        if cells[1] in {"domain", "resource", "either"}:
            documented[cells[0]] = (cells[1], cells[3] == "yes", cells[4] == "yes")
    kinds = {
        frozenset({Kind.DOMAIN}): "domain",
        frozenset({Kind.RESOURCE}): "resource",
        frozenset(Kind): "either",
    }
    flows = {op: rule for op, rule in RULES.items() if rule.question is Question.FLOW}
    assert documented == {op: (kinds[rule.objects], rule.reads, rule.writes) for op, rule in flows.items()}


@pytest.mark.parametrize("op", ["own", "", "SHARE", "share ", "grant-copy", "\n" * 200])
def test_an_operation_that_no_rule_describes_is_denied(op: str) -> None:
    decision = decide(POLICY, Request(cast("Operation", op), "dom0", "dom0"))
    assert not decision.permitted
    assert [reason.code for reason in decision.reasons] == [Code.UNKNOWN_OPERATION]
    assert decision.reasons[0].detail.isprintable()


@pytest.mark.parametrize("op", [op for op, rule in RULES.items() if rule.question is Question.FLOW])
def test_directions_are_those_of_the_table(op: Operation) -> None:
    """From the middle: what is above can only be written, what is below only be read."""
    rule = RULES[op]
    for kind in rule.objects:
        above = decide(POLICY, Request(op, "vm:one", f"{kind}:above"))
        below = decide(POLICY, Request(op, "vm:one", f"{kind}:below"))
        assert above.permitted is not rule.reads
        assert below.permitted is not rule.writes
        same = "vm:one" if kind is Kind.DOMAIN else "res:same"
        assert decide(POLICY, Request(op, "vm:one", same)).permitted


@pytest.mark.parametrize("op", [Operation.RESUME, Operation.MIGRATE_IN])
def test_a_domain_that_comes_back_is_judged_like_one_that_starts(op: Operation) -> None:
    for label in ("one", "above", "below", "dom0"):
        for host in ("dom0", "one"):
            start = decide(POLICY, Request(Operation.START, label, host))
            assert decide(POLICY, Request(op, label, host)) == start
