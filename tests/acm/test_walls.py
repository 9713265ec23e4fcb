"""Smallest covers against every subset of domains, and the promise of the approximate one."""

from __future__ import annotations

from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from acm.walls import EXACT_KINDS, Walls, clusters, small_cover, smallest_covers, walls

Group = dict[str, frozenset[int]]
SEEDS = st.integers(0, 1 << 32)


def groups(draw: Random, domains: int, sets: int) -> list[Group]:
    """Random conflict sets; a domain holds at most one type of each."""
    found: list[Group] = []
    for _ in range(sets):
        group: dict[str, set[int]] = {}
        for domid in range(1, domains + 1):
            held = draw.choice(["-", "-", "a", "b", "c"])
            if held != "-":
                group.setdefault(held, set()).add(domid)
        found.append({held: frozenset(domids) for held, domids in group.items()})
    return found


def excluded(found: list[Group]) -> set[frozenset[int]]:
    """Every pair of domains that must not run beside each other."""
    return {
        frozenset({one, other})
        for group in found
        for left, right in combinations(group, 2)
        for one in group[left]
        for other in group[right]
    }


def fewest(pairs: set[frozenset[int]]) -> int:
    domains = sorted(frozenset[int]().union(*pairs))
    for count in range(len(domains) + 1):
        if any(all(pair & set(some) for pair in pairs) for some in combinations(domains, count)):
            return count
    raise AssertionError


def everything(graph: Walls) -> int:
    return (1 << graph.kinds) - 1


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_smallest_covers_are_covers_and_none_is_smaller(seed: int) -> None:
    draw = Random(seed)
    found = groups(draw, 8, draw.randint(1, 3))
    pairs, graph = excluded(found), walls(found)
    covers = smallest_covers(graph, everything(graph))
    for cover in covers:
        stopped = graph.who(cover)
        assert all(pair & stopped for pair in pairs)
        assert len(stopped) == graph.weight(cover) == fewest(pairs)
    assert len(set(covers)) == len(covers) >= 1


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_a_small_cover_keeps_its_bound(seed: int) -> None:
    draw = Random(seed)
    found = groups(draw, 9, draw.randint(1, 4))
    pairs, graph = excluded(found), walls(found)
    cover, bound = small_cover(graph, everything(graph))
    assert all(pair & graph.who(cover) for pair in pairs)
    assert bound <= fewest(pairs)
    assert graph.weight(cover) <= 2 * bound


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_clusters_have_nothing_to_do_with_each_other(seed: int) -> None:
    draw = Random(seed)
    graph = walls(groups(draw, 9, 3))
    together = [draw.getrandbits(graph.kinds) for _ in range(draw.randint(0, 2))] if graph.kinds else []
    parts = clusters(graph, together)
    assert sum(parts) == everything(graph), "each kind is in one cluster"
    for links in (*graph.against, *together):
        assert sum(1 for part in parts if part & links) <= 1
    alone = [smallest_covers(graph, part)[0] for part in clusters(graph, ())]
    whole = smallest_covers(graph, everything(graph))[0]
    assert graph.weight(sum(alone)) == graph.weight(whole)


def test_domains_with_the_same_neighbours_are_one_kind() -> None:
    graph = walls([{"cola": frozenset(range(1, 501)), "juice": frozenset({501, 502})}])
    assert graph.kinds == 2
    assert [graph.who(each) for each in smallest_covers(graph, 3)] == [frozenset({501, 502})]


def test_nothing_that_conflicts() -> None:
    graph = walls([{"cola": frozenset({1, 2})}, {}])
    assert (graph.kinds, clusters(graph, (0,))) == (0, ())


def test_the_worst_graph_of_the_exact_size_is_solved() -> None:
    """Disjoint triangles have the most maximal independent sets."""
    found = [{kind: frozenset({3 * i + j}) for j, kind in enumerate("abc")} for i in range(EXACT_KINDS // 3)]
    graph = walls(found)
    assert graph.kinds == EXACT_KINDS
    assert len(smallest_covers(graph, everything(graph))) == 3 ** (EXACT_KINDS // 3)
