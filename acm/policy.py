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
from acm.lineage import version_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acm.chwall import ConflictSet
    from acm.lineage import Lineage


class Component(StrEnum):
    """A rule set that a policy can enforce; a policy with none is sHype's NULL policy."""

    CHWALL = "chwall"
    """Chinese Wall: who must not run beside whom."""
    STE = "ste"
    """Simple Type Enforcement: who may share with whom."""
    MLS = "mls"
    """Multi-level security: in which direction information may move."""


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
    ``history`` says that past runs count for the Chinese Wall (``acm.history``). ``levels`` stand low to
    high; ``trusted`` are the domain labels that may span more than one of them. ``lineage`` names the
    predecessor.
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
    history: bool = False
    levels: tuple[str, ...] = ()
    categories: frozenset[str] = frozenset()
    trusted: frozenset[str] = frozenset()
    lineage: Lineage | None = None
    root: str = field(init=False)
    _sets_of: Mapping[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _domains: Mapping[str, Label] = field(init=False, repr=False, compare=False)
    _resources: Mapping[str, Label] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", parts.root(self).hex())
        sets_of: dict[str, tuple[int, ...]] = {}
        for index, one in enumerate(self.conflict_sets):
            for held in one.types:
                sets_of[held] = (*sets_of.get(held, ()), index)
        object.__setattr__(self, "_sets_of", sets_of)
        own = {UNLABELED.name: UNLABELED}
        object.__setattr__(self, "_domains", _references(Kind.DOMAIN, {**self.domain_labels, **own}))
        own[INACCESSIBLE.name] = INACCESSIBLE
        object.__setattr__(self, "_resources", _references(Kind.RESOURCE, {**self.resource_labels, **own}))

    def __hash__(self) -> int:
        return hash(self.digest)

    def enforces(self, component: Component) -> bool:
        """Tell whether the policy has this component."""
        return component in self.components

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, to be compared with another policy's."""
        return version_number(self.version)

    def conflict_sets_of(self, label: Label) -> tuple[ConflictSet, ...]:
        """Return the conflict sets that have a type of the label, in the policy's order."""
        found = {index for held in label.chwall for index in self._sets_of.get(held, ())}
        return tuple(self.conflict_sets[index] for index in sorted(found))

    def domain(self, reference: str) -> Label:
        """Return the domain label called ``NAME`` or ``vm:NAME``.

        Raises LabelError: ``unknown-label``, or ``wrong-kind`` for a resource label.
        """
        label = self._domains.get(reference)
        if label is None:
            raise self._refused(reference, Kind.DOMAIN, self._resources)
        return label

    def resource(self, reference: str) -> Label:
        """Return the resource label called ``NAME`` or ``res:NAME``.

        Raises LabelError: ``unknown-label``, or ``wrong-kind`` for a domain label.
        """
        label = self._resources.get(reference)
        if label is None:
            raise self._refused(reference, Kind.RESOURCE, self._domains)
        return label

    def domain_or_resource(self, reference: str) -> Label:
        """Return the label called ``NAME``, ``vm:NAME`` or ``res:NAME``.

        ``__UNLABELED__`` needs no prefix: its types are the same in both roles.
        Raises LabelError: ``unknown-label``, or ``ambiguous-label`` where the bare name is a domain label
        and a resource label.
        """
        domain, resource = self._domains.get(reference), self._resources.get(reference)
        if domain is not None and resource is not None and domain is not UNLABELED:
            raise LabelError(
                "ambiguous-label",
                f"'{reference}' is a domain label and a resource label: "
                f"write 'vm:{reference}' or 'res:{reference}'",
            )
        found = domain or resource
        if found is None:
            raise self._unknown(reference)
        return found

    def _refused(self, reference: str, wanted: Kind, others: Mapping[str, Label]) -> LabelError:
        if reference not in others:
            return self._unknown(reference)
        nouns = ("resource", "domain") if wanted is Kind.DOMAIN else ("domain", "resource")
        what = f"'{reference}' is a {nouns[0]} label; a {nouns[1]} label must stand here"
        return LabelError("wrong-kind", what)

    def _unknown(self, reference: str) -> LabelError:
        return LabelError(
            "unknown-label",
            f"policy '{self.name}' has no such label: {reference[:80]!a} (see: shype policy show)",
        )


def _references(kind: Kind, labels: dict[str, Label]) -> dict[str, Label]:
    """Return labels by all that they are called: ``NAME`` and ``KIND:NAME``; a name itself holds no ':'."""
    return labels | {f"{kind}:{name}": label for name, label in labels.items()}
