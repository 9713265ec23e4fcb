"""ACM policies of Xen 3.x: XML in, native policy out.

Two forms are read: one file (``SecurityPolicyDefinition`` with its ``SecurityLabelTemplate``, Xen 3.0.3 to
4.1), and the older pair of a policy file and a label template file. ``docs/acm-xml.md`` tells what becomes of
each element. Nothing is guessed: what a native policy cannot say with the same meaning is refused, with line
and column of the XML; what has no meaning for any decision is left out and noted.

The XML becomes the tree of a native policy file (``acm.yamltree``) whose nodes carry the places of the XML,
so the rules of ``acm.policyfile`` speak about the file that the user wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm import policyfile, xmltree, yamlout
from acm.labels import DEFAULT_BOOTSTRAP
from acm.parts import FORMAT
from acm.policy import Component
from acm.xmllabels import Labels, duplicate, table, types, unlabeled_types
from acm.xmlshape import (
    CONFLICT_SETS,
    LABEL_FILE,
    POLICY_FILE,
    PRIMARY,
    PRIORITY,
    STE,
    STE_TYPES,
    TEMPLATE,
    WALL,
    WALL_TYPES,
)
from acm.yamltree import Items, Node, Table, Text, flaw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acm.policy import Policy
    from acm.xmltree import Element

_FREE_TEXT: Final = ("PolicyUrl", "Reference", "Date", "NameSpaceUrl")
_NO_VERSION: Final = "0.0"
"""What ACM makes of a policy without a version (``acmpolicy.py``)."""
_SHOWN: Final = 120
"""Characters of a free text that a note shows."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something of the XML that the native policy does not say as it stands; ``code`` is stable."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The bytes of a native policy file, the policy in it, and what was left out on the way."""

    data: bytes
    policy: Policy
    notes: tuple[Note, ...]


def import_policy(
    data: bytes, labels: bytes | None = None, *, source: str = "policy.xml", labels_source: str = "labels.xml"
) -> Imported:
    """Return the native policy of one XML file, or of the older pair; the sources name the files in errors.

    Raises PolicyFileError with ``code``, ``line`` and ``column`` in the XML, and nothing else. Codes beside
    those of ``acm.xmltree`` and ``acm.policyfile``: ``no-labels``, ``two-templates``, ``wrong-template``,
    ``two-names``, ``priority``, ``unlabeled``, ``resource-types``.
    """
    found = _Definition(data, labels, source, labels_source)
    tree = found.tree()
    policyfile.from_tree(tree, "")
    notes = tuple(found.notes())
    comments = ["Imported from ACM XML of Xen 3.x.", *(f"{note.code}: {note.detail}" for note in notes)]
    written = yamlout.write(tree, comments)
    return Imported(written, policyfile.load(written, source), notes)


def needs_labels(data: bytes, source: str = "policy.xml") -> bool:
    """Tell whether this is a policy of the older pair, whose labels stand in a second file.

    Raises PolicyFileError.
    """
    return xmltree.read(data, POLICY_FILE, source).child(TEMPLATE) is None


class _Definition:
    """The parts of a policy where they stand in the XML."""

    def __init__(self, data: bytes, labels: bytes | None, source: str, labels_source: str) -> None:
        self.root = xmltree.read(data, POLICY_FILE, source)
        self.ste, self.wall = self.root.child(STE), self.root.child(WALL)
        header = self.root.child("PolicyHeader")
        assert header is not None, "the shape needs it"
        self.header = header
        self.label_header: Element | None = None
        template = self.root.child(TEMPLATE)
        if labels is not None:
            if template is not None:
                what = "the policy has its own labels: import it without a label template"
                raise flaw("two-templates", what, template.at)
            template = xmltree.read(labels, LABEL_FILE, labels_source)
            self.label_header = template.child("LabelHeader")
            self._check_reference()
        elif template is None:
            what = "a policy without labels: its label template (*-security_label_template.xml) is missing"
            raise flaw("no-labels", what, self.root.at)
        self.labels = Labels(template, enforced=self.ste is not None or self.wall is not None)

    def _check_reference(self) -> None:
        """Refuse a label template that names another policy than this one."""
        reference = self.label_header.child("PolicyName") if self.label_header else None
        url = reference.child("Url") if reference else None
        name = self._name().value
        if url is not None and url.text.rpartition("/")[2].removesuffix(".xml") != name:
            what = f"the label template is for policy {url.text[:80]!a}, not for {name[:80]!a}"
            raise flaw("wrong-template", what, url.text_at)

    def tree(self) -> Table:
        """Return the tree of a native policy file."""
        return table(
            self.root.at,
            format=Text(self.root.at, FORMAT),
            name=self._name(),
            version=self._version(),
            **{"from": self._from_policy()},
            renames=self.labels.renames(),
            bootstrap=self.labels.bootstrap(),
            enforce=self._order(),
            ste=None if self.ste is None else _section(self.ste, STE_TYPES),
            chwall=None if self.wall is None else self._chinese_wall(self.wall),
            domain_labels=self.labels.domains(),
            resource_labels=self.labels.resources(),
        )

    def _name(self) -> Text:
        old, new = self.header.child("Name"), self.header.child("PolicyName")
        if old is not None and new is not None:
            raise flaw("two-names", "'Name' and 'PolicyName': a policy has one name", old.at)
        name = new or old
        if name is None:
            raise flaw("missing-element", "element 'PolicyHeader' needs element 'PolicyName'", self.header.at)
        return Text(name.text_at, name.text)

    def _version(self) -> Text:
        version = self.header.child("Version")
        return Text(self.header.at, _NO_VERSION) if version is None else Text(version.text_at, version.text)

    def _from_policy(self) -> Table | None:
        predecessor = self.header.child("FromPolicy")
        if predecessor is None:
            return None
        name, version = predecessor.child("PolicyName"), predecessor.child("Version")
        assert name is not None and version is not None, "the shape needs both"  # noqa: PT018 - one reason
        return table(
            predecessor.at,
            name=Text(name.text_at, name.text),
            version=Text(version.text_at, version.text),
        )

    def _order(self) -> Node | None:
        """Return ``enforce``: only where STE is to decide before the Chinese Wall, or nothing is enforced."""
        sections = [section for section in (self.ste, self.wall) if section is not None]
        first = [section for section in sections if PRIORITY in section.attributes]
        for section in first:
            value = section.attributes[PRIORITY]
            if value != PRIMARY or len(first) > 1:
                what = f"priority {value[:80]!a}: one section at most has a priority, '{PRIMARY}'"
                raise flaw("priority", what, section.at)
        if not sections:
            return Text(self.root.at, "nothing")
        if len(sections) == 1 or self.ste not in first:
            return None
        return Items(first[0].at, tuple(Text(first[0].at, one) for one in (Component.STE, Component.CHWALL)))

    def _chinese_wall(self, wall: Element) -> Table:
        """Return the section ``chwall`` without the type of what has no label, which excludes nothing."""
        section = _section(wall, WALL_TYPES, without=frozenset(unlabeled_types(wall)))
        sets = wall.child(CONFLICT_SETS)
        if sets is None:
            return section
        entries: dict[str, tuple[Text, Node]] = {}
        for conflict in sets.all("Conflict"):
            name = Text(conflict.at, conflict.attribute("name"))
            if name.value in entries:
                raise duplicate(name)
            entries[name.value] = name, Items(conflict.at, tuple(types(conflict)))
        written = Table(sets.at, tuple(entries.values()))
        return Table(section.at, (*section.entries, (Text(sets.at, "conflict_sets"), written)))

    def notes(self) -> Iterator[Note]:
        """Yield what the native policy does not say."""
        if self.header.child("Version") is None:
            yield Note("no-version", f"the policy has no Version; ACM takes that for {_NO_VERSION}")
        yield from _free_texts(self.header, "PolicyHeader", _FREE_TEXT)
        if self.label_header is not None:
            yield from _free_texts(self.label_header, "LabelHeader", ("Name", "Date"))
            for reference in self.label_header.all("PolicyName"):
                yield from _free_texts(reference, "LabelHeader/PolicyName", ("Url", "Reference"))
        if self.labels.unlabeled or (self.wall is not None and unlabeled_types(self.wall)):
            yield Note(
                "unlabeled", "__UNLABELED__ is part of every native policy: labels of this name left out"
            )
        if self.labels.lonely:
            yield Note("bootstrap-added", f"no labels: added '{DEFAULT_BOOTSTRAP}', the label of Domain-0")


def _section(section: Element, name: str, without: frozenset[Text] = frozenset()) -> Table:
    declared = section.child(name)
    assert declared is not None, "the shape needs it"
    return table(
        declared.at, types=Items(declared.at, tuple(one for one in types(declared) if one not in without))
    )


def _free_texts(element: Element, path: str, names: tuple[str, ...]) -> Iterator[Note]:
    for name in names:
        for child in element.all(name):
            if child.text:
                yield Note("header-text", f"{path}/{name} {child.text[:_SHOWN]!a} is not kept")
