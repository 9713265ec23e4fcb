"""The labels of ACM's XML as tables of a native policy file.

``__UNLABELED__`` is a label of every native policy, so a label of this name is left out where it says what a
native policy says anyway: that it holds nothing but types of its own name. Such a type of the Chinese Wall is
left out too: it stands in no conflict set and only that label holds it. The STE type stays; a label that
holds it meets what has no label (Domain-0 of ACM's policy DEFAULT-UL).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acm.labels import DEFAULT_BOOTSTRAP, UNLABELED
from acm.xmlshape import STE_TYPES, WALL_TYPES
from acm.yamltree import Items, Table, Text, flaw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from acm.errors import PolicyFileError
    from acm.xmltree import Element
    from acm.yamltree import Mark, Node


class Labels:
    """The element ``SecurityLabelTemplate``; ``enforced`` tells whether the policy enforces anything."""

    def __init__(self, template: Element, *, enforced: bool) -> None:
        self._template = template
        self._subjects = template.child("SubjectLabels")
        subjects = () if self._subjects is None else self._subjects.all("VirtualMachineLabel")
        objects = [one for group in template.all("ObjectLabels") for one in group.all("ResourceLabel")]
        self._domains = {name.value: (name, label) for name, label in _named(subjects)}
        self._resources = {name.value: (name, label) for name, label in _named(objects)}
        self.unlabeled = self._drop_unlabeled()
        self.lonely = self._subjects is None and not enforced
        """Whether there are no domain labels and need not be: a policy that enforces nothing."""
        if self._subjects is None and enforced:
            raise flaw("no-labels", "element 'SubjectLabels' is missing: no label for Domain-0", template.at)

    def bootstrap(self) -> Text:
        """Return the label of Domain-0."""
        if self._subjects is None:
            return Text(self._template.at, DEFAULT_BOOTSTRAP)
        return Text(self._subjects.at, self._subjects.attribute("bootstrap"))

    def domains(self) -> Table:
        """Return ``domain_labels``."""
        if self._subjects is None:
            at = self._template.at
            return Table(at, ((Text(at, DEFAULT_BOOTSTRAP), Table(at, ())),))
        entries = tuple((name, _domain(label)) for name, label in self._domains.values())
        return Table(self._subjects.at, entries)

    def resources(self) -> Table | None:
        """Return ``resource_labels``, None where there are none."""
        entries = tuple((name, _resource(label)) for name, label in self._resources.values())
        return Table(self._template.at, entries) if entries else None

    def renames(self) -> Table | None:
        """Return ``renames``: the attributes ``from`` of names, None where there are none."""
        domains, resources = _renames(self._domains), _renames(self._resources)
        if domains is None and resources is None:
            return None
        at = next(one.at for one in (domains, resources) if one is not None)
        return table(at, domain_labels=domains, resource_labels=resources)

    def _drop_unlabeled(self) -> bool:
        """Take out the labels of what has no label; tell whether there were any."""
        found = [one.pop(UNLABELED.name, None) for one in (self._domains, self._resources)]
        for name, label in filter(None, found):
            held = [*_types_of(label, STE_TYPES), *_types_of(label, WALL_TYPES)]
            other = [one for one in held if one.value != UNLABELED.name]
            renamed = _renames({name.value: (name, label)})
            if other or renamed:
                at = other[0].at if other else name.at
                what = f"label '{UNLABELED.name}' is confined to itself: it holds no type but its own"
                raise flaw("unlabeled", what, at)
        return any(found)


def types(element: Element) -> Iterator[Text]:
    """Yield the types in an element; an empty ``Type`` names none, as in ACM's own policies."""
    for one in element.all("Type"):
        if one.text:
            yield Text(one.text_at, one.text)


def unlabeled_types(wall: Element) -> tuple[Text, ...]:
    """Return where the section of the Chinese Wall declares a type of the name ``__UNLABELED__``."""
    declared = wall.child(WALL_TYPES)
    return tuple(one for one in types(declared) if one.value == UNLABELED.name) if declared else ()


def table(at: Mark, **entries: Node | None) -> Table:
    """Return a mapping of these entries; those that are None are left out."""
    return Table(at, tuple((Text(at, key), value) for key, value in entries.items() if value is not None))


def duplicate(name: Text) -> PolicyFileError:
    """Return the error for a name that stands twice where each may stand once."""
    return flaw("duplicate-name", f"{name.value[:80]!a} stands twice", name.at)


def _named(labels: Iterator[Element] | tuple[Element, ...] | list[Element]) -> Iterator[tuple[Text, Element]]:
    seen: set[str] = set()
    for label in labels:
        name = _name(label)
        if name.value in seen:
            raise duplicate(name)
        seen.add(name.value)
        yield name, label


def _name(label: Element) -> Text:
    name = label.child("Name")
    assert name is not None, "the shape needs it"
    return Text(name.text_at, name.text)


def _types_of(label: Element, name: str) -> tuple[Text, ...]:
    held = label.child(name)
    return () if held is None else tuple(types(held))


def _domain(label: Element) -> Table:
    ste, wall = _types_of(label, STE_TYPES), _types_of(label, WALL_TYPES)
    return table(
        label.at,
        ste=Items(ste[0].at, ste) if ste else None,
        chwall=Items(wall[0].at, wall) if wall else None,
    )


def _resource(label: Element) -> Table:
    ste = _types_of(label, STE_TYPES)
    if len(ste) > 1:
        what = f"a resource has one STE type, this one has {len(ste)}: make one label of each"
        raise flaw("resource-types", what, ste[1].at)
    return table(label.at, ste=ste[0] if ste else None)


def _renames(labels: Mapping[str, tuple[Text, Element]]) -> Table | None:
    entries = []
    for name, label in labels.values():
        element = label.child("Name")
        if element is not None and "from" in element.attributes:
            entries.append((name, Text(element.at, element.attributes["from"])))
    return Table(entries[0][1].at, tuple(entries)) if entries else None
