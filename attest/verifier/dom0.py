"""Dom0: its kernel and ramdisk (PCR 9), and their command lines (PCR 8). Not its user land (PCR 10)."""

from __future__ import annotations

from attest.result import Reason
from attest.verifier.claims import Appraised


def files(subject: Appraised) -> list[Reason]:
    """Check that kernel and ramdisk of dom0 are those of the reference values."""
    return subject.boot.reasons("dom0-not-in-reference")


def command_line(subject: Appraised) -> list[Reason]:
    """Check that the loader gave dom0's kernel and ramdisk the command lines of the reference values."""
    return subject.boot.reasons("dom0-command-line-not-in-reference")
