"""The matrix says of each pair what ``decide`` says of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm.engine import Request, decide
from acm.errors import LabelError
from acm.history import History
from acm.labelset import first, members, of, union
from acm.matrix import matrix
from acm.operations import RULES, Operation
from acm.policy import Kind, Policy
from acm.policyfile import load
from tests.acm.policies import policies, references
from tests.spending import at_most

NEW = History("00" * 32, 0, frozenset())


def permitted(policy: Policy, op: Operation, subject: str, target: str) -> bool:
    return decide(policy, Request(op, subject, target, history=NEW, anchor=NEW.anchor)).permitted


@given(policies())
@settings(max_examples=25, deadline=None)
def test_every_cell_is_the_decision_of_the_engine(policy: Policy) -> None:
    domains, resources = references(policy)
    for op in Operation:
        kinds = RULES[op].objects
        objects = [*domains] if Kind.DOMAIN in kinds else ["res:__UNLABELED__"]
        objects += resources if Kind.RESOURCE in kinds else []
        found = matrix(policy, op)
        assert (len(found.subjects), len(found.objects)) == (len(domains), len(objects))
        for row, subject in enumerate(domains):
            for column, target in enumerate(objects):
                expected = permitted(policy, op, subject, target)
                assert found.permits(row, column) == expected, (op, subject, target)
                assert found.digits(row)[column] == "01"[expected]


@given(policies())
@settings(max_examples=15, deadline=None)
def test_its_names_are_references_that_the_engine_takes(policy: Policy) -> None:
    found = matrix(policy, Operation.READ)
    for subject, target in zip(found.subjects, found.objects[: len(found.subjects)], strict=True):
        assert subject == target
        assert permitted(policy, Operation.READ, subject, target) in {True, False}
    for target in found.objects:
        permitted(policy, Operation.READ, found.subjects[0], target)


@given(policies(of_acm=True) | policies(), st.data())
@settings(max_examples=30, deadline=None)
def test_labels_that_no_file_can_give_are_denied_alike(policy: Policy, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(policy.domain_labels)))
    bare = replace(policy.domain_labels[name], ste=frozenset(), mls=None)
    odd = replace(policy, domain_labels={**policy.domain_labels, name: bare})
    for op in (Operation.SHARE, Operation.READ, Operation.START, Operation.AUTHORIZE):
        found = matrix(odd, op)
        for row, subject in enumerate(references(odd)[0]):
            for column, target in enumerate(references(odd)[0]):
                assert found.permits(row, column) == permitted(odd, op, subject, target), (
                    op,
                    subject,
                    target,
                )


def test_a_name_that_is_two_labels_has_its_prefix() -> None:
    text = 'format: shype.policy/1\nname: p\nversion: "1.0"\nbootstrap: d\nste: {types: [a, b]}\n'
    policy = load(f"{text}domain_labels: {{d: {{ste: [a]}}}}\nresource_labels: {{d: {{ste: b}}}}\n".encode())
    assert matrix(policy, Operation.READ).objects == ("vm:d", "__UNLABELED__", "res:d")
    assert matrix(policy, Operation.RESOURCE_READ).objects == ("__UNLABELED__", "res:d")
    with pytest.raises(LabelError, match="vm:d"):
        permitted(policy, Operation.READ, "vm:d", "d")


def test_sets_of_numbers() -> None:
    assert of([0, 3, 70]) == 1 | 8 | 1 << 70
    assert list(members(of([0, 3, 70]))) == [0, 3, 70]
    assert list(members(0)) == []
    assert first(of([5, 9])) == 5
    assert union([1, 2, 8]) == 11


def test_two_thousand_labels_take_no_noticeable_time() -> None:
    types = [f"t{number}" for number in range(100)]
    labels = {
        f"l{number}": {"ste": [types[number % 100], types[number * 7 % 99]]}
        for number in range(2000)
        if number % 100 != number * 7 % 99
    }
    document = {"format": "shype.policy/1", "name": "p", "version": "1.0", "bootstrap": "l1"}
    policy = load(json.dumps({**document, "ste": {"types": types}, "domain_labels": labels}).encode())
    with at_most(5):
        found = matrix(policy, Operation.SHARE)
    assert found.permitted > len(labels)
