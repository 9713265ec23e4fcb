"""What is probably a mistake in a policy that is well-formed.

A finding is a stable code, the name it is about, and one sentence. ``acm.policyfile`` refuses what can have
no meaning (a label with two types of one conflict set, an unknown type); here stands what has a meaning that
its author can hardly want. The codes are in ``LintCode``.

Domain-0 must hold every type of what it runs, so the label that the policy names for it (``bootstrap``) joins
everything and is not blamed for that; another label for some hosts' Domain-0 is, like any service.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from acm import chwall, mls, ste
from acm.flows import FlowGraph
from acm.labels import UNLABELED
from acm.labelset import members
from acm.lintlevels import descents
from acm.lintrivals import rivals
from acm.policy import Component
from acm.relations import Relations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acm.decision import Decision
    from acm.labels import Label
    from acm.lintlevels import Descent
    from acm.policy import Policy


class LintCode(StrEnum):
    """Stable codes of findings."""

    NEVER_STARTS = "never-starts"
    """A domain label that the policy's own Domain-0 label can never run."""
    TYPE_UNUSED = "type-unused"
    """A type that no label holds."""
    TYPE_ALONE = "type-alone"
    """An STE type that one label holds alone, so that it joins no two labels."""
    WALL_TYPE_FREE = "wall-type-free"
    """A Chinese Wall type that stands in no conflict set, so that it keeps nobody apart."""
    CONFLICT_SET_IDLE = "conflict-set-idle"
    """A conflict set of which fewer than two types are held, so that it keeps nobody apart."""
    RESOURCE_UNREACHABLE = "resource-unreachable"
    """A resource label that no domain label may read or write."""
    LABEL_DUPLICATE = "label-duplicate"
    """Domain labels that hold the same, so that the policy cannot tell them apart."""
    RIVALS_SHARE = "rivals-share"
    """Two types of one conflict set whose holders may exchange information directly."""
    JOINS_RIVALS = "joins-rivals"
    """A label through which two types of one conflict set can exchange information."""
    RIVALS_CONNECTED = "rivals-connected"
    """Two types of one conflict set that can exchange information through several labels."""
    MLS_FLOW = "mls-flow"
    """A trusted label through which information comes below its level; or where a way begins that leads
    further down than one trusted label alone."""
    TRUSTED_IDLE = "trusted-idle"
    """A label that is named as trusted and has one level only."""
    LEVEL_UNUSED = "level-unused"
    """A level or category that no label has."""
    UNLABELED_JOINED = "unlabeled-joined"
    """A label besides Domain-0's that meets what has no label."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``subject`` is the label, type, level or set that it is about."""

    code: LintCode
    subject: str
    detail: str


def lint(policy: Policy) -> tuple[Finding, ...]:
    """Return all findings, in the order of ``LintCode``."""
    graph = FlowGraph(policy)
    found = (
        *_never_starts(policy, graph),
        *_types(policy),
        *_conflict_sets(policy),
        *_resources(graph),
        *_duplicates(policy),
        *(Finding(LintCode(one.code), one.subject, one.detail) for one in rivals(policy)),
        *(Finding(LintCode.MLS_FLOW, one.subject, one.detail) for one in _descents(policy)),
        *_levels(policy),
        *_unlabeled(policy),
    )
    order = list(LintCode)
    return tuple(sorted(found, key=lambda finding: order.index(finding.code)))


def _never_starts(policy: Policy, graph: FlowGraph) -> Iterator[Finding]:
    relations = Relations(graph.labels)
    domain0 = policy.domain_labels[policy.bootstrap]
    number = graph.labels.vm(policy.bootstrap)
    runs = relations.authorizes(number)
    if policy.enforces(Component.CHWALL):
        runs &= ~relations.excludes(number)
    for one in members(graph.labels.domains & ~runs & ~(1 << number) & ~(1 << graph.labels.unlabeled)):
        label = graph.labels.labels[one].label
        why = " and ".join(_refusals(policy, domain0, label))
        detail = f"'{label.name}' cannot run on a host whose Domain-0 is '{domain0.name}': {why}"
        yield Finding(LintCode.NEVER_STARTS, label.name, detail)


def _refusals(policy: Policy, domain0: Label, label: Label) -> Iterator[str]:
    decisions: dict[Component, Decision] = {
        Component.CHWALL: chwall.decide_start(policy.conflict_sets_of(label), label, (domain0,)),
        Component.STE: ste.decide_authorization(domain0, label),
        Component.MLS: mls.decide_authorization(domain0, label),
    }
    for component in policy.components:
        if not decisions[component].permitted:
            yield from (reason.detail for reason in decisions[component].reasons)


def _types(policy: Policy) -> Iterator[Finding]:
    labels = [*policy.domain_labels.values(), *policy.resource_labels.values()]
    holders: dict[str, list[str]] = {held: [] for held in policy.ste_types}
    for label in labels:
        for held in label.ste:
            holders[held].append(label.name)
    walls = {held for label in policy.domain_labels.values() for held in label.chwall}
    for held in sorted(policy.ste_types):
        if not holders[held]:
            yield Finding(LintCode.TYPE_UNUSED, held, f"no label holds STE type '{held}'")
        elif len(holders[held]) == 1 and held != UNLABELED.name:
            detail = f"only '{holders[held][0]}' holds STE type '{held}', so it joins no two labels"
            yield Finding(LintCode.TYPE_ALONE, held, detail)
    fenced = {held for one in policy.conflict_sets for held in one.types}
    for held in sorted(policy.chwall_types):
        if held not in walls:
            detail = f"no label holds Chinese Wall type '{held}'"
            yield Finding(LintCode.TYPE_UNUSED, held, detail)
        if held not in fenced:
            detail = f"Chinese Wall type '{held}' is in no conflict set, so it keeps nobody apart"
            yield Finding(LintCode.WALL_TYPE_FREE, held, detail)


def _conflict_sets(policy: Policy) -> Iterator[Finding]:
    held = {one for label in policy.domain_labels.values() for one in label.chwall}
    for one in policy.conflict_sets:
        if len(one.types & held) < _SIDES:
            have = " and ".join(f"'{name}'" for name in sorted(one.types & held)) or "none"
            detail = f"of the types of conflict set '{one.name}' labels hold {have}: it keeps nobody apart"
            yield Finding(LintCode.CONFLICT_SET_IDLE, one.name, detail)


_SIDES: Final = 2
"""Types of a conflict set that must be held before it excludes anything."""


def _resources(graph: FlowGraph) -> Iterator[Finding]:
    labels = graph.labels
    for number in members(labels.all & ~labels.domains):
        if not graph.direct(number) | graph.direct_into(number):
            detail = f"no domain label may read or write resource '{labels.name(number)}'"
            yield Finding(LintCode.RESOURCE_UNREACHABLE, labels.name(number), detail)


def _duplicates(policy: Policy) -> Iterator[Finding]:
    same: dict[object, list[str]] = {}
    for label in policy.domain_labels.values():
        trusted = label.name in policy.trusted
        same.setdefault((label.ste, label.chwall, label.mls, trusted), []).append(label.name)
    for names in same.values():
        if len(names) > 1:
            others = ", ".join(f"'{name}'" for name in names[1:])
            detail = f"'{names[0]}' holds the same as {others}: no decision tells them apart"
            yield Finding(LintCode.LABEL_DUPLICATE, names[0], detail)


def _descents(policy: Policy) -> Iterator[Descent]:
    return descents(policy) if policy.enforces(Component.MLS) else iter(())


def _levels(policy: Policy) -> Iterator[Finding]:
    spans = [
        label.mls for label in (*policy.domain_labels.values(), *policy.resource_labels.values()) if label.mls
    ]
    for name in sorted(policy.trusted):
        span = policy.domain_labels[name].mls
        if span is not None and span.is_point:
            detail = f"'{name}' is trusted to span levels and has one, {span}: it needs no trust"
            yield Finding(LintCode.TRUSTED_IDLE, name, detail)
    used = {rank for span in spans for rank in range(span.low.rank, span.high.rank + 1)}
    for rank, level in enumerate(policy.levels):
        if rank not in used:
            yield Finding(LintCode.LEVEL_UNUSED, level, f"no label has level '{level}'")
    categories = {held for span in spans for held in span.high.categories}
    for category in sorted(policy.categories - categories):
        yield Finding(LintCode.LEVEL_UNUSED, category, f"no label has category '{category}'")


def _unlabeled(policy: Policy) -> Iterator[Finding]:
    for name, label in policy.domain_labels.items():
        if UNLABELED.name in label.ste and name != policy.bootstrap:
            detail = f"'{name}' holds type '{UNLABELED.name}': whatever has no label can exchange with it"
            yield Finding(LintCode.UNLABELED_JOINED, name, detail)
