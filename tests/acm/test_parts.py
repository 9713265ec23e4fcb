"""One customer's section of a policy, shown and checked alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from acm import parts
from acm.errors import InclusionError, LabelError
from acm.parts import Section, ShownPart
from acm.policyfile import load

if TYPE_CHECKING:
    from pathlib import Path

    from acm.policy import Policy

SALT = "salt: " + "5a" * 32 + "\n"


@pytest.fixture(scope="module")
def data(repository: Path) -> bytes:
    return (repository / "configs/policies/datacenter.yaml").read_bytes()


@pytest.fixture(scope="module")
def policy(data: bytes) -> Policy:
    return load(data)


def shown_to(policy: Policy, *labels: str) -> list[dict[str, object]]:
    return [json.loads(part.body) for part in parts.section(policy, labels).parts]


def test_a_customer_sees_its_labels_types_sets_and_resources_only(policy: Policy) -> None:
    shown = shown_to(policy, "cola-web", "cola-db")
    assert {part["name"] for part in shown if part["part"] == "domain"} == {"cola-web", "cola-db"}
    assert {part["name"] for part in shown if part["part"] == "conflict-set"} == {"rivals"}
    resources = {part["name"] for part in shown if part["part"] == "resource"}
    assert resources == {"cola-disk", "cola-web-disk", "cola-vlan", "cola-backup-disk"}
    text = json.dumps(shown)
    assert "juice-" not in text
    assert "bank-" not in text


def test_the_part_of_a_type_lists_everybody_who_holds_it(policy: Policy) -> None:
    held = {part["type"]: part for part in shown_to(policy, "cola-db") if part["part"] == "ste-type"}
    assert held["cola-data"]["domains"] == ["cola-db", "dom0"]
    assert held["cola-data"]["resources"] == ["cola-disk"]
    assert held["backup-cola"]["domains"] == ["backup", "cola-db", "dom0"]


def test_a_section_leads_to_the_root(policy: Policy) -> None:
    shown = parts.section(policy, ["cola-web"])
    parts.verify_section(bytes.fromhex(policy.root), shown)


@pytest.mark.parametrize("field", ["body", "index", "path"])
def test_a_changed_section_does_not(policy: Policy, field: str) -> None:
    shown = parts.section(policy, ["cola-web"])
    first, *rest = shown.parts
    changed = {
        "body": replace(first, body=first.body.replace(b"datacenter", b"datacentre")),
        "index": replace(first, index=first.index + 1),
        "path": replace(first, path=first.path[:-1]),
    }[field]
    with pytest.raises(InclusionError):
        parts.verify_section(bytes.fromhex(policy.root), replace(shown, parts=(*rest, changed)))


def test_another_customers_policy_does_not_prove_mine(policy: Policy, data: bytes) -> None:
    other = load(data.replace(b"rivals: [cola, juice]", b"rivals: [cola, key-store]"))
    with pytest.raises(InclusionError):
        parts.verify_section(bytes.fromhex(other.root), parts.section(policy, ["cola-web"]))


def test_nothing_shown_proves_nothing(policy: Policy) -> None:
    with pytest.raises(InclusionError) as caught:
        parts.verify_section(bytes.fromhex(policy.root), Section(1, ()))
    assert caught.value.code == "empty-section"


def test_a_made_up_part_is_refused(policy: Policy) -> None:
    with pytest.raises(InclusionError):
        parts.verify_section(bytes.fromhex(policy.root), Section(1, (ShownPart(b"{}", 0, ()),)))


def test_a_section_of_an_unknown_label(policy: Policy) -> None:
    with pytest.raises(LabelError):
        parts.section(policy, ["cola-disk"])


def test_without_salt_a_hidden_part_can_be_guessed_and_with_salt_it_cannot(data: bytes) -> None:
    """The neighbour of a shown leaf is a hash in its path; a good guess at the neighbour gives it away."""
    from acm import merkle

    guess = b'{"domains":["dom0","juice-db"],"format":"shype.policy/1","part":"ste-type",'
    guess += b'"resources":["juice-disk"],"type":"juice-data"}'
    text = data.decode()
    for salt, guessed in (("", True), (SALT, False)):
        policy = load((salt + text).encode())
        everything = parts.parts(policy)
        tree = merkle.Tree(part.body for part in everything)
        index = next(
            at for at, part in enumerate(everything) if (part.kind, part.name) == ("ste-type", "juice-data")
        )
        assert (merkle.leaf_hash(guess) in tree.path(index ^ 1)) is guessed


def test_the_salt_is_shown_nowhere(data: bytes) -> None:
    policy = load(SALT.encode() + data)
    assert "5a5a" not in repr(policy)
    assert all(b"5a5a" not in part.body for part in parts.parts(policy))
    assert policy.root != load(data).root
    parts.verify_section(bytes.fromhex(policy.root), parts.section(policy, ["juice-db"]))


def test_the_header_tells_which_policy_this_is(policy: Policy) -> None:
    (header,) = shown_to(policy)
    assert header == {
        "format": "shype.policy/1",
        "part": "policy",
        "name": "datacenter",
        "version": "1.0",
        "components": ["chwall", "ste"],
        "bootstrap": "dom0",
    }


def test_each_part_has_its_own_salt(data: bytes) -> None:
    """A type, a domain and a resource may share a name; knowing one part must not help with another."""
    text = data.decode().replace("  batch-disk:", "  batch:")
    salts = [json.loads(part.body)["salt"] for part in parts.parts(load((SALT + text).encode()))]
    assert len(salts) == len(set(salts))


@pytest.fixture(scope="module")
def mls(repository: Path) -> Policy:
    return load((repository / "configs/policies/mls.yaml").read_bytes())


def test_a_customer_sees_its_level_and_categories_with_all_who_stand_there(mls: Policy) -> None:
    shown = {(part["part"], part.get("name")): part for part in shown_to(mls, "navy-plans")}
    assert set(shown) == {
        ("policy", "mls"),
        ("mls-level", "secret"),
        ("mls-category", "navy"),
        ("domain", "navy-plans"),
    }
    assert shown["mls-level", "secret"]["domains"] == ["army-plans", "dom0", "joint-staff", "navy-plans"]
    assert shown["mls-category", "navy"]["resources"] == ["audit-log", "navy-disk"]
    level = {"level": "secret", "categories": ["navy"]}
    assert shown["domain", "navy-plans"]["mls"] == {"low": level, "high": level}
    assert shown["policy", "mls"]["levels"] == ["public", "internal", "secret"]


def test_a_trusted_label_says_so_and_shows_every_level_that_it_spans(mls: Policy) -> None:
    shown = shown_to(mls, "release-guard")
    assert [part["name"] for part in shown if part["part"] == "mls-level"] == ["internal", "public"]
    (label,) = (part for part in shown if part["part"] == "domain")
    assert label["trusted"] is True
    parts.verify_section(bytes.fromhex(mls.root), parts.section(mls, ["release-guard"]))


SMALL = """\
format: shype.policy/1
name: small
version: "1.0"
bootstrap: web
enforce: [ste, mls]
ste: {types: [a]}
mls: {levels: [low, high], categories: [c, d], trusted: [web]}
domain_labels: {web: {ste: [a], mls: low}, db: {ste: [a], mls: {level: high, categories: [c]}}}
resource_labels: {disk: {ste: a, mls: low}}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[ste, mls]", "[mls, ste]"),
        ("[low, high]", "[high, low]"),
        ("[low, high]", "[low, high, top]"),
        ("[c, d]", "[c, d, e]"),
        ("trusted: [web]", "trusted: [db]"),
        ("web: {ste: [a], mls: low}", "web: {ste: [a], mls: high}"),
        ("web: {ste: [a], mls: low}", "web: {ste: [a], mls: {low: low, high: high}}"),
        ("categories: [c]}", "categories: [d]}"),
        ("disk: {ste: a, mls: low}", "disk: {ste: a, mls: high}"),
    ],
)
def test_whatever_a_policy_says_of_levels_is_in_its_root(old: str, new: str) -> None:
    assert old in SMALL
    assert load(SMALL.replace(old, new).encode()).root != load(SMALL.encode()).root


def test_that_past_runs_count_is_in_the_header_and_in_the_root(data: bytes, policy: Policy) -> None:
    counted = load(data.replace(b"  conflict_sets:", b"  history: true\n  conflict_sets:"))
    assert shown_to(counted)[0]["history"] is True
    assert counted.root != policy.root


@pytest.mark.parametrize(("kind", "label"), [("domain_labels", "web"), ("resource_labels", "disk")])
def test_whose_successor_a_label_is_stands_in_its_part_and_in_the_root(kind: str, label: str) -> None:
    """Else two policies that hand a host's domains on to different labels would have one root."""
    text = (
        'format: shype.policy/1\nname: p\nversion: "1.1"\nfrom: {name: p, version: "1.0"}\nRENAMES\n'
        "bootstrap: d\nste: {types: [a]}\ndomain_labels: {d: {ste: [a]}, web: {ste: [a]}}\n"
        "resource_labels: {disk: {ste: a}}\n"
    )
    found = [
        load(text.replace("RENAMES", f"renames: {{{kind}: {renames}}}").encode())
        for renames in (f"{{{label}: old}}", f"{{{label}: older}}", "{}")
    ]
    assert len({policy.root for policy in found}) == len(found)
    shown = [json.loads(part.body) for part in parts.parts(found[0]) if part.name == label]
    assert [part["renamed_from"] for part in shown] == ["old"]
