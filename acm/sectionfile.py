"""The file of a policy's section (``acm.parts``): what is shown to one customer, with its proof.

JSON, one part an entry::

    {"format": "shype.policy-section/1", "size": N,
     "parts": [{"index": I, "body": "{…}", "path": ["HEX64", …]}, …]}

``body`` is the exact text that is hashed, ``path`` the hashes from the leaf to the root, ``size`` the number
of all parts of the policy. Nothing in the file is trusted: :func:`checked` holds it against a Merkle root
that comes from elsewhere (the measured policy event).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from acm import strictjson
from acm.errors import InclusionError, SectionFileError
from acm.parts import FORMAT as PART_FORMAT
from acm.parts import Section, ShownPart, verify_section

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT: Final = "shype.policy-section/1"
MAX_SIZE: Final = 32 << 20
MAX_PARTS: Final = 1 << 16
MAX_PATH: Final = 64

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_PART: Final = {"index", "body", "path"}


@dataclass(frozen=True, slots=True)
class CheckedSection:
    """Parts that belong to the policy with the expected root: fields by kind and name."""

    parts: dict[tuple[str, str], dict[str, Any]]

    def missing(self, label: str) -> tuple[str, ...]:
        """Return what concerns a domain label and is not shown, as ``KIND 'NAME'``; nothing if all is there.

        Whoever is not shown a type's part has not seen who else holds the type.
        """
        wanted = dict.fromkeys(self._wanted(label))
        return tuple(f"{kind} '{name}'" for kind, name in wanted if (kind, name) not in self.parts)

    def _wanted(self, label: str) -> Iterator[tuple[str, str]]:
        yield "policy", next((name for kind, name in self.parts if kind == "policy"), "header")
        yield "domain", label
        for held in self._names("domain", label, "ste"):
            yield "ste-type", held
            for resource in self._names("ste-type", held, "resources"):
                yield "resource", resource
        for held in self._names("domain", label, "chwall"):
            yield "chwall-type", held
            for one in self._names("chwall-type", held, "conflict_sets"):
                yield "conflict-set", one
        yield from self._levels(label)

    def _levels(self, label: str) -> Iterator[tuple[str, str]]:
        """Yield every level of the label's range, and its categories at the high end."""
        span = self.parts.get(("domain", label), {}).get("mls")
        shown = [span.get(end) for end in ("low", "high")] if isinstance(span, dict) else []
        ends: list[dict[str, Any]] = [end for end in shown if isinstance(end, dict)]
        for category in _texts(ends[-1].get("categories")) if ends else ():
            yield "mls-category", category
        own = [str(end.get("level")) for end in ends]
        headers = [fields for (kind, _), fields in self.parts.items() if kind == "policy"]
        levels = _texts(headers[0].get("levels")) if headers else ()
        inside = (
            levels[levels.index(own[0]) : levels.index(own[-1]) + 1] if {*own} <= {*levels} and own else own
        )
        for level in inside:
            yield "mls-level", level

    def _names(self, kind: str, name: str, field: str) -> tuple[str, ...]:
        return _texts(self.parts.get((kind, name), {}).get(field))


def encode(section: Section) -> bytes:
    """Return the bytes of a section's file."""
    parts = [
        {"index": each.index, "body": each.body.decode("ascii"), "path": [step.hex() for step in each.path]}
        for each in section.parts
    ]
    document = {"format": FORMAT, "size": section.size, "parts": parts}
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def decode(raw: bytes, source: str = "section") -> Section:
    """Return the section in a file, which is not checked yet. Raises SectionFileError."""
    document = strictjson.read(raw, MAX_SIZE, lambda code, what: SectionFileError(code, f"{source}: {what}"))
    if not isinstance(document, dict) or document.keys() != {"format", "size", "parts"}:
        raise SectionFileError("fields", f"{source}: not exactly format, size and parts")
    if document["format"] != FORMAT:
        raise SectionFileError("format", f"{source}: this program reads format '{FORMAT}' only")
    size, parts = document["size"], document["parts"]
    if not _is_number(size) or not isinstance(parts, list) or len(parts) > MAX_PARTS:
        raise SectionFileError("parts", f"{source}: size is a number, parts a list of {MAX_PARTS} at most")
    return Section(size, tuple(_part(source, at, part) for at, part in enumerate(parts)))


def checked(expected_root: bytes, section: Section) -> CheckedSection:
    """Return the fields of every part. Raises InclusionError for a part that is not under the root."""
    verify_section(expected_root, section)
    return CheckedSection(dict(_fields(shown.body) for shown in section.parts))


def _fields(body: bytes) -> tuple[tuple[str, str], dict[str, Any]]:
    """Return kind and name of a part, and its other fields. The root may be that of something else."""
    fields = strictjson.read(body, MAX_SIZE, lambda _, what: InclusionError("part", f"section: {what}"))
    known = isinstance(fields, dict) and fields.pop("format", None) == PART_FORMAT
    kind, name = (fields.pop("part", None), fields.pop("name", None)) if known else (None, None)
    name = fields.pop("type", None) if known and name is None else name
    if not isinstance(kind, str) or not isinstance(name, str):
        raise InclusionError("part", "section: a leaf under this root is no part of a policy")
    return (kind, name), fields


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _part(source: str, at: int, part: object) -> ShownPart:
    if not isinstance(part, dict) or part.keys() != _PART:
        raise SectionFileError("part", f"{source}: $.parts[{at}] is not exactly index, body and path")
    index, body, path = part["index"], part["body"], part["path"]
    if not _is_number(index) or not isinstance(body, str) or not body.isascii():
        raise SectionFileError("part", f"{source}: $.parts[{at}]: index is a number, body text in ASCII")
    if not isinstance(path, list) or len(path) > MAX_PATH or not all(_is_hash(each) for each in path):
        raise SectionFileError("path", f"{source}: $.parts[{at}].path is a list of {MAX_PATH} hashes at most")
    return ShownPart(body.encode("ascii"), index, tuple(bytes.fromhex(each) for each in path))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
