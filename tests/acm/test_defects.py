"""Defects of the historic ACM that must not come back (facts/acm.md 1.9)."""

from __future__ import annotations

import pytest

from acm.chwall import ConflictSet, decide_start
from acm.engine import Operation, Request, decide
from acm.errors import PolicyFileError
from acm.labels import Label
from acm.policy import Component
from acm.policyfile import load

HEAD = 'format: shype.policy/1\nname: p\nversion: "1.0"\nbootstrap: d\n'


def label(name: str, *chwall: str) -> Label:
    return Label(name, chwall=frozenset(chwall))


def test_d2_conflicts_are_found_in_every_set_and_only_there() -> None:
    """Xen's query read past the aggregate of the first set, so later sets gave any answer."""
    types = [f"t{number}" for number in range(12)]
    sets = [ConflictSet(f"s{at}", frozenset(types[2 * at : 2 * at + 2])) for at in range(6)]
    for at, one in enumerate(types):
        for other_at, other in enumerate(types):
            decision = decide_start(sets, label("new", one), [label("old", other)])
            conflict = at // 2 == other_at // 2 and at != other_at
            assert decision.permitted is not conflict
            if conflict:
                assert f"conflict set 's{at // 2}'" in decision.reasons[0].detail


def test_d2_a_type_in_two_sets_is_checked_against_both() -> None:
    sets = [ConflictSet("one", frozenset("ab")), ConflictSet("two", frozenset("ac"))]
    assert not decide_start(sets, label("new", "a"), [label("old", "b")]).permitted
    assert not decide_start(sets, label("new", "a"), [label("old", "c")]).permitted
    assert decide_start(sets, label("new", "b"), [label("old", "c")]).permitted


def test_d4_a_label_with_two_types_of_one_conflict_set_is_refused() -> None:
    """Xen's manual called such a label illegal; its compiler took it."""
    text = f"{HEAD}chwall: {{types: [x, y], conflict_sets: {{s: [x, y]}}}}\n"
    text += "domain_labels: {d: {chwall: [x, y]}}\n"
    with pytest.raises(PolicyFileError, match=r"'s'.*'x' and 'y'") as caught:
        load(text.encode())
    assert caught.value.code == "label-conflict"


def test_d4_such_a_label_made_in_another_way_can_never_start() -> None:
    decision = decide_start([ConflictSet("s", frozenset("xy"))], label("both", "x", "y"), [])
    assert not decision.permitted
    assert decision.reasons[0].code == "chwall-self-conflict"


def test_d5_a_policy_of_one_component_is_a_policy() -> None:
    """Xen compiled an STE-only policy with an undefined second component, so it could not be loaded."""
    text = f"{HEAD}ste: {{types: [a, b]}}\ndomain_labels: {{d: {{ste: [a]}}, e: {{ste: [b]}}}}\n"
    policy = load(text.encode())
    assert policy.components == (Component.STE,)
    assert not decide(policy, Request(Operation.SHARE, "d", "e")).permitted
    assert decide(policy, Request(Operation.START, "d", "d", ("e",))).permitted
    assert not decide(policy, Request(Operation.START, "e", "d", ())).permitted
