"""The firmware of the embedded host: what a recorded machine measured, with the loader that is there now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from typing import Final

from attest.boot.errors import BootError
from attest.boot.image import image_digests
from attest.boot.measured import EV_EFI_ACTION, EV_EFI_BOOT_SERVICES_APPLICATION, Measured
from attest.boot.recording import play

_LOADER_PCR: Final = 4
_LEAVING_PCR: Final = 5
_LAST_PCR: Final = 7


@dataclass(frozen=True, slots=True)
class Firmware:
    """The measurements before GRUB runs (its image is the last of them) and when it leaves boot services."""

    power_on: tuple[Measured, ...]
    leave: tuple[Measured, ...]


def firmware(recording: bytes, loader: bytes, banks: Sequence[str]) -> Firmware:
    """Play ``recording`` up to the loader's start, and measure ``loader`` in the recorded one's place."""
    events = play(recording, banks)
    start = next((at for at, event in enumerate(events) if _starts_loader(event)), None)
    if start is None or any(event.pcr > _LAST_PCR for event in events[:start]):
        raise BootError("recording: the firmware starts no loader", code="boot-recording")
    data = _load_event(events[start].data, len(loader))
    image = Measured(_LOADER_PCR, EV_EFI_BOOT_SERVICES_APPLICATION, image_digests(loader, banks), data)
    leave = (each for each in events[start + 1 :] if (each.pcr, each.type) == (_LEAVING_PCR, EV_EFI_ACTION))
    return Firmware((*events[:start], image), tuple(leave))


def _starts_loader(event: Measured) -> bool:
    return (event.pcr, event.type) == (_LOADER_PCR, EV_EFI_BOOT_SERVICES_APPLICATION)


def _load_event(recorded: bytes, size: int) -> bytes:
    """Layout (UEFI_IMAGE_LOAD_EVENT, TCG PFP 10.2.3): u64 address, length, link address, path size; path."""
    if len(recorded) < 32:  # noqa: PLR2004 - four u64
        raise BootError("recording: the loader's event is cut short", code="boot-recording")
    return recorded[:8] + pack("<Q", size) + recorded[16:]
