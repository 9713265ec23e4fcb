"""Whole predictions: the recording against the PCRs its machine showed, and prediction against measuring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from attest.boot.multiboot2 import BootResult, boot
from attest.errors import AttestInputError
from attest.eventlog.replay import replay
from attest.eventlog.tcg import parse_tcg
from attest.predict.authenticode import digests
from attest.predict.firmware import RecordingError
from attest.predict.prediction import Prediction, predict
from attest.reference import Component
from tests.attest.predict.build import CONFIG, CONFIGS, FILES, RECORDING, Image, reader
from vtpm.tpm2.constants import Alg

LOADER = "EFI/BOOT/BOOTX64.EFI"
BANKS = ("sha256", "sha1", "sha384")


def predicted(files: Mapping[str, bytes] = FILES, recording: bytes = RECORDING) -> Prediction:
    return predict(files["grub.cfg"], reader(files), BANKS, recording=recording, loader=LOADER)


def booted(files: Mapping[str, bytes] = FILES) -> BootResult:
    return boot(RECORDING, reader(files), BANKS)


def values(log: bytes, bank: str) -> dict[int, bytes]:
    found = replay(parse_tcg(log), Alg.from_name(bank))
    return {pcr: found[pcr] for pcr in range(10)}


@pytest.fixture(scope="module")
def recorded() -> Any:
    about = json.loads((CONFIGS / "recordings" / "ovmf-2022.11-q35.json").read_text())
    assert about["sha256"] == hashlib.sha256(RECORDING).hexdigest()
    return about


@pytest.mark.parametrize("bank", BANKS)
def test_the_recording_replays_to_the_pcrs_that_its_machine_showed(recorded: Any, bank: str) -> None:
    found = {str(pcr): value.hex() for pcr, value in values(RECORDING, bank).items()}
    assert found == recorded["pcrs"][bank]


@pytest.mark.parametrize("bank", BANKS)
def test_the_firmware_s_registers_are_those_of_the_recorded_machine(recorded: Any, bank: str) -> None:
    found = predicted().pcrs[bank]
    for pcr in (0, 1, 2, 3, 5, 6, 7):
        assert found[pcr].hex() == recorded["pcrs"][bank][str(pcr)]


def test_pcr_4_is_two_firmware_events_and_the_loader() -> None:
    value = bytes(32)
    for content in (b"Calling EFI Application from Boot Option", bytes(4)):
        value = hashlib.sha256(value + hashlib.sha256(content).digest()).digest()
    image = digests(FILES[LOADER], ["sha256"])["sha256"]
    assert predicted().pcrs["sha256"][4] == hashlib.sha256(value + image).digest()


@pytest.mark.parametrize("bank", BANKS)
def test_what_is_measured_is_what_was_predicted(bank: str) -> None:
    assert values(booted().event_log, bank) == predicted().pcrs[bank]


def test_event_by_event_both_sides_agree() -> None:
    measured = [(event.pcr, event.digests["sha256"]) for event in booted().measurements]
    assert measured == [(event.pcr, event.digest("sha256")) for event in predicted().events]


@pytest.mark.parametrize(
    ("name", "content", "pcrs", "component"),
    [
        (LOADER, Image(sections=(b"other loader",)).build(), {4}, Component.LOADER),
        ("xen.gz", b"other xen", {9}, Component.XEN),
        ("vmlinuz", b"other kernel", {9}, Component.DOM0),
        ("initrd.img", b"other ramdisk", {9}, Component.DOM0),
        ("grub.cfg", CONFIG.replace(b"console=com1", b"console=com1 flask=permissive"), {8}, Component.XEN),
        ("grub.cfg", CONFIG.replace(b"quiet", b"init=/bin/sh"), {8}, Component.DOM0),
        ("grub.cfg", b"echo more\n" + CONFIG, {8}, Component.LOADER),
    ],
)
def test_every_boot_file_moves_its_register_and_names_its_component(
    name: str, content: bytes, pcrs: set[int], component: Component
) -> None:
    good, other = predicted(), predicted({**FILES, name: content})
    changed = {pcr for pcr in range(10) if good.pcrs["sha256"][pcr] != other.pcrs["sha256"][pcr]}
    assert changed == pcrs
    assert values(booted({**FILES, name: content}).event_log, "sha256") == other.pcrs["sha256"]
    known = {(event.pcr, event.digests) for event in good.events}
    assert {event.component for event in other.events if (event.pcr, event.digests) not in known} == {
        component
    }


def test_without_firmware_only_grub_s_registers_are_predicted() -> None:
    found = predict(CONFIG, reader(), ["sha256"])
    assert set(found.pcrs["sha256"]) == {8, 9}
    assert found.pcrs["sha256"][8] == predicted().pcrs["sha256"][8]


@pytest.mark.parametrize(
    ("recording", "match"),
    [
        (b"", "event log"),
        (RECORDING[:-1], "event log"),
        (RECORDING[: RECORDING.index(b"Calling EFI")], "event log"),
    ],
)
def test_a_broken_recording_is_refused(recording: bytes, match: str) -> None:
    with pytest.raises(AttestInputError, match=match):
        predicted(recording=recording)


def test_a_bank_that_was_not_recorded_is_refused() -> None:
    with pytest.raises(RecordingError, match="sha512"):
        predict(CONFIG, reader(), ["sha512"], recording=RECORDING, loader=LOADER)


def test_a_recording_without_a_loader_is_refused() -> None:
    header = 32 + int.from_bytes(RECORDING[28:32], "little")
    with pytest.raises(RecordingError, match="before a loader starts"):
        predicted(recording=RECORDING[:header])
