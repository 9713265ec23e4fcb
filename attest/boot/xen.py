"""What Xen does at its start: it knows its build id, takes its command line and gives dom0's kernel another.

The build id is the GNU note in its (gzip compressed) ELF image. Both lines follow Xen 4.17, arch/x86/setup.c.
"""

from __future__ import annotations

import zlib
from typing import Final

_MAX_IMAGE: Final = 64 << 20
_PT_NOTE: Final = 4
_GNU_BUILD_ID: Final = (4, 3, b"GNU\0")
_LINE_SIZE: Final = 1023
_SWITCH: Final = {
    **dict.fromkeys(("1", "on", "yes", "true", "enable"), True),
    **dict.fromkeys(("0", "no", "off", "false", "disable"), False),
}
_ACPI: Final = ("force", "ht", "noirq")


def hand_over(xen: str, dom0: str) -> tuple[str, str]:
    """Return the line that Xen keeps and the one that dom0's kernel gets, from what GRUB gives to either."""
    words = xen.lstrip(" ")
    at = words.find(" -- ")
    kept = words if at < 0 else words[:at]
    more = [] if at < 0 else [words[at + 4 :].lstrip(" ")]
    given = _short(" ".join([_short(dom0.lstrip(" ")), *more]))
    noapic, acpi = False, ""
    for word in kept.split(" "):
        name, _, value = word.partition("=")
        switch = _SWITCH.get(value, True if not value else None)
        if name in {"noapic", "no-noapic"} and switch is not None:
            noapic = switch is (name == "noapic")
        elif word in {"no-acpi", "no-acpi="}:
            acpi = "no"
        elif name == "acpi" and (value in _ACPI or _SWITCH.get(value) is False):
            acpi = value
    if noapic and "noapic" not in given:
        given = _short(given + " noapic")
    if acpi and "acpi=" not in given:
        given = _short(given + " acpi=" + acpi)
    return _short(kept), given


def _short(line: str) -> str:
    return line.encode()[:_LINE_SIZE].decode(errors="ignore")


def build_id(kernel: bytes) -> str | None:
    """Return the build id in hex; None for an image that has none or is no ELF file."""
    image = _uncompressed(kernel)
    if image[:4] != b"\x7fELF" or image[4:6] not in {b"\1\1", b"\2\1"}:
        return None
    wide = image[4] == 2  # noqa: PLR2004 - ELFCLASS64
    table, entry = (_at(image, 32, 8), _at(image, 54, 2)) if wide else (_at(image, 28, 4), _at(image, 42, 2))
    for number in range(_at(image, 56 if wide else 44, 2)):
        header = table + number * entry
        if _at(image, header, 4) == _PT_NOTE:
            fields = (header + 8, header + 32, 8) if wide else (header + 4, header + 16, 4)
            start, size = _at(image, fields[0], fields[2]), _at(image, fields[1], fields[2])
            if found := _note(image[start : start + size]):
                return found
    return None


def _note(notes: bytes) -> str | None:
    at = 0
    while at + 12 <= len(notes):
        name, size, kind = (_at(notes, at + step, 4) for step in (0, 4, 8))
        content = at + 12 + (name + 3) // 4 * 4
        if (name, kind, notes[at + 12 : at + 16]) == _GNU_BUILD_ID and 0 < size <= len(notes) - content:
            return notes[content : content + size].hex()
        at = content + (size + 3) // 4 * 4
    return None


def _uncompressed(kernel: bytes) -> bytes:
    if kernel[:2] != b"\x1f\x8b":
        return kernel
    try:
        return zlib.decompressobj(wbits=31).decompress(kernel, _MAX_IMAGE)
    except zlib.error:
        return b""


def _at(image: bytes, where: int, size: int) -> int:
    """Little-endian number; zero past the end."""
    return int.from_bytes(image[where : where + size], "little")
