"""How firmware hashes an EFI application before it starts it.

Follows the steps of Microsoft's "Calculating the PE Image Hash": count the bytes hashed so far, and take what
is left between that count and the certificates at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from attest.boot.errors import BootError


def image_digests(image: bytes, banks: Sequence[str]) -> dict[str, bytes]:
    """Return the Authenticode digest of an image for each bank; raises ``BootError`` for a broken image."""
    states = {bank: hashlib.new(bank) for bank in banks}
    for chunk in _chunks(image):
        for state in states.values():
            state.update(chunk)
    return {bank: state.digest() for bank, state in states.items()}


def _chunks(image: bytes) -> Iterator[bytes]:
    start = _at(image, 60, 4)
    if image[:2] != b"MZ" or image[start : start + 4] != b"PE\0\0":
        raise BootError("loader: not a PE image", code="boot-image")
    optional = start + 24
    wide = {0x010B: 0, 0x020B: 16}.get(_at(image, optional, 2))
    if wide is None:
        raise BootError(f"loader: byte {optional}: unknown optional header", code="boot-image")
    sections = optional + _at(image, start + 20, 2)
    headers = _at(image, optional + 60, 4)
    header = bytearray(_cut(image, 0, headers))
    certificates = 0
    directory = optional + 96 + wide
    if _at(image, directory - 4, 4) > 4:  # noqa: PLR2004 - the certificate table is directory 4
        certificates = _certificates(image, directory + 32, sections)
        _remove(header, directory + 32, 8)
    _remove(header, optional + 64, 4)
    yield bytes(header)
    done = headers
    for where, size in _sections(image, sections, _at(image, start + 6, 2), headers):
        yield _cut(image, where, size)
        done += size
    if done + certificates > len(image):
        raise BootError("loader: its certificates overlap its sections", code="boot-image")
    yield image[done : len(image) - certificates]


def _certificates(image: bytes, entry: int, sections: int) -> int:
    """Size of the certificate table; it must be the last thing in the file."""
    where, size = _at(image, entry, 4), _at(image, entry + 4, 4)
    if entry + 8 > sections or (size and where + size != len(image)):
        raise BootError(f"loader: byte {entry}: bad certificate table", code="boot-image")
    return size


def _sections(image: bytes, table: int, count: int, headers: int) -> list[tuple[int, int]]:
    """Offset and size of every section with bytes in the file, in file order and apart from each other."""
    if count > 96 or table + 40 * count > headers:  # noqa: PLR2004 - the Windows loader's limit
        raise BootError(f"loader: byte {table}: {count} sections do not fit", code="boot-image")
    rows = range(table, table + 40 * count, 40)
    spans = ((_at(image, row + 20, 4), _at(image, row + 16, 4)) for row in rows)
    found = sorted((where, size) for where, size in spans if size)
    ends = [headers, *(where + size for where, size in found)]
    if any(where < end for (where, _), end in zip(found, ends, strict=False)):
        raise BootError("loader: sections overlap", code="boot-image")
    return found


def _remove(header: bytearray, where: int, size: int) -> None:
    if where + size > len(header):
        raise BootError(f"loader: byte {where}: outside the headers", code="boot-image")
    del header[where : where + size]


def _cut(image: bytes, where: int, size: int) -> bytes:
    if where + size > len(image):
        raise BootError(f"loader: byte {where}: the file is too short", code="boot-image")
    return image[where : where + size]


def _at(image: bytes, where: int, size: int) -> int:
    return int.from_bytes(_cut(image, where, size), "little")
