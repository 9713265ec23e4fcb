"""The policy file: YAML that people write, read as exactly one policy or not at all.

::

    format: shype.policy/1        # required, exactly this
    name: datacenter              # required
    version: "1.0"                # required: two numbers, in quotes (unquoted YAML reads a float)
    bootstrap: dom0               # label of Domain-0; without it: SystemManagement, which must exist

    ste:                          # Simple Type Enforcement; leave the section out to switch it off
      types: [alpha, beta]        # at least one

    chwall:                       # Chinese Wall; leave the section out to switch it off
      types: [alpha, beta]        # at least one
      conflict_sets:              # may be left out; each set excludes at least two types
        rivals: [alpha, beta]

    domain_labels:                # at least the bootstrap label
      dom0: {ste: [alpha, beta]}  # ste: at least one type where STE is enforced, else no ste at all
      alpha-web:
        ste: [alpha]
        chwall: [alpha]           # any number, none included; only where CHWALL is enforced

    resource_labels:              # may be left out: disks, VLANs, devices
      alpha-disk: {ste: alpha}    # exactly one type where STE is enforced, else {}; never chwall

    salt: "…"                     # may be left out: 64 hex digits, kept secret (see acm.parts)

A policy with neither section is sHype's NULL policy. It permits everything, so it has to say so:
``enforce: nothing`` is required there and refused elsewhere.

Names: 1 to 64 of ``A-Z a-z 0-9 _ . ( ) -`` and single blanks inside, a letter, a digit or ``_`` first; names
of the form ``__…__`` belong to sHype. A domain label and a resource label may share a name. STE types,
Chinese Wall types and conflict sets are name spaces of their own. Limits: 1 MiB, 4096 labels of each kind,
4096 types of each component, 1024 conflict sets. What YAML may be used is told in ``acm.yamltree``; JSON is
YAML and is read too. The same rules for other programs: ``configs/schema/policy.schema.json``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from acm import yamltree
from acm.chwall import ConflictSet
from acm.fields import fields, name, named, names, required, text
from acm.labels import DEFAULT_BOOTSTRAP, Label
from acm.parts import FORMAT
from acm.policy import Component, Policy
from acm.yamltree import Items, Mark, Node, flaw

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LABELS: Final = 4096
MAX_TYPES: Final = 4096
MAX_CONFLICT_SETS: Final = 1024

_HEAD: Final = frozenset({"format", "name", "version", "bootstrap", "enforce", "salt"})
_SECTIONS: Final = frozenset({"ste", "chwall", "domain_labels", "resource_labels"})
_VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})")
_SALT: Final = re.compile(r"[0-9a-f]{64}")


def load(data: bytes, source: str = "policy") -> Policy:
    """Return the policy in the bytes of a file; ``source`` names the file in errors.

    Raises PolicyFileError with ``code``, ``line`` and ``column`` of one flaw, and nothing else.
    """
    document = yamltree.read(data, source)
    top = fields(document, _HEAD | _SECTIONS)
    _check_format(required(top, "format", document.at))
    ste = _types(top, Component.STE)
    chwall = _types(top, Component.CHWALL)
    components = tuple(one.component for one in (chwall, ste) if one.enforced)
    _check_null_policy(top, components, document.at)
    sets = _conflict_sets(top, chwall)
    domains = _domain_labels(required(top, "domain_labels", document.at), ste, chwall, sets)
    return Policy(
        name=name(required(top, "name", document.at)),
        version=_version(required(top, "version", document.at)),
        components=components,
        ste_types=ste.declared,
        chwall_types=chwall.declared,
        conflict_sets=sets,
        domain_labels=domains,
        resource_labels=_resource_labels(top, ste),
        bootstrap=_bootstrap(top.get("bootstrap"), domains, document.at),
        digest=hashlib.sha256(data).hexdigest(),
        salt=_salt(top.get("salt")),
    )


@dataclass(frozen=True, slots=True)
class _Types:
    """What the section of a component declares; not enforced where the section is left out."""

    component: Component
    enforced: bool
    declared: frozenset[str] = frozenset()

    def type(self, node: Node) -> str:
        """Return one declared type."""
        held = name(node)
        if held not in self.declared:
            raise flaw("unknown-type", f"type '{held}' is not in the types of '{self.component}'", node.at)
        return held

    def types(self, node: Node) -> frozenset[str]:
        """Return a list of declared types."""
        held = names(node, MAX_TYPES)
        if isinstance(node, Items) and not held <= self.declared:
            for value in node.values:
                self.type(value)
        return held

    def of_label(self, label: Mapping[str, Node], at: Mark, *, needed: bool) -> Node | None:
        """Return where a label names its types of this component, or None where it has none."""
        node = label.get(self.component)
        if node is not None and not self.enforced:
            what = f"the policy has no section '{self.component}', so no label can have its types"
            raise flaw("component-absent", what, node.at)
        if node is None and needed and self.enforced:
            raise flaw("no-type", f"the label needs '{self.component}', which the policy enforces", at)
        return node


def _check_format(node: Node) -> None:
    if text(node) != FORMAT:
        raise flaw("format", f"this program reads format '{FORMAT}' only", node.at)


def _check_null_policy(top: Mapping[str, Node], components: tuple[Component, ...], at: Mark) -> None:
    node = top.get("enforce")
    if node is None:
        if not components:
            what = "neither 'ste' nor 'chwall': add one, or 'enforce: nothing' to permit everything"
            raise flaw("no-component", what, at)
    elif text(node) != "nothing" or components:
        what = "'enforce' says 'nothing', and only in a policy without 'ste' and 'chwall'"
        raise flaw("enforce", what, node.at)


def _version(node: Node) -> str:
    version = text(node)
    if not _VERSION.fullmatch(version):
        raise flaw("version", 'a version is two numbers of five digits at most, such as "1.0"', node.at)
    return version


def _salt(node: Node | None) -> bytes:
    if node is None:
        return b""
    salt = text(node)
    if not _SALT.fullmatch(salt):
        raise flaw("salt", "a salt is 64 lower-case hex digits (openssl rand -hex 32)", node.at)
    return bytes.fromhex(salt)


def _types(top: Mapping[str, Node], component: Component) -> _Types:
    section = top.get(component)
    if section is None:
        return _Types(component, enforced=False)
    known = {"types", "conflict_sets"} if component is Component.CHWALL else {"types"}
    node = required(fields(section, known), "types", section.at)
    declared = names(node, MAX_TYPES)
    if not declared:
        raise flaw("empty-list", "a component needs one type at least", node.at)
    return _Types(component, enforced=True, declared=declared)


def _conflict_sets(top: Mapping[str, Node], chwall: _Types) -> tuple[ConflictSet, ...]:
    section = fields(top["chwall"], {"types", "conflict_sets"}) if chwall.enforced else {}
    if "conflict_sets" not in section:
        return ()
    return tuple(
        ConflictSet(one, _conflict_types(node, chwall))
        for one, node in named(section["conflict_sets"], MAX_CONFLICT_SETS)
    )


def _conflict_types(node: Node, chwall: _Types) -> frozenset[str]:
    types = chwall.types(node)
    if not types:
        raise flaw("empty-conflict-set", "a conflict set names the types that exclude each other", node.at)
    if len(types) == 1:
        raise flaw("conflict-set-of-one", "a conflict set of one type excludes nothing: name two", node.at)
    return types


def _domain_labels(
    node: Node, ste: _Types, chwall: _Types, sets: tuple[ConflictSet, ...]
) -> Mapping[str, Label]:
    sets_of: dict[str, list[ConflictSet]] = {}
    for one in sets:
        for held in one.types:
            sets_of.setdefault(held, []).append(one)
    labels = {
        label: _domain_label(label, value, ste, chwall, sets_of) for label, value in named(node, MAX_LABELS)
    }
    return MappingProxyType(labels)


def _domain_label(
    label: str, node: Node, ste: _Types, chwall: _Types, sets_of: Mapping[str, list[ConflictSet]]
) -> Label:
    values = fields(node, {"ste", "chwall"})
    ste_node = ste.of_label(values, node.at, needed=True)
    ste_types = frozenset[str]() if ste_node is None else ste.types(ste_node)
    if ste_node is not None and not ste_types:
        raise flaw("no-type", "a domain label needs one STE type at least", ste_node.at)
    chwall_node = chwall.of_label(values, node.at, needed=False)
    if chwall_node is None:
        return Label(label, ste_types)
    chwall_types = chwall.types(chwall_node)
    _refuse_conflict(label, chwall_types, sets_of, chwall_node.at)
    return Label(label, ste_types, chwall_types)


def _refuse_conflict(
    label: str, types: frozenset[str], sets_of: Mapping[str, list[ConflictSet]], at: Mark
) -> None:
    seen: dict[str, str] = {}
    for held in sorted(types):
        for one in sets_of.get(held, ()):
            if one.name in seen:
                what = f"label '{label}' could never run: conflict set '{one.name}' excludes its types "
                raise flaw("label-conflict", what + f"'{seen[one.name]}' and '{held}' from each other", at)
            seen[one.name] = held


def _resource_labels(top: Mapping[str, Node], ste: _Types) -> Mapping[str, Label]:
    node = top.get("resource_labels")
    entries = [] if node is None else named(node, MAX_LABELS)
    return MappingProxyType({label: _resource_label(label, value, ste) for label, value in entries})


def _resource_label(label: str, node: Node, ste: _Types) -> Label:
    held = ste.of_label(fields(node, {"ste"}), node.at, needed=True)
    return Label(label) if held is None else Label(label, frozenset({ste.type(held)}))


def _bootstrap(node: Node | None, domains: Mapping[str, Label], at: Mark) -> str:
    label = DEFAULT_BOOTSTRAP if node is None else name(node)
    if label not in domains:
        hint = ": name one with 'bootstrap'" if node is None else ""
        what = f"Domain-0's label '{label}' is not in 'domain_labels'{hint}"
        raise flaw("bootstrap", what, at if node is None else node.at)
    return label
