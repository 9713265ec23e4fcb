"""A policy taken apart: the leaves of its Merkle root, and one customer's section with its proof.

A part is canonical JSON (keys sorted, no blanks, ASCII) with ``format``, ``part`` (its kind) and, by kind:

============  =======================================================================================
policy        ``name``, ``version``, ``components`` (in deciding order), ``bootstrap``
ste-type      ``type``, ``domains`` and ``resources``: every label that holds it
chwall-type   ``type``, ``domains``: every label that holds it, ``conflict_sets``: every set that names it
conflict-set  ``name``, ``types``
domain        ``name``, ``ste``, ``chwall``
resource      ``name``, ``ste``
============  =======================================================================================

Leaves stand in this order of kinds, by name within a kind. A type's part lists all that holds the type, so
a customer who is shown the parts of its types has seen everybody who can share with it or must not run
beside it: nothing can be left out without another root.

With a secret ``salt`` in the policy each part also has ``salt`` = HMAC-SHA256(salt, kind ‖ 0 ‖ name) in hex.
Without it, whoever is shown one part can test guesses about the hidden ones against the hashes of its path.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm import merkle
from acm.errors import InclusionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from acm.labels import Label
    from acm.policy import Policy

FORMAT: Final = "shype.policy/1"

_Field = str | list[str]


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
    """Return what concerns the domain labels ``names``: header, labels, their types and conflict sets.

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
    yield (
        "policy",
        policy.name,
        {"version": policy.version, "components": list(policy.components), "bootstrap": policy.bootstrap},
    )
    domains = _holders(policy.domain_labels, "ste")
    resources = _holders(policy.resource_labels, "ste")
    for held in sorted(policy.ste_types):
        yield "ste-type", held, {"domains": domains.get(held, []), "resources": resources.get(held, [])}
    domains = _holders(policy.domain_labels, "chwall")
    sets: dict[str, list[str]] = {}
    for one in policy.conflict_sets:
        for held in one.types:
            sets.setdefault(held, []).append(one.name)
    for held in sorted(policy.chwall_types):
        yield (
            "chwall-type",
            held,
            {"domains": domains.get(held, []), "conflict_sets": sorted(sets.get(held, []))},
        )
    for one in sorted(policy.conflict_sets, key=lambda one: one.name):
        yield "conflict-set", one.name, {"types": sorted(one.types)}
    for name, label in sorted(policy.domain_labels.items()):
        yield "domain", name, {"ste": sorted(label.ste), "chwall": sorted(label.chwall)}
    for name, label in sorted(policy.resource_labels.items()):
        yield "resource", name, {"ste": sorted(label.ste)}


def _holders(labels: Mapping[str, Label], component: str) -> dict[str, list[str]]:
    holders: dict[str, list[str]] = {}
    for name in sorted(labels):
        for held in getattr(labels[name], component):
            holders.setdefault(held, []).append(name)
    return holders


def _body(kind: str, name: str, fields: Mapping[str, _Field], salt: bytes) -> bytes:
    key = "type" if kind.endswith("-type") else "name"
    document: dict[str, _Field] = {"format": FORMAT, "part": kind, key: name, **fields}
    if salt:
        document["salt"] = hmac.new(salt, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")
