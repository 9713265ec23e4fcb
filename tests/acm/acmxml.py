"""ACM XML of our own for the tests: one file, and the older pair."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acm.policy import Policy

HEAD = '<SecurityPolicyDefinition xmlns="http://www.ibm.com">\n'

NEW = f"""\
<?xml version="1.0" encoding="UTF-8"?>
{HEAD}  <PolicyHeader>
    <PolicyName>offices</PolicyName>
    <Date>today</Date>
    <Version>1.1</Version>
    <FromPolicy><PolicyName>offices</PolicyName><Version>1.0</Version></FromPolicy>
  </PolicyHeader>
  <SimpleTypeEnforcement>
    <SimpleTypeEnforcementTypes>
      <Type>admin</Type>
      <Type>red</Type>
      <Type>green</Type>
    </SimpleTypeEnforcementTypes>
  </SimpleTypeEnforcement>
  <ChineseWall priority="PrimaryPolicyComponent">
    <ChineseWallTypes><Type>r</Type><Type>g</Type></ChineseWallTypes>
    <ConflictSets><Conflict name="colours"><Type>r</Type><Type>g</Type></Conflict></ConflictSets>
  </ChineseWall>
  <SecurityLabelTemplate>
    <SubjectLabels bootstrap="SystemManagement">
      <VirtualMachineLabel>
        <Name>SystemManagement</Name>
        <SimpleTypeEnforcementTypes><Type>admin</Type><Type>red</Type><Type>green</Type></SimpleTypeEnforcementTypes>
        <ChineseWallTypes><Type/></ChineseWallTypes>
      </VirtualMachineLabel>
      <VirtualMachineLabel>
        <Name from="rot">red</Name>
        <SimpleTypeEnforcementTypes><Type>red</Type></SimpleTypeEnforcementTypes>
        <ChineseWallTypes><Type>r</Type></ChineseWallTypes>
      </VirtualMachineLabel>
      <VirtualMachineLabel>
        <Name>green</Name>
        <SimpleTypeEnforcementTypes><Type>green</Type></SimpleTypeEnforcementTypes>
        <ChineseWallTypes><Type>g</Type></ChineseWallTypes>
      </VirtualMachineLabel>
    </SubjectLabels>
    <ObjectLabels>
      <ResourceLabel>
        <Name>disk (hda)</Name>
        <SimpleTypeEnforcementTypes><Type>red</Type></SimpleTypeEnforcementTypes>
      </ResourceLabel>
    </ObjectLabels>
  </SecurityLabelTemplate>
</SecurityPolicyDefinition>
"""

OLD = f"""{HEAD}<PolicyHeader><Name>pair-security_policy</Name><Date>2005</Date></PolicyHeader>
<SimpleTypeEnforcement><SimpleTypeEnforcementTypes><Type>a</Type></SimpleTypeEnforcementTypes></SimpleTypeEnforcement>
</SecurityPolicyDefinition>
"""
TEMPLATE = """\
<SecurityLabelTemplate xmlns="http://www.ibm.com">
<LabelHeader><Name>t</Name><Date>2005</Date>
<PolicyName><Url>pair-security_policy.xml</Url><Reference>0</Reference></PolicyName></LabelHeader>
<SubjectLabels bootstrap="d"><VirtualMachineLabel><Name>d</Name>
<SimpleTypeEnforcementTypes><Type>a</Type></SimpleTypeEnforcementTypes></VirtualMachineLabel></SubjectLabels>
</SecurityLabelTemplate>
"""


UNLABELED_LABELS = """\
<VirtualMachineLabel>
  <Name>__UNLABELED__</Name>
  <SimpleTypeEnforcementTypes><Type>__UNLABELED__</Type></SimpleTypeEnforcementTypes>
  <ChineseWallTypes><Type>__UNLABELED__</Type></ChineseWallTypes>
</VirtualMachineLabel>
</SubjectLabels>
<ObjectLabels>
<ResourceLabel>
  <Name>__UNLABELED__</Name>
  <SimpleTypeEnforcementTypes><Type>__UNLABELED__</Type></SimpleTypeEnforcementTypes>
</ResourceLabel>"""


def with_unlabeled() -> str:
    text = NEW.replace("<Type>admin</Type>", "<Type>admin</Type><Type>__UNLABELED__</Type>")
    text = text.replace(
        "<Type>r</Type><Type>g</Type></Ch", "<Type>r</Type><Type>g</Type><Type>__UNLABELED__</Type></Ch"
    )
    return text.replace("</SubjectLabels>\n    <ObjectLabels>", UNLABELED_LABELS)


def meaning(policy: Policy) -> dict[str, Any]:
    values = {one.name: getattr(policy, one.name) for one in fields(policy) if one.compare}
    del values["digest"]
    return values | {"conflict_sets": frozenset(policy.conflict_sets)}
