"""The headers of a PE32+ image that sections can be appended to.

Source: Microsoft PE Format, "File Headers" and "Section Table". Stricter than a loader: what Authenticode
leaves undefined (gaps between sections, bytes behind the section table) is refused, so that the digest of
the finished image covers every byte but CheckSum and the certificate table's entry.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from attest.errors import AttestInputError

SECTION: Final = struct.Struct("<8sIIIIIIHHI")
"""Name, VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData, PointerToRelocations,
PointerToLinenumbers, NumberOfRelocations, NumberOfLinenumbers, Characteristics."""
MAX_SECTIONS: Final = 96
_COFF: Final = struct.Struct("<4sHHIIIHH")
"""Signature, Machine, NumberOfSections, TimeDateStamp, PointerToSymbolTable, NumberOfSymbols,
SizeOfOptionalHeader, Characteristics."""
_OPTIONAL: Final = struct.Struct("<H30xII16xIIIH")
"""Magic, SectionAlignment, FileAlignment, SizeOfImage, SizeOfHeaders, CheckSum, Subsystem."""
_AMD64: Final = 0x8664
_PE32_PLUS: Final = 0x20B
_EFI_APPLICATION: Final = 10
_DIRECTORIES: Final = 112
_CERTIFICATES: Final = 4
_DEBUG: Final = 6
_ALIGNED: Final = 8
_MAX_ALIGNMENT: Final = 1 << 30


class XenImageError(AttestInputError):
    """A file that no sections can be appended to; the message has the byte offset. Code ``xen-image``."""

    code = "xen-image"


@dataclass(frozen=True, slots=True)
class Row:
    """A section header: place in memory and in the file; ``raw`` and ``raw_size`` are 0 without bytes."""

    name: bytes
    size: int
    address: int
    raw_size: int
    raw: int


@dataclass(frozen=True, slots=True)
class Headers:
    """Offsets of the headers in the file, their alignments, and the sections in the order of the table.

    ``end`` is SizeOfHeaders, ``raw_end`` where the bytes of the last section end. ``debug`` are address and
    size of the debug directory, 0 and 0 without one.
    """

    coff: int
    optional: int
    table: int
    section_alignment: int
    file_alignment: int
    end: int
    raw_end: int
    symbols: int
    debug: tuple[int, int]
    rows: tuple[Row, ...]

    @property
    def memory_end(self) -> int:
        """Address behind the last section in memory."""
        return max((row.address + max(row.size, row.raw_size) for row in self.rows), default=self.end)


def headers(image: bytes) -> Headers:
    """Read the headers of an EFI application for x86-64 without a signature; raises ``XenImageError``."""
    if image[:2] != b"MZ":
        raise XenImageError("Xen image: byte 0: no MZ signature: name Xen's EFI image (xen-….efi)")
    coff = _number(image, 0x3C)
    signature, machine, count, _, symbols, _, size, _ = _unpack(_COFF, image, coff)
    if signature != b"PE\0\0" or machine != _AMD64 or coff % _ALIGNED:
        raise XenImageError(
            f"Xen image: byte {coff}: no PE image for x86-64: name Xen's EFI image (xen-….efi)"
        )
    optional = coff + _COFF.size
    magic, memory, file, _, end, _, subsystem = _unpack(_OPTIONAL, image, optional)
    if magic != _PE32_PLUS or subsystem != _EFI_APPLICATION:
        raise XenImageError(f"Xen image: byte {optional}: not a PE32+ EFI application")
    if not (_power(file) and _power(memory) and file <= memory <= _MAX_ALIGNMENT):
        raise XenImageError(f"Xen image: byte {optional + 32}: alignments {memory} and {file} cannot be kept")
    table = optional + size
    if count > MAX_SECTIONS or not table + count * SECTION.size <= end <= len(image):
        raise XenImageError(f"Xen image: byte {table}: {count} section headers do not fit")
    rows = tuple(_row(image, table + at * SECTION.size) for at in range(count))
    if any(image[table + count * SECTION.size : end]):
        raise XenImageError(f"Xen image: byte {table}: the headers hold something behind the section table")
    raw_end = _check_raw(rows, end, len(image), file)
    if symbols and symbols < raw_end:
        raise XenImageError(f"Xen image: byte {coff + 12}: the symbol table overlaps the sections")
    debug = _directories(image, optional, table)
    found = Headers(coff, optional, table, memory, file, end, raw_end, symbols, debug, rows)
    _check_memory(found)
    return found


def _directories(image: bytes, optional: int, table: int) -> tuple[int, int]:
    """Refuse a signed image; return the debug directory's address and size."""
    count = _number(image, optional + _DIRECTORIES - 4)
    if optional + _DIRECTORIES + 8 * count > table:
        raise XenImageError(f"Xen image: byte {optional}: the optional header is too short")
    entries = {
        at: (_number(image, place), _number(image, place + 4))
        for at in (_CERTIFICATES, _DEBUG)
        if at < count
        for place in (optional + _DIRECTORIES + 8 * at,)
    }
    if any(entries.get(_CERTIFICATES, ())):
        raise XenImageError("Xen image: it is signed: sections would break that; build first, then sign")
    return entries.get(_DEBUG, (0, 0))


def _row(image: bytes, place: int) -> Row:
    name, size, address, raw_size, raw, *links, _ = _unpack(SECTION, image, place)
    if any(links):
        raise XenImageError(
            f"Xen image: byte {place}: a section with relocations or line numbers: an object file"
        )
    return Row(name.rstrip(b"\0"), size, address, raw_size, raw if raw_size else 0)


def _check_raw(rows: tuple[Row, ...], end: int, length: int, alignment: int) -> int:
    """The bytes of the sections stand one after another from the headers on; return where they end."""
    for row in sorted((row for row in rows if row.raw_size), key=lambda row: row.raw):
        if row.raw != end:
            raise XenImageError(f"Xen image: byte {end}: a gap or an overlap before section {row.name!a}")
        end += row.raw_size
    if end > length:
        raise XenImageError(f"Xen image: byte {length}: the file ends inside a section; take an intact file")
    if end % alignment:
        raise XenImageError(f"Xen image: byte {end}: the last section does not end on {alignment} bytes")
    return end


def _check_memory(found: Headers) -> None:
    end = found.end
    for row in sorted(found.rows, key=lambda row: row.address):
        if row.address < end:
            raise XenImageError(f"Xen image: byte {found.table}: section {row.name!a} overlaps in memory")
        end = row.address + row.size


def _power(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def _number(image: bytes, place: int) -> int:
    return int(_unpack(struct.Struct("<I"), image, place)[0])


def _unpack(fields: struct.Struct, image: bytes, place: int) -> tuple:  # type: ignore[type-arg]
    if place + fields.size > len(image):
        raise XenImageError(
            f"Xen image: byte {len(image)}: the file ends in its headers; take an intact file"
        )
    return fields.unpack_from(image, place)
