"""What the package acm reads from outside."""

from __future__ import annotations

from typing import Final

from acm import (
    history,
    merkle,
    parts,
    policyfile,
    sectionfile,
    statefile,
    strictjson,
    xmlpolicy,
    xmltree,
    yamltree,
)
from acm.errors import StateFileError
from acm.xmlexport import export_policy
from acm.xmlshape import POLICY_FILE
from tests.parsers.parser import Parser, chunks, good
from tests.simulators.host import POLICY, policy_of

_LEAVES: Final = [part.body for part in parts.parts(policy_of(POLICY))]
_ROOT: Final = merkle.root(_LEAVES)


def _proof(raw: bytes) -> None:
    merkle.verify_inclusion(_ROOT, _LEAVES[3], index=3, size=len(_LEAVES), path=chunks(raw))


_XML: Final = export_policy(policy_of(POLICY))
_OLD_XML: Final = b"""<SecurityPolicyDefinition xmlns="http://www.ibm.com">
<PolicyHeader><Name>pair-security_policy</Name><Date>2005</Date></PolicyHeader>
<SimpleTypeEnforcement><SimpleTypeEnforcementTypes><Type>a</Type></SimpleTypeEnforcementTypes></SimpleTypeEnforcement>
</SecurityPolicyDefinition>"""
_TEMPLATE: Final = b"""<SecurityLabelTemplate xmlns="http://www.ibm.com">
<LabelHeader><Name>t</Name><PolicyName><Url>pair-security_policy.xml</Url></PolicyName></LabelHeader>
<SubjectLabels bootstrap="d"><VirtualMachineLabel><Name>d</Name>
<SimpleTypeEnforcementTypes><Type>a</Type></SimpleTypeEnforcementTypes></VirtualMachineLabel></SubjectLabels>
</SecurityLabelTemplate>"""


def _import_policy(raw: bytes) -> object:
    """Import a policy, with its label template where it needs one."""
    return xmlpolicy.import_policy(raw, _TEMPLATE if xmlpolicy.needs_labels(raw) else None)


def _strict_json(raw: bytes) -> object:
    return strictjson.read(raw, statefile.MAX_SIZE, StateFileError)


def _import_template(raw: bytes) -> object:
    return xmlpolicy.import_policy(_OLD_XML, raw)


_HISTORY: Final = history.begin(bytes(range(32)), frozenset({"cola", "bank-a"}))

_SECTION: Final = sectionfile.encode(parts.section(policy_of(POLICY), ["cola-web"]))


def _checked(raw: bytes) -> object:
    return sectionfile.checked(raw, sectionfile.decode(_SECTION))


PARSERS: Final = (
    Parser("acm.history:decode", lambda: [_HISTORY.encode()], history.decode),
    Parser("acm.statefile:decode", lambda: [good("state.json")], statefile.decode),
    Parser("acm.sectionfile:decode", lambda: [_SECTION], sectionfile.decode),
    Parser("acm.sectionfile:checked", lambda: [bytes.fromhex(policy_of(POLICY).root)], _checked),
    Parser("acm.strictjson:read", lambda: [good("state.json")], _strict_json),
    Parser("acm.policyfile:load", lambda: [good("policy.yaml")], policyfile.load),
    Parser("acm.xmlpolicy:import_policy", lambda: [_XML, _OLD_XML], _import_policy),
    Parser("acm.xmlpolicy:import_policy", lambda: [_TEMPLATE], _import_template, "labels"),
    Parser("acm.xmlpolicy:needs_labels", lambda: [_XML], xmlpolicy.needs_labels),
    Parser("acm.xmltree:read", lambda: [_XML], lambda raw: xmltree.read(raw, POLICY_FILE, "file")),
    Parser("acm.yamltree:read", lambda: [good("policy.yaml")], lambda raw: yamltree.read(raw, "file")),
    Parser(
        "acm.merkle:verify_inclusion",
        lambda: [_LEAVES[3]],
        lambda raw: merkle.verify_inclusion(
            _ROOT, raw, index=3, size=len(_LEAVES), path=merkle.Tree(_LEAVES).path(3)
        ),
        "data",
    ),
    Parser("acm.merkle:verify_inclusion", lambda: [b"".join(merkle.Tree(_LEAVES).path(3))], _proof, "path"),
    Parser(
        "acm.merkle:verify_inclusion_hash",
        lambda: [merkle.leaf_hash(_LEAVES[3])],
        lambda raw: merkle.verify_inclusion_hash(
            _ROOT, raw, index=3, size=len(_LEAVES), path=merkle.Tree(_LEAVES).path(3)
        ),
    ),
    Parser(
        "acm.merkle:root_from_path",
        lambda: [b"".join(merkle.Tree(_LEAVES).path(3))],
        lambda raw: merkle.root_from_path(
            merkle.leaf_hash(_LEAVES[3]), index=3, size=len(_LEAVES), path=chunks(raw)
        ),
    ),
    Parser(
        "acm.parts:verify_section",
        lambda: [_ROOT],
        lambda raw: parts.verify_section(raw, parts.section(policy_of(POLICY), ["cola-web"])),
    ),
)

NOT_PARSERS: Final = {
    "acm.history:begin": "takes random bytes of any value",
    "acm.merkle:*": "hashes bytes of any kind, reads nothing in them",
}
