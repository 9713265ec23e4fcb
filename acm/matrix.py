"""The decisions of one operation for all pairs of labels, computed row by row as sets of labels.

A row is a subject: every domain label, then ``__UNLABELED__``. A column is an object, of the kinds that the
operation can have: domain labels, ``__UNLABELED__``, resource labels. Each cell is the verdict that
``acm.engine.decide`` gives for this pair on a host where no other domain runs and, where past runs count,
none has run. ``__INACCESSIBLE__`` has no column: it is denied to everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm.labelset import LabelSet
from acm.operations import RULES, Operation, Question
from acm.policy import Component, Kind
from acm.relations import Relations

if TYPE_CHECKING:
    from collections.abc import Callable

    from acm.operations import Rule
    from acm.policy import Policy

PERMIT: Final = "1"
DENY: Final = "0"


@dataclass(frozen=True, slots=True)
class Matrix:
    """Bit ``j`` of ``rows[i]`` tells whether ``subjects[i]`` may do the operation to ``objects[j]``.

    Names carry ``vm:`` or ``res:`` where a domain and a resource label share a name.
    """

    op: Operation
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    rows: tuple[int, ...]

    def permits(self, row: int, column: int) -> bool:
        """Tell whether the cell says permit."""
        return bool(self.rows[row] >> column & 1)

    def digits(self, row: int) -> str:
        """Return a row as one digit a column, ``1`` for permit and ``0`` for deny."""
        mark = 1 << len(self.objects)  # keeps the leading zeros
        return bin(self.rows[row] | mark)[:2:-1]

    @property
    def permitted(self) -> int:
        """How many cells say permit."""
        return sum(row.bit_count() for row in self.rows)


def matrix(policy: Policy, op: Operation) -> Matrix:
    """Return the matrix of one operation."""
    labels = LabelSet(policy)
    low, high = _columns(RULES[op], labels)
    names = [labels.name(number) for number in range(len(labels))]
    row = _row(RULES[op], Relations(labels))
    mask = (1 << high - low) - 1
    return Matrix(
        op,
        tuple(names[: labels.unlabeled + 1]),
        tuple(names[low:high]),
        tuple(row(subject) >> low & mask for subject in range(labels.unlabeled + 1)),
    )


def _columns(rule: Rule, labels: LabelSet) -> tuple[int, int]:
    """Return the first number and the one after the last of what can be the object."""
    low = 0 if Kind.DOMAIN in rule.objects else labels.unlabeled
    return low, len(labels) if Kind.RESOURCE in rule.objects else labels.unlabeled + 1


def _row(rule: Rule, relations: Relations) -> Callable[[int], int]:
    if rule.question is Question.AUTHORITY:
        return relations.authorizes
    if rule.question is Question.ADMISSION:
        walls = relations.labels.policy.enforces(Component.CHWALL)
        excludes = relations.excludes if walls else lambda _: 0
        return lambda subject: relations.authorized_by(subject) & ~excludes(subject)
    return lambda subject: _flows(rule, relations, subject)


def _flows(rule: Rule, relations: Relations, subject: int) -> int:
    found = relations.labels.all
    if rule.reads:
        found &= relations.into(subject)
    if rule.writes:
        found &= relations.out_of(subject)
    return found
