"""Typed access to the nodes of a policy file; every refusal carries its place.

Each function takes a node and returns a value, or raises PolicyFileError at that node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm.labels import is_name, is_reserved
from acm.yamltree import Items, Mark, Node, Table, Text, flaw

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def fields(node: Node, known: Collection[str]) -> Mapping[str, Node]:
    """Return a mapping's values by key; a key that is not ``known`` is refused."""
    if not isinstance(node, Table):
        raise flaw("wrong-type", f"a mapping must stand here, with: {', '.join(sorted(known))}", node.at)
    for key, _ in node.entries:
        if key.value not in known:
            names = ", ".join(sorted(known))
            raise flaw("unknown-key", f"key {key.value[:80]!r} is none of: {names}", key.at)
    return {key.value: value for key, value in node.entries}


def required(values: Mapping[str, Node], key: str, at: Mark) -> Node:
    """Return ``values[key]``; where it is missing, ``at`` is where the mapping begins."""
    if key not in values:
        raise flaw("missing-key", f"key '{key}' is missing", at)
    return values[key]


def text(node: Node) -> str:
    """Return the string of a scalar."""
    if not isinstance(node, Text):
        raise flaw("wrong-type", "a string must stand here", node.at)
    return node.value


def items(node: Node) -> tuple[Node, ...]:
    """Return the nodes of a sequence."""
    if not isinstance(node, Items):
        raise flaw("wrong-type", "a list must stand here: [one, two]", node.at)
    return node.values


def name(node: Node) -> str:
    """Return a name (``acm.labels.is_name``) that is not one of sHype's own."""
    value = text(node)
    if not is_name(value):
        what = f"{value[:80]!r} is no name: 1 to 64 of A-Z a-z 0-9 _ . ( ) - and single blanks inside"
        raise flaw("name", what, node.at)
    if is_reserved(value):
        raise flaw("reserved-name", f"'{value}' belongs to sHype: choose another name", node.at)
    return value


def names(node: Node, at_most: int) -> frozenset[str]:
    """Return the names in a sequence; a name that stands twice is refused."""
    values = items(node)
    if len(values) > at_most:
        raise flaw("too-many", f"{len(values)} names, more than {at_most}", node.at)
    found: set[str] = set()
    for value in values:
        one = name(value)
        if one in found:
            raise flaw("duplicate-name", f"'{one}' stands twice in this list", value.at)
        found.add(one)
    return frozenset(found)


def named(node: Node, at_most: int) -> list[tuple[str, Node]]:
    """Return the entries of a mapping whose keys are names, in the order of the file."""
    if not isinstance(node, Table):
        raise flaw("wrong-type", "a mapping of names must stand here", node.at)
    if len(node.entries) > at_most:
        raise flaw("too-many", f"{len(node.entries)} names, more than {at_most}", node.at)
    return [(name(key), value) for key, value in node.entries]
