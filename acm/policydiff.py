"""Two policies compared by what they mean: labels, types, walls, levels, and the decisions that change.

Labels are compared by what becomes of them in an update (``acm.succession``): a renamed label is the same
label. A decision is compared where both its labels live on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from acm.labels import UNLABELED
from acm.labelset import LabelSet, members, of
from acm.livestate import PolicyReference
from acm.matrix import matrix
from acm.operations import Operation
from acm.policy import Component, Kind
from acm.relations import Relations
from acm.succession import objections, successors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from acm.labels import Label
    from acm.policy import Policy
    from acm.violations import Why

BESIDE: Final = "beside"
"""Not an operation: may two labels run on one host at one time? That is what the Chinese Wall decides."""
COMPARED: Final = (Operation.SHARE, Operation.READ, Operation.WRITE, Operation.AUTHORIZE)
"""Operations whose decisions are compared; with BESIDE, every other one follows from these."""
SHOWN: Final = 1000
"""Changed decisions that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class LabelChange:
    """A label of both policies that is not the same in them: ``before`` is its old name."""

    name: str
    before: str
    gained: tuple[str, ...]
    lost: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the JSON of this change."""
        return {
            "name": self.name,
            "before": self.before,
            "gained": list(self.gained),
            "lost": list(self.lost),
        }


@dataclass(frozen=True, slots=True)
class LabelsDiff:
    """Labels of one kind: names that are new, names that are gone, and labels that changed."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[LabelChange, ...]


@dataclass(frozen=True, slots=True)
class DecisionChange:
    """A decision that is another one now. Names are those of the new policy."""

    op: str
    subject: str
    object: str
    permitted: bool


@dataclass(frozen=True, slots=True)
class PolicyDiff:
    """How two policies differ. ``lineage`` says why the new one may not follow the old one.

    ``sections`` are changes outside the labels: (what, gained, lost). Of ``decisions``, at most SHOWN stand
    here; ``permitted`` and ``denied`` count all that are so only now.
    """

    lineage: tuple[Why, ...]
    sections: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    domains: LabelsDiff
    resources: LabelsDiff
    decisions: tuple[DecisionChange, ...]
    permitted: int
    denied: int


def compare(old: Policy, new: Policy) -> PolicyDiff:
    """Return how ``new`` differs from ``old``."""
    decisions: list[DecisionChange] = []
    permitted = denied = 0
    for op in (*COMPARED, BESIDE):
        for subject, gained, lost, names in _changes(old, new, op):
            permitted += gained.bit_count()
            denied += lost.bit_count()
            changed = members(gained | lost) if len(decisions) < SHOWN else ()
            decisions += [DecisionChange(op, subject, names[i], bool(gained >> i & 1)) for i in changed]
    return PolicyDiff(
        lineage=objections(PolicyReference(old.name, old.version), new),
        sections=tuple(_sections(old, new)),
        domains=_labels(old, new, Kind.DOMAIN),
        resources=_labels(old, new, Kind.RESOURCE),
        decisions=tuple(decisions[:SHOWN]),
        permitted=permitted,
        denied=denied,
    )


def _sections(old: Policy, new: Policy) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    pairs: list[tuple[str, Iterable[str], Iterable[str]]] = [
        ("name", [old.name], [new.name]),
        ("version", [old.version], [new.version]),
        ("components", [", ".join(old.components)], [", ".join(new.components)]),
        ("bootstrap", [old.bootstrap], [new.bootstrap]),
        ("ste types", old.ste_types, new.ste_types),
        ("chwall types", old.chwall_types, new.chwall_types),
        ("chwall history", [str(old.history).lower()], [str(new.history).lower()]),
        ("conflict sets", _walls(old), _walls(new)),
        ("levels", [" < ".join(old.levels)], [" < ".join(new.levels)]),
        ("categories", old.categories, new.categories),
        ("trusted", old.trusted, new.trusted),
    ]
    for what, before, after in pairs:
        was, now = set(before), set(after)
        if was != now:
            yield what, tuple(sorted(now - was)), tuple(sorted(was - now))


def _walls(policy: Policy) -> list[str]:
    return [f"{one.name}: {', '.join(sorted(one.types))}" for one in policy.conflict_sets]


def _labels(old: Policy, new: Policy, kind: Kind) -> LabelsDiff:
    before, after = _of_kind(old, kind), _of_kind(new, kind)
    became = successors(new, kind, before)
    changed = []
    for name, now in became.items():
        if now is not None:
            held, holds = _properties(before[name]), _properties(after[now])
            if name != now or held != holds:
                gained, lost = tuple(sorted(holds - held)), tuple(sorted(held - holds))
                changed.append(LabelChange(now, name, gained, lost))
    return LabelsDiff(
        added=tuple(sorted(after.keys() - {now for now in became.values() if now is not None})),
        removed=tuple(sorted(name for name, now in became.items() if now is None)),
        changed=tuple(sorted(changed, key=lambda one: one.name)),
    )


def _of_kind(policy: Policy, kind: Kind) -> Mapping[str, Label]:
    return policy.domain_labels if kind is Kind.DOMAIN else policy.resource_labels


def _properties(label: Label) -> set[str]:
    level = set() if label.mls is None else {f"{Component.MLS} {label.mls}"}
    return (
        {f"{Component.STE} {one}" for one in label.ste}
        | {f"{Component.CHWALL} {one}" for one in label.chwall}
        | level
    )


def _table(policy: Policy, op: str) -> _Table:
    if op != BESIDE:
        found = matrix(policy, Operation(op))
        return _Table(len(found.subjects), found.objects, found.rows)
    labels = LabelSet(policy)
    relations, domains = Relations(labels), range(labels.unlabeled + 1)
    rows = tuple(labels.domains & ~relations.excludes(each) for each in domains)
    return _Table(len(domains), tuple(labels.name(each) for each in domains), rows)


@dataclass(frozen=True, slots=True)
class _Table:
    """Bit j of row i: what the policy says of subject i and object j; subjects are the first objects."""

    subjects: int
    objects: tuple[str, ...]
    rows: tuple[int, ...]


def _changes(old: Policy, new: Policy, op: str) -> Iterator[tuple[str, int, int, tuple[str, ...]]]:
    """Yield for each subject that lives on: its name, the objects permitted now, denied now, all names."""
    before, after = _table(old, op), _table(new, op)
    pairs = _surviving(old, new, len(before.objects))
    runs = _runs(pairs)
    compared = of(now for _, now in pairs) & ~_implied(old, new, op, after)
    for was, now in pairs:
        if now < after.subjects:
            earlier, later = _moved(before.rows[was], runs) & compared, after.rows[now] & compared
            if earlier != later:
                yield after.objects[now], later & ~earlier, earlier & ~later, after.objects


def _surviving(old: Policy, new: Policy, objects: int) -> list[tuple[int, int]]:
    """Return (old number, new number) of the labels that both policies have, in the old order."""
    numbers = {(one.kind, one.label.name): one.number for one in LabelSet(new).labels}
    found = []
    for kind in Kind:
        named = [one for one in LabelSet(old).labels if one.kind is kind and one.number < objects]
        became = successors(new, kind, [one.label.name for one in named])
        for one in named:
            now = became[one.label.name]
            if now is not None:
                found.append((one.number, numbers[kind, now]))
    return sorted(found)


def _runs(pairs: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return (old number, new number, length) of labels that stand side by side in both policies."""
    runs: list[tuple[int, int, int]] = []
    for was, now in pairs:
        first, then, length = runs[-1] if runs else (-1, -1, 0)
        if runs and (first + length, then + length) == (was, now):
            runs[-1] = first, then, length + 1
        else:
            runs.append((was, now, 1))
    return runs


def _moved(row: int, runs: list[tuple[int, int, int]]) -> int:
    """Return a row of the old matrix with every object at its number in the new one."""
    found = 0
    for was, now, length in runs:
        found |= (row >> was & (1 << length) - 1) << now
    return found


def _implied(old: Policy, new: Policy, op: str, after: _Table) -> int:
    """Return the objects about which an operation says no more than ``share`` does.

    Without levels no rule has a direction, so between domains ``read`` and ``write`` are ``share``.
    """
    if op not in {Operation.READ, Operation.WRITE}:
        return 0
    if old.enforces(Component.MLS) or new.enforces(Component.MLS):
        return 0
    return (1 << after.objects.index(UNLABELED.name) + 1) - 1
