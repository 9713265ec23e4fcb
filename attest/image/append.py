"""Appends sections to a PE32+ image: how kernel, ramdisk and config get into ``xen.efi``.

Source: Microsoft PE Format; Xen 4.17, common/efi/pe.c (a section is found by its name and taken from memory,
VirtualSize bytes at VirtualAddress) and arch/x86/efi/efi-boot.h (a module begins on a page). The same inputs
give the same bytes: no time stamp, no padding but zeros.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from attest.image.headers import MAX_SECTIONS, SECTION, Headers, XenImageError, headers

MAX_IMAGE: Final = 1 << 30
"""Bytes of the finished image, in the file and in memory. Xen wants to lie below 4 GiB as a whole."""
STEP: Final = 1 << 20
"""Least alignment of a new section in memory, bytes."""
PARTS: Final = ("config", "kernel", "ramdisk", "xsm", "ucode")
"""Names of the sections that Xen looks for, without their dot."""
_READ: Final = 0x40000040
"""IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ."""
_WRITE: Final = 0x80000000
_CHUNK: Final = 1 << 20
_SIGNED_TO: Final = 8
"""A certificate table begins on 8 bytes. Signing tools pad the file to that and hash the padding; a file that
has the length already keeps its digest when it is signed."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one section is to hold; ``name`` is one of ``PARTS``."""

    name: str
    content: bytes = field(repr=False)


def append(image: bytes, parts: Sequence[Part]) -> bytes:
    """Return ``image`` with one more section for each part, in their order.

    Where the headers have no room the file behind them moves, and what points there (sections, symbols,
    debug entries) with it. Raises ``XenImageError`` for an image that is broken, signed, or has such a
    section; for a part that is empty or there twice; and for more than ``MAX_IMAGE``.
    """
    found = headers(image)
    _check(found, parts)
    table_end = found.table + (len(found.rows) + len(parts)) * SECTION.size
    end = max(found.end, _up(table_end, found.file_alignment))
    moved = end - found.end
    rows, raw_end, memory_end = _rows(found, parts, found.raw_end + moved)
    if end > min((row.address for row in found.rows), default=end):
        raise XenImageError(f"Xen image: byte {found.table}: no room in memory for {len(parts)} more headers")
    body = b"".join(
        content + bytes(_up(len(content), found.file_alignment) - len(content))
        for content in (part.content for part in parts)
    )
    head = bytearray(image[: found.raw_end])
    _move_debug(head, found, moved, raw_end - found.raw_end)
    head[found.end : found.end] = bytes(moved)
    _move_rows(head, found, moved)
    head[table_end - len(rows) : table_end] = rows
    _set_sizes(head, found, len(parts), end=end, memory_end=memory_end, added=len(body))
    if found.symbols:
        struct.pack_into("<I", head, found.coff + 12, found.symbols + raw_end - found.raw_end)
    made = bytearray().join((head, body, image[found.raw_end :]))
    made += bytes(-len(made) % _SIGNED_TO)
    struct.pack_into("<I", made, found.optional + 64, checksum(made, found.optional + 64))
    return bytes(made)


def checksum(image: bytes | bytearray, place: int) -> int:
    """Return the PE checksum of ``image``, whose CheckSum field at ``place`` counts as 0.

    It is the sum of the 16-bit words with every carry added back, and the length.
    """
    view, total = memoryview(image), 0
    for start, end in ((0, place), (place + 4, len(image))):
        total += sum(_folded(view[at : min(at + _CHUNK, end)]) for at in range(start, end, _CHUNK))
    return _folded(total.to_bytes(8, "little")) + len(image)


def _folded(words: bytes | memoryview) -> int:
    """Add digits of base 65536 with the carry: the remainder by 65535, but not 0 for what is not 0."""
    value = int.from_bytes(words, "little")
    return value % 0xFFFF or (0xFFFF if value else 0)


def _check(found: Headers, parts: Sequence[Part]) -> None:
    there = {row.name for row in found.rows}
    for name in PARTS:
        if f".{name}".encode() in there:
            raise XenImageError(
                f"Xen image: it has a section .{name} already: take Xen's image as it was built"
            )
    names = [part.name for part in parts]
    for part in parts:
        if part.name not in PARTS or names.count(part.name) > 1:
            raise XenImageError(f"section {part.name[:20]!a}: one of {', '.join(PARTS)}, each once")
        if not part.content:
            raise XenImageError(f"section .{part.name}: its file is empty")
    if len(found.rows) + len(parts) > MAX_SECTIONS:
        raise XenImageError(f"Xen image: more than {MAX_SECTIONS} sections")


def _rows(found: Headers, parts: Sequence[Part], raw: int) -> tuple[bytes, int, int]:
    """Return the new section headers, where their bytes end in the file, and where all ends in memory."""
    rows, address = b"", found.memory_end
    for part in parts:
        address = _up(address, max(found.section_alignment, STEP))
        size, raw_size = len(part.content), _up(len(part.content), found.file_alignment)
        if max(address + size, raw + raw_size) > MAX_IMAGE:
            raise XenImageError(f"section .{part.name}: with it the image is larger than {MAX_IMAGE} bytes")
        # Xen cuts the config into lines in place.
        flags = _READ | (_WRITE if part.name == "config" else 0)
        rows += SECTION.pack(f".{part.name}".encode(), size, address, raw_size, raw, 0, 0, 0, 0, flags)
        address, raw = address + size, raw + raw_size
    return rows, raw, _up(address, found.section_alignment)


def _move_rows(head: bytearray, found: Headers, moved: int) -> None:
    for at, row in enumerate(found.rows):
        if row.raw_size:
            struct.pack_into("<I", head, found.table + at * SECTION.size + 20, row.raw + moved)


def _set_sizes(head: bytearray, found: Headers, count: int, *, end: int, memory_end: int, added: int) -> None:
    """NumberOfSections, SizeOfInitializedData, SizeOfImage, SizeOfHeaders."""
    struct.pack_into("<H", head, found.coff + 6, len(found.rows) + count)
    (data,) = struct.unpack_from("<I", head, found.optional + 8)
    struct.pack_into("<I", head, found.optional + 8, (data + added) & 0xFFFFFFFF)
    struct.pack_into("<II", head, found.optional + 56, memory_end, end)


def _move_debug(head: bytearray, found: Headers, moved: int, tail: int) -> None:
    """Debug entries (28 bytes, PointerToRawData last) say where in the file their data is."""
    address, size = found.debug
    if not size:
        return
    row = next((row for row in found.rows if row.address <= address < row.address + row.size), None)
    if row is None or size % 28 or address + size > row.address + min(row.size, row.raw_size):
        raise XenImageError("Xen image: its debug directory lies in no section")
    first = row.raw + address - row.address
    for place in range(first + 24, first + size, 28):
        (raw,) = struct.unpack_from("<I", head, place)
        if raw:
            struct.pack_into("<I", head, place, (raw + (moved if raw < found.raw_end else tail)) & 0xFFFFFFFF)


def _up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
