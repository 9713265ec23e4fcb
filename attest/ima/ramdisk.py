"""The programs of an initial ramdisk: dom0 runs them from its first file system, as ``/init`` and so on.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst (archives in the form "newc", plain
or as gzip, one after the other, zeros between them) and init/initramfs.c (hard links, what comes later
replaces what came before).

One entry: ``070701``, then 13 numbers of 8 hexadecimal digits (inode, mode, user, group, links, time, size,
device major and minor, two more, size of the name with its NUL, 0), the name, the content; name and content
are padded to 4 bytes from the archive's start. An entry ``TRAILER!!!`` ends an archive.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import normpath
from stat import S_IFMT, S_ISLNK, S_ISREG
from typing import Final

from attest.errors import AttestInputError
from attest.ima.programs import HEAD, is_program, reference_of, sha256
from attest.ima.reference import MAX_PATH, FileReference

MAX_UNPACKED: Final = 1 << 30
"""Bytes of all archives."""
_MAGIC: Final = b"070701"
_NUMBERS: Final = re.compile(rb"[0-9A-Fa-f]{104}")
_HEADER: Final = 110
_TRAILER: Final = "TRAILER!!!"
_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final = {
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x02\x21\x4c\x18": "lz4",
    b"BZh": "bzip2",
    b"\x5d\0\0": "lzma",
    b"\x89LZO": "lzo",
    b"070702": "cpio with checksums",
    b"070707": "cpio of the old form",
}


class RamdiskError(AttestInputError):
    """A ramdisk that is not well-formed, or in a form that is not read; the message has the byte."""

    code = "ramdisk"


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    mode: int
    inode: tuple[int, int, int]
    links: int
    content: memoryview


def programs(ramdisk: bytes) -> FileReference:
    """Return the files of a ramdisk that may be run, or loaded by the kernel; raises RamdiskError."""
    files: dict[str, tuple[int, memoryview]] = {}
    linked: set[str] = set()
    for archive in _archives(ramdisk):
        contents = _shared(archive)
        for entry in archive:
            linked.discard(entry.path)
            files.pop(entry.path, None)
            if S_ISLNK(entry.mode):
                linked.add(entry.path)
            elif S_ISREG(entry.mode):
                shared = contents.get(entry.inode) if entry.links > 1 else None
                files[entry.path] = (entry.mode, entry.content if shared is None else shared)
    _check_links(files, linked)
    return reference_of(
        (path, sha256(content))
        for path, (mode, content) in files.items()
        if is_program(path, bytes(content[:HEAD]), executable=bool(mode & 0o111))
    )


def _shared(archive: list[_Entry]) -> dict[tuple[int, int, int], memoryview]:
    """Return the contents of files with several names by inode; one of the names comes with it."""
    contents: dict[tuple[int, int, int], memoryview] = {}
    for entry in archive:
        has_content = entry.links > 1 and len(entry.content)
        if has_content and contents.setdefault(entry.inode, entry.content) != entry.content:
            raise RamdiskError(f"ramdisk: {entry.path!a} and another name of it have different contents")
    return contents


def _check_links(files: dict[str, tuple[int, memoryview]], linked: set[str]) -> None:
    """Refuse a file behind a link: the kernel would see it under another path."""
    for path in files:
        at = path.rfind("/")
        while at > 0:
            if path[:at] in linked:
                raise RamdiskError(f"ramdisk: {path!a} is written through the link {path[:at]!a}")
            at = path.rfind("/", 0, at)


def _archives(raw: bytes) -> Iterator[list[_Entry]]:
    """Yield the entries of each archive, in order."""
    at, room, seen = 0, MAX_UNPACKED, False
    while (at := _after_zeros(raw, at)) < len(raw):
        if raw.startswith(_GZIP, at):
            unpacked, at = _gunzip(raw, at, room)
            room -= len(unpacked)
            inside = 0
            while (inside := _after_zeros(unpacked, inside)) < len(unpacked):
                entries, inside = _archive(unpacked, inside)
                yield entries
        else:
            entries, at = _archive(raw, at)
            yield entries
        seen = True
    if not seen:
        raise RamdiskError("ramdisk: byte 0: holds no archive")


def _after_zeros(raw: bytes, at: int) -> int:
    step = 4096
    while at < len(raw) and not raw[at]:
        block = raw[at : at + step]
        at += len(block) - len(block.lstrip(b"\0"))
    return at


def _gunzip(raw: bytes, at: int, room: int) -> tuple[bytes, int]:
    stream = zlib.decompressobj(wbits=31)
    try:
        unpacked = stream.decompress(memoryview(raw)[at:], room + 1)
    except zlib.error as error:
        raise RamdiskError(f"ramdisk: byte {at}: broken gzip: {error}") from None
    if len(unpacked) > room:
        raise RamdiskError(f"ramdisk: byte {at}: more than {MAX_UNPACKED} bytes when unpacked")
    if not stream.eof:
        raise RamdiskError(f"ramdisk: byte {at}: gzip: cut short")
    return unpacked, len(raw) - len(stream.unused_data)


def _archive(raw: bytes, start: int) -> tuple[list[_Entry], int]:
    """Read one archive; return its entries and the place behind it."""
    entries: list[_Entry] = []
    view, at = memoryview(raw), start
    while True:
        entry, at = _entry(view, at, start)
        if entry.path == f"/{_TRAILER}":
            return entries, at
        entries.append(entry)


def _entry(raw: memoryview, at: int, start: int) -> tuple[_Entry, int]:
    header = bytes(raw[at : at + _HEADER])
    if not header.startswith(_MAGIC) or not _NUMBERS.fullmatch(header[len(_MAGIC) :]):
        raise RamdiskError(f"ramdisk: byte {at}: {_refusal(header)}")
    numbers = [int(header[place : place + 8], 16) for place in range(len(_MAGIC), _HEADER, 8)]
    inode, mode, _, _, links, _, size, major, minor, _, _, length, _ = numbers
    named = at + _HEADER
    begin = _padded(named + length, start)
    end = begin + size
    if not 1 < length <= MAX_PATH or end > len(raw):
        raise RamdiskError(f"ramdisk: byte {at}: an entry that is cut short, or has a name of {length} bytes")
    path = _path(bytes(raw[named : named + length]), at)
    content = raw[begin:end] if S_ISREG(mode) else raw[:0]
    entry = _Entry(path, S_IFMT(mode) | mode & 0o7777, (major, minor, inode), links, content)
    return entry, min(_padded(end, start), len(raw))


def _padded(at: int, start: int) -> int:
    return at + -(at - start) % 4


def _path(name: bytes, at: int) -> str:
    text = name[:-1].decode("utf-8", "surrogateescape")
    if name[-1:] != b"\0" or "\0" in text or ".." in text.split("/"):
        raise RamdiskError(f"ramdisk: byte {at}: {text!a} is no path below the root, with one NUL at its end")
    return "/" + normpath(f"/{text}").lstrip("/")


def _refusal(head: bytes) -> str:
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            return f"{name} is not read: repack with 'cpio -o -H newc' and gzip"
    return "no cpio archive of the form newc, plain or as gzip"
