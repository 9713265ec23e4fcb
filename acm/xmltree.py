"""XML bytes to a tree of positioned elements, for files that must say one thing to every reader.

A subset of XML 1.0 in UTF-8, read by expat with handlers. Refused with code, line and column: a document
type (so no entities and nothing external), processing instructions, CDATA, comments inside a value, text
between elements, elements and attributes that the caller's ``Shape`` does not know, and a second element
where one may stand. Time and memory are linear in the size, which is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.parsers import expat

from acm.errors import PolicyFileError
from acm.yamltree import Mark, flaw

MAX_SIZE: Final = 16 << 20
"""Largest file, in bytes."""

MAX_ELEMENTS: Final = 1 << 18
"""Most elements in one file."""

MAX_TEXT: Final = 1024
"""Longest text of an element and longest attribute, in characters."""

NAMESPACE: Final = "http://www.ibm.com"
"""The name space of ACM's files; all their elements are in it, or none has a name space."""

_HINTS: Final = frozenset(
    f"http://www.w3.org/2001/XMLSchema-instance {name}"
    for name in ("schemaLocation", "noNamespaceSchemaLocation")
)
"""Attributes of the outermost element that say where a schema lies; it is never fetched."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What may stand in an element: children by name, or text where there are none.

    ``many`` are the children that may stand more than once, ``needed`` those that must stand.
    """

    children: Mapping[str, Shape] = field(default_factory=dict)
    many: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Element:
    """An element; ``at`` is its start tag, ``text_at`` the first character of its text."""

    at: Mark
    name: str
    attributes: Mapping[str, str]
    children: tuple[Element, ...]
    text: str
    text_at: Mark

    def child(self, name: str) -> Element | None:
        """Return the first child of this name, or None."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> tuple[Element, ...]:
        """Return all children of this name, in the order of the file."""
        return tuple(child for child in self.children if child.name == name)

    def attribute(self, name: str) -> str:
        """Return an attribute. Raises PolicyFileError (``missing-attribute``) where there is none."""
        if name not in self.attributes:
            raise flaw("missing-attribute", f"element '{self.name}' needs attribute '{name}'", self.at)
        return self.attributes[name]


def read(data: bytes, roots: Mapping[str, Shape], source: str) -> Element:
    """Return the outermost element, which is one of ``roots``. Raises PolicyFileError, and nothing else."""
    start = Mark(1, 1, source)
    if len(data) > MAX_SIZE:
        raise flaw("too-big", f"larger than {MAX_SIZE} bytes", start)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = _mark_at(data, error.start, source)
        raise flaw("not-utf-8", f"not UTF-8 at byte {error.start}", at) from None
    return _Reader(roots, source).read(data)


def _of(namespace: str) -> str:
    """Say which name space an element has, or that it has none."""
    return f" of name space {namespace[:80]!a}" if namespace else " of no name space"


def _mark_at(data: bytes, index: int, source: str) -> Mark:
    """Return the place of a byte; all before it is UTF-8."""
    before = data[:index].decode("utf-8")
    return Mark(before.count("\n") + 1, len(before) - before.rfind("\n"), source)


@dataclass(slots=True)
class _Open:
    """An element whose end is not read yet."""

    at: Mark
    name: str
    shape: Shape
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    text: list[str] = field(default_factory=list)
    length: int = 0
    text_at: Mark | None = None


class _Reader:
    """The handlers; each refusal leaves expat as an exception."""

    def __init__(self, roots: Mapping[str, Shape], source: str) -> None:
        self._roots = Shape(roots)
        self._source = source
        self._namespace = ""
        self._open: list[_Open] = []
        self._root: Element | None = None
        self._count = 0
        self._data = b""
        self._expat = expat.ParserCreate("utf-8", " ")
        self._expat.XmlDeclHandler = self._declaration
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._text
        self._expat.CommentHandler = self._comment
        self._expat.StartDoctypeDeclHandler = self._refuse_doctype
        self._expat.ProcessingInstructionHandler = self._refuse_instruction
        self._expat.StartCdataSectionHandler = self._refuse_cdata

    def read(self, data: bytes) -> Element:
        self._data = data
        try:
            self._expat.Parse(data, True)  # noqa: FBT003 - expat takes it by position only
        except expat.ExpatError as error:
            at = Mark(error.lineno, error.offset + 1, self._source)
            raise flaw("syntax", f"not XML: {expat.ErrorString(error.code)}", at) from None
        assert self._root is not None, "expat refuses a file without an element"
        return self._root

    def _here(self) -> Mark:
        return Mark(self._expat.CurrentLineNumber, self._expat.CurrentColumnNumber + 1, self._source)

    def _flaw(self, code: str, message: str) -> PolicyFileError:
        return flaw(code, message, self._here())

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        del standalone  # says nothing without a document type
        if version != "1.0":
            raise self._flaw("xml-version", f"XML {version[:80]!a}: only XML 1.0 is read")
        if encoding is not None and encoding.lower() not in {"utf-8", "us-ascii"}:
            raise self._flaw("encoding", f"encoding {encoding[:80]!a}: write the file in UTF-8")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise self._flaw("too-many", f"more than {MAX_ELEMENTS} elements")
        name = self._known_name(name)
        parent = self._open[-1] if self._open else None
        shape = (self._roots if parent is None else parent.shape).children[name]
        if parent is not None:
            if name in parent.seen and name not in parent.shape.many:
                what = f"element '{name}' stands twice in '{parent.name}', and readers would differ"
                raise self._flaw("duplicate-element", what)
            parent.seen.add(name)
        self._check_attributes(name, shape, attributes)
        self._open.append(_Open(self._here(), name, shape, attributes))

    def _known_name(self, qualified: str) -> str:
        namespace, _, name = qualified.rpartition(" ")
        if not self._open:
            self._namespace = namespace
        known = self._open[-1].shape.children if self._open else self._roots.children
        if name not in known or namespace != self._namespace or namespace not in {"", NAMESPACE}:
            where = f"in '{self._open[-1].name}'" if self._open else "outermost"
            of = _of(namespace) if name in known or namespace not in {"", NAMESPACE} else ""
            may = ", ".join(known) or "text only"
            what = f"element {name[:80]!a}{of} is not known {where}; there may stand: {may}"
            raise self._flaw("unknown-element", what)
        return name

    def _check_attributes(self, name: str, shape: Shape, attributes: Mapping[str, str]) -> None:
        known = shape.attributes if self._open else shape.attributes | _HINTS
        for attribute, value in attributes.items():
            if attribute not in known:
                what = f"attribute {attribute[:80]!a} of element '{name}' is not known"
                raise self._flaw("unknown-attribute", what)
            if len(value) > MAX_TEXT:
                raise self._flaw("too-long", f"attribute '{attribute}' is longer than {MAX_TEXT}")

    def _text(self, text: str) -> None:
        inner = self._open[-1]
        if inner.shape.children:
            if text.strip(" \t\r\n"):
                raise self._flaw("mixed-content", f"text between the elements of '{inner.name}'")
            return
        inner.length += len(text)
        if inner.length > MAX_TEXT:
            raise self._flaw("too-long", f"text of element '{inner.name}' is longer than {MAX_TEXT}")
        if inner.text_at is None:
            inner.text_at = self._here()
        inner.text.append(text)

    def _end(self, _name: str) -> None:
        done = self._open.pop()
        missing = sorted(done.shape.needed - done.seen)
        if missing:
            raise flaw("missing-element", f"element '{done.name}' needs element '{missing[0]}'", done.at)
        text = "".join(done.text)
        text_at = done.text_at or done.at
        element = Element(done.at, done.name, done.attributes, tuple(done.children), text, text_at)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self._root = element

    def _comment(self, _text: str) -> None:
        if self._open and not self._open[-1].shape.children:
            what = f"a comment inside the text of '{self._open[-1].name}': readers would differ about it"
            raise self._flaw("comment-in-text", what)

    def _refuse_doctype(self, *_: object) -> None:
        # expat is past the word by now
        start = self._data.rfind(b"<!DOCTYPE", 0, self._expat.CurrentByteIndex)
        at = _mark_at(self._data, max(start, 0), self._source)
        raise flaw("doctype", "a document type is not allowed: remove '<!DOCTYPE ...>'", at)

    def _refuse_instruction(self, target: str, _data: str) -> None:
        raise self._flaw("instruction", f"processing instruction {target[:80]!a} is not allowed")

    def _refuse_cdata(self) -> None:
        raise self._flaw("cdata", "a CDATA section is not allowed: write the text plainly")
