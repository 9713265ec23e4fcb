"""Xen's build id from its boot image: what the running hypervisor will report.

Source: ELF specification, "Note Section"; GNU ld ``--build-id`` (note type 3, name "GNU"). Xen's boot image
is an ELF file, usually compressed with gzip. In xen.efi the id is the signature of a CodeView record behind
the debug directory entry in ``.buildid`` (Microsoft PE Format, ".debug"; Xen 4.17, common/version.c).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from attest.predict.pe import ImageError, layout

MAX_IMAGE: Final = 64 << 20
"""Bytes after decompression; Xen 4.17 has 2.5 MiB."""
_NT_GNU_BUILD_ID: Final = 3
_PT_NOTE: Final = 4
_BUILD_ID_BYTES: Final = range(8, 65)
_CODEVIEW: Final = struct.Struct("<12xIIII4s16s4x")
"""Type, size, address, offset in the file; then the record: its signature and the id."""
_CODEVIEW_TYPE: Final = 2
_DIRECTORY_ENTRY: Final = 28


@dataclass(frozen=True, slots=True)
class _Class:
    """Where a 32 or 64 bit ELF file keeps its program headers."""

    table: struct.Struct
    table_offset: int
    counts_offset: int
    entry: struct.Struct


_CLASSES: Final = {
    b"\x7fELF\x01\x01\x01": _Class(struct.Struct("<I"), 28, 42, struct.Struct("<IIIII12x")),
    b"\x7fELF\x02\x01\x01": _Class(struct.Struct("<Q"), 32, 54, struct.Struct("<I4xQ16xQ16x")),
}
"""Magic, class, little-endian, version 1 -> layout; entries unpack to type, offset, …, size in the file."""


def build_id(image: bytes) -> str | None:
    """Return the build id in hex; None for an image that has none, is no ELF file, or is broken."""
    try:
        return _in_pe(image) if image[:2] == b"MZ" else _in_elf(_unpacked(image))
    except (struct.error, zlib.error, ImageError):
        return None


def _in_pe(image: bytes) -> str | None:
    for section in layout(image).sections:
        if section.name == b".buildid":
            kind, _, address, _, signature, found = _CODEVIEW.unpack_from(
                image[: section.span.end], section.span.start
            )
            right = (kind, signature) == (_CODEVIEW_TYPE, b"RSDS")
            return found.hex() if right and address == section.address + _DIRECTORY_ENTRY else None
    return None


def _unpacked(image: bytes) -> bytes:
    if image[:2] != b"\x1f\x8b":
        return image
    stream = zlib.decompressobj(wbits=31)
    raw = stream.decompress(image, MAX_IMAGE)
    return raw if stream.eof else b""


def _in_elf(image: bytes) -> str | None:
    layout = _CLASSES.get(image[:7])
    if layout is None:
        return None
    (table,) = layout.table.unpack_from(image, layout.table_offset)
    entry_size, count = struct.unpack_from("<HH", image, layout.counts_offset)
    for number in range(count):
        kind, offset, *_, size = layout.entry.unpack_from(image, table + number * entry_size)
        if kind == _PT_NOTE and (found := _in_notes(image[offset : offset + size])):
            return found
    return None


def _in_notes(notes: bytes) -> str | None:
    """Look through notes: name size, content size, type (u32 each), name and content, each padded to 4."""
    place = 0
    while place < len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, place)
        name = notes[place + 12 : place + 12 + name_size]
        place += 12 + name_size + -name_size % 4
        if kind == _NT_GNU_BUILD_ID and name == b"GNU\0" and size in _BUILD_ID_BYTES:
            content = notes[place : place + size]
            return content.hex() if len(content) == size else None
        place += size + -size % 4
    return None
