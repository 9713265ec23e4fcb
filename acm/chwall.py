"""The Chinese Wall as sHype runs it: which domains must not run on one host at one time.

A conflict set is a set of types of which at most one may run ("run-time exclusion"). The state is who runs
now: ``running types`` says which types are held by running domains; the ``conflict aggregate`` of a type is
every other type that shares a conflict set with it and runs. A domain may start if the aggregate of each of
its types is empty (``acm_chinesewall_hooks.c`` of Xen 3.x). The same label may run many times. No history
is kept: a domain that has stopped excludes nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acm.decision import Code, Decision, Reason, deny, permit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from acm.labels import Label


@dataclass(frozen=True, slots=True)
class ConflictSet:
    """At most one of these Chinese Wall types may run on a host at one time."""

    name: str
    types: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Type ``own`` and type ``other``, which ``holder`` holds, are both in ``conflict_set``."""

    conflict_set: str
    own: str
    other: str
    holder: str


class ConflictAggregate:
    """What stands against a start while some labels run. Built from labels, never changed."""

    def __init__(self, conflict_sets: Sequence[ConflictSet], running: Iterable[Label]) -> None:
        self._sets = conflict_sets
        self._running_types: dict[str, list[str]] = {}
        for label in sorted(set(running), key=lambda label: label.name):
            for held in label.chwall:
                self._running_types.setdefault(held, []).append(label.name)

    def against(self, label: Label) -> Iterator[Conflict]:
        """Yield every conflict of ``label`` with a running label, in the policy's order of sets."""
        for conflict_set in self._sets:
            running = sorted(conflict_set.types & self._running_types.keys())
            for own in sorted(conflict_set.types & label.chwall):
                for other in running:
                    if other != own:
                        for holder in self._running_types[other]:
                            yield Conflict(conflict_set.name, own, other, holder)


def self_conflicts(conflict_sets: Sequence[ConflictSet], label: Label) -> Iterator[Conflict]:
    """Yield each conflict set of which a label holds two types: such a label can never run."""
    for conflict_set in conflict_sets:
        types = sorted(conflict_set.types & label.chwall)
        for other in types[1:]:
            yield Conflict(conflict_set.name, types[0], other, label.name)


def mutual_conflict(
    conflict_sets: Sequence[ConflictSet], running: Sequence[Label]
) -> tuple[Label, Conflict] | None:
    """Return one running label with what excludes it, or None if all these labels can run together."""
    aggregate = ConflictAggregate(conflict_sets, running)
    found = ((label, conflict) for label in running for conflict in aggregate.against(label))
    return next(found, None)


def decide_start(conflict_sets: Sequence[ConflictSet], subject: Label, running: Iterable[Label]) -> Decision:
    """Decide whether ``subject`` may start beside all labels that run, Domain-0's included."""
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
    aggregate = ConflictAggregate(conflict_sets, running)
    conflicts = [
        Reason(
            Code.CHWALL_CONFLICT,
            f"conflict set '{found.conflict_set}': type '{found.own}' of '{subject.name}' must not run "
            f"beside type '{found.other}' of running '{found.holder}'",
        )
        for found in aggregate.against(subject)
    ]
    if conflicts:
        return deny(*conflicts)
    detail = f"no running label holds a type that conflicts with '{subject.name}'"
    return permit(Reason(Code.CHWALL_CLEAR, detail))
