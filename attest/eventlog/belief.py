"""What a verifier makes of a log that replays: whether it is believed, and whether the boot was a sound one.

The rules are those of ``attest.eventlog.rules``. A log that is no record of a UEFI boot (that of a loader
alone, or of a machine without Secure Boot variables) is not held against what only such a boot must have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from attest.eventlog.log import HASHES, EventLog
from attest.eventlog.replay import VerifiedEvents
from attest.eventlog.rules import (
    FAILURE,
    REQUIRED,
    SECURE_BOOT_PCR,
    SEPARATED_PCRS,
    SUCCESS,
    UNTRUE,
    Finding,
    appraise_firmware,
)
from attest.eventlog.variable import decode_variable

UNSAFE: Final = frozenset({"debug-mode", "dma-protection-disabled", "separator-error"})
"""Codes of findings that tell of a firmware in an unsafe state."""
UNCLEAR: Final = frozenset({"variable-missing", "variable-vendor", "variable-value", "event-misplaced"})
"""Codes that leave open what Secure Boot was: some platforms cannot say, some put more into PCR 7."""
_OF_UEFI: Final = frozenset({"separator-missing", "separator-twice", "event-unbound"}) | UNCLEAR
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Belief:
    """Findings by what follows from them.

    ``untrue``: the log is no evidence. ``unsafe``: the firmware says so itself. ``disorder``: separators or
    variables stand where no sound boot puts them, or something is hidden in PCR 7. ``unclear``: nothing
    follows for Secure Boot.
    """

    untrue: tuple[Finding, ...]
    unsafe: tuple[Finding, ...]
    disorder: tuple[Finding, ...]
    unclear: tuple[Finding, ...]
    secure_boot: bool | None
    """Whether Secure Boot was on; None where the log does not say so for sure."""


def believe(log: EventLog, proved: VerifiedEvents) -> Belief:
    """Judge the events of a firmware log that ``proved`` vouches for."""
    uefi = _is_of_uefi(proved)
    state = appraise_firmware(log, proved)
    found = [one for one in state.findings if uefi or one.code not in _OF_UEFI]
    kinds = (UNTRUE, UNSAFE, UNCLEAR)
    untrue, unsafe, unclear = (tuple(one for one in found if one.code in kind) for kind in kinds)
    disorder = tuple(one for one in found if not any(one.code in kind for kind in kinds))
    return Belief(untrue, unsafe, disorder, unclear, state.secure_boot)


def told(findings: Iterable[Finding]) -> str:
    """Return one line that tells of the first findings."""
    found = list(findings)
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(f"{one.detail} ({one.code})" for one in found[:_SHOWN]) + more


def _is_of_uefi(proved: VerifiedEvents) -> bool:
    """Tell by digests, not by types, whether UEFI booted: it leaves separators and Secure Boot variables."""
    separators = {HASHES[proved.alg](data).digest() for data in (*SUCCESS, FAILURE)}
    return any(
        (event.digest in separators and event.pcr in SEPARATED_PCRS)
        or (event.pcr == SECURE_BOOT_PCR and _names_secure_boot(event.untrusted_data))
        for event in proved.events
    )


def _names_secure_boot(data: bytes) -> bool:
    variable = decode_variable(data)
    return variable is not None and variable.name in REQUIRED
