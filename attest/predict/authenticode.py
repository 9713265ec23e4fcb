"""The Authenticode digest of a PE image: what firmware extends into PCR 4 for an application it starts.

Source: Microsoft, Windows Authenticode Portable Executable Signature Format, "Calculating the PE Image Hash";
TCG PC Client Platform Firmware Profile, PCR 4. File layout: Microsoft PE Format.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
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
    """A PE image whose Authenticode digest is not defined; the message has the byte offset."""

    code = "pe-image"


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes ``start`` to ``end`` of the file."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Layout:
    checksum: int
    certificate_entry: int | None
    certificates: _Span | None
    headers_end: int
    sections: tuple[_Span, ...]


def digests(image: bytes, algorithms: Sequence[str]) -> dict[str, bytes]:
    """Return the Authenticode digest of ``image`` by each of ``algorithms`` (hashlib names).

    Hashed are the headers without the CheckSum field and without the certificate table's directory entry,
    then the raw data of the sections in file order, then what follows them except the certificates. Raises
    ``ImageError`` for an image that is cut short, overlaps itself or holds data after its certificates.
    """
    layout = _layout(image)
    found = {name: hashlib.new(name) for name in algorithms}
    view = memoryview(image)
    for span in _hashed(layout, len(image)):
        for state in found.values():
            state.update(view[span.start : span.end])
    return {name: state.digest() for name, state in found.items()}


def _hashed(layout: _Layout, size: int) -> list[_Span]:
    after_checksum = layout.checksum + 4
    spans = [_Span(0, layout.checksum)]
    if layout.certificate_entry is None:
        spans.append(_Span(after_checksum, layout.headers_end))
    else:
        spans.append(_Span(after_checksum, layout.certificate_entry))
        spans.append(_Span(layout.certificate_entry + 8, layout.headers_end))
    spans.extend(layout.sections)
    counted = layout.headers_end + sum(span.end - span.start for span in layout.sections)
    end = layout.certificates.start if layout.certificates else size
    if counted > end:
        raise ImageError(f"PE image: certificates at byte {end} overlap the sections; take an intact file")
    return [*spans, _Span(counted, end)]


def _layout(image: bytes) -> _Layout:
    if image[:2] != b"MZ":
        raise ImageError("PE image: byte 0: no MZ signature; name an EFI application")
    coff = _number(image, 0x3C, 4) + 4
    if image[coff - 4 : coff] != b"PE\0\0":
        raise ImageError(f"PE image: byte {coff - 4}: no PE signature; name an EFI application")
    count = _number(image, coff + 2, 2)
    optional = coff + _COFF_BYTES
    table = optional + _number(image, coff + 16, 2)
    checksum, entry, headers_end = _optional_header(image, optional, table)
    table_end = table + count * _SECTION_BYTES
    if count > MAX_SECTIONS or not table_end <= headers_end <= len(image):
        raise ImageError(f"PE image: byte {table}: {count} section headers do not fit; take an intact file")
    return _Layout(
        checksum,
        entry,
        _certificates(image, entry),
        headers_end,
        _sections(image, table, count, headers_end),
    )


def _optional_header(image: bytes, start: int, end: int) -> tuple[int, int | None, int]:
    """Offset of CheckSum, offset of the certificate table's entry (if it has one), SizeOfHeaders."""
    magic = _number(image, start, 2)
    if magic not in {_PE32, _PE32_PLUS}:
        raise ImageError(f"PE image: byte {start}: {magic:#x} is neither PE32 nor PE32+")
    directories = start + (112 if magic == _PE32_PLUS else 96)
    directory_count = _number(image, directories - 4, 4)
    entry = directories + 8 * CERTIFICATE_TABLE
    has_entry = directory_count > CERTIFICATE_TABLE
    if (entry + 8 if has_entry else directories) > end:
        raise ImageError(f"PE image: byte {start}: the optional header is too short for its data directories")
    return start + 64, entry if has_entry else None, _number(image, start + 60, 4)


def _certificates(image: bytes, entry: int | None) -> _Span | None:
    if entry is None:
        return None
    start, size = _number(image, entry, 4), _number(image, entry + 4, 4)
    if size == 0:
        return None
    if start + size != len(image):
        raise ImageError(f"PE image: byte {entry}: the certificate table does not end where the file ends")
    return _Span(start, start + size)


def _sections(image: bytes, table: int, count: int, headers_end: int) -> tuple[_Span, ...]:
    found = []
    for header in range(table, table + count * _SECTION_BYTES, _SECTION_BYTES):
        size, start = _number(image, header + 16, 4), _number(image, header + 20, 4)
        if size == 0:
            continue
        if start + size > len(image):
            raise ImageError(f"PE image: byte {header}: a section ends after the file; take an intact file")
        found.append(_Span(start, start + size))
    found.sort(key=lambda span: span.start)
    end = headers_end
    for span in found:
        if span.start < end:
            raise ImageError(f"PE image: byte {span.start}: a section overlaps what stands before it")
        end = span.end
    return tuple(found)


def _number(image: bytes, offset: int, size: int) -> int:
    """Unsigned little-endian number; ``ImageError`` past the end."""
    if offset + size > len(image):
        raise ImageError(f"PE image: byte {offset}: the file ends here; take an intact file")
    found: int = struct.unpack_from("<H" if size == 2 else "<I", image, offset)[0]  # noqa: PLR2004 - bytes
    return found
