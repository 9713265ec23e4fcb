"""The Chinese Wall as sHype runs it: which domains must not run on one host at one time.

A conflict set is a set of types of which at most one may run ("run-time exclusion"). The state is who runs
now: ``running types`` says which types are held by running domains; the ``conflict aggregate`` of a type is
every other type that shares a conflict set with it and runs. A domain may start if the aggregate of each of
its types is empty (``acm_chinesewall_hooks.c`` of Xen 3.x). The same label may run many times.

Without history a domain that has stopped excludes nobody. With it (``acm.history``) every type that has run
on the host counts as if it ran still, as Brewer and Nash have it (IEEE S&P 1989): who has once been on one
side of a wall never comes to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acm.decision import Code, Decision, Reason, deny, permit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from acm.labels import Label


@dataclass(frozen=True, slots=True)
class ConflictSet:
    """At most one of these Chinese Wall types may run on a host at one time."""

    name: str
    types: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Type ``own`` and type ``other``, which ``holder`` holds, are both in ``conflict_set``.

    Where ``holder`` is None, nobody holds ``other`` now: it has run in the past.
    """

    conflict_set: str
    own: str
    other: str
    holder: str | None


class ConflictAggregate:
    """What stands against a start: the labels that run, and types that have run. Never changed."""

    def __init__(
        self,
        conflict_sets: Sequence[ConflictSet],
        running: Iterable[Label],
        past: AbstractSet[str] = frozenset(),
    ) -> None:
        self._sets = conflict_sets
        self._running = tuple(running)
        self._present = frozenset(past).union(*(label.chwall for label in self._running))

    def against(self, label: Label) -> Iterator[Conflict]:
        """Yield every conflict of ``label`` with what runs or has run, in the policy's order of sets."""
        for conflict_set in self._sets:
            types, present = conflict_set.types & label.chwall, conflict_set.types & self._present
            if not types or not present or (types == present and len(types) == 1):
                continue
            for own in sorted(types):
                for other in sorted(present):
                    if other != own:
                        for holder in self._holders(other):
                            yield Conflict(conflict_set.name, own, other, holder)

    def _holders(self, held: str) -> Sequence[str | None]:
        return sorted({label.name for label in self._running if held in label.chwall}) or [None]


def self_conflicts(conflict_sets: Sequence[ConflictSet], label: Label) -> Iterator[Conflict]:
    """Yield each conflict set of which a label holds two types: such a label can never run."""
    for conflict_set in conflict_sets:
        types = conflict_set.types & label.chwall
        if len(types) > 1:
            first, *others = sorted(types)
            for other in others:
                yield Conflict(conflict_set.name, first, other, label.name)


def mutual_conflict(
    conflict_sets: Sequence[ConflictSet], running: Sequence[Label]
) -> tuple[Label, Conflict] | None:
    """Return one running label with what excludes it, or None if all these labels can run together."""
    present = frozenset[str]().union(*(label.chwall for label in running))
    broken = [one for one in conflict_sets if len(one.types & present) > 1] if present else []
    if not broken:
        return None
    aggregate = ConflictAggregate(broken, running)
    return next((label, conflict) for label in running for conflict in aggregate.against(label))


def decide_start(
    conflict_sets: Sequence[ConflictSet],
    subject: Label,
    running: Iterable[Label],
    past: AbstractSet[str] = frozenset(),
) -> Decision:
    """Decide whether ``subject`` may start beside all labels that run, Domain-0's included.

    ``past`` are the types that have run on this host, where the policy counts them.
    """
    own = [
        Reason(
            Code.CHWALL_SELF_CONFLICT,
            f"conflict set '{found.conflict_set}': '{subject.name}' itself holds "
            f"'{found.own}' and '{found.other}', so it can never run",
        )
        for found in self_conflicts(conflict_sets, subject)
    ]
    if own:
        return deny(*own)
    aggregate = ConflictAggregate(conflict_sets, running, past) if subject.chwall else None
    conflicts = [_reason(subject, found) for found in aggregate.against(subject)] if aggregate else []
    if conflicts:
        return deny(*conflicts)
    detail = f"no running label holds a type that conflicts with '{subject.name}'"
    return permit(Reason(Code.CHWALL_CLEAR, detail))


def _reason(subject: Label, found: Conflict) -> Reason:
    what = f"conflict set '{found.conflict_set}': type '{found.own}' of '{subject.name}' must not run "
    if found.holder is None:
        detail = f"{what}where type '{found.other}' has run in the past"
        return Reason(Code.CHWALL_HISTORY, detail)
    return Reason(Code.CHWALL_CONFLICT, f"{what}beside type '{found.other}' of running '{found.holder}'")
