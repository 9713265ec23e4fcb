"""Loader: what the firmware started (PCR 4, Authenticode), and the commands that it ran (PCR 8)."""

from __future__ import annotations

from attest.reference import Component
from attest.result import Reason
from attest.verifier.claims import Appraised


def compared(subject: Appraised) -> list[Reason]:
    """Check that there is something to compare: reference values, and registers that hold something."""
    return subject.boot.gaps(Component.LOADER)


def as_expected(subject: Appraised) -> list[Reason]:
    """Check that the loader, and the commands that it ran, are those of the reference values."""
    return subject.boot.reasons("loader-not-in-reference", "boot-commands-not-in-reference")
