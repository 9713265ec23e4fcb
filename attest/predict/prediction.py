"""PCR 0-9 of a boot that has not happened: firmware as recorded, then GRUB or a unified Xen image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from attest.errors import AttestInputError
from attest.predict import authenticode, firmware, grub, unified
from attest.predict.measuring import PCR_COMMANDS, PCR_FILES, Module, Read
from attest.reference import Component

FIRMWARE_PCRS: Final = range(8)
GRUB_PCRS: Final = (PCR_COMMANDS, PCR_FILES)


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
    xen: Module
    modules: tuple[Module, ...]


def predict(
    config: bytes,
    read: Read,
    algorithms: Sequence[str],
    *,
    recording: bytes | None = None,
    loader: str | None = None,
    inside: grub.Loader | None = None,
) -> Prediction:
    """Predict PCR 0-9 of a boot by GRUB, in the banks ``algorithms``; only PCR 8 and 9 with no ``recording``.

    ``config`` is the grub.cfg inside the loader, ``read`` gives files of the boot disk, ``loader`` is the
    path of the EFI application that the firmware starts, ``inside`` what is known of it. Raises
    ``AttestInputError`` for what is not well-formed or cannot be told beforehand, and what ``read`` raises.
    """
    found = grub.run(config, read, algorithms, inside)
    steps = [PredictedEvent(step.pcr, step.digests, step.component, step.what) for step in found.steps]
    if recording is None or loader is None:
        return Prediction(_values(steps, algorithms, GRUB_PCRS), tuple(steps), found.xen, found.modules)
    started = _application(read(loader), loader, Component.LOADER, algorithms)
    events, values = _with_firmware(recording, [started, *steps], algorithms)
    return Prediction(values, events, found.xen, found.modules)


def with_firmware_values(
    found: Prediction, values: Mapping[str, Mapping[int, bytes]], algorithms: Sequence[str]
) -> Prediction:
    """Return a prediction of PCR 8 and 9 with PCR 0-7 as a machine had them; no events are known for these.

    Raises ``AttestInputError`` where a bank or a register is missing.
    """
    pcrs: dict[str, Mapping[int, bytes]] = {}
    for bank in algorithms:
        known = values.get(bank, {})
        if missing := [pcr for pcr in FIRMWARE_PCRS if pcr not in known]:
            what = (
                f"firmware values: no {bank} value for PCR {missing[0]}: tpm2_pcrread {bank}:0,1,2,3,4,5,6,7"
            )
            raise AttestInputError(what, code="firmware-values")
        pcrs[bank] = {**{pcr: known[pcr] for pcr in FIRMWARE_PCRS}, **found.pcrs[bank]}
    return replace(found, pcrs=pcrs)


def predict_unified(
    image: bytes, path: str, algorithms: Sequence[str], recording: bytes, *, section: str | None = None
) -> Prediction:
    """Predict PCR 0-9 of a boot from a unified Xen image that the firmware starts from ``path``.

    PCR 8 and 9 stay zero. ``section`` is the part of the image's config that boots. Raises
    ``AttestInputError``.
    """
    found = unified.read(image, section)
    started = _application(image, path, Component.XEN, algorithms)
    events, values = _with_firmware(recording, [started], algorithms)
    dom0, *others = (Module(name, "") for name, _ in found.parts)
    modules = (replace(dom0, arguments=found.dom0_arguments), *others)
    return Prediction(values, events, Module(path, found.xen_arguments), modules)


def _application(image: bytes, path: str, component: Component, algorithms: Sequence[str]) -> PredictedEvent:
    digests = tuple(authenticode.digests(image, algorithms).items())
    return PredictedEvent(firmware.PCR_LOADER, digests, component, f"application {path} (Authenticode)")


def _with_firmware(
    recording: bytes, middle: Sequence[PredictedEvent], algorithms: Sequence[str]
) -> tuple[tuple[PredictedEvent, ...], dict[str, dict[int, bytes]]]:
    known = firmware.read(recording, algorithms)
    events = (*_firmware(known.before_loader), *middle, *_firmware(known.after_loader))
    numbers = (*FIRMWARE_PCRS, *GRUB_PCRS)
    return events, _values(events, algorithms, numbers, known.startup_locality)


def _firmware(events: Iterable[firmware.FirmwareEvent]) -> Iterable[PredictedEvent]:
    return (PredictedEvent(event.pcr, event.digests, Component.FIRMWARE, event.what) for event in events)


def _values(
    events: Sequence[PredictedEvent], algorithms: Sequence[str], numbers: Sequence[int], locality: int = 0
) -> dict[str, dict[int, bytes]]:
    return {name: _replay(events, name, numbers, locality) for name in algorithms}


def _replay(
    events: Sequence[PredictedEvent], algorithm: str, numbers: Sequence[int], locality: int
) -> dict[int, bytes]:
    """Extend (TPM 2.0 Part 1, 17.2): new = H(old ‖ digest); PCR 0 starts with the locality of the start."""
    size = hashlib.new(algorithm).digest_size
    values = {number: (0 if number else locality).to_bytes(size, "big") for number in numbers}
    for event in events:
        values[event.pcr] = hashlib.new(algorithm, values[event.pcr] + event.digest(algorithm)).digest()
    return values
