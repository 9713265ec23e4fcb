"""The elements of ACM's XML files, old and new, as ``acm.xmltree`` checks them.

Sources: ``tools/security/policies/security_policy.xsd`` of Xen 3.0 (policy and label template are two files)
and of Xen 3.1 to 4.1 (one file). Beyond the schemas: children may stand in any order, as ACM's own tools read
them; what they read only once (``VirtualMachineLabel/SimpleTypeEnforcementTypes``) must not stand twice.
"""

from __future__ import annotations

from typing import Final

from acm.xmltree import Shape

DEFINITION: Final = "SecurityPolicyDefinition"
TEMPLATE: Final = "SecurityLabelTemplate"
STE: Final = "SimpleTypeEnforcement"
STE_TYPES: Final = "SimpleTypeEnforcementTypes"
WALL: Final = "ChineseWall"
WALL_TYPES: Final = "ChineseWallTypes"
CONFLICT_SETS: Final = "ConflictSets"
PRIORITY: Final = "priority"
PRIMARY: Final = "PrimaryPolicyComponent"

_TEXT: Final = Shape()
_RENAMED: Final = Shape(attributes=frozenset({"from"}))
_TYPES: Final = Shape({"Type": _TEXT}, many=frozenset({"Type"}))


def _needed(*names: str) -> frozenset[str]:
    return frozenset(names)


_FROM_POLICY: Final = Shape({"PolicyName": _TEXT, "Version": _TEXT}, needed=_needed("PolicyName", "Version"))
_HEADER: Final = Shape(
    {
        "Name": _TEXT,
        "PolicyName": _TEXT,
        "PolicyUrl": _TEXT,
        "Reference": _TEXT,
        "Date": _TEXT,
        "NameSpaceUrl": _TEXT,
        "Version": _TEXT,
        "FromPolicy": _FROM_POLICY,
    }
)
_STE: Final = Shape({STE_TYPES: _TYPES}, needed=_needed(STE_TYPES), attributes=frozenset({PRIORITY}))
_CONFLICT: Final = Shape({"Type": _TEXT}, many=frozenset({"Type"}), attributes=frozenset({"name"}))
_WALL: Final = Shape(
    {WALL_TYPES: _TYPES, CONFLICT_SETS: Shape({"Conflict": _CONFLICT}, many=frozenset({"Conflict"}))},
    needed=_needed(WALL_TYPES),
    attributes=frozenset({PRIORITY}),
)
_VM: Final = Shape({"Name": _RENAMED, STE_TYPES: _TYPES, WALL_TYPES: _TYPES}, needed=_needed("Name"))
_RESOURCE: Final = Shape({"Name": _RENAMED, STE_TYPES: _TYPES}, needed=_needed("Name"))
_LABELS: Final = {
    "SubjectLabels": Shape(
        {"VirtualMachineLabel": _VM},
        many=frozenset({"VirtualMachineLabel"}),
        attributes=frozenset({"bootstrap"}),
    ),
    "ObjectLabels": Shape({"ResourceLabel": _RESOURCE}, many=frozenset({"ResourceLabel"})),
}
_REFERENCE: Final = Shape({"Url": _TEXT, "Reference": _TEXT}, needed=_needed("Url"))
_LABEL_HEADER: Final = Shape({"Name": _TEXT, "Date": _TEXT, "PolicyName": _REFERENCE})

POLICY_FILE: Final = {
    DEFINITION: Shape(
        {"PolicyHeader": _HEADER, STE: _STE, WALL: _WALL, TEMPLATE: Shape(_LABELS)},
        needed=_needed("PolicyHeader"),
    )
}
"""The outermost element of a policy; old ones have no ``SecurityLabelTemplate`` in it."""

LABEL_FILE: Final = {
    TEMPLATE: Shape({"LabelHeader": _LABEL_HEADER, **_LABELS}, needed=_needed("LabelHeader"))
}
"""The outermost element of an old label template, a file of its own."""
