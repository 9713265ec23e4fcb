"""The policy as a value: what a policy file says, nothing added, nothing lost.

``acm.policyfile.load`` is the way from bytes to a Policy and checks every rule of the format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from acm import parts
from acm.errors import LabelError
from acm.labels import INACCESSIBLE, UNLABELED, Label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acm.chwall import ConflictSet


class Component(StrEnum):
    """A rule set that a policy can enforce; a policy with none is sHype's NULL policy."""

    CHWALL = "chwall"
    """Chinese Wall: primary wherever it is enforced."""
    STE = "ste"
    """Simple Type Enforcement: secondary beside CHWALL, primary without it."""


class Kind(StrEnum):
    """What a label is for; also the prefix that tells two labels of one name apart."""

    DOMAIN = "vm"
    RESOURCE = "res"


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. Two policies of the same digest are the same policy.

    ``digest`` is SHA-256 over the exact bytes of the file, ``root`` the Merkle root over its parts
    (``acm.parts``), both in lower-case hex. ``components`` stand in the order in which they decide.
    ``bootstrap`` names the domain label of Domain-0. ``salt`` hides the parts from each other.
    """

    name: str
    version: str
    components: tuple[Component, ...]
    ste_types: frozenset[str]
    chwall_types: frozenset[str]
    conflict_sets: tuple[ConflictSet, ...]
    domain_labels: Mapping[str, Label]
    resource_labels: Mapping[str, Label]
    bootstrap: str
    digest: str
    salt: bytes = field(default=b"", repr=False)
    root: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", parts.root(self).hex())

    def __hash__(self) -> int:
        return hash(self.digest)

    def enforces(self, component: Component) -> bool:
        """Tell whether the policy has this component."""
        return component in self.components

    def domain(self, reference: str) -> Label:
        """Return the domain label called ``NAME`` or ``vm:NAME``.

        Raises LabelError: ``unknown-label``, or ``wrong-kind`` for a resource label.
        """
        kind, name = _split(reference)
        label = self._find(Kind.DOMAIN, name) if kind is not Kind.RESOURCE else None
        if label is not None:
            return label
        if kind is not Kind.DOMAIN and self._find(Kind.RESOURCE, name) is not None:
            raise LabelError(
                "wrong-kind", f"'{reference}' is a resource label; a domain label must stand here"
            )
        raise self._unknown(reference)

    def domain_or_resource(self, reference: str) -> Label:
        """Return the label called ``NAME``, ``vm:NAME`` or ``res:NAME``.

        ``__UNLABELED__`` needs no prefix: its types are the same in both roles.
        Raises LabelError: ``unknown-label``, or ``ambiguous-label`` where the bare name is a domain label
        and a resource label.
        """
        kind, name = _split(reference)
        kinds = tuple(Kind) if kind is None else (kind,)
        found = [label for one in kinds if (label := self._find(one, name)) is not None]
        if not found:
            raise self._unknown(reference)
        if len(found) > 1 and name != UNLABELED.name:
            raise LabelError(
                "ambiguous-label",
                f"'{name}' is a domain label and a resource label: write 'vm:{name}' or 'res:{name}'",
            )
        return found[0]

    def _find(self, kind: Kind, name: str) -> Label | None:
        if name == UNLABELED.name:
            return UNLABELED
        if name == INACCESSIBLE.name:
            return INACCESSIBLE if kind is Kind.RESOURCE else None
        labels = self.domain_labels if kind is Kind.DOMAIN else self.resource_labels
        return labels.get(name)

    def _unknown(self, reference: str) -> LabelError:
        return LabelError(
            "unknown-label",
            f"policy '{self.name}' has no such label: {reference[:80]!r} (see: shype policy show)",
        )


def _split(reference: str) -> tuple[Kind | None, str]:
    """Split ``vm:NAME`` or ``res:NAME``; a name itself never holds a ':'."""
    prefix, colon, name = reference.partition(":")
    if colon and prefix in tuple(Kind):
        return Kind(prefix), name
    return None, reference
