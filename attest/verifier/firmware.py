"""Firmware: PCR 0-7 without the loader (PFP 1.06, 2.3.4), and the log that explains them."""

from __future__ import annotations

from attest.reasons import reason
from attest.reference import Component
from attest.result import Reason
from attest.verifier.claims import Appraised


def compared(subject: Appraised) -> list[Reason]:
    """Check that there is something to compare: reference values, and registers that hold something."""
    return subject.boot.gaps(Component.FIRMWARE)


def log_shown(subject: Appraised) -> list[Reason]:
    """Check that a firmware event log is there, if the profile asks for one."""
    if subject.claims.firmware is None and subject.expected.profile.require_firmware_log:
        return [reason("firmware-log-missing", f"profile {subject.expected.profile.name} asks for one")]
    return []


def as_expected(subject: Appraised) -> list[Reason]:
    """Check that firmware, its settings and Secure Boot are those of the reference values."""
    return subject.boot.reasons("firmware-not-in-reference")
