"""The sections of a policy file that say what a component knows: ``ste``, ``chwall`` and ``mls``.

Each is read into what it declares, with which the labels are read then. A section that is left out declares
nothing and is not enforced. The format is described in ``acm.policyfile``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from acm.chwall import ConflictSet
from acm.fields import boolean, fields, items, name, named, names, ordered_names, required, text
from acm.labels import UNLABELED
from acm.mls import Level, Range, point
from acm.policy import Component
from acm.yamltree import Items, Mark, Node, Table, flaw

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TYPES: Final = 16384
MAX_CONFLICT_SETS: Final = 1024
MAX_LEVELS: Final = 256
MAX_CATEGORIES: Final = 1024

_SEVERAL: Final = 2
_GRANTS: Final = {Component.STE: UNLABELED.name, Component.CHWALL: None}
"""The reserved type that a domain label may hold: with it the label meets what has no label."""


@dataclass(frozen=True, slots=True)
class Types:
    """The types of STE or of the Chinese Wall."""

    component: Component
    enforced: bool
    declared: frozenset[str] = frozenset()

    def type(self, node: Node) -> str:
        """Return one declared type."""
        return self._known(name(node), node.at)

    def types(self, node: Node) -> frozenset[str]:
        """Return a list of declared types."""
        held = names(node, MAX_TYPES, _GRANTS[self.component])
        if isinstance(node, Items) and not held <= self.declared:
            for value in node.values:
                self._known(text(value), value.at)
        return held

    def _known(self, held: str, at: Mark) -> str:
        if held not in self.declared:
            raise flaw("unknown-type", f"type '{held}' is not in the types of '{self.component}'", at)
        return held


@dataclass(frozen=True, slots=True)
class ChineseWall:
    """The types of the Chinese Wall, its conflict sets, and whether past runs count."""

    types: Types
    conflict_sets: tuple[ConflictSet, ...] = ()
    history: bool = False
    sets_of: Mapping[str, list[ConflictSet]] = field(init=False)

    def __post_init__(self) -> None:
        sets_of: dict[str, list[ConflictSet]] = {}
        for one in self.conflict_sets:
            for held in one.types:
                sets_of.setdefault(held, []).append(one)
        object.__setattr__(self, "sets_of", sets_of)

    def types_of(self, label: str, node: Node) -> frozenset[str]:
        """Return the types of a label, which must not exclude each other."""
        types = self.types.types(node)
        seen: dict[str, str] = {}
        for held in sorted(types):
            for one in self.sets_of.get(held, ()):
                if one.name in seen:
                    what = f"label '{label}' could never run: conflict set '{one.name}' excludes its types "
                    what += f"'{seen[one.name]}' and '{held}' from each other"
                    raise flaw("label-conflict", what, node.at)
                seen[one.name] = held
        return types


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of MLS with their ranks, its categories, and where the trusted labels are named."""

    ranks: Mapping[str, int]
    categories: frozenset[str] = frozenset()
    trusted: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def enforced(self) -> bool:
        """Whether the policy has the section."""
        return bool(self.ranks)

    def level(self, node: Node) -> Level:
        """Return one level: ``NAME``, or ``{level: NAME, categories: […]}``."""
        if not isinstance(node, Table):
            return Level(*self._rank(node))
        values = fields(node, {"level", "categories"})
        rank, level = self._rank(required(values, "level", node.at))
        held = values.get("categories")
        return Level(rank, level, frozenset() if held is None else self._categories(held))

    def range(self, label: str, node: Node) -> Range:
        """Return the range of a domain label: one level, or ``{low: …, high: …}`` where it is trusted."""
        if not isinstance(node, Table) or not {key.value for key, _ in node.entries} & {"low", "high"}:
            return point(self.level(node))
        values = fields(node, {"low", "high"})
        low, high = (self.level(required(values, end, node.at)) for end in ("low", "high"))
        if not high.dominates(low):
            raise flaw("range", f"'high' ({high}) must dominate 'low' ({low})", values["high"].at)
        if low != high and label not in self.trusted:
            what = f"label '{label}' spans levels: name it under 'trusted' of 'mls', or give it one level"
            raise flaw("not-trusted", what, node.at)
        return Range(low, high)

    def _rank(self, node: Node) -> tuple[int, str]:
        level = name(node)
        if level not in self.ranks:
            raise flaw("unknown-level", f"level '{level}' is not in the levels of 'mls'", node.at)
        return self.ranks[level], level

    def _categories(self, node: Node) -> frozenset[str]:
        held = names(node, MAX_CATEGORIES)
        for value in items(node):
            if text(value) not in self.categories:
                what = f"category '{text(value)}' is not in the categories of 'mls'"
                raise flaw("unknown-category", what, value.at)
        return held


def read_ste(section: Node | None) -> Types:
    """Return what the section ``ste`` declares."""
    if section is None:
        return Types(Component.STE, enforced=False)
    return _types(section, fields(section, {"types"}), Component.STE)


def read_chwall(section: Node | None) -> ChineseWall:
    """Return what the section ``chwall`` declares."""
    if section is None:
        return ChineseWall(Types(Component.CHWALL, enforced=False))
    values = fields(section, {"types", "conflict_sets", "history"})
    types = _types(section, values, Component.CHWALL)
    sets = named(values["conflict_sets"], MAX_CONFLICT_SETS) if "conflict_sets" in values else []
    return ChineseWall(
        types,
        tuple(ConflictSet(one, _conflict_types(node, types)) for one, node in sets),
        history="history" in values and boolean(values["history"]),
    )


def read_mls(section: Node | None) -> Levels:
    """Return what the section ``mls`` declares."""
    if section is None:
        return Levels({})
    values = fields(section, {"levels", "categories", "trusted"})
    node = required(values, "levels", section.at)
    levels = ordered_names(node, MAX_LEVELS)
    if len(levels) < _SEVERAL:
        raise flaw("levels", "one level orders nothing: name two at least, low to high", node.at)
    return Levels(
        {level: rank for rank, level in enumerate(levels)},
        names(values["categories"], MAX_CATEGORIES) if "categories" in values else frozenset(),
        _trusted(values.get("trusted")),
    )


def _types(section: Node, values: Mapping[str, Node], component: Component) -> Types:
    node = required(values, "types", section.at)
    declared = names(node, MAX_TYPES, _GRANTS[component])
    if not declared:
        raise flaw("empty-list", "a component needs one type at least", node.at)
    return Types(component, enforced=True, declared=declared)


def _conflict_types(node: Node, chwall: Types) -> frozenset[str]:
    types = chwall.types(node)
    if not types:
        raise flaw("empty-conflict-set", "a conflict set names the types that exclude each other", node.at)
    if len(types) < _SEVERAL:
        raise flaw("conflict-set-of-one", "a conflict set of one type excludes nothing: name two", node.at)
    return types


def _trusted(node: Node | None) -> Mapping[str, Mark]:
    if node is None:
        return {}
    names(node, MAX_TYPES)
    return {text(value): value.at for value in items(node)}
