"""The transitive closure of a graph whose edges are sets of numbers (``acm.labelset``).

Numbers that reach each other reach the same: each such component is closed once, after all that it leads to
(S. R. Kosaraju's two searches). A search looks at one set at a time, never at single edges, so thousands of
labels of which most reach most take well under a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm.labelset import first, members, union

if TYPE_CHECKING:
    from collections.abc import Sequence


def closure(out_of: Sequence[int], into: Sequence[int], passing: int) -> list[int]:
    """Return who is reached from each number, itself aside.

    ``out_of`` and ``into`` are the edges in both directions. What is not in ``passing`` begins and ends paths
    and is never inside one.
    """
    closed = [0] * len(out_of)
    for component in reversed(_components(out_of, into, passing)):
        found = component | union(out_of[number] for number in members(component))
        pending = found & passing & ~component
        while pending:
            number = first(pending)
            found |= closed[number]
            pending &= ~(closed[number] | 1 << number)
        for number in members(component):
            closed[number] = found
    for number in members(((1 << len(out_of)) - 1) & ~passing):
        onward = out_of[number] & passing
        closed[number] = out_of[number] | union(closed[one] for one in members(onward))
    return [found & ~(1 << number) for number, found in enumerate(closed)]


def _components(out_of: Sequence[int], into: Sequence[int], passing: int) -> list[int]:
    """Return the strongly connected components among ``passing``, each before those that it leads to."""
    left = passing
    found = []
    for root in reversed(_finished(out_of, passing)):
        if left >> root & 1:
            component = layer = 1 << root
            while layer:
                layer = union(into[number] for number in members(layer)) & left & ~component
                component |= layer
            left &= ~component
            found.append(component)
    return found


def _finished(out_of: Sequence[int], passing: int) -> list[int]:
    """Return ``passing`` in the order in which a depth-first search is done with them."""
    left = passing
    done: list[int] = []
    while left:
        stack = [first(left)]
        left &= ~(1 << stack[-1])
        while stack:
            onward = out_of[stack[-1]] & left
            if onward:
                stack.append(first(onward))
                left &= ~(1 << stack[-1])
            else:
                done.append(stack.pop())
    return done
