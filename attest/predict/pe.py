"""The parts of a PE image: headers, sections, certificates. Source: Microsoft PE Format."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from attest.errors import AttestInputError

MAX_SECTIONS: Final = 96
"""The Windows loader's limit (PE Format, COFF File Header)."""
CERTIFICATE_TABLE: Final = 4
"""Index of the certificate table in the data directories."""
_PE32: Final = 0x10B
_PE32_PLUS: Final = 0x20B
_COFF_BYTES: Final = 20
_SECTION_BYTES: Final = 40


class ImageError(AttestInputError):
    """A PE image that is broken, or of which something is not defined; the message has the byte offset."""

    code = "pe-image"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` to ``end`` of the file."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section: its name, its size and place in memory, and its bytes in the file, which may be none."""

    name: bytes
    memory: int
    address: int
    span: Span


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are in the file; ``sections`` are in the order of their headers.

    ``checksum`` is the offset of CheckSum, ``certificate_entry`` that of the directory entry of the
    certificate table, None in an image without one.
    """

    checksum: int
    certificate_entry: int | None
    certificates: Span | None
    headers_end: int
    sections: tuple[Section, ...]


def layout(image: bytes) -> Layout:
    """Read the headers; raises ``ImageError`` for an image that is cut short or whose sections overlap."""
    if image[:2] != b"MZ":
        raise ImageError("PE image: byte 0: no MZ signature; name an EFI application")
    coff = number(image, 0x3C, 4) + 4
    if image[coff - 4 : coff] != b"PE\0\0":
        raise ImageError(f"PE image: byte {coff - 4}: no PE signature; name an EFI application")
    count = number(image, coff + 2, 2)
    optional = coff + _COFF_BYTES
    table = optional + number(image, coff + 16, 2)
    checksum, entry, headers_end = _optional_header(image, optional, table)
    table_end = table + count * _SECTION_BYTES
    if count > MAX_SECTIONS or not table_end <= headers_end <= len(image):
        raise ImageError(f"PE image: byte {table}: {count} section headers do not fit; take an intact file")
    sections = tuple(_section(image, header) for header in range(table, table_end, _SECTION_BYTES))
    _check_apart(sections, headers_end)
    return Layout(checksum, entry, _certificates(image, entry), headers_end, sections)


def number(image: bytes, offset: int, size: int) -> int:
    """Return an unsigned little-endian number of 2 or 4 bytes; ``ImageError`` past the end."""
    if offset + size > len(image):
        raise ImageError(f"PE image: byte {offset}: the file ends here; take an intact file")
    found: int = struct.unpack_from("<H" if size == 2 else "<I", image, offset)[0]  # noqa: PLR2004 - bytes
    return found


def _optional_header(image: bytes, start: int, end: int) -> tuple[int, int | None, int]:
    """Offset of CheckSum, offset of the certificate table's entry (if it has one), SizeOfHeaders."""
    magic = number(image, start, 2)
    if magic not in {_PE32, _PE32_PLUS}:
        raise ImageError(f"PE image: byte {start}: {magic:#x} is neither PE32 nor PE32+")
    directories = start + (112 if magic == _PE32_PLUS else 96)
    directory_count = number(image, directories - 4, 4)
    entry = directories + 8 * CERTIFICATE_TABLE
    has_entry = directory_count > CERTIFICATE_TABLE
    if (entry + 8 if has_entry else directories) > end:
        raise ImageError(f"PE image: byte {start}: the optional header is too short for its data directories")
    return start + 64, entry if has_entry else None, number(image, start + 60, 4)


def _certificates(image: bytes, entry: int | None) -> Span | None:
    if entry is None:
        return None
    start, size = number(image, entry, 4), number(image, entry + 4, 4)
    if size == 0:
        return None
    if start + size != len(image):
        raise ImageError(f"PE image: byte {entry}: the certificate table does not end where the file ends")
    return Span(start, start + size)


def _section(image: bytes, header: int) -> Section:
    size, start = number(image, header + 16, 4), number(image, header + 20, 4)
    if size and start + size > len(image):
        raise ImageError(f"PE image: byte {header}: a section ends after the file; take an intact file")
    name = image[header : header + 8].rstrip(b"\0")
    memory, address = number(image, header + 8, 4), number(image, header + 12, 4)
    return Section(name, memory, address, Span(start, start + size) if size else Span(0, 0))


def _check_apart(sections: tuple[Section, ...], headers_end: int) -> None:
    end = headers_end
    for span in sorted((each.span for each in sections if each.span.end), key=lambda span: span.start):
        if span.start < end:
            raise ImageError(f"PE image: byte {span.start}: a section overlaps what stands before it")
        end = span.end
