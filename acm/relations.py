"""What the components say about one label and all others at once.

The same rules as ``acm.ste``, ``acm.mls`` and ``acm.chwall``, which decide one pair; here the answer is a set
of labels (``acm.labelset``) and costs one operation on integers for each type, level or category that the
label has, not one for each other label.
"""

from __future__ import annotations

from itertools import accumulate
from operator import or_
from typing import TYPE_CHECKING

from acm.chwall import self_conflicts
from acm.labels import UNLABELED
from acm.labelset import LabelSet, members, of, union
from acm.policy import Component, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from acm.chwall import ConflictSet
    from acm.labels import Label
    from acm.mls import Level, Range


class Relations:
    """Who may send to whom, who may run whom, who must not run beside whom; for one policy.

    ``into``, ``out_of``, ``authorized_by`` and ``authorizes`` keep the rule that ``__UNLABELED__`` is
    confined to itself; so do the answers of ``acm.engine.decide``.
    """

    def __init__(self, labels: LabelSet) -> None:
        policy = labels.policy
        self.labels = labels
        self._types = _Types(labels) if policy.enforces(Component.STE) else None
        self._levels = _Levels(labels) if policy.enforces(Component.MLS) else None
        self._walls = _Walls(labels)
        self._unlabeled = 1 << labels.unlabeled
        self._meets_unlabeled = self._unlabeled | labels.where(_is_granted)

    def into(self, number: int) -> int:
        """Return from whom information may come to this label in one step."""
        label, found = self._start(number)
        if self._types is not None:
            found &= self._types.sharing(label.ste)
        if self._levels is not None:
            found &= self._levels.lows.dominated_by(label.mls.high) if label.mls else 0
        return found & self._other_end(number)

    def out_of(self, number: int) -> int:
        """Return to whom information may go from this label in one step."""
        label, found = self._start(number)
        if self._types is not None:
            found &= self._types.sharing(label.ste)
        if self._levels is not None:
            found &= self._levels.highs.dominating(label.mls.low) if label.mls else 0
        return found & self._other_end(number)

    def authorized_by(self, number: int) -> int:
        """Return the labels of which a Domain-0 may run this domain label."""
        label, found = self._start(number)
        if self._types is not None:
            found &= self._types.supersets(label.ste)
        if self._levels is not None:
            found &= self._levels.holding(label.mls) if label.mls else 0
        return found & self.labels.domains

    def authorizes(self, number: int) -> int:
        """Return the domain labels that a Domain-0 of this label may run."""
        label, found = self._start(number)
        if self._types is not None:
            found &= self._types.subsets(label.ste)
        if self._levels is not None:
            found &= self._levels.held_by(label.mls) if label.mls else 0
        return found & self.labels.domains

    def above(self, number: int) -> int:
        """Return the labels at whose levels information of any level of this one may be; needs MLS."""
        span = self.labels.labels[number].label.mls
        return self._levels.lows.dominating(span.high) if self._levels is not None and span else 0

    def excludes(self, number: int) -> int:
        """Return the labels that must not run beside this one; all, where it excludes itself."""
        return self._walls.excluded(self.labels.labels[number].label)

    def _start(self, number: int) -> tuple[Label, int]:
        """Return a label and whom its confinement leaves to it."""
        label = self.labels.labels[number].label
        if label is UNLABELED:
            return label, self._meets_unlabeled
        met = self._meets_unlabeled >> number & 1
        return label, self.labels.all if met else self.labels.all ^ self._unlabeled

    def _other_end(self, number: int) -> int:
        """Return who can stand at the other end: between two resources nothing moves by itself."""
        domain = self.labels.labels[number].kind is Kind.DOMAIN
        return self.labels.all if domain else self.labels.domains


def _is_granted(label: Label) -> bool:
    """Tell whether a label may meet what has no label, as ``acm.engine`` has it."""
    return label.mls is None and UNLABELED.name in label.ste


class _Types:
    """STE."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._holders = _holders((one.number, one.label.ste) for one in labels.labels)
        self._typed = labels.where(lambda label: bool(label.ste))
        self._sharing: dict[frozenset[str], int] = {}

    def sharing(self, types: frozenset[str]) -> int:
        """Return who holds one of these types."""
        if types not in self._sharing:
            self._sharing[types] = union(self._holders.get(held, 0) for held in types)
        return self._sharing[types]

    def supersets(self, types: frozenset[str]) -> int:
        """Return who holds all of these types; nobody, where there are none."""
        found = self._typed if types else 0
        for held in types:
            found &= self._holders.get(held, 0)
        return found

    def subsets(self, types: frozenset[str]) -> int:
        """Return who holds some type and none but these."""
        found = self.sharing(types)
        outside = self._holders.keys() - types
        if len(outside) <= found.bit_count():
            return found & ~union(self._holders[held] for held in outside)
        return of(one for one in members(found) if self._labels.labels[one].label.ste <= types)


class _Levels:
    """MLS: the lower and the upper ends of all ranges."""

    def __init__(self, labels: LabelSet) -> None:
        ranges = [(one.number, one.label.mls) for one in labels.labels if one.label.mls is not None]
        ranks = max(1, len(labels.policy.levels))
        self.lows = _Ends([(number, span.low) for number, span in ranges], ranks)
        self.highs = _Ends([(number, span.high) for number, span in ranges], ranks)

    def holding(self, span: Range) -> int:
        """Return whose range holds the whole of ``span``."""
        return self.lows.dominated_by(span.low) & self.highs.dominating(span.high)

    def held_by(self, span: Range) -> int:
        """Return whose range lies within ``span``."""
        return self.lows.dominating(span.low) & self.highs.dominated_by(span.high)


class _Ends:
    """One level for each label, and who is below or above a level."""

    def __init__(self, levels: list[tuple[int, Level]], ranks: int) -> None:
        by_rank = [0] * ranks
        for number, level in levels:
            by_rank[level.rank] |= 1 << number
        self._up_to: list[int] = list(accumulate(by_rank, or_))
        self._having = _holders((number, level.categories) for number, level in levels)

    def dominated_by(self, upper: Level) -> int:
        """Return whose level ``upper`` dominates."""
        outside = self._having.keys() - upper.categories
        return self._up_to[upper.rank] & ~union(self._having[one] for one in outside)

    def dominating(self, lower: Level) -> int:
        """Return whose level dominates ``lower``."""
        found = self._up_to[-1] & ~(self._up_to[lower.rank - 1] if lower.rank else 0)
        for one in lower.categories:
            found &= self._having.get(one, 0)
        return found


class _Walls:
    """The Chinese Wall."""

    def __init__(self, labels: LabelSet) -> None:
        self._policy = labels.policy
        self._all = labels.domains
        self._holders = _holders((one.number, one.label.chwall) for one in labels.labels)
        self._against: dict[tuple[str, str], int] = {}

    def excluded(self, label: Label) -> int:
        """Return who holds another type of a conflict set of which the label holds one."""
        sets = self._policy.conflict_sets_of(label)
        if any(True for _ in self_conflicts(sets, label)):
            return self._all
        return union(self._others(one, own) for one in sets for own in one.types & label.chwall)

    def _others(self, conflict_set: ConflictSet, own: str) -> int:
        key = conflict_set.name, own
        if key not in self._against:
            others = conflict_set.types - {own}
            self._against[key] = union(self._holders.get(held, 0) for held in others)
        return self._against[key]


def _holders(held: Iterable[tuple[int, frozenset[str]]]) -> Mapping[str, int]:
    """Return for each name who has it."""
    found: dict[str, int] = {}
    for number, names in held:
        for name in names:
            found[name] = found.get(name, 0) | 1 << number
    return found
