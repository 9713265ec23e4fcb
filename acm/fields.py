"""Typed access to the nodes of a policy file; every refusal carries its place.

Each function takes a node and returns a value, or raises PolicyFileError at that node.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from acm.labels import is_name, is_reserved
from acm.yamltree import Bare, Items, Mark, Node, Table, Text, flaw, not_a_string

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from acm.errors import PolicyFileError

_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,17}")


def fields(node: Node, known: Collection[str]) -> Mapping[str, Node]:
    """Return a mapping's values by key; a key that is not ``known`` is refused."""
    if not isinstance(node, Table):
        raise _wrong(node, f"a mapping must stand here, with: {', '.join(sorted(known))}")
    for key, _ in node.entries:
        if key.value not in known:
            names = ", ".join(sorted(known))
            raise flaw("unknown-key", f"key {key.value[:80]!a} is none of: {names}", key.at)
    return {key.value: value for key, value in node.entries}


def required(values: Mapping[str, Node], key: str, at: Mark) -> Node:
    """Return ``values[key]``; where it is missing, ``at`` is where the mapping begins."""
    if key not in values:
        raise flaw("missing-key", f"key '{key}' is missing", at)
    return values[key]


def text(node: Node) -> str:
    """Return the string of a scalar."""
    if not isinstance(node, Text):
        raise _wrong(node, "a string must stand here")
    return node.value


def integer(node: Node, low: int, high: int) -> int:
    """Return a decimal integer of ``low`` to ``high``, plain or in quotes; both are 0 to 10^18 - 1.

    No sign, no leading zero, nothing else of what YAML 1.1 takes for a number (``0x10``, ``017``, ``1_000``).
    """
    if isinstance(node, Items | Table):
        raise _wrong(node, "a number must stand here")
    if not _INTEGER.fullmatch(node.value):
        raise flaw("bad-value", f"{node.value[:80]!a} is no number: decimal digits, no leading zero", node.at)
    value = int(node.value)
    if not low <= value <= high:
        raise flaw("out-of-range", f"{value} is not within {low} to {high}", node.at)
    return value


def boolean(node: Node) -> bool:
    """Return ``true`` or ``false``, without quotes; the other spellings of YAML 1.1 (``yes``) are refused."""
    if isinstance(node, Bare) and node.value in {"true", "false"}:
        return node.value == "true"
    raise flaw("wrong-type", "true or false must stand here, without quotes", node.at)


def items(node: Node) -> tuple[Node, ...]:
    """Return the nodes of a sequence."""
    if not isinstance(node, Items):
        raise _wrong(node, "a list must stand here: [one, two]")
    return node.values


def name(node: Node, also: str | None = None) -> str:
    """Return a name (``acm.labels.is_name``) that is not one of sHype's own, but for the one in ``also``."""
    value = text(node)
    if not is_name(value):
        what = f"{value[:80]!a} is no name: 1 to 64 of A-Z a-z 0-9 _ . ( ) - and single blanks inside"
        raise flaw("name", what, node.at)
    if is_reserved(value) and value != also:
        raise flaw("reserved-name", f"'{value}' belongs to sHype: choose another name", node.at)
    return value


def names(node: Node, at_most: int, also: str | None = None) -> frozenset[str]:
    """Return the names in a sequence; a name that stands twice is refused."""
    return frozenset(ordered_names(node, at_most, also))


def ordered_names(node: Node, at_most: int, also: str | None = None) -> tuple[str, ...]:
    """Return the names in a sequence where their order matters; a name that stands twice is refused."""
    values = items(node)
    if len(values) > at_most:
        raise flaw("too-many", f"{len(values)} names, more than {at_most}", node.at)
    found: dict[str, None] = {}
    for value in values:
        one = name(value, also)
        if one in found:
            raise flaw("duplicate-name", f"'{one}' stands twice in this list", value.at)
        found[one] = None
    return tuple(found)


def named(node: Node, at_most: int) -> list[tuple[str, Node]]:
    """Return the entries of a mapping whose keys are names, in the order of the file."""
    if not isinstance(node, Table):
        raise _wrong(node, "a mapping of names must stand here")
    if len(node.entries) > at_most:
        raise flaw("too-many", f"{len(node.entries)} names, more than {at_most}", node.at)
    return [(name(key), value) for key, value in node.entries]


def _wrong(node: Node, what: str) -> PolicyFileError:
    return not_a_string(node) if isinstance(node, Bare) else flaw("wrong-type", what, node.at)
