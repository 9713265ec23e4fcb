"""A policy taken apart: the leaves of its Merkle root, and one customer's section with its proof.

A part is canonical JSON (keys sorted, no blanks, ASCII) with ``format``, ``part`` (its kind) and, by kind:

============  =======================================================================================
policy        ``name``, ``version``, ``components`` (in deciding order), ``bootstrap``; where the policy has
              them: ``history`` (true), ``from`` (name and version), ``levels`` (low to high)
ste-type      ``type``, ``domains`` and ``resources``: every label that holds it
chwall-type   ``type``, ``domains``: every label that holds it, ``conflict_sets``: every set that names it
conflict-set  ``name``, ``types``
mls-level     ``name``, ``domains`` and ``resources``: every label whose range spans its rank
mls-category  ``name``, ``domains`` and ``resources``: every label that has it at its high end
domain        ``name``, ``ste``, ``chwall``; where there are any: ``mls`` (``low`` and ``high``, each a
              ``level`` with ``categories``), ``trusted`` (true), ``renamed_from``
resource      ``name``, ``ste``; where there are any: ``mls``, ``renamed_from``
============  =======================================================================================

Leaves stand in this order of kinds, by name within a kind. A type's part lists all that holds the type, so
a customer who is shown the parts of its types has seen everybody who can share with it or must not run
beside it: nothing can be left out without another root. The parts of its levels and categories list who
stands where it stands; who reads it from above or is read by it below is bounded by the types alone.

With a secret ``salt`` in the policy each part also has ``salt`` = HMAC-SHA256(salt, kind ‖ 0 ‖ name) in hex.
Without it, whoever is shown one part can test guesses about the hidden ones against the hashes of its path.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from acm import merkle
from acm.errors import InclusionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from acm.labels import Label
    from acm.mls import Level
    from acm.policy import Policy

FORMAT: Final = "shype.policy/1"

_Field = str | bool | list[str] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf: its kind, its name within the kind, and the bytes that are hashed."""

    kind: str
    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A part's bytes with its place in the tree and the path to the root."""

    body: bytes
    index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Some parts of a policy of ``size`` parts, each provable alone."""

    size: int
    parts: tuple[ShownPart, ...]


def parts(policy: Policy) -> tuple[Part, ...]:
    """Return all parts of a policy in the order of its leaves."""
    return tuple(
        Part(kind, name, _body(kind, name, fields, policy.salt)) for kind, name, fields in _fields(policy)
    )


def root(policy: Policy) -> bytes:
    """Return the Merkle root over all parts (RFC 6962 hashing)."""
    return merkle.root([part.body for part in parts(policy)])


def section(policy: Policy, names: Iterable[str]) -> Section:
    """Return what concerns the domain labels ``names``: header, labels, their types, sets and levels.

    Raises LabelError for a name that is no domain label of the policy.
    """
    labels = [policy.domain(name) for name in names]
    ste = {held for label in labels for held in label.ste}
    chwall = {held for label in labels for held in label.chwall}
    wanted = {
        "policy": {policy.name},
        "ste-type": ste,
        "chwall-type": chwall,
        "conflict-set": {one.name for one in policy.conflict_sets if one.types & chwall},
        "mls-level": {policy.levels[rank] for label in labels for rank in _ranks(label)},
        "mls-category": {held for label in labels if label.mls for held in label.mls.high.categories},
        "domain": {label.name for label in labels},
        "resource": {name for name, label in policy.resource_labels.items() if label.ste & ste},
    }
    everything = parts(policy)
    tree = merkle.Tree(part.body for part in everything)
    shown = tuple(
        ShownPart(part.body, index, tree.path(index))
        for index, part in enumerate(everything)
        if part.name in wanted[part.kind]
    )
    return Section(len(everything), shown)


def verify_section(expected_root: bytes, shown: Section) -> None:
    """Check that every shown part is a part of the policy with this root; raise InclusionError if not.

    It proves that the parts belong to the policy. That this policy is enforced is for attestation to prove.
    """
    if not shown.parts:
        raise InclusionError("empty-section", "section of a policy: no part is shown, so nothing is proved")
    for part in shown.parts:
        merkle.verify_inclusion(expected_root, part.body, index=part.index, size=shown.size, path=part.path)


def _fields(policy: Policy) -> Iterator[tuple[str, str, dict[str, _Field]]]:
    yield "policy", policy.name, _header(policy)
    yield from _held_by("ste-type", policy, policy.ste_types, lambda label: label.ste)
    domains = _holders(policy.domain_labels, lambda label: label.chwall)
    sets: dict[str, list[str]] = {}
    for one in policy.conflict_sets:
        for held in one.types:
            sets.setdefault(held, []).append(one.name)
    for held in sorted(policy.chwall_types):
        fields: dict[str, _Field] = {"domains": domains.get(held, [])}
        yield "chwall-type", held, {**fields, "conflict_sets": sorted(sets.get(held, []))}
    for one in sorted(policy.conflict_sets, key=lambda one: one.name):
        yield "conflict-set", one.name, {"types": sorted(one.types)}
    levels = policy.levels
    yield from _held_by("mls-level", policy, levels, lambda label: {levels[rank] for rank in _ranks(label)})
    yield from _held_by("mls-category", policy, policy.categories, _categories)
    renames = policy.lineage.domain_renames if policy.lineage else {}
    for name, label in sorted(policy.domain_labels.items()):
        trusted: dict[str, _Field] = {"trusted": True} if name in policy.trusted else {}
        yield "domain", name, {**_label(label, renames), "chwall": sorted(label.chwall), **trusted}
    renames = policy.lineage.resource_renames if policy.lineage else {}
    for name, label in sorted(policy.resource_labels.items()):
        yield "resource", name, _label(label, renames)


def _header(policy: Policy) -> dict[str, _Field]:
    fields: dict[str, _Field] = {
        "version": policy.version,
        "components": list(policy.components),
        "bootstrap": policy.bootstrap,
    }
    if policy.history:
        fields["history"] = True
    if policy.levels:
        fields["levels"] = list(policy.levels)
    if policy.lineage is not None:
        fields["from"] = {"name": policy.lineage.name, "version": policy.lineage.version}
    return fields


def _label(label: Label, renames: Mapping[str, str]) -> dict[str, _Field]:
    fields: dict[str, _Field] = {"ste": sorted(label.ste)}
    if label.mls is not None:
        fields["mls"] = {"low": _level(label.mls.low), "high": _level(label.mls.high)}
    if label.name in renames:
        fields["renamed_from"] = renames[label.name]
    return fields


def _level(level: Level) -> dict[str, Any]:
    return {"level": level.name, "categories": sorted(level.categories)}


def _ranks(label: Label) -> range:
    return range(label.mls.low.rank, label.mls.high.rank + 1) if label.mls else range(0)


def _categories(label: Label) -> frozenset[str]:
    return label.mls.high.categories if label.mls else frozenset()


def _held_by(
    kind: str, policy: Policy, names: Iterable[str], held_by: Callable[[Label], AbstractSet[str]]
) -> Iterator[tuple[str, str, dict[str, _Field]]]:
    domains = _holders(policy.domain_labels, held_by)
    resources = _holders(policy.resource_labels, held_by)
    for name in sorted(names):
        yield kind, name, {"domains": domains.get(name, []), "resources": resources.get(name, [])}


def _holders(
    labels: Mapping[str, Label], held_by: Callable[[Label], AbstractSet[str]]
) -> dict[str, list[str]]:
    holders: dict[str, list[str]] = {}
    for name in sorted(labels):
        for held in held_by(labels[name]):
            holders.setdefault(held, []).append(name)
    return holders


def _body(kind: str, name: str, fields: Mapping[str, _Field], salt: bytes) -> bytes:
    key = "type" if kind.endswith("-type") else "name"
    document: dict[str, _Field] = {"format": FORMAT, "part": kind, key: name, **fields}
    if salt:
        document["salt"] = hmac.new(salt, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
