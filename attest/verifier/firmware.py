"""Firmware: PCR 0-7 without the loader (PFP 1.06, 2.3.4), and the log that explains them."""

from __future__ import annotations

from typing import Final

from attest.eventlog.belief import told
from attest.reasons import reason
from attest.reference import Component
from attest.result import Reason
from attest.verifier.claims import Appraised

_STATES: Final = {True: "on", False: "off", None: "not told for sure"}


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


def sound(subject: Appraised) -> list[Reason]:
    """Check that the log tells of no debug mode, open DMA or failed start, and PCR 0-7 are in order."""
    belief = subject.claims.belief
    if belief is None:
        return []
    pairs = (("firmware-unsafe", belief.unsafe), ("firmware-disorder", belief.disorder))
    return [reason(code, told(found)) for code, found in pairs if found]


def notes(subject: Appraised) -> list[str]:
    """Return what the log says of Secure Boot, where there is a log."""
    belief = subject.claims.belief
    if belief is None:
        return []
    return [f"Secure Boot {_STATES[belief.secure_boot]}"]
