"""The labels of a policy, numbered, so that a set of labels is one integer.

Bit ``i`` of a set stands for label ``i``. Domain labels come first, in the order of the policy, then
``__UNLABELED__`` (one number for both of its roles), then resource labels. ``__INACCESSIBLE__`` has no
number: nothing flows to it or from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acm.labels import INACCESSIBLE, UNLABELED, Label
from acm.policy import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from acm.policy import Policy


@dataclass(frozen=True, slots=True)
class Numbered:
    """A label, its number, and whether it labels domains or resources."""

    number: int
    kind: Kind
    label: Label


class LabelSet:
    """The numbered labels of one policy."""

    def __init__(self, policy: Policy) -> None:
        domains = [*policy.domain_labels.values(), UNLABELED]
        resources = policy.resource_labels.values()
        kinds = [(Kind.DOMAIN, label) for label in domains] + [(Kind.RESOURCE, label) for label in resources]
        self.policy = policy
        self.labels = tuple(Numbered(number, *one) for number, one in enumerate(kinds))
        self.domains = (1 << len(domains)) - 1
        """All domain labels and ``__UNLABELED__``."""
        self.all = (1 << len(kinds)) - 1
        self.unlabeled = len(domains) - 1
        """The number of ``__UNLABELED__``."""
        self._numbers = {(one.kind, one.label.name): one.number for one in self.labels}

    def __len__(self) -> int:
        return len(self.labels)

    def number(self, reference: str) -> int | None:
        """Return the number of the label called ``NAME``, ``vm:NAME`` or ``res:NAME``.

        None for ``__INACCESSIBLE__``. Raises LabelError as ``Policy.domain_or_resource`` does.
        """
        label = self.policy.domain_or_resource(reference)
        if label is UNLABELED or label is INACCESSIBLE:
            return self.unlabeled if label is UNLABELED else None
        domain = self.policy.domain_labels.get(label.name) is label
        return self._numbers[Kind.DOMAIN if domain else Kind.RESOURCE, label.name]

    def vm(self, name: str) -> int:
        """Return the number of a domain label that the policy is known to have."""
        return self._numbers[Kind.DOMAIN, name]

    def name(self, number: int) -> str:
        """Return a label's name, with ``vm:`` or ``res:`` where a domain and a resource share it."""
        one = self.labels[number]
        name = one.label.name
        both = name in self.policy.domain_labels and name in self.policy.resource_labels
        return f"{one.kind}:{name}" if both else name

    def where(self, test: Callable[[Label], bool]) -> int:
        """Return the set of the labels that pass a test."""
        return of(one.number for one in self.labels if test(one.label))


def of(numbers: Iterable[int]) -> int:
    """Return the set of these numbers."""
    found = 0
    for number in numbers:
        found |= 1 << number
    return found


def union(sets: Iterable[int]) -> int:
    """Return all that is in one of these sets."""
    found = 0
    for one in sets:
        found |= one
    return found


def members(labels: int) -> Iterator[int]:
    """Yield the numbers in a set, lowest first."""
    text = bin(labels)[:1:-1]
    at = text.find("1")
    while at >= 0:
        yield at
        at = text.find("1", at + 1)


def first(labels: int) -> int:
    """Return the lowest number in a set that is not empty."""
    return (labels & -labels).bit_length() - 1
