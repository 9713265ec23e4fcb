"""A section on paper: written and read back, checked against a root, and told what it leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acm import merkle, parts, sectionfile
from acm.errors import InclusionError, SectionFileError
from acm.parts import Section, ShownPart
from acm.policyfile import load
from tests.acm.policies import policies
from tests.conftest import REPOSITORY
from tests.schemas import validator

if TYPE_CHECKING:
    from acm.policy import Policy

DATACENTER = load((REPOSITORY / "configs" / "policies" / "datacenter.yaml").read_bytes())
MLS = load((REPOSITORY / "configs" / "policies" / "mls.yaml").read_bytes())


def root(policy: Policy) -> bytes:
    return bytes.fromhex(policy.root)


def without(section: Section, kind: str, name: str) -> Section:
    kept = tuple(
        part
        for part in section.parts
        if (fields := json.loads(part.body))["part"] != kind
        or name not in (fields.get("name"), fields.get("type"))
    )
    assert len(kept) == len(section.parts) - 1
    return replace(section, parts=kept)


@given(policies(), st.data())
@settings(max_examples=40, deadline=None)
def test_every_section_is_written_read_back_and_whole(policy: Policy, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from(sorted(policy.domain_labels)), min_size=1, unique=True))
    shown = parts.section(policy, labels)
    raw = sectionfile.encode(shown)
    validator("section").validate(json.loads(raw))
    assert sectionfile.decode(raw) == shown
    found = sectionfile.checked(root(policy), shown)
    assert {label: found.missing(label) for label in labels} == dict.fromkeys(labels, ())


@given(policies(), st.data())
@settings(max_examples=40, deadline=None)
def test_whatever_is_left_out_is_named(policy: Policy, data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(sorted(policy.domain_labels)))
    shown = parts.section(policy, [label])
    gone = data.draw(st.integers(0, len(shown.parts) - 1))
    less = replace(shown, parts=shown.parts[:gone] + shown.parts[gone + 1 :])
    if less.parts:
        assert sectionfile.checked(root(policy), less).missing(label)


@pytest.mark.parametrize(
    ("policy", "label", "kind", "name"),
    [
        (DATACENTER, "cola-web", "domain", "cola-web"),
        (DATACENTER, "cola-web", "resource", "cola-web-disk"),
        (MLS, "release-guard", "mls-level", "internal"),
        (MLS, "navy-plans", "mls-category", "navy"),
        (MLS, "office", "policy", "mls"),
    ],
)
def test_a_hidden_part_is_missed(policy: Policy, label: str, kind: str, name: str) -> None:
    shown = without(parts.section(policy, [label]), kind, name)
    [missed, *_] = sectionfile.checked(root(policy), shown).missing(label)
    assert missed.startswith(f"{kind} '")


def test_a_neighbour_is_not_in_it() -> None:
    found = sectionfile.checked(root(DATACENTER), parts.section(DATACENTER, ["cola-web"]))
    assert found.missing("bank-web") == ("domain 'bank-web'",)
    assert ("domain", "bank-web") not in found.parts


def test_an_altered_part_is_refused() -> None:
    shown = parts.section(DATACENTER, ["cola-web"])
    first = shown.parts[0]
    for other in (
        replace(first, body=first.body.replace(b"datacenter", b"datacentre")),
        replace(first, index=first.index + 1),
        replace(first, path=first.path[1:]),
    ):
        with pytest.raises(InclusionError):
            sectionfile.checked(root(DATACENTER), replace(shown, parts=(other, *shown.parts[1:])))
    with pytest.raises(InclusionError):
        sectionfile.checked(bytes(32), shown)


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b'{"format": "shype.policy/1"}', b'{"part": "domain", "name": "a"}']
)
def test_the_root_of_something_else_proves_no_policy(body: bytes) -> None:
    shown = Section(1, (ShownPart(body, 0, ()),))
    with pytest.raises(InclusionError):
        sectionfile.checked(merkle.root([body]), shown)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "shype.policy-section/2"},
        {"size": "1"},
        {"size": True},
        {"size": -1},
        {"parts": {}},
        {"parts": [{}]},
        {"parts": [{"index": 0, "body": "é", "path": []}]},
        {"parts": [{"index": -1, "body": "{}", "path": []}]},
        {"parts": [{"index": 0, "body": "{}", "path": ["00"]}]},
        {"parts": [{"index": 0, "body": "{}", "path": ["0" * 64] * 65}]},
        {"more": 1},
    ],
    ids=str,
)
def test_another_file_is_refused(change: dict[str, Any]) -> None:
    good = json.loads(sectionfile.encode(parts.section(DATACENTER, ["cola-web"])))
    bad = good | change
    with pytest.raises(SectionFileError):
        sectionfile.decode(json.dumps(bad).encode())
    with pytest.raises(jsonschema.ValidationError):
        validator("section").validate(bad)
