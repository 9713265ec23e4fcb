"""ACM XML in and out: real files of Xen, policies of our own, and what is refused on either way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from acm.engine import Operation, Request, decide
from acm.errors import PolicyFileError
from acm.lineage import Lineage
from acm.policyfile import load
from acm.xmlexport import export_policy
from acm.xmlpolicy import import_policy, needs_labels
from tests.acm.acmxml import NEW, OLD, TEMPLATE, meaning, with_unlabeled
from tests.conftest import vector_params
from tests.schemas import validator

if TYPE_CHECKING:
    from tests.conftest import Vector


def refusal(text: str, labels: str | None = None) -> PolicyFileError:
    with pytest.raises(PolicyFileError) as caught:
        import_policy(
            text.encode(), labels and labels.encode(), source="policy.xml", labels_source="labels.xml"
        )
    return caught.value


def codes(text: str, labels: str | None = None) -> list[str]:
    return [note.code for note in import_policy(text.encode(), labels and labels.encode()).notes]


@pytest.mark.parametrize("vector", vector_params("xen/acm"))
def test_the_policies_of_xen_are_read_and_come_back(vector: Vector) -> None:
    template = vector.path.with_name(vector.path.name.replace("security_policy", "security_label_template"))
    labels = template.read_bytes() if needs_labels(vector.read()) else None
    found = import_policy(vector.read(), labels)
    assert meaning(load(found.data)) == meaning(found.policy)
    again = import_policy(export_policy(found.policy)).policy
    assert meaning(again) == meaning(found.policy)
    text = vector.read() + (labels or b"")
    for label in re.findall(rb"<Name>(\w+ ?\(?\w*\)?)</Name>", text[text.find(b"<SubjectLabels") :]):
        name = label.decode()
        assert name in found.policy.domain_labels or name in found.policy.resource_labels or "__" in name


def test_one_file() -> None:
    found = import_policy(NEW.encode())
    policy = found.policy
    assert (policy.name, policy.version, policy.bootstrap) == ("offices", "1.1", "SystemManagement")
    assert policy.lineage == Lineage("offices", "1.0", {"red": "rot"})
    assert policy.domain_labels["red"].ste == {"red"}
    assert policy.domain_labels["red"].chwall == {"r"}
    assert policy.domain_labels["SystemManagement"].chwall == frozenset()
    assert policy.resource_labels["disk (hda)"].ste == {"red"}
    assert policy.conflict_sets[0].types == {"r", "g"}
    assert [note.code for note in found.notes] == ["header-text"]
    assert found.data.startswith(
        b"# Imported from ACM XML of Xen 3.x.\n# header-text: PolicyHeader/Date 'today'"
    )
    start = Request(Operation.START, "green", "SystemManagement", ("red",))
    assert not decide(policy, start).permitted


def test_the_older_pair() -> None:
    assert needs_labels(OLD.encode())
    assert not needs_labels(NEW.encode())
    policy = import_policy(OLD.encode(), TEMPLATE.encode()).policy
    assert (policy.name, policy.version, policy.bootstrap) == ("pair-security_policy", "0.0", "d")
    assert codes(OLD, TEMPLATE) == ["no-version", *["header-text"] * 5]
    assert "two-templates" in str(refusal(NEW, TEMPLATE))
    assert "no-labels" in str(refusal(OLD))
    assert str(refusal(OLD, TEMPLATE.replace("pair-", "other-"))).startswith("labels.xml:3:18: ")
    assert refusal(TEMPLATE).code == "unknown-element"
    assert refusal(OLD, OLD).code == "unknown-element"


def test_a_policy_that_enforces_nothing_says_so() -> None:
    nothing = OLD.replace(OLD.splitlines()[2], "")
    bare = TEMPLATE[: TEMPLATE.index("<SubjectLabels")] + "</SecurityLabelTemplate>"
    found = import_policy(nothing.encode(), bare.encode())
    assert found.policy.components == ()
    assert found.policy.bootstrap == "SystemManagement"
    assert b"enforce: nothing" in found.data
    assert "bootstrap-added" in codes(nothing, bare)
    assert refusal(OLD, bare).code == "no-labels"
    wall = "<ChineseWall><ChineseWallTypes><Type>a</Type></ChineseWallTypes></ChineseWall>"
    assert refusal(nothing.replace("</SecurityPolicyD", f"{wall}</SecurityPolicyD"), bare).code == "no-labels"


def test_the_component_with_the_priority_decides_first() -> None:
    assert [str(one) for one in import_policy(NEW.encode()).policy.components] == ["chwall", "ste"]
    other = NEW.replace(' priority="PrimaryPolicyComponent"', "")
    assert [str(one) for one in import_policy(other.encode()).policy.components] == ["chwall", "ste"]
    other = other.replace(
        "<SimpleTypeEnforcement>", '<SimpleTypeEnforcement priority="PrimaryPolicyComponent">'
    )
    assert [str(one) for one in import_policy(other.encode()).policy.components] == ["ste", "chwall"]


def test_domain_0_that_holds_the_type_of_what_has_no_label_may_run_it() -> None:
    policy = import_policy(with_unlabeled().encode()).policy
    assert "__UNLABELED__" not in policy.domain_labels
    assert "unlabeled" in codes(with_unlabeled())
    for op, subject, target, permitted in (
        ("start", "__UNLABELED__", "SystemManagement", True),
        ("share", "__UNLABELED__", "SystemManagement", True),
        ("authorize", "SystemManagement", "__UNLABELED__", True),
        ("read", "SystemManagement", "res:__UNLABELED__", True),
        ("share", "__UNLABELED__", "red", False),
        ("start", "__UNLABELED__", "red", False),
    ):
        assert decide(policy, Request(Operation(op), subject, target)).permitted == permitted, (op, subject)
    assert not decide(
        import_policy(NEW.encode()).policy, Request(Operation.START, "__UNLABELED__", "SystemManagement")
    ).permitted
    exported = export_policy(policy)
    assert b"<Name>__UNLABELED__</Name>" in exported
    assert meaning(import_policy(exported).policy) == meaning(policy)


def test_a_policy_with_that_type_fits_the_schema() -> None:
    document = yaml.safe_load(import_policy(with_unlabeled().encode()).data)
    validator("policy").validate(document)
    document["ste"]["types"].append("__NULL_LABEL__")
    assert not validator("policy").is_valid(document)


BAD = [
    ("<ChineseWall ", "<ChineseWal ", "unknown-element", 16, 3),
    ("<Date>today</Date>", "<Date>today</Date>\n<Author>me</Author>", "unknown-element", 6, 1),
    ("<Name>green</Name>", '<Name of="x">green</Name>', "unknown-attribute", 33, 9),
    ("<PolicyName>offices</PolicyName>\n    <D", "<D", "missing-element", 3, 3),
    (
        "<PolicyName>offices</PolicyName>\n    <D",
        "<Name>o</Name><PolicyName>offices</PolicyName><D",
        "two-names",
        4,
        5,
    ),
    ("offices</PolicyName>\n    <D", "a:b</PolicyName>\n    <D", "name", 4, 17),
    ("offices</PolicyName>\n    <D", " offices</PolicyName>\n    <D", "name", 4, 17),
    ("<Version>1.1<", "<Version>1.01<", "version", 6, 14),
    ("<Version>1.1<", "<Version>1.0<", "version-order", 7, 58),
    ("<Version>1.1<", "<Version>1<", "version", 6, 14),
    ("<Type>admin</Type>\n", "<Type>adm&amp;in</Type>\n", "name", 11, 13),
    ("<Type>admin</Type>\n", "<Type>red</Type>\n", "duplicate-name", 12, 13),
    ("<Conflict name=", "<Conflict nam=", "unknown-attribute", 18, 19),
    ('<Conflict name="colours">', "<Conflict>", "missing-attribute", 18, 19),
    ('<Conflict name="colours"><Type>r</Type>', '<Conflict name="colours">', "conflict-set-of-one", 18, 19),
    (
        '<Conflict name="colours"><Type>r</Type>',
        '<Conflict name="colours"><Type>q</Type>',
        "unknown-type",
        18,
        50,
    ),
    ("</Conflict>", '</Conflict><Conflict name="colours"/>', "duplicate-name", 18, 83),
    ('bootstrap="SystemManagement"', 'bootstrap="nobody"', "bootstrap", 21, 5),
    (' bootstrap="SystemManagement"', "", "missing-attribute", 21, 5),
    ("<Name>green</Name>", "<Name from='red'>red</Name>", "duplicate-name", 33, 26),
    ("<Name>green</Name>", "<Name>__NULL_LABEL__</Name>", "reserved-name", 33, 15),
    ('<Name from="rot">', '<Name from="green">', "rename-source", 28, 9),
    ("<FromPolicy><PolicyName>offices</PolicyName><Version>1.0</Version></FromPolicy>", "", "renames", 28, 9),
    (
        "<Type>g</Type></ChineseWallTypes>\n      </V",
        "<Type>g</Type><Type>r</Type></ChineseWallTypes>\n      </V",
        "label-conflict",
        35,
        33,
    ),
    (
        "<Type>green</Type></SimpleTypeEnforcementTypes>\n        <ChineseWallTypes><Type>g",
        "<Type/></SimpleTypeEnforcementTypes>\n        <ChineseWallTypes><Type>g",
        "no-type",
        32,
        7,
    ),
    (
        "<Type>green</Type></SimpleTypeEnforcementTypes>\n        <ChineseWallTypes><Type>g",
        "<Type>blue</Type></SimpleTypeEnforcementTypes>\n        <ChineseWallTypes><Type>g",
        "unknown-type",
        34,
        43,
    ),
    (
        "<Type>red</Type></SimpleTypeEnforcementTypes>\n      </R",
        "<Type>red</Type><Type>green</Type></SimpleTypeEnforcementTypes>\n      </R",
        "resource-types",
        41,
        59,
    ),
    (
        "<Type>red</Type></SimpleTypeEnforcementTypes>\n      </R",
        "<Type>__UNLABELED__</Type></SimpleTypeEnforcementTypes>\n      </R",
        "reserved-name",
        41,
        43,
    ),
    (
        "<SimpleTypeEnforcement>",
        '<SimpleTypeEnforcement priority="PrimaryPolicyComponent">',
        "priority",
        9,
        3,
    ),
    ('priority="PrimaryPolicyComponent"', 'priority="first"', "priority", 16, 3),
]


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "column"), BAD, ids=[f"{bad[2]}-{n}" for n, bad in enumerate(BAD)]
)
def test_what_cannot_be_said_is_refused_at_its_place(
    old: str, new: str, code: str, line: int, column: int
) -> None:
    assert NEW.count(old) == 1, old
    error = refusal(NEW.replace(old, new))
    assert (error.code, error.line, error.column) == (code, line, column), str(error)
    assert str(error).startswith("policy.xml:")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<Type>__UNLABELED__</Type></ChineseWallTypes>\n</V", "<Type>r</Type></ChineseWallTypes>\n</V"),
        (
            "<Type>__UNLABELED__</Type></SimpleTypeEnforcementTypes>\n  <C",
            "<Type>red</Type></SimpleTypeEnforcementTypes>\n  <C",
        ),
        (
            "<Type>__UNLABELED__</Type></SimpleTypeEnforcementTypes>\n</R",
            "<Type>red</Type></SimpleTypeEnforcementTypes>\n</R",
        ),
        ("<VirtualMachineLabel>\n  <Name>__", '<VirtualMachineLabel>\n  <Name from="x">__'),
    ],
)
def test_what_has_no_label_cannot_be_given_other_types(old: str, new: str) -> None:
    text = with_unlabeled()
    assert text.count(old) == 1
    assert refusal(text.replace(old, new)).code == "unlabeled"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<Type>g</Type></Conflict>", "<Type>g</Type><Type>__UNLABELED__</Type></Conflict>"),
        (
            "<Type>g</Type></ChineseWallTypes>\n      </V",
            "<Type>__UNLABELED__</Type></ChineseWallTypes>\n      </V",
        ),
        (
            "<Type>red</Type></SimpleTypeEnforcementTypes>\n      </R",
            "<Type>__UNLABELED__</Type></SimpleTypeEnforcementTypes>\n      </R",
        ),
    ],
)
def test_the_type_of_what_has_no_label_is_for_domains_to_share_only(old: str, new: str) -> None:
    text = with_unlabeled()
    assert text.count(old) == 1, old
    assert refusal(text.replace(old, new)).code == "reserved-name"
