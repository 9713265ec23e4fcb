"""Relabelling a resource: compare, then swap."""

from __future__ import annotations

import pytest

from acm.errors import LabelError, RelabelError
from acm.policyfile import load
from acm.relabel import LabelledResource, relabel

POLICY = load(b"""\
format: shype.policy/1
name: p
version: "1.0"
bootstrap: dom0
ste: {types: [a, b]}
domain_labels: {dom0: {ste: [a, b]}}
resource_labels: {cola: {ste: a}, juice: {ste: b}}
""")
DISK = LabelledResource("uuid:00000000-0000-0000-0000-00000000000a", "cola")


@pytest.mark.parametrize(("old", "new"), [("cola", "juice"), ("res:cola", "res:juice")])
def test_the_label_is_swapped(old: str, new: str) -> None:
    assert relabel(POLICY, DISK, old, new) == LabelledResource(DISK.identity, "juice")
    assert DISK.label == "cola"


@pytest.mark.parametrize("new", ["__UNLABELED__", "__INACCESSIBLE__", "cola"])
def test_reserved_labels_and_the_same_one_may_be_given(new: str) -> None:
    assert relabel(POLICY, DISK, "cola", new).label == new


def test_two_administrators_cannot_cross_each_other() -> None:
    first = relabel(POLICY, DISK, "cola", "juice")
    with pytest.raises(RelabelError, match="'juice', not 'cola'") as caught:
        relabel(POLICY, first, "cola", "__INACCESSIBLE__")
    assert caught.value.code == "label-changed"


def test_a_label_that_the_policy_no_longer_knows_can_be_replaced() -> None:
    assert relabel(POLICY, LabelledResource("vlan:7", "gone"), "gone", "cola").label == "cola"


@pytest.mark.parametrize(
    ("new", "code"),
    [("gone", "unknown-label"), ("dom0", "wrong-kind"), ("vm:dom0", "wrong-kind"), ("", "unknown-label")],
)
def test_the_new_label_is_a_resource_label(new: str, code: str) -> None:
    with pytest.raises(LabelError) as caught:
        relabel(POLICY, DISK, "cola", new)
    assert caught.value.code == code
