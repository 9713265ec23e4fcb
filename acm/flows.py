"""The information-flow graph of a policy: where information can come from each label, and through whom.

An edge from A to B says that the policy permits some operation that moves information from A to B: B may read
A or A may write B (every other operation that moves information needs one of the two). Two resources have no
edge: between them information moves only through a domain. ``__UNLABELED__`` is one label in both of its
roles. ``__INACCESSIBLE__`` has no edges.

What a path means, and what it does not:

- A path exists if domains with these labels, all colluding, can pass information along it. Where there is
  none, no sequence of permitted operations moves it, at any time and on any number of hosts with this policy.
- The Chinese Wall takes no edge away. It keeps domains from running at the same time on one host; what one
  has left on a disk, or with a domain beside both, reaches the other later. Nor does history: hosts differ.
- Whether a label can start at all, and what Domain-0 sees of the domains that it builds, is not asked. A
  Domain-0 label takes part like any other label.
- Most paths pass through labels that are trusted to keep things apart: services with several types, labels
  that span levels. ``Flow.through`` names them, each with what it joins. ``without`` asks what is left if
  such labels keep their promise: they then begin and end flows and pass nothing on.
- Covert channels (timing, caches) are not operations of a policy and not in the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from acm.closure import closure
from acm.labelset import LabelSet, first, members, of, union
from acm.operations import Operation
from acm.policy import Component, Kind
from acm.relations import Relations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from acm.labels import Label
    from acm.policy import Policy


@dataclass(frozen=True, slots=True)
class Step:
    """One edge: ``operations`` that can carry it and the STE ``types`` that both ends hold.

    ``share``: both directions. ``read``: the target reads the source. ``write``: the source writes to it.
    """

    source: str
    target: str
    operations: tuple[Operation, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Through:
    """A label that passes information on, and what it joins.

    ``received`` and ``passed`` are the STE types by which it comes and goes; ``span`` is the range of levels
    of a label that is trusted with more than one, else None.
    """

    label: str
    received: tuple[str, ...]
    passed: tuple[str, ...]
    span: str | None


@dataclass(frozen=True, slots=True)
class Flow:
    """A shortest path from its first label to its last one, both included."""

    path: tuple[str, ...]
    steps: tuple[Step, ...]
    through: tuple[Through, ...]


class FlowGraph:
    """The graph of one policy; ``without`` are labels, by reference, that pass nothing on.

    Raises LabelError for a reference that is unknown or ambiguous.
    """

    def __init__(self, policy: Policy, without: Sequence[str] = ()) -> None:
        self.labels = LabelSet(policy)
        relations = Relations(self.labels)
        self._into = [relations.into(number) for number in range(len(self.labels))]
        self._out_of = [relations.out_of(number) for number in range(len(self.labels))]
        numbers = (self.labels.number(reference) for reference in without)
        self._domain0 = 1 << self.labels.vm(policy.bootstrap)
        self._closed: list[int] | None = None
        self._passing = self.labels.all & ~of(number for number in numbers if number is not None)

    def direct(self, source: int) -> int:
        """Return to whom information may go from a label in one step, itself included if it may."""
        return self._out_of[source]

    def direct_into(self, target: int) -> int:
        """Return from whom information may come to a label in one step, itself included if it may."""
        return self._into[target]

    def reach(self, source: int) -> int:
        """Return to whom information may come from a label in any number of steps, itself aside."""
        return union(self._layers(source, self._out_of)) & ~(1 << source)

    def closure(self) -> list[int]:
        """Return ``reach`` of every label, by number."""
        if self._closed is None:
            self._closed = closure(self._out_of, self._into, self._passing)
        return self._closed

    def flow(self, source: str, target: str) -> Flow | None:
        """Return a shortest flow between two labels, None where there is none.

        From a label to itself it is the label alone: nothing has to move. Labels are references; raises
        LabelError.
        """
        start, end = self.labels.number(source), self.labels.number(target)
        if start is None or end is None:
            return None
        path = self._path(start, end)
        return self._flow(path) if path else None

    def path(self, start: int, end: int) -> tuple[str, ...]:
        """Return the names on a shortest path between two numbers, none where there is no path."""
        return tuple(map(self.labels.name, self._path(start, end)))

    def _path(self, start: int, end: int) -> tuple[int, ...]:
        layers = []
        for layer in self._layers(start, self._out_of):
            layers.append(layer)
            if layer >> end & 1:
                return self._walk_back(layers, end, self._into)[::-1]
        return ()

    def flows_from(self, source: str) -> Iterator[Flow]:
        """Yield a shortest flow to each label that the source reaches, nearest first. Raises LabelError."""
        start = self.labels.number(source)
        if start is not None:
            for path in self._paths(start, self._out_of, self._into):
                yield self._flow(path[::-1])

    def flows_to(self, target: str) -> Iterator[Flow]:
        """Yield a shortest flow from each label that reaches the target, nearest first. Raises LabelError."""
        end = self.labels.number(target)
        if end is not None:
            for path in self._paths(end, self._into, self._out_of):
                yield self._flow(path)

    def all_flows(self) -> Iterator[Flow]:
        """Yield a shortest flow for each ordered pair of different labels that has one."""
        for start in range(len(self.labels)):
            for path in self._paths(start, self._out_of, self._into):
                yield self._flow(path[::-1])

    def _layers(self, root: int, edges: Sequence[int]) -> Iterator[int]:
        """Yield the root alone, then who is one edge further, until nobody is."""
        seen = layer = 1 << root
        while layer:
            yield layer
            passing = layer & (self._passing | 1 << root)
            layer = union(edges[number] for number in members(passing)) & ~seen
            seen |= layer

    def _paths(self, root: int, edges: Sequence[int], back: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Yield a path from each label that the edges lead to, back to the root."""
        layers: list[int] = []
        for layer in self._layers(root, edges):
            layers.append(layer)
            for end in members(layer & ~(1 << root)):
                yield self._walk_back(layers, end, back)

    def _walk_back(self, layers: Sequence[int], end: int, back: Sequence[int]) -> tuple[int, ...]:
        """Return a path from ``end``, in the last layer, to the root.

        Of several it is the first in numbers, one through Domain-0 last: that it is joined to all is no news.
        """
        path = [end]
        for depth in range(len(layers) - 2, -1, -1):
            passing = self._passing if depth else self.labels.all
            found = layers[depth] & passing & back[path[-1]]
            path.append(first(found & ~self._domain0 or found))
        return tuple(path)

    def _flow(self, path: tuple[int, ...]) -> Flow:
        names = tuple(self.labels.name(number) for number in path)
        steps = tuple(self._step(*edge) for edge in pairwise(path))
        through = tuple(
            Through(
                self.labels.name(number),
                before.types,
                after.types,
                _span(self.labels.labels[number].label),
            )
            for number, before, after in zip(path[1:], steps, steps[1:], strict=False)
        )
        return Flow(names, steps, through)

    def _step(self, source: int, target: int) -> Step:
        one, other = self.labels.labels[source], self.labels.labels[target]
        if other.kind is Kind.RESOURCE:
            operations: tuple[Operation, ...] = (Operation.WRITE,)
        elif one.kind is Kind.RESOURCE:
            operations = (Operation.READ,)
        elif self._out_of[target] >> source & 1:
            operations = (Operation.SHARE,)
        else:
            operations = (Operation.READ, Operation.WRITE)
        typed = self.labels.policy.enforces(Component.STE)
        types = tuple(sorted(one.label.ste & other.label.ste)) if typed else ()
        return Step(self.labels.name(source), self.labels.name(target), operations, types)


def _span(label: Label) -> str | None:
    return None if label.mls is None or label.mls.is_point else str(label.mls)
