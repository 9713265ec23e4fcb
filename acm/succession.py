"""Whether a policy may follow the one in force, and what becomes of that one's labels.

A label follows an update by its name or by an entry of the rename map. A name that the new policy gives to a
renamed label does not take in those who had that name before: their label is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm.labels import INACCESSIBLE, UNLABELED
from acm.lineage import version_number
from acm.policy import Kind
from acm.violations import Why

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from acm.livestate import PolicyReference
    from acm.policy import Policy


def objections(running: PolicyReference, new: Policy) -> tuple[Why, ...]:
    """Return why ``new`` is no successor of the running policy; nothing where it is one."""
    old = f"'{running.name}' {running.version}"
    stated = new.lineage
    if stated is None:
        hint = f'from: {{name: {running.name}, version: "{running.version}"}}'
        return (
            Why("lineage-missing", f"the policy names no predecessor, and {old} is in force: add {hint}"),
        )
    found = []
    if not stated.is_from(running.name, running.version):
        what = f"the policy comes from '{stated.name}' {stated.version}, and {old} is in force"
        found.append(Why("lineage-mismatch", what))
    if new.number <= version_number(running.version):
        found.append(Why("version-not-newer", f"version {new.version} is not above {running.version}"))
    return tuple(found)


def successors(new: Policy, kind: Kind, labels: Iterable[str]) -> Mapping[str, str | None]:
    """Return what the new policy calls labels of its predecessor; None where one is gone."""
    reserved = {UNLABELED.name} if kind is Kind.DOMAIN else {UNLABELED.name, INACCESSIBLE.name}
    known = new.domain_labels if kind is Kind.DOMAIN else new.resource_labels
    renames: Mapping[str, str] = {}
    if new.lineage is not None:
        renames = new.lineage.domain_renames if kind is Kind.DOMAIN else new.lineage.resource_renames
    now = {before: after for after, before in renames.items()}
    same = reserved | (known.keys() - renames.keys())
    return {label: now.get(label, label if label in same else None) for label in labels}
