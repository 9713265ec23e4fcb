"""Where information comes below its level, through which trusted labels, and whether one is trusted so far.

MLS lets nothing down but through labels that the policy trusts with a range. The lint names each of them
through which something does come down, as it names the services that join rivals: an author who meant it
accepts it. Several of them in a row can bring information down further than any of them is trusted for: what
``secret to internal`` hands to ``internal to public`` is public then. The label that this starts from is
named. Domain-0's label, which has to span everything that it runs, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acm.flows import FlowGraph
from acm.labelset import first, members, of, union
from acm.relations import Relations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acm.policy import Policy


@dataclass(frozen=True, slots=True)
class Descent:
    """Information that comes down; ``subject`` is the one trusted label, or where any other way begins."""

    subject: str
    detail: str


def descents(policy: Policy) -> Iterator[Descent]:
    """Yield what comes down through nobody, through each trusted label, and through several; needs MLS."""
    found = _Levels(policy)
    yield from found.through_nobody()
    yield from found.through_one()
    yield from found.through_several()


class _Levels:
    """The flows of a policy with and without its trusted labels."""

    def __init__(self, policy: Policy) -> None:
        trusted = sorted(policy.trusted)
        self._apart = FlowGraph(policy, tuple(f"vm:{name}" for name in trusted))
        self._joined = FlowGraph(policy, (f"vm:{policy.bootstrap}",))
        self._labels = self._apart.labels
        self._relations = Relations(self._labels)
        self._trusted = of(self._labels.vm(name) for name in trusted)
        self._ordinary = self._labels.all & ~self._trusted & ~(1 << self._labels.vm(policy.bootstrap))
        self._between = self._trusted & ~(1 << self._labels.vm(policy.bootstrap))
        self._closed = self._apart.closure()

    def through_nobody(self) -> Iterator[Descent]:
        """No policy file can say this; the lint does not take the loader's word for it."""
        for source in members(self._ordinary):
            wrong = self._below(self._closed[source], source)
            if wrong:
                yield Descent(self._labels.name(source), self._detail(self._apart.path(source, first(wrong))))

    def through_one(self) -> Iterator[Descent]:
        """Find one way down through each trusted label, by itself."""
        for number in members(self._between):
            for source in members(self._ordinary):
                if not self._closed[source] >> number & 1:
                    continue
                wrong = self._below(self._closed[number] & ~self._closed[source], source)
                if wrong:
                    onward = self._apart.path(number, first(wrong))
                    way = (*self._apart.path(source, number), *onward[1:])
                    yield Descent(self._labels.name(number), self._detail(way))
                    break

    def through_several(self) -> Iterator[Descent]:
        """Find what comes down in several steps and not in one."""
        closed = self._joined.closure()
        for source in members(self._ordinary):
            once = union(self._closed[number] for number in members(self._closed[source] & self._between))
            wrong = self._below(closed[source] & ~once & ~self._closed[source], source)
            if wrong:
                way = self._joined.path(source, first(wrong))
                yield Descent(self._labels.name(source), self._detail(way))

    def _below(self, reached: int, source: int) -> int:
        return reached & self._ordinary & ~self._relations.above(source)

    def _detail(self, way: tuple[str, ...]) -> str:
        one, other = (self._labels.labels[self._number(name)].label for name in (way[0], way[-1]))
        passing = [self._labels.labels[self._number(name)].label for name in way[1:-1]]
        spans = [
            f"'{label.name}' ({label.mls})" for label in passing if label.name in self._labels.policy.trusted
        ]
        through = f" through {' and '.join(spans)}" if spans else " though no trusted label takes part"
        return (
            f"'{one.name}' ({one.mls}) reaches '{other.name}' ({other.mls}), which is not above it,"
            f"{through}: {' -> '.join(way)}"
        )

    def _number(self, name: str) -> int:
        number = self._labels.number(name)
        assert number is not None, "a path does not pass __INACCESSIBLE__"
        return number
