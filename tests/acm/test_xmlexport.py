"""Export to ACM XML: the same policy comes back, the same bytes go out, the rest is refused by name."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import xmltree
from acm.errors import ExportError
from acm.lineage import Lineage
from acm.policyfile import load
from acm.xmlexport import export_policy
from acm.xmlpolicy import import_policy
from tests.acm.acmxml import NEW, meaning
from tests.acm.policies import policies

if TYPE_CHECKING:
    from pathlib import Path

    from acm.policy import Policy


@st.composite
def sayable(draw: st.DrawFn) -> Policy:
    """Policies that ACM can say, with a predecessor and renames now and then."""
    policy = draw(policies(of_acm=True))
    if not draw(st.booleans()):
        return policy
    old = draw(st.sampled_from(["model", "older"]))
    renames = {name: f"{name}-old" for name in draw(st.sets(st.sampled_from(sorted(policy.domain_labels))))}
    return replace(policy, lineage=Lineage(old, "0.9", renames))


@given(sayable())
@settings(max_examples=25, deadline=None)
def test_export_then_import_is_the_identity_and_export_again_the_same_bytes(policy: Policy) -> None:
    exported = export_policy(policy)
    found = import_policy(exported)
    assert meaning(found.policy) == meaning(policy)
    assert found.policy.root == policy.root
    assert {note.code for note in found.notes} <= {"unlabeled"}
    assert export_policy(found.policy) == exported
    assert export_policy(load(found.data)) == exported


@given(sayable(), st.integers(0, 1 << 30))
@settings(max_examples=25, deadline=None)
def test_order_blanks_and_comments_say_nothing(policy: Policy, seed: int) -> None:
    exported = export_policy(policy)
    root = ET.fromstring(exported)
    shuffle(root, Random(seed))
    changed = ET.tostring(root).replace(b"><", b">\n <!-- c --> <")
    changed = re.sub(rb"(<[\w:]*(?:Name|Type|Version)[^>]*>)\s*<!-- c -->\s*", rb"\1", changed)
    assert export_policy(import_policy(changed).policy) == exported


def shuffle(element: ET.Element, random: Random) -> None:
    children = list(element)
    random.shuffle(children)
    element[:] = children
    for child in children:
        shuffle(child, random)


@given(policies())
@settings(max_examples=25, deadline=None)
def test_what_acm_cannot_say_is_refused_by_name(policy: Policy) -> None:
    beyond = {"MLS": bool(policy.levels), "history": policy.history}
    if any(beyond.values()):
        with pytest.raises(ExportError) as caught:
            export_policy(policy)
        assert caught.value.code == "acm-cannot-say"
        for word, there in beyond.items():
            assert (word in str(caught.value)) == there


def test_a_salt_and_a_label_without_types_are_refused() -> None:
    policy = import_policy(NEW.encode()).policy
    with pytest.raises(ExportError, match="a salt"):
        export_policy(replace(policy, salt=b"x" * 32))
    labels = dict(policy.domain_labels)
    labels["green"] = replace(labels["green"], ste=frozenset())
    with pytest.raises(ExportError, match="read back"):
        export_policy(replace(policy, domain_labels=labels))
    disks = {
        "two": replace(policy.resource_labels["disk (hda)"], name="two", ste=frozenset({"red", "green"}))
    }
    with pytest.raises(ExportError, match="read back"):
        export_policy(replace(policy, resource_labels=disks))


def test_a_policy_that_is_too_big_to_be_read_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = import_policy(NEW.encode()).policy
    export_policy(policy)
    monkeypatch.setattr(xmltree, "MAX_ELEMENTS", 40)
    with pytest.raises(ExportError, match="at most"):
        export_policy(policy)


def test_the_data_centre_comes_back(repository: Path) -> None:
    policy = load((repository / "configs/policies/datacenter.yaml").read_bytes())
    exported = export_policy(policy)
    assert meaning(import_policy(exported).policy) == meaning(policy)
