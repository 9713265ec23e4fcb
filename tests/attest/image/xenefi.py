"""A small xen.efi: a PE32+ EFI application with the traits of Debian's, each of which can be set wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

COFF = 128
OPTIONAL = COFF + 24
TABLE = OPTIONAL + 240
BUILD_ID = bytes(range(16))


@dataclass(frozen=True)
class Sec:
    """A section; ``content`` None for one without bytes in the file, as .bss is."""

    name: bytes
    address: int
    content: bytes | None
    size: int | None = None


def code_view(address: int, raw: int) -> bytes:
    """A debug entry and the CodeView record behind it; ``raw`` is where the entry lies in the file."""
    record = struct.pack("<4s16sIx", b"RSDS", BUILD_ID, 1)
    return struct.pack("<12xIIII", 2, len(record), address + 28, raw + 28) + record


@dataclass(frozen=True)
class XenEfi:
    """``room`` is how many more section headers find place; ``symbols`` what follows the sections."""

    room: int = 0
    symbols: bytes = b"symbols!"
    extra: tuple[Sec, ...] = ()
    certificates: tuple[int, int] = (0, 0)
    file_alignment: int = 0x20
    section_alignment: int = 0x200000
    patches: tuple[tuple[int, bytes], ...] = field(default=())

    def build(self) -> bytes:
        """Lay it out: .text, .rodata, .buildid right behind it, .bss without bytes, .reloc, and ``extra``."""
        sections = (
            Sec(b".text", 0x200000, b"\x90" * 100),
            Sec(b".rodata", 0x400000, b"r" * 0x38),
            Sec(b".buildid", 0x400038, b"?" * 53),
            Sec(b".bss", 0x600000, None, 0x134140),
            Sec(b".reloc", 0x734140, b"reloc"),
            *self.extra,
        )
        end = raw = self._up(TABLE + 40 * (len(sections) + self.room))
        rows, body, memory = b"", b"", 0
        for each in sections:
            content = each.content
            if each.name == b".buildid":
                content = code_view(each.address, raw)
            padded = b"" if content is None else content + bytes(self._up(len(content)) - len(content))
            size = len(content or b"") if each.size is None else each.size
            place = raw if padded else 0
            flags = 0xC0000080 if content is None else 0x40000040
            rows += struct.pack("<8sIIII12xI", each.name, size, each.address, len(padded), place, flags)
            raw, body, memory = raw + len(padded), body + padded, each.address + size
        directories = bytearray(128)
        struct.pack_into("<II", directories, 32, *self.certificates)
        struct.pack_into("<II", directories, 48, 0x400038, 28)
        optional = struct.pack("<HBBIIIII", 0x20B, 2, 40, 100, 200, 0, 0x200000, 0x200000)
        optional += struct.pack("<QII", 0xFFFF82D040000000, self.section_alignment, self.file_alignment)
        optional += struct.pack("<6HIIIIHH", 2, 0, 4, 17, 2, 0, 0, memory, end, 0, 10, 0x160)
        optional += bytes(32) + struct.pack("<II", 0, 16) + directories
        coff = struct.pack(
            "<4sHHIIIHH",
            *(b"PE", 0x8664, len(sections), 0, raw if self.symbols else 0, 1, len(optional), 0x226),
        )
        head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", COFF)
        image = bytearray((head.ljust(COFF, b"\0") + coff + optional + rows).ljust(end, b"\0"))
        image += body + self.symbols
        for place, content in self.patches:
            image[place : place + len(content)] = content
        return bytes(image)

    def _up(self, value: int) -> int:
        return -(-value // self.file_alignment) * self.file_alignment
