"""PCR 0-9 of a boot that has not happened: firmware from a recording, loader, GRUB's commands and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attest.predict import authenticode, firmware, grub
from attest.predict.grub import Read
from attest.reference import Component

FIRMWARE_PCRS: Final = range(8)
GRUB_PCRS: Final = (grub.PCR_COMMANDS, grub.PCR_FILES)


@dataclass(frozen=True, slots=True)
class PredictedEvent:
    """One extend that will happen, in order; ``digests`` are (hashlib name, digest) pairs."""

    pcr: int
    digests: tuple[tuple[str, bytes], ...]
    component: Component
    what: str

    def digest(self, algorithm: str) -> bytes:
        """Return the digest for one bank; raises ``KeyError`` for a bank that was not predicted."""
        return dict(self.digests)[algorithm]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted PCR values by bank and number, the events behind them, and what is started."""

    pcrs: Mapping[str, Mapping[int, bytes]]
    events: tuple[PredictedEvent, ...]
    xen: grub.Module
    modules: tuple[grub.Module, ...]


def predict(
    config: bytes,
    read: Read,
    algorithms: Sequence[str],
    *,
    recording: bytes | None = None,
    loader: str | None = None,
) -> Prediction:
    """Predict PCR 0-9 in the banks ``algorithms``; only PCR 8 and 9 without a firmware ``recording``.

    ``config`` is the grub.cfg inside the loader, ``read`` gives files of the boot disk, ``loader`` is the
    path of the EFI application that the firmware starts. Raises ``AttestInputError`` for what is not
    well-formed or cannot be told beforehand, and what ``read`` raises.
    """
    found = grub.run(config, read, algorithms)
    middle = [PredictedEvent(step.pcr, step.digests, step.component, step.what) for step in found.steps]
    if recording is None or loader is None:
        starts, numbers, events = {}, GRUB_PCRS, middle
    else:
        known = firmware.read(recording, algorithms)
        image = authenticode.digests(read(loader), algorithms)
        started = PredictedEvent(
            firmware.PCR_LOADER,
            tuple(image.items()),
            Component.LOADER,
            f"application {loader} (Authenticode)",
        )
        starts, numbers = {0: known.startup_locality}, (*FIRMWARE_PCRS, *GRUB_PCRS)
        events = [*_firmware(known.before_loader), started, *middle, *_firmware(known.after_loader)]
    values = {name: _replay(events, name, numbers, starts) for name in algorithms}
    return Prediction(values, tuple(events), found.xen, found.modules)


def _firmware(events: Iterable[firmware.FirmwareEvent]) -> Iterable[PredictedEvent]:
    return (PredictedEvent(event.pcr, event.digests, Component.FIRMWARE, event.what) for event in events)


def _replay(
    events: Iterable[PredictedEvent], algorithm: str, numbers: Iterable[int], starts: Mapping[int, int]
) -> dict[int, bytes]:
    """Extend (TPM 2.0 Part 1, 17.2): new = H(old ‖ digest); PCR 0 starts with the locality of the start."""
    size = hashlib.new(algorithm).digest_size
    values = {number: starts.get(number, 0).to_bytes(size, "big") for number in numbers}
    for event in events:
        values[event.pcr] = hashlib.new(algorithm, values[event.pcr] + event.digest(algorithm)).digest()
    return values
