"""Whether types that must not run side by side can exchange information nevertheless.

The Chinese Wall keeps rivals from running at one time; it does not stop what passes between them through a
label that shares with both, or through a disk. For each conflict set this looks for the shortest ways from
holders of one type to holders of another, Domain-0's label left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acm.flows import FlowGraph
from acm.labelset import first, members, union

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from acm.chwall import ConflictSet
    from acm.policy import Policy


@dataclass(frozen=True, slots=True)
class Rivalry:
    """What joins rivals; ``code`` is a value of ``acm.lint.LintCode``."""

    code: str
    subject: str
    detail: str


def rivals(policy: Policy) -> Iterator[Rivalry]:
    """Yield for each conflict set: rivals that share, each label that joins some, or a longer way."""
    graph = FlowGraph(policy, (f"vm:{policy.bootstrap}",))
    others = graph.labels.domains & ~(1 << graph.labels.vm(policy.bootstrap))
    holders: dict[str, int] = {}
    for number in members(others):
        for held in graph.labels.labels[number].label.chwall:
            holders[held] = holders.get(held, 0) | 1 << number
    for one in policy.conflict_sets:
        yield from _Set(
            graph, one, {held: holders[held] for held in sorted(one.types & holders.keys())}, others
        ).findings()


class _Set:
    """One conflict set: its types that are held, by whom, and the labels that can stand between them."""

    def __init__(self, graph: FlowGraph, one: ConflictSet, holders: Mapping[str, int], others: int) -> None:
        self._graph = graph
        self._name = one.name
        self._holders = holders
        self._all = union(holders.values())
        self._between = others & ~self._all

    def findings(self) -> Iterator[Rivalry]:
        if len(self._holders) <= 1:
            return
        direct = list(self._direct())
        yield from direct
        joining = list(self._joining())
        yield from joining
        if not direct and not joining:
            yield from self._longer()

    def _direct(self) -> Iterator[Rivalry]:
        """Find one pair of rivals that may exchange directly, whichever way."""
        for held, mine in self._holders.items():
            for number in members(mine):
                met = self._graph.direct(number) & self._all & ~mine
                if met:
                    yield Rivalry(
                        "rivals-share", self._name, self._pair(held, number, first(met), "directly")
                    )
                    return

    def _joining(self) -> Iterator[Rivalry]:
        """Find every label that one rival can give to and another can take from."""
        for number in members(self._between):
            givers, takers = self._graph.direct_into(number), self._graph.direct(number)
            for held, mine in self._holders.items():
                if givers & mine and takers & self._all & ~mine:
                    name = self._graph.labels.name(number)
                    ends = first(givers & mine), first(takers & self._all & ~mine)
                    yield Rivalry("joins-rivals", name, self._pair(held, *ends, f"through '{name}'"))
                    break

    def _longer(self) -> Iterator[Rivalry]:
        """Find one way through several labels."""
        for held, mine in self._holders.items():
            for number in members(mine):
                met = self._graph.closure()[number] & self._all & ~mine
                if met:
                    way = " -> ".join(self._graph.path(number, first(met)))
                    yield Rivalry("rivals-connected", self._name, self._pair(held, number, first(met), way))
                    return

    def _pair(self, held: str, source: int, target: int, how: str) -> str:
        one, other = (self._graph.labels.labels[number].label for number in (source, target))
        theirs = min(name for name in other.chwall if name in self._holders)
        return (
            f"conflict set '{self._name}' sets '{held}' against '{theirs}', and '{one.name}' can pass "
            f"information to '{other.name}' {how}"
        )
