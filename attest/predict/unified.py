"""The unified ``xen.efi``: one PE image with Xen's config, dom0 kernel, ramdisk and FLASK policy inside.

Source: Xen 4.17, common/efi/boot.c (config file, sections), common/efi/pe.c and arch/x86/efi/efi-boot.h.
The firmware measures the image as a whole into PCR 4. A part that the config names and the image lacks is
read from the disk and measured nowhere, so such an image is refused (facts/xen-lab.md, 11).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from attest.errors import AttestInputError
from attest.predict.pe import Layout, Span, layout

MAX_CONFIG: Final = 64 << 10
PARTS: Final = ("kernel", "ramdisk", "xsm", "ucode")
"""Keys of the config, and names of sections with a dot before them."""
CLOSED: Final = "Load options ignored: the config is inside the image".encode("utf-16-le")
"""What an image says at boot that takes no words of a boot entry (tests/lab/xen-load-options.patch)."""
_GLOBAL: Final = "global"
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e\t\r\n]*")
_LINE_ENDS: Final = re.compile(r"[\t\r\n]")
_HEADING: Final = re.compile(r"\[([^\]]+)\] *")
_MAX_SECTIONS: Final = 64


class UnifiedImageError(AttestInputError):
    """An image whose boot cannot be told from its bytes; codes ``unified-config`` and ``unified-part``."""

    code = "unified-config"


@dataclass(frozen=True, slots=True)
class UnifiedImage:
    """What an image starts: Xen's command line, dom0's, and the content of each part that is inside."""

    xen_arguments: str
    dom0_arguments: str
    parts: tuple[tuple[str, bytes], ...]


def read(image: bytes, section: str | None = None) -> UnifiedImage:
    """Read a unified image; ``section`` is the part of its config that boots, by default the config's own.

    Raises ``ImageError`` for a broken PE image, ``UnifiedImageError`` for one that does not hold all that it
    boots: no ``.config`` or ``.kernel``, a part that the config names and no section holds, or a ``chain`` to
    another config.
    """
    parts = layout(image)
    config = _content(image, parts, "config")
    if config is None:
        raise UnifiedImageError("unified image: no .config section: Xen reads its config from the disk")
    lines = _lines(config)
    if section is None:
        section = _value(lines, _GLOBAL, "default")
    elif ignores_load_options(image):
        message = f"it ignores the words of a boot entry, so none picks the section {section[:40]!a}"
        raise UnifiedImageError(f"unified image: {message}")
    _check_inside(parts, lines, section)
    held = ((f".{key}", _content(image, parts, key)) for key in PARTS)
    return UnifiedImage(
        _value(lines, section, "options") or "",
        (_value(lines, section, "kernel") or "").partition(" ")[2],
        tuple((name, content) for name, content in held if content is not None),
    )


def ignores_load_options(image: bytes) -> bool:
    """Tell whether Xen in this image takes no words of a boot entry: its own code has the message for it.

    The image comes from whoever makes reference values; of a host's image PCR 4 tells. Raises ``ImageError``.
    """
    foreign = {f".{name}".encode() for name in ("config", *PARTS)}
    spans = (each.span for each in layout(image).sections if each.name not in foreign)
    return any(CLOSED in image[span.start : span.end] for span in spans)


def other_entries(image: bytes) -> tuple[str, ...]:
    """Say what other boot entries than the default would read from the disk: one sentence each.

    The second word of a boot entry's options (the first stands for the program) picks any section of the
    config, also one that is not there; then Xen follows ``chain`` of ``[global]``. Raises
    ``AttestInputError`` as ``read`` does, and for a config of which the sections cannot be told.
    """
    parts = layout(image)
    lines = _lines(_content(image, parts, "config") or b"")
    headings = [line for line in lines if line.startswith("[")]
    named = [_HEADING.fullmatch(line) for line in headings]
    if len(headings) > _MAX_SECTIONS or None in named:
        raise UnifiedImageError(f"unified image: .config: at most {_MAX_SECTIONS} lines, each like [name]")
    found = []
    for section in dict.fromkeys(match[1] for match in named if match and match[1] != _GLOBAL):
        try:
            _check_inside(parts, lines, section)
        except UnifiedImageError as error:
            found.append(f"[{section}]: {str(error).removeprefix('unified image: ')}")
    if _value(lines, _GLOBAL, "chain") is not None:
        found.append("[global]: 'chain' leads to another config on the disk: remove the line")
    return tuple(found)


def _check_inside(parts: Layout, lines: tuple[str, ...], section: str | None) -> None:
    """Raise for a section of the config that makes Xen read from the disk."""
    named = {key: _value(lines, section, key) for key in PARTS}
    named["ucode"] = named["ucode"] or _value(lines, _GLOBAL, "ucode")
    if named["kernel"] is None and _value(lines, _GLOBAL, "chain") is not None:
        raise UnifiedImageError(
            "unified image: the config chains to another one on the disk", code="unified-part"
        )
    for key, value in named.items():
        if value is not None and _place(parts, key) is None:
            message = f"the config names '{key}', and no .{key} section holds it: Xen reads it from the disk"
            raise UnifiedImageError(f"unified image: {message}", code="unified-part")
    if _place(parts, "kernel") is None:
        raise UnifiedImageError("unified image: no .kernel section: add one", code="unified-part")


def _content(image: bytes, parts: Layout, name: str) -> bytes | None:
    """Return the section's bytes as Xen finds them in memory; None where there is no such section."""
    place = _place(parts, name)
    return None if place is None else image[place.start : place.end]


def _place(parts: Layout, name: str) -> Span | None:
    found = [each for each in parts.sections if each.name == f".{name}".encode()]
    if not found:
        return None
    if len(found) > 1:
        raise UnifiedImageError(f"unified image: two .{name} sections", code="unified-part")
    start, end = found[0].span.start, found[0].span.end
    if found[0].memory > end - start:
        message = f"unified image: byte {start}: .{name} has fewer bytes in the file than in memory"
        raise UnifiedImageError(message, code="unified-part")
    return Span(start, start + found[0].memory)


def _lines(config: bytes) -> tuple[str, ...]:
    """Split as Xen does: a tab ends a line too, ``#`` begins a comment anywhere, ``;`` at the start."""
    if len(config) > MAX_CONFIG or not _PRINTABLE.fullmatch(config):
        raise UnifiedImageError(f"unified image: .config is no plain text of at most {MAX_CONFIG} bytes")
    if config and config[-1:] not in {b"\n", b"\r", b"\t"}:
        raise UnifiedImageError("unified image: .config: the last line has no end: add a newline")
    found = (line.lstrip(" ") for line in _LINE_ENDS.split(config.decode("ascii")))
    return tuple(line.partition("#")[0] for line in found if not line.startswith(";"))


def _value(lines: tuple[str, ...], section: str | None, key: str) -> str | None:
    """Return a key's first value in the first section of that name; anywhere where no section is named."""
    inside = not section
    for line in lines:
        if section and line.startswith("["):
            if inside:
                return None
            inside = line[1:].startswith(f"{section}]")
        elif inside and line.startswith(f"{key}="):
            return line.removeprefix(f"{key}=").lstrip(" ")
    return None
