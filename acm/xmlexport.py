"""A native policy as ACM XML of Xen 3.1 to 4.1, where ACM can say it.

The bytes depend on the meaning alone: types, conflict sets and labels stand in the order of their names, the
label of Domain-0 first, as ACM numbers them. What is written is read back and compared before it is returned,
so no part of a policy can be lost on the way unnoticed.
"""

from __future__ import annotations

from dataclasses import fields
from html import escape
from typing import TYPE_CHECKING, Final

from acm.errors import AcmInputError, ExportError
from acm.labels import UNLABELED
from acm.policy import Component
from acm.xmlpolicy import import_policy
from acm.xmlshape import (
    CONFLICT_SETS,
    DEFINITION,
    PRIMARY,
    PRIORITY,
    STE,
    STE_TYPES,
    TEMPLATE,
    WALL,
    WALL_TYPES,
)
from acm.xmltree import MAX_SIZE, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from acm.labels import Label
    from acm.policy import Policy

_OPEN: Final = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<{DEFINITION} xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="{NAMESPACE} ../../security_policy.xsd">"""


def export_policy(policy: Policy) -> bytes:
    """Return the XML of a policy.

    Raises ExportError (``acm-cannot-say``), which names everything in the policy that ACM has no words for.
    """
    beyond = tuple(beyond_acm(policy))
    if beyond:
        raise ExportError("acm-cannot-say", f"ACM of Xen 3.x cannot say: {'; '.join(beyond)}")
    text = "\n".join((_OPEN, *_indented(_definition(policy), 1), f"</{DEFINITION}>", "")).encode()
    if not _same(text, policy):
        what = "the XML of this policy would not read back as the same policy"
        raise ExportError("acm-cannot-say", f"{what}; {len(text)} bytes, at most {MAX_SIZE} can be read")
    return text


def beyond_acm(policy: Policy) -> Iterator[str]:
    """Yield what a policy has that ACM lacks, each in a few words."""
    if policy.enforces(Component.MLS):
        yield "MLS (levels, categories, trusted labels)"
    if policy.history:
        yield "a Chinese Wall with history"
    if policy.salt:
        yield "a salt"


def _same(text: bytes, policy: Policy) -> bool:
    try:
        return _meaning(import_policy(text).policy) == _meaning(policy)
    except AcmInputError:
        return False


def _meaning(policy: Policy) -> list[object]:
    """Return all that a policy says, fields to come included, but for its bytes and the order of sets."""
    values = {one.name: getattr(policy, one.name) for one in fields(policy) if one.compare}
    return [value for name, value in values.items() if name not in {"digest", "conflict_sets"}] + [
        frozenset(policy.conflict_sets)
    ]


def _definition(policy: Policy) -> Iterator[str]:
    yield from _element("PolicyHeader", _header(policy))
    primary = policy.components[0] if len(policy.components) > 1 else None
    if policy.enforces(Component.STE):
        yield from _element(STE, _types(STE_TYPES, policy.ste_types), **_priority(primary is Component.STE))
    if policy.enforces(Component.CHWALL):
        yield from _element(WALL, _chinese_wall(policy), **_priority(primary is Component.CHWALL))
    yield from _element(TEMPLATE, _labels(policy))


def _header(policy: Policy) -> Iterator[str]:
    yield _text("PolicyName", policy.name)
    yield _text("Version", policy.version)
    if policy.lineage is not None:
        names = (_text("PolicyName", policy.lineage.name), _text("Version", policy.lineage.version))
        yield from _element("FromPolicy", names)


def _priority(primary: bool) -> dict[str, str]:  # noqa: FBT001 - one private caller's condition
    return {PRIORITY: PRIMARY} if primary else {}


def _chinese_wall(policy: Policy) -> Iterator[str]:
    yield from _types(WALL_TYPES, policy.chwall_types)
    if policy.conflict_sets:
        yield from _element(CONFLICT_SETS, _conflicts(policy))


def _conflicts(policy: Policy) -> Iterator[str]:
    for one in sorted(policy.conflict_sets, key=lambda one: one.name):
        yield from _element("Conflict", (_text("Type", held) for held in sorted(one.types)), name=one.name)


def _labels(policy: Policy) -> Iterator[str]:
    yield from _element("SubjectLabels", _subjects(policy), bootstrap=policy.bootstrap)
    if policy.resource_labels:
        yield from _element("ObjectLabels", _objects(policy))


def _subjects(policy: Policy) -> Iterator[str]:
    renames = policy.lineage.domain_renames if policy.lineage else {}
    names = sorted(policy.domain_labels, key=lambda name: (name != policy.bootstrap, name))
    labels = [policy.domain_labels[name] for name in names]
    if UNLABELED.name in policy.ste_types:
        labels.append(UNLABELED)
    for label in labels:
        yield from _element("VirtualMachineLabel", _label(label, renames))


def _objects(policy: Policy) -> Iterator[str]:
    renames = policy.lineage.resource_renames if policy.lineage else {}
    for _, label in sorted(policy.resource_labels.items()):
        yield from _element("ResourceLabel", _label(label, renames))


def _label(label: Label, renames: Mapping[str, str]) -> Iterator[str]:
    old = {"from": renames[label.name]} if label.name in renames else {}
    yield _text("Name", label.name, **old)
    yield from _types(STE_TYPES, label.ste)
    yield from _types(WALL_TYPES, label.chwall)


def _types(name: str, types: frozenset[str]) -> Iterator[str]:
    if types:
        yield from _element(name, (_text("Type", held) for held in sorted(types)))


def _element(name: str, inside: Iterable[str], /, **attributes: str) -> Iterator[str]:
    yield f"<{name}{_attributes(attributes)}>"
    yield from _indented(inside, 1)
    yield f"</{name}>"


def _text(name: str, text: str, /, **attributes: str) -> str:
    return f"<{name}{_attributes(attributes)}>{escape(text)}</{name}>"


def _attributes(attributes: Mapping[str, str]) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())


def _indented(lines: Iterable[str], levels: int) -> Iterator[str]:
    return (f"{'  ' * levels}{line}" for line in lines)
