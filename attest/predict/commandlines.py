"""The command lines that Xen and dom0's kernel run with, from those that the loader gives them.

Source: Xen 4.17, arch/x86/setup.c (``cmdline_cook``, ``__start_xen``, ``create_dom0``,
``parse_acpi_param``) and common/kernel.c (``parse_params``, ``parse_bool``). What stands behind `` -- `` goes
from Xen's line to dom0's, which Xen also tells of ``noapic`` and ``acpi=``. The name of the image is gone
before: GRUB gives none, and Xen's EFI loader puts one there that Xen takes away. Linux takes the line as it
is, unless it was built with one of its own.

Not told beforehand: ``noapic`` and ``acpi=off`` that Xen adds on a machine without IO-APIC or ACPI.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 1023
"""Bytes of each line (``MAX_GUEST_CMDLINE``, ``xen_commandline_t``, without the NUL); Xen cuts the rest."""
_DOM0: Final = " -- "
_FALSE: Final = frozenset({"no", "off", "false", "disable", "0"})
_TRUE: Final = frozenset({"yes", "on", "true", "enable", "1"})
_ACPI: Final = _FALSE | {"force", "ht", "noirq"}


@dataclass(frozen=True, slots=True)
class CommandLines:
    """What Xen reports, and what dom0's kernel shows in ``/proc/cmdline`` without the final newline."""

    xen: str
    dom0: str


def command_lines(xen: str, dom0: str) -> CommandLines:
    """Return the lines that are run with; ``xen`` and ``dom0`` are arguments, without the images' names."""
    own, behind, extra = xen.lstrip(" ").partition(_DOM0)
    line = _cut(dom0.lstrip(" "))
    if behind:
        line = _cut(f"{line} {extra.lstrip(' ')}")
    if _noapic(own) and "noapic" not in line:
        line = _cut(f"{line} noapic")
    acpi = _acpi(own)
    if acpi is not None and "acpi=" not in line:
        line = _cut(f"{line} acpi={acpi}")
    return CommandLines(_cut(own), line)


def _cut(line: str) -> str:
    return line.encode()[:MAX_LINE].decode(errors="ignore")


def _options(line: str) -> Iterator[tuple[str, bool, str]]:
    """Yield each option: its name, whether it stands without ``no-``, and its value."""
    for word in line.split(" "):
        name, _, value = word.partition("=")
        yield name.removeprefix("no-"), not name.startswith("no-"), value


def _noapic(line: str) -> bool:
    found = False
    for name, stated, value in _options(line):
        if name == "noapic" and (not value or value in _TRUE | _FALSE):
            found = stated != (value in _FALSE)
    return found


def _acpi(line: str) -> str | None:
    """Return the last value that Xen accepts and hands on."""
    found = None
    for name, stated, value in _options(line):
        if name == "acpi" and (stated or not value):
            word = value if stated else "no"
            found = word if word in _ACPI else found
    return found
