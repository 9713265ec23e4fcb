"""Where a policy comes from: predecessor, versions and renames."""

from __future__ import annotations

import pytest

from acm.lineage import Lineage, version_number
from acm.policyfile import load

HEAD = """\
format: shype.policy/1
name: shop
version: "1.10"
bootstrap: dom0
"""
REST = """\
ste: {types: [a]}
domain_labels: {dom0: {ste: [a]}, web: {ste: [a]}, db: {ste: [a]}}
resource_labels: {disk: {ste: a}, vlan: {ste: a}}
"""
FROM = 'from: {name: old shop, version: "1.9"}\n'


def test_a_policy_without_predecessor() -> None:
    policy = load((HEAD + REST).encode())
    assert policy.lineage is None
    assert policy.number == (1, 10)


def test_a_policy_names_its_predecessor_and_its_renames() -> None:
    renames = "renames: {domain_labels: {web: front, db: store}, resource_labels: {disk: hda}}\n"
    lineage = load((HEAD + FROM + renames + REST).encode()).lineage
    assert lineage == Lineage("old shop", "1.9", {"web": "front", "db": "store"}, {"disk": "hda"})
    assert lineage is not None
    assert lineage.is_from("old shop", "1.9")
    assert not lineage.is_from("old shop", "1.8")
    assert not lineage.is_from("shop", "1.9")


def test_labels_may_change_places() -> None:
    swap = "renames: {domain_labels: {web: db, db: web}}\n"
    lineage = load((HEAD + FROM + swap + REST).encode()).lineage
    assert lineage is not None
    assert lineage.domain_renames == {"web": "db", "db": "web"}


def test_renames_cannot_be_changed() -> None:
    lineage = load((HEAD + FROM + "renames: {domain_labels: {web: front}}\n" + REST).encode()).lineage
    assert lineage is not None
    with pytest.raises(TypeError):
        lineage.domain_renames["db"] = "x"  # type: ignore[index]  # that is the point


def test_versions_are_compared_as_numbers() -> None:
    ordered = ["0.0", "0.9", "0.10", "1.0", "1.9", "1.10", "1.99", "1.100", "2.0", "10.0", "99999.99999"]
    assert sorted(ordered, key=version_number) == ordered


def test_predecessor_and_renames_are_in_the_root() -> None:
    texts = [
        HEAD + REST,
        HEAD + FROM + REST,
        HEAD + FROM.replace("1.9", "1.8") + REST,
        HEAD + FROM + "renames: {domain_labels: {web: front}}\n" + REST,
        HEAD + FROM + "renames: {domain_labels: {db: front}}\n" + REST,
        HEAD + FROM + "renames: {resource_labels: {disk: front}}\n" + REST,
    ]
    assert len({load(text.encode()).root for text in texts}) == len(texts)
