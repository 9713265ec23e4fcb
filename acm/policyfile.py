"""The policy file: YAML that people write, read as exactly one policy or not at all.

::

    format: shype.policy/1        # required, exactly this
    name: datacenter              # required
    version: "1.1"                # required: two numbers, in quotes (unquoted YAML reads a float)
    from: {name: datacenter, version: "1.0"}    # may be left out: the predecessor, of a lower version
    renames:                      # may be left out; only beside 'from': new name, old name
      domain_labels: {alpha-web: alpha}
      resource_labels: {alpha-disk: disk}
    bootstrap: dom0               # label of Domain-0; without it: SystemManagement, which must exist
    enforce: [chwall, ste, mls]   # may be left out: the order in which the components decide, all of them

    ste:                          # Simple Type Enforcement; leave the section out to switch it off
      types: [alpha, beta]        # at least one

    chwall:                       # Chinese Wall; leave the section out to switch it off
      types: [alpha, beta]        # at least one
      history: true               # may be left out (false): what has run on a host counts as running
      conflict_sets:              # may be left out; each set excludes at least two types
        rivals: [alpha, beta]

    mls:                          # Multi-level security; leave the section out to switch it off
      levels: [public, secret]    # low to high, at least two
      categories: [crypto]        # may be left out
      trusted: [dom0]             # may be left out: the domain labels that may span more than one level

    domain_labels:                # at least the bootstrap label
      dom0:
        ste: [alpha, beta]        # at least one type where STE is enforced, else no ste at all
        mls: {low: public, high: {level: secret, categories: [crypto]}}
      alpha-web:
        ste: [alpha]
        chwall: [alpha]           # any number, none included; only where CHWALL is enforced
        mls: secret               # where MLS is enforced; short for {level: secret}

    resource_labels:              # may be left out: disks, VLANs, devices
      alpha-disk:
        ste: alpha                # exactly one type where STE is enforced; never chwall
        mls: {level: secret, categories: [crypto]}    # one level where MLS is enforced, never a range

    salt: "…"                     # may be left out: 64 hex digits, kept secret (see acm.parts)

A policy without any of the three sections is sHype's NULL policy. It permits everything, so it has to say so:
``enforce: nothing`` is required there and refused elsewhere.

The STE type ``__UNLABELED__``, declared and given to a domain label, lets that label meet what has no label
(never beside ``mls``); nothing else can.

Names: 1 to 64 of ``A-Z a-z 0-9 _ . ( ) -`` and single blanks inside, a letter, a digit or ``_`` first; names
of the form ``__…__`` belong to sHype. A domain label and a resource label may share a name. STE types,
Chinese Wall types, conflict sets, levels and categories are name spaces of their own. Limits: 4 MiB, 16384
labels of each kind, 16384 types of each component, 1024 conflict sets, 256 levels, 1024 categories. What YAML
may be used is told in ``acm.yamltree``; JSON is YAML and is read too. The same rules for other programs:
``configs/schema/policy.schema.json``.
"""

from __future__ import annotations

import hashlib
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from acm import yamltree
from acm.fields import fields, items, name, named, required, text
from acm.labels import DEFAULT_BOOTSTRAP, UNLABELED, Label
from acm.labeltables import MAX_LABELS, Declared, domain_labels, resource_labels
from acm.lineage import Lineage, version_number
from acm.parts import FORMAT
from acm.policy import Component, Policy
from acm.sections import read_chwall, read_mls, read_ste
from acm.yamltree import Items, Mark, Node, Table, flaw

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD: Final = frozenset({"format", "name", "version", "from", "renames", "bootstrap", "enforce", "salt"})
_SECTIONS: Final = frozenset({"ste", "chwall", "mls", "domain_labels", "resource_labels"})
_VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,4})\.(0|[1-9][0-9]{0,4})")
_SALT: Final = re.compile(r"[0-9a-f]{64}")


def load(data: bytes, source: str = "policy") -> Policy:
    """Return the policy in the bytes of a file; ``source`` names the file in errors.

    Raises PolicyFileError with ``code``, ``line`` and ``column`` of one flaw, and nothing else.
    """
    return from_tree(yamltree.read(data, source), hashlib.sha256(data).hexdigest())


def from_tree(document: Node, digest: str) -> Policy:
    """Return the policy that a document says; ``digest`` is that of the bytes it was read from.

    Raises PolicyFileError as ``load`` does; its place is that of the node.
    """
    top = fields(document, _HEAD | _SECTIONS)
    _check_format(required(top, "format", document.at))
    declared = Declared(read_ste(top.get("ste")), read_chwall(top.get("chwall")), read_mls(top.get("mls")))
    _check_grant(top, declared)
    components = _components(top.get("enforce"), declared.components, document.at)
    domains = domain_labels(required(top, "domain_labels", document.at), declared)
    resources = resource_labels(top.get("resource_labels"), declared)
    version = _version(required(top, "version", document.at))
    return Policy(
        name=name(required(top, "name", document.at)),
        version=version,
        components=components,
        ste_types=declared.ste.declared,
        chwall_types=declared.chwall.types.declared,
        conflict_sets=declared.chwall.conflict_sets,
        domain_labels=domains,
        resource_labels=resources,
        bootstrap=_bootstrap(top.get("bootstrap"), domains, document.at),
        digest=digest,
        salt=_salt(top.get("salt")),
        history=declared.chwall.history,
        levels=tuple(declared.mls.ranks),
        categories=declared.mls.categories,
        trusted=frozenset(declared.mls.trusted),
        lineage=_lineage(top, version, domains, resources),
    )


def _check_format(node: Node) -> None:
    if text(node) != FORMAT:
        raise flaw("format", f"this program reads format '{FORMAT}' only", node.at)


def _check_grant(top: Mapping[str, Node], declared: Declared) -> None:
    if declared.mls.enforced and UNLABELED.name in declared.ste.declared:
        what = f"type '{UNLABELED.name}' cannot stand beside 'mls': what has no label has no level"
        raise flaw("unlabeled-grant", what, top[Component.STE].at)


def _components(node: Node | None, enforced: tuple[Component, ...], at: Mark) -> tuple[Component, ...]:
    """Return the components in the order in which they decide."""
    if node is None:
        if not enforced:
            what = "no section 'ste', 'chwall' or 'mls': add one, or 'enforce: nothing' to permit everything"
            raise flaw("no-component", what, at)
        return enforced
    if isinstance(node, Items):
        order = tuple(text(value) for value in items(node))
        if enforced and sorted(order) == sorted(enforced):
            return tuple(Component(component) for component in order)
    elif text(node) == "nothing" and not enforced:
        return ()
    there = f"the sections are: {', '.join(enforced)}" if enforced else "there is none"
    what = f"'enforce' lists every section once in deciding order, or is 'nothing' without one; {there}"
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


def _lineage(
    top: Mapping[str, Node], version: str, domains: Mapping[str, Label], resources: Mapping[str, Label]
) -> Lineage | None:
    origin, node = top.get("from"), top.get("renames")
    if origin is None:
        if node is not None:
            raise flaw("renames", "'renames' needs 'from': which policy had the old names?", node.at)
        return None
    values = fields(origin, {"name", "version"})
    at = required(values, "version", origin.at)
    older = _version(at)
    if version_number(older) >= version_number(version):
        what = f"version '{version}' must be higher than that of the predecessor, '{older}'"
        raise flaw("version-order", what, at.at)
    renames = {} if node is None else fields(node, {"domain_labels", "resource_labels"})
    return Lineage(
        name(required(values, "name", origin.at)),
        older,
        _renames(renames.get("domain_labels"), domains),
        _renames(renames.get("resource_labels"), resources),
    )


def _renames(node: Node | None, labels: Mapping[str, Label]) -> Mapping[str, str]:
    """Return old names by new names, so that each label has one past and each past name one label."""
    entries = [] if node is None else named(node, MAX_LABELS)
    new_names = {key.value: key.at for key, _ in node.entries} if isinstance(node, Table) else {}
    old_names: dict[str, str] = {}
    for new, value in entries:
        old = name(value)
        if new not in labels:
            raise flaw("rename-target", f"new name '{new}' is no such label of this policy", new_names[new])
        if old in old_names:
            raise flaw("rename-twice", f"'{old}' cannot become '{old_names[old]}' and '{new}'", value.at)
        if old in labels and (old == new or old not in new_names):
            what = f"'{old}' is still a label here: it is renamed itself, or nothing is renamed from it"
            raise flaw("rename-source", what, value.at)
        old_names[old] = new
    return MappingProxyType({new: old for old, new in old_names.items()})


def _bootstrap(node: Node | None, domains: Mapping[str, Label], at: Mark) -> str:
    label = DEFAULT_BOOTSTRAP if node is None else name(node)
    if label not in domains:
        hint = ": name one with 'bootstrap'" if node is None else ""
        what = f"Domain-0's label '{label}' is not in 'domain_labels'{hint}"
        raise flaw("bootstrap", what, at if node is None else node.at)
    return label
