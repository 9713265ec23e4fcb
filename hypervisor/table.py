"""An immutable mapping: the tables of the protection state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Table(Mapping[K, V]):
    """A mapping that never changes; ``put`` and ``drop`` return another one.

    A copy costs time linear in the table, so the state keeps one small table a domain, as Xen does.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = ()) -> None:
        self._items: dict[K, V] = dict(items)

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Table({self._items!r})"

    def put(self, key: K, value: V) -> Table[K, V]:
        """Return this table with ``key`` bound to ``value``."""
        return Table({**self._items, key: value})

    def drop(self, key: K) -> Table[K, V]:
        """Return this table without ``key``; the key must be there."""
        items = dict(self._items)
        del items[key]
        return Table(items)

    def keep(self, items: Iterable[tuple[K, V]]) -> Table[K, V]:
        """Return a table of ``items``, or this very table when they are all of it."""
        kept = dict(items)
        return self if len(kept) == len(self._items) else Table(kept)


def lowest_free(table: Mapping[int, object], start: int = 0) -> int:
    """Return the lowest integer >= ``start`` that is no key of ``table``."""
    number = start
    while number in table:
        number += 1
    return number
