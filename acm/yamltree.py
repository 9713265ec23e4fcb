"""YAML text to a tree of positioned nodes, for files where every byte must mean what a reader thinks.

A subset of YAML 1.1: one document of mappings, sequences and strings. Refused with code, line and column:
duplicate keys, anchors, aliases, tags, directives, a second document, block scalars, deep nesting, and
characters that make a file look different from what it says (tabs, controls, bidirectional marks).

An unquoted scalar that YAML 1.1 or 1.2 would read as something else than a string (``no``, ``1.0``, ``1e3``,
``~``) is a node of its own, Bare, so that it can never pass for a string: ``acm.fields`` takes it where a
number or a truth value is asked for, and refuses it everywhere else.

Time is linear in the size with libyaml, which the wheels of PyYAML carry; the pure Python parser of PyYAML
reads the same files about twenty times slower.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import yaml

from acm.errors import PolicyFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE: Final = 4 << 20
"""Largest file, in bytes."""

MAX_DEPTH: Final = 8
"""Deepest nesting of mappings and sequences."""

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# C0 and C1 controls but LF and CR LF (on tabs the two parsers of PyYAML differ); soft hyphen; Arabic letter
# mark; zero width and bidirectional marks; line and paragraph separators; invisible operators; byte order
# mark; annotation marks; tag letters.
_HIDDEN: Final = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\uffff\U000e0000-\U000e0fff]|\r(?!\n)"
)
_DIRECTIVE: Final = re.compile("^%", re.MULTILINE)
_NUMBER: Final = re.compile(
    r"0o[0-7]+|0x[0-9A-Fa-f]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
)
"""Numbers of JSON and of YAML 1.2's core schema (10.3.2), some of which YAML 1.1 reads as strings."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column count from 1, columns in characters."""

    line: int
    column: int
    source: str


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar: always a string."""

    at: Mark
    value: str


@dataclass(frozen=True, slots=True)
class Bare:
    """An unquoted scalar that YAML reads as ``kind`` ("int", "bool", "float", "null"): no string."""

    at: Mark
    value: str
    kind: str


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    at: Mark
    values: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; keys are strings and differ from each other."""

    at: Mark
    entries: tuple[tuple[Text, Node], ...]


Node = Text | Bare | Items | Table


def read(data: bytes, source: str) -> Node:
    """Return the one document in ``data``. Raises PolicyFileError; ``source`` names the file in it."""
    text = _decode(data, source)
    try:
        return _Builder(yaml.parse(text, Loader=_LOADER), source).document()
    except yaml.YAMLError as error:
        raise _syntax(error, source) from None


def flaw(code: str, message: str, at: Mark) -> PolicyFileError:
    """Return the error for a flaw at a place."""
    return PolicyFileError(code, message, line=at.line, column=at.column, source=at.source)


def not_a_string(node: Bare) -> PolicyFileError:
    """Return the error for an unquoted scalar where a string must stand."""
    what = f"{node.value[:80]!a} reads as {node.kind}: put it in quotes"
    return flaw("not-a-string", what if node.value else "a value is missing", node.at)


def _decode(data: bytes, source: str) -> str:
    if len(data) > MAX_SIZE:
        raise flaw("too-big", f"larger than {MAX_SIZE} bytes", Mark(1, 1, source))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = _mark_after(data[: error.start].decode("utf-8"), source)
        raise flaw("not-utf-8", f"not UTF-8 at byte {error.start}", at) from None
    if found := _HIDDEN.search(text):
        hint = "use blanks" if found[0] == "\t" else "it hides what the file says"
        what = f"character U+{ord(found[0]):04X} is not allowed: {hint}"
        raise flaw("character", what, _mark_after(text[: found.start()], source))
    if found := _DIRECTIVE.search(text):
        what = "YAML directives are not allowed: remove the line"
        raise flaw("directive", what, _mark_after(text[: found.start()], source))
    return text


def _syntax(error: yaml.YAMLError, source: str) -> PolicyFileError:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return flaw("syntax", f"not YAML: {' '.join(str(error).split())[:200]}", Mark(1, 1, source))
    what = f"{error.problem} {error.context or ''}"
    if error.context_mark is not None:
        what += f", begun in line {error.context_mark.line + 1}"
    return flaw("syntax", f"not YAML: {' '.join(what.split())[:200]}", _place(error.problem_mark, source))


class _Builder:
    """Turns the parser's events into nodes; it asks for the next event only while the depth is bounded."""

    def __init__(self, events: Iterator[yaml.Event], source: str) -> None:
        self._events = events
        self._source = source

    def document(self) -> Node:
        """Return the only document of the stream."""
        next(self._events)  # start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise flaw("empty", "the file holds no document", Mark(1, 1, self._source))
        node = self._node(next(self._events), MAX_DEPTH)
        next(self._events)  # end of the document
        second = next(self._events)
        if not isinstance(second, yaml.StreamEndEvent):
            raise flaw("two-documents", "a second document: one file holds one", self._mark(second))
        return node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        at = self._mark(event)
        _refuse_decoration(event, at)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, at)
        if depth == 0:
            raise flaw("too-deep", f"nested deeper than {MAX_DEPTH} levels", at)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._items(at, depth - 1)
        return self._table(at, depth - 1)

    def _items(self, at: Mark, depth: int) -> Items:
        values: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._node(event, depth))
        return Items(at, tuple(values))

    def _table(self, at: Mark, depth: int) -> Table:
        entries: list[tuple[Text, Node]] = []
        first: dict[str, Mark] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth)
            if isinstance(key, Bare):
                raise not_a_string(key)
            if not isinstance(key, Text):
                raise flaw("wrong-type", "a key must be a string", key.at)
            if key.value in first:
                what = f"key {key.value[:80]!a} stands twice, first in line {first[key.value].line}"
                raise flaw("duplicate-key", what, key.at)
            first[key.value] = key.at
            value = next(self._events)
            self._refuse_glued(event, value)
            entries.append((key, self._node(value, depth)))
        return Table(at, tuple(entries))

    def _refuse_glued(self, key: yaml.Event, value: yaml.Event) -> None:
        """Refuse ``{key:[value]}`` without a blank, which only one of the two parsers of PyYAML refuses."""
        end = _place(key.end_mark, self._source)
        plain = isinstance(key, yaml.ScalarEvent) and key.implicit[0]
        empty = isinstance(value, yaml.ScalarEvent) and not value.value
        if plain and not empty and self._mark(value) == Mark(end.line, end.column + 1, end.source):
            raise flaw("syntax", "not YAML: a blank must follow the ':'", end)

    @staticmethod
    def _scalar(event: yaml.ScalarEvent, at: Mark) -> Text | Bare:
        value = event.value
        if event.style in {"|", ">"}:
            raise flaw("block-scalar", "a value is written plain or in quotes, not as a block", at)
        plain, _ = event.implicit
        if plain and (kind := _other_kind(value)) is not None:
            return Bare(at, value, kind)
        return Text(at, value)

    def _mark(self, event: yaml.Event) -> Mark:
        return _place(event.start_mark, self._source)


def _refuse_decoration(event: yaml.Event, at: Mark) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise flaw("alias", f"alias {str(event.anchor)[:80]!a}: write the value out", at)
    if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
        raise flaw("anchor", f"anchor {event.anchor[:80]!a}: anchors are not allowed", at)
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
        raise flaw("tag", f"tag {event.tag[:80]!a}: tags are not allowed, all values are strings", at)


def _other_kind(plain: str) -> str | None:
    """Return what YAML 1.1 or 1.2 makes of an unquoted scalar if that is not a string ("bool", "float")."""
    for tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(plain[:1], []):
        if pattern.match(plain):
            return str(tag).rpartition(":")[2]
    return "number" if _NUMBER.fullmatch(plain) else None


class _Position(Protocol):
    """What both parsers of PyYAML say about a place; they count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def _place(mark: _Position | None, source: str) -> Mark:
    assert mark is not None, "the parser marks every event"
    return Mark(mark.line + 1, mark.column + 1, source)


def _mark_after(text: str, source: str) -> Mark:
    return Mark(text.count("\n") + 1, len(text) - text.rfind("\n"), source)
