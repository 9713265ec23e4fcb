"""Loader: what the firmware started (PCR 4, Authenticode), and the commands that it ran (PCR 8)."""

from __future__ import annotations

from attest.reasons import reason
from attest.reference import Component, LoadOptions
from attest.result import Reason
from attest.verifier.boot import COMMANDS
from attest.verifier.claims import Appraised


def compared(subject: Appraised) -> list[Reason]:
    """Check that there is something to compare: reference values, and registers that hold something."""
    return subject.boot.gaps(Component.LOADER)


def as_expected(subject: Appraised) -> list[Reason]:
    """Check that the loader, and the commands that it ran, are those of the reference values."""
    return subject.boot.reasons("loader-not-in-reference", "boot-commands-not-in-reference")


def boot_entry(subject: Appraised) -> list[Reason]:
    """Check that nothing reached the kernels that no register shows: the words of the firmware's boot entry.

    Where a loader starts Xen, PCR 8 has both command lines. The unified image takes such words, through
    BootNext with PCR 0-7 unchanged, unless its Xen was built to ignore them. The report of PCR 12 has them,
    but some act before it: ``efivar_ssdt=`` runs a program out of an EFI variable that writes dom0's memory,
    the command line that dom0 reports included (docs/image.md).
    """
    reference, profile = subject.expected.reference, subject.expected.profile
    if reference.hypervisor.load_options is LoadOptions.IGNORED or compared(subject):
        return []  # or reported as reference-empty or not-measured
    if COMMANDS in profile.pcrs and any(reference.pcrs.get(COMMANDS, b"")):
        return []
    return [reason("load-options-open", "no loader's commands in PCR 8, and Xen takes a boot entry's words")]
