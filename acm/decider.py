"""One policy made ready for many questions: what ``acm.engine.decide`` says, without a search.

Every label becomes three numbers, made once when the policy is loaded:

- ``types``: a bit for each STE type; two labels share if the two numbers have a bit in common;
- ``low`` and ``high``: a bit for each level up to the label's own, and one for each category, so that one
  level dominates another if it has all bits of the other.

A flow and an authority are then a few operations on numbers. The decision holds its question; when somebody
asks for its reasons, the engine decides again and gives them. Policy and question never change, so they are
the reasons that the engine would have given at once.

Whatever is not plain goes to the engine as it stands: admissions, which depend on who runs and has run;
``__UNLABELED__`` and ``__INACCESSIBLE__``; a label without a level under MLS; a name that is unknown, of the
wrong kind or ambiguous; an operation without a rule; a question that names running labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acm.decision import Decision
from acm.engine import Request, decide
from acm.operations import RULES, Operation, Question
from acm.policy import Component, Kind, Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acm.decision import Reason
    from acm.labels import Label
    from acm.mls import Level
    from acm.operations import Rule

Way = Callable[[str, str | None], bool]
"""Decides between two names of labels; KeyError where it is not as plain as that."""


@dataclass(frozen=True, slots=True)
class _Sides:
    """Labels as numbers, by every name that is plain."""

    types: dict[str | None, int]
    lows: dict[str | None, int]
    highs: dict[str | None, int]


class _Reasoned(Decision):
    """A decision whose reasons the engine gives when they are asked for."""

    __slots__ = ("_policy", "_request")

    def __init__(self, permitted: bool, policy: Policy, request: Request) -> None:  # noqa: FBT001 - a keyword costs
        # Not by the base's __init__, which wants reasons.
        self.permitted = permitted  # type: ignore[misc]
        self._reasons = ()
        self._policy = policy
        self._request = request

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why; raises AssertionError if the engine decides otherwise, which would be a defect."""
        if not self._reasons:
            decision = decide(self._policy, self._request)
            if decision.permitted is not self.permitted:
                raise AssertionError(f"decided as {self.verdict}, explained as {decision}")
            self._reasons = decision.reasons
        return self._reasons


class Decider:
    """Answers questions under one policy; the answers are those of ``acm.engine.decide``."""

    __slots__ = ("_policy", "_ways")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._ways: dict[str, Way] = {}
        numbers = _Numbers(policy)
        domains, resources = numbers.sides(Kind.DOMAIN), numbers.sides(Kind.RESOURCE)
        both = numbers.either()
        for op, rule in RULES.items():
            objects = both if len(rule.objects) > 1 else domains if Kind.DOMAIN in rule.objects else resources
            if rule.question is Question.FLOW:
                self._ways[op] = _flow(policy, rule, domains, objects)
            elif rule.question is Question.AUTHORITY:
                self._ways[op] = _authority(policy, domains, objects)

    def decide(self, request: Request) -> Decision:
        """Decide one request; raises what ``acm.engine.decide`` raises."""
        op, subject, target, running, _, _ = request
        try:
            permitted = self._ways[op](subject, target)
        except KeyError:
            return decide(self._policy, request)
        if running:
            return decide(self._policy, request)  # which may be labels that cannot run together
        return _Reasoned(permitted, self._policy, request)

    def permits(self, op: Operation, subject: str, target: str) -> bool:
        """Return the verdict alone, for a question that names nothing else; raises as :meth:`decide`."""
        try:
            return self._ways[op](subject, target)
        except KeyError:
            return decide(self._policy, Request(op, subject, target)).permitted


def _flow(policy: Policy, rule: Rule, subjects: _Sides, objects: _Sides) -> Way:
    sharing = _sharing(policy, subjects.types, objects.types)
    if not policy.enforces(Component.MLS):
        return sharing
    low, high = subjects.lows, subjects.highs
    other_low, other_high = objects.lows, objects.highs

    def levelled(subject: str, target: str | None) -> bool:
        if not sharing(subject, target):
            return False
        if rule.reads and other_low[target] & ~high[subject]:
            return False
        return not (rule.writes and low[subject] & ~other_high[target])

    return levelled


def _sharing(policy: Policy, subjects: dict[str | None, int], objects: dict[str | None, int]) -> Way:
    if policy.enforces(Component.STE):
        return lambda subject, target: subjects[subject] & objects[target] != 0
    return lambda subject, target: subjects[subject] + objects[target] >= 0  # both are plain


def _authority(policy: Policy, hosts: _Sides, guests: _Sides) -> Way:
    by_type, by_level = policy.enforces(Component.STE), policy.enforces(Component.MLS)

    def holds(host: str, guest: str | None) -> bool:
        held, wanted = hosts.types[host], guests.types[guest]
        if by_type and (not wanted or wanted & ~held):
            return False
        return not by_level or not (
            hosts.lows[host] & ~guests.lows[guest] or guests.highs[guest] & ~hosts.highs[host]
        )

    return holds


class _Numbers:
    """The labels of a policy as numbers."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        labels = [*policy.domain_labels.values(), *policy.resource_labels.values()]
        self._types = _bits({held for label in labels for held in label.ste})
        spans = [label.mls for label in labels if label.mls is not None]
        levels = [end for span in spans for end in (span.low, span.high)]
        self._ranks = max((level.rank for level in levels), default=0) + 1
        self._categories = _bits({held for level in levels for held in level.categories})

    def sides(self, kind: Kind) -> _Sides:
        """Return the labels of a kind, by ``NAME`` and ``KIND:NAME``."""
        domains = kind is Kind.DOMAIN
        labels = self._policy.domain_labels if domains else self._policy.resource_labels
        return self._of({name: label for each, label in labels.items() for name in (each, f"{kind}:{each}")})

    def either(self) -> _Sides:
        """Return the labels of both kinds; a bare name only where it is of one kind."""
        domains, resources = self._policy.domain_labels, self._policy.resource_labels
        found = {f"{Kind.DOMAIN}:{name}": label for name, label in domains.items()}
        found |= {f"{Kind.RESOURCE}:{name}": label for name, label in resources.items()}
        found |= {name: label for name, label in domains.items() if name not in resources}
        found |= {name: label for name, label in resources.items() if name not in domains}
        return self._of(found)

    def _of(self, labels: Mapping[str, Label]) -> _Sides:
        levels = self._policy.enforces(Component.MLS)
        plain = {name: label for name, label in labels.items() if label.mls is not None or not levels}
        spans = {name: label.mls for name, label in plain.items() if levels and label.mls is not None}
        return _Sides(
            {name: _sum(self._types, label.ste) for name, label in plain.items()},
            {name: self._level(span.low) for name, span in spans.items()},
            {name: self._level(span.high) for name, span in spans.items()},
        )

    def _level(self, level: Level) -> int:
        below = (1 << level.rank + 1) - 1
        return below | _sum(self._categories, level.categories) << self._ranks


def _bits(names: set[str]) -> dict[str, int]:
    return {name: 1 << number for number, name in enumerate(sorted(names))}


def _sum(bits: Mapping[str, int], names: frozenset[str]) -> int:
    return sum(bits[name] for name in names)
