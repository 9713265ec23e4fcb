"""Which label of a new policy a disk or VLAN can have so that those who use it may go on.

A relabel changes what data stands under which label, so it is only ever proposed: an update does none by
itself. Among labels that do the same, the one that the fewest domain labels can read is proposed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acm.labels import INACCESSIBLE
from acm.labelset import LabelSet, members, of
from acm.policy import Kind
from acm.relations import Relations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acm.policy import Policy

Use = tuple[str, bool]
"""A domain label of the new policy, and whether it writes to the resource too."""


@dataclass(frozen=True, slots=True)
class Relabel:
    """A label for a resource, and which uses are refused even then."""

    label: str
    refused: frozenset[Use]


class Relabels:
    """Labels for the resources of one policy."""

    def __init__(self, policy: Policy) -> None:
        self._labels = LabelSet(policy)
        self._relations = Relations(self._labels)
        self._allowed: dict[Use, int] = {}
        self._found: dict[frozenset[tuple[Use, int]], Relabel] = {}
        self._candidates = self._different_labels()

    def best(self, uses: Sequence[Use]) -> Relabel:
        """Return the label under which the fewest of these uses are refused."""
        counted = Counter(uses)
        key = frozenset(counted.items())
        if key not in self._found:
            self._found[key] = self._search(counted)
        return self._found[key]

    def _search(self, uses: Counter[Use]) -> Relabel:
        allowed = {use: self._allowed_to(use) for use in uses}
        for_all = self._candidates
        for each in allowed.values():
            for_all &= each
        best = (uses.total(), -1, INACCESSIBLE.name, frozenset(uses))
        for number in members(for_all or self._candidates):
            refused = frozenset(use for use in uses if not allowed[use] >> number & 1)
            count = sum(uses[use] for use in refused)
            name = self._labels.labels[number].label.name
            best = min(best, (count, self._exposure(number), name, refused), key=lambda one: one[:3])
        return Relabel(best[2], best[3])

    def _allowed_to(self, use: Use) -> int:
        if use not in self._allowed:
            label, writes = use
            number = self._labels.number(f"vm:{label}")
            assert number is not None
            found = self._relations.into(number)
            self._allowed[use] = found & self._relations.out_of(number) if writes else found
        return self._allowed[use]

    def _exposure(self, number: int) -> int:
        """Return how many domain labels can read what has this label."""
        return (self._relations.out_of(number) & self._labels.domains).bit_count()

    def _different_labels(self) -> int:
        """Return one resource label of each kind of types and levels: the first by name."""
        found: dict[object, int] = {}
        for one in sorted(self._labels.labels, key=lambda one: one.label.name):
            if one.kind is Kind.RESOURCE:
                found.setdefault((one.label.ste, one.label.mls), one.number)
        return of(found.values())
