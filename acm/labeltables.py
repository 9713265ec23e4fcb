"""The tables of labels in a policy file: ``domain_labels`` and ``resource_labels``.

Labels are read with what the sections declare. The format is described in ``acm.policyfile``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from acm.fields import fields, named
from acm.labels import Label
from acm.mls import point
from acm.policy import Component
from acm.yamltree import flaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acm.sections import ChineseWall, Levels, Types
    from acm.yamltree import Mark, Node

MAX_LABELS: Final = 16384


@dataclass(frozen=True, slots=True)
class Declared:
    """What the sections of a policy declare."""

    ste: Types
    chwall: ChineseWall
    mls: Levels

    @property
    def components(self) -> tuple[Component, ...]:
        """The components that the policy enforces, in sHype's order."""
        enforced = {
            Component.CHWALL: self.chwall.types.enforced,
            Component.STE: self.ste.enforced,
            Component.MLS: self.mls.enforced,
        }
        return tuple(component for component, on in enforced.items() if on)

    def of_label(
        self, component: Component, label: Mapping[str, Node], at: Mark, *, needed: bool = True
    ) -> Node | None:
        """Return what a label says of one component, or None where it says nothing.

        Refused: to speak of a component that the policy does not enforce, and not to speak of a needed one.
        """
        node, enforced = label.get(component), component in self.components
        if node is not None and not enforced:
            what = f"the policy has no section '{component}', so no label can speak of it"
            raise flaw("component-absent", what, node.at)
        if node is None and needed and enforced:
            code = "no-level" if component is Component.MLS else "no-type"
            raise flaw(code, f"the label needs '{component}', which the policy enforces", at)
        return node


def domain_labels(node: Node, declared: Declared) -> Mapping[str, Label]:
    """Return the domain labels; every label that is to be trusted must be one of them."""
    labels = {label: _domain_label(label, value, declared) for label, value in named(node, MAX_LABELS)}
    for label, at in declared.mls.trusted.items():
        if label not in labels:
            raise flaw("unknown-trusted", f"trusted label '{label}' is not in 'domain_labels'", at)
    return MappingProxyType(labels)


def resource_labels(node: Node | None, declared: Declared) -> Mapping[str, Label]:
    """Return the resource labels."""
    entries = [] if node is None else named(node, MAX_LABELS)
    return MappingProxyType({label: _resource_label(label, value, declared) for label, value in entries})


def _domain_label(label: str, node: Node, declared: Declared) -> Label:
    values = fields(node, set(Component))
    ste = declared.of_label(Component.STE, values, node.at)
    chwall = declared.of_label(Component.CHWALL, values, node.at, needed=False)
    mls = declared.of_label(Component.MLS, values, node.at)
    types = frozenset[str]() if ste is None else declared.ste.types(ste)
    if ste is not None and not types:
        raise flaw("no-type", "a domain label needs one STE type at least", ste.at)
    return Label(
        label,
        types,
        frozenset() if chwall is None else declared.chwall.types_of(label, chwall),
        None if mls is None else declared.mls.range(label, mls),
    )


def _resource_label(label: str, node: Node, declared: Declared) -> Label:
    values = fields(node, {Component.STE, Component.MLS})
    ste = declared.of_label(Component.STE, values, node.at)
    mls = declared.of_label(Component.MLS, values, node.at)
    return Label(
        label,
        frozenset() if ste is None else frozenset({declared.ste.type(ste)}),
        mls=None if mls is None else point(declared.mls.level(mls)),
    )
