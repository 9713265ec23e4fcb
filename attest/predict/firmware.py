"""The firmware's part of a boot, taken from a recorded event log of the same machine.

A recording is a TCG crypto-agile log of a boot up to an operating system. Its events up to the start of
the loader, and those of leaving boot services, are the same in every boot of the machine; the loader itself
is not taken from it but measured anew. Source: TCG PC Client Platform Firmware Profile, sections 3.3 and 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest.errors import AttestInputError
from attest.eventlog.log import BANKS, Event, EventLog, LogFormat
from attest.eventlog.replay import startup_locality
from attest.eventlog.tcg import parse_tcg

PCR_LOADER: Final = 4
PCR_BOOT_SERVICES: Final = 5
LAST_FIRMWARE_PCR: Final = 7
_APPLICATION: Final = "EV_EFI_BOOT_SERVICES_APPLICATION"
_ACTION: Final = "EV_EFI_ACTION"


class RecordingError(AttestInputError):
    """A recording that cannot serve a prediction."""

    code = "recording"


@dataclass(frozen=True, slots=True)
class FirmwareEvent:
    """One measurement by the firmware; ``digests`` are (hashlib name, digest) pairs."""

    pcr: int
    digests: tuple[tuple[str, bytes], ...]
    what: str


@dataclass(frozen=True, slots=True)
class Firmware:
    """What the firmware measures before it starts the loader, and when the loader leaves boot services."""

    before_loader: tuple[FirmwareEvent, ...]
    after_loader: tuple[FirmwareEvent, ...]
    startup_locality: int


def read(recording: bytes, algorithms: Sequence[str]) -> Firmware:
    """Return the firmware's events in a recording; raises ``RecordingError`` or the log parser's error."""
    log = parse_tcg(recording)
    if log.format is not LogFormat.TCG_AGILE:
        raise RecordingError(f"recording: its format is {log.format}: record a TPM 2.0 (crypto-agile) log")
    loader = _loader_index(log)
    before = [event for event in log.events[:loader] if event.extends]
    if stray := next((event for event in before if event.pcr > LAST_FIRMWARE_PCR), None):
        raise RecordingError(f"recording: event {stray.index}: PCR {stray.pcr} is not the firmware's")
    after = [event for event in log.events[loader + 1 :] if _leaves_boot_services(event)]
    return Firmware(
        tuple(_firmware_event(event, algorithms) for event in before),
        tuple(_firmware_event(event, algorithms) for event in after),
        startup_locality(log),
    )


def _loader_index(log: EventLog) -> int:
    for position, event in enumerate(log.events):
        if event.pcr == PCR_LOADER and event.untrusted_type == _APPLICATION:
            return position
    raise RecordingError(f"recording: no {_APPLICATION} in PCR 4: it ends before a loader starts")


def _leaves_boot_services(event: Event) -> bool:
    return event.pcr == PCR_BOOT_SERVICES and event.untrusted_type == _ACTION


def _firmware_event(event: Event, algorithms: Sequence[str]) -> FirmwareEvent:
    named = {BANKS[alg][0]: digest for alg, digest in event.digests if alg in BANKS}
    if missing := next((name for name in algorithms if name not in named), None):
        raise RecordingError(f"recording: event {event.index}: no {missing} digest; name another bank")
    what = event.untrusted_type
    if what == _ACTION and event.untrusted_data.isascii():
        what += f" {event.untrusted_data.decode()}"
    return FirmwareEvent(event.pcr, tuple((name, named[name]) for name in algorithms), what)
