"""Changing the label of a resource: compare and swap, so that two administrators cannot cross each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from acm.errors import RelabelError

if TYPE_CHECKING:
    from acm.policy import Policy


@dataclass(frozen=True, slots=True)
class LabelledResource:
    """A disk or VLAN, known by its ``identity`` (never by a path), and the name of its resource label."""

    identity: str
    label: str


def relabel(policy: Policy, resource: LabelledResource, old: str, new: str) -> LabelledResource:
    """Return the resource under label ``new`` if its label is ``old``; each is ``NAME`` or ``res:NAME``.

    ``old`` may be a name that the policy no longer knows: a stale label can only be replaced. ``new`` may be
    ``__UNLABELED__`` (for unlabelled domains only) or ``__INACCESSIBLE__`` (for nobody).
    Raises LabelError where ``new`` is no resource label of the policy, RelabelError (``label-changed``).
    """
    wanted = policy.resource(new)
    if old.removeprefix("res:") != resource.label:
        raise RelabelError(
            "label-changed", f"{resource.identity} has label '{resource.label}', not '{old[:80]}': look again"
        )
    return replace(resource, label=wanted.name)
