"""Which domains to stop so that no two that exclude each other run: the smallest vertex cover.

The graph: domains as nodes, an edge where two must not run beside each other. Domains with the same
neighbours are one *kind*: a smallest cover has all of a kind or none of it, because one that stays means that
all their neighbours stop, and then none of the kind has to. So the search is over kinds, and the number of
domains does not matter.

Kinds fall into *clusters* that have nothing to do with each other, and each cluster is solved alone.

*Exact.* The domains that stay form an independent set that nothing can be added to, and a graph of n kinds
has at most 3^(n/3) of those (Moon and Moser, 1965): 2,187 for 21 kinds. All are looked at.

*Approximate.* Local ratio (Bar-Yehuda and Even, 1985): each edge takes from both its ends what the poorer one
has left; who has nothing left is stopped. What was taken is a lower bound of every cover, and the cover is at
most twice that. Then whoever need not stop is let run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from acm.labelset import members, of, union

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

EXACT_KINDS: Final = 21
"""Kinds of a cluster up to which the smallest cover is found for certain."""


@dataclass(frozen=True, slots=True)
class Walls:
    """Kinds of domains that exclude each other.

    ``domids[k]`` are the domains of kind k; bit j of ``against[k]`` says that kinds j and k exclude each
    other.
    """

    domids: tuple[tuple[int, ...], ...]
    against: tuple[int, ...]

    @property
    def kinds(self) -> int:
        """How many kinds there are."""
        return len(self.domids)

    def weight(self, kinds: int) -> int:
        """Return how many domains are of these kinds."""
        return sum(len(self.domids[each]) for each in members(kinds))

    def who(self, kinds: int) -> frozenset[int]:
        """Return the domains of these kinds."""
        return frozenset(domid for each in members(kinds) for domid in self.domids[each])


def walls(groups: Sequence[Mapping[str, frozenset[int]]]) -> Walls:
    """Return the kinds; each group is one conflict set: type -> the domains that hold it and run.

    Domains of different types of one group exclude each other.
    """
    everybody = sorted(frozenset[int]().union(*(held for group in groups for held in group.values())))
    place = {domid: index for index, domid in enumerate(everybody)}
    against = [0] * len(everybody)
    for group in groups:
        sets = [of(place[domid] for domid in held) for held in group.values()]
        running = union(sets)
        for one in sets:
            for index in members(one):
                against[index] |= running & ~one
    return _kinds(everybody, against)


def _kinds(everybody: Sequence[int], against: Sequence[int]) -> Walls:
    grouped: dict[int, list[int]] = {}
    for index, neighbours in enumerate(against):
        if neighbours:
            grouped.setdefault(neighbours, []).append(index)
    kind_of = {index: kind for kind, indices in enumerate(grouped.values()) for index in indices}
    firsts = of(indices[0] for indices in grouped.values())
    return Walls(
        tuple(tuple(everybody[index] for index in indices) for indices in grouped.values()),
        tuple(of(kind_of[index] for index in members(neighbours & firsts)) for neighbours in grouped),
    )


def clusters(graph: Walls, together: Iterable[int]) -> tuple[int, ...]:
    """Return the sets of kinds that have nothing to do with each other, each as small as can be.

    Two kinds have to do with each other where they exclude each other, or stand in one set of ``together``.
    """
    found: list[int] = []
    for links in chain((1 << one | graph.against[one] for one in range(graph.kinds)), together):
        touching = [each for each in found if each & links]
        found = [each for each in found if not each & links]
        if links:
            found.append(links | union(touching))
    return tuple(sorted(found))


def smallest_covers(graph: Walls, cluster: int) -> tuple[int, ...]:
    """Return all smallest sets of kinds of a cluster whose stop leaves no two that exclude each other.

    Only for clusters of up to EXACT_KINDS kinds.
    """
    covers = [cluster & ~stay for stay in _independent(graph, 0, cluster, 0)]
    least = min(graph.weight(each) for each in covers)
    return tuple(each for each in covers if graph.weight(each) == least)


def _independent(graph: Walls, taken: int, open_: int, closed: int) -> Iterator[int]:
    """Yield every maximal independent set that has ``taken`` and more of ``open_`` (Bron and Kerbosch)."""
    if not open_:
        if not closed:
            yield taken
        return
    # One of the pivot and its neighbours is in every set that is sought.
    pivot = min(members(open_ | closed), key=lambda each: (graph.against[each] & open_).bit_count())
    for each in members(open_ & (graph.against[pivot] | 1 << pivot)):
        free = ~(graph.against[each] | 1 << each)
        yield from _independent(graph, taken | 1 << each, open_ & free, closed & free)
        open_ &= ~(1 << each)
        closed |= 1 << each


def small_cover(graph: Walls, cluster: int) -> tuple[int, int]:
    """Return kinds of a cluster to stop, at most twice the smallest, and a lower bound in domains."""
    left = [len(each) for each in graph.domids]
    bound = 0
    for one in members(cluster):
        for other in members(graph.against[one] >> one << one):
            taken = min(left[one], left[other])
            left[one] -= taken
            left[other] -= taken
            bound += taken
    cover = of(each for each in members(cluster) if not left[each])
    for each in sorted(members(cover), key=lambda kind: -len(graph.domids[kind])):
        if not graph.against[each] & ~cover:
            cover &= ~(1 << each)
    return cover, bound
