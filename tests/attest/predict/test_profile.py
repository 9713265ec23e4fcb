"""PCR profiles: what is read, and every refusal with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.predict.grub import Loader
from attest.predict.profile import (
    FirmwareSource,
    FirmwareValues,
    GrubSource,
    HypervisorSource,
    ProfileError,
    UnifiedSource,
    load,
)

FULL = b"""\
schema: shype.pcr-profile/1
name: rack7
banks: [sha384, sha256]
root: boot
firmware: {recording: log.bin, loader: EFI/BOOT/BOOTX64.EFI}
grub: {config: grub.cfg, disk: "hd0,gpt1", memdisk: [boot/grub/grub.cfg]}
hypervisor:
  version: "4.17"
  xsm_module: flask
  xsm_mode: enforcing
"""
UNIFIED = b"""\
schema: shype.pcr-profile/1
name: one
firmware: {recording: log.bin}
unified: {image: EFI/BOOT/BOOTX64.EFI, section: lab}
"""
SMALL = b"schema: shype.pcr-profile/1\nname: small\ngrub: {config: grub.cfg}\n"


@pytest.fixture(scope="module")
def schema(repository: Path) -> Any:
    return json.loads((repository / "configs/schema/pcr-profile.schema.json").read_text())


def test_every_field_is_read() -> None:
    profile = load(FULL)
    assert (profile.name, profile.banks, profile.root) == ("rack7", ("sha384", "sha256"), "boot")
    assert profile.boot == GrubSource("grub.cfg", Loader("hd0,gpt1", frozenset({"boot/grub/grub.cfg"})))
    assert profile.firmware == FirmwareSource("log.bin", "EFI/BOOT/BOOTX64.EFI")
    assert profile.hypervisor == HypervisorSource("4.17", "flask", "enforcing")


def test_what_may_be_left_out() -> None:
    profile = load(SMALL)
    assert (profile.banks, profile.root, profile.firmware) == (("sha256",), ".", None)
    assert profile.hypervisor == HypervisorSource(None, "none", "none")
    assert profile.boot == GrubSource("grub.cfg", Loader())


def test_a_unified_image_takes_grub_s_place() -> None:
    profile = load(UNIFIED)
    assert profile.boot == UnifiedSource("EFI/BOOT/BOOTX64.EFI", "lab")
    assert profile.firmware == FirmwareSource("log.bin", None)
    assert load(UNIFIED.replace(b", section: lab", b"")).boot == UnifiedSource("EFI/BOOT/BOOTX64.EFI", None)


VALUES = SMALL + b"firmware: {values: rack7.pcrs}\n"


def test_the_firmware_s_part_as_values() -> None:
    assert load(VALUES).firmware == FirmwareValues("rack7.pcrs")


@pytest.mark.parametrize("data", [FULL, SMALL, UNIFIED, VALUES])
def test_the_schema_takes_what_the_program_takes(schema: Any, data: bytes) -> None:
    jsonschema.validate(yaml.safe_load(data), schema)


def test_the_packed_profile_fits_schema_and_program(schema: Any, repository: Path) -> None:
    for file in (repository / "configs/profiles").glob("*.yaml"):
        load(file.read_bytes())
        jsonschema.validate(yaml.safe_load(file.read_bytes()), schema)


@pytest.mark.parametrize(
    ("data", "place", "code"),
    [
        (b"", (1, 1), "empty"),
        (b"- a\n", (1, 1), "wrong-type"),
        (SMALL.replace(b"profile/1", b"profile/2"), (1, 9), "schema"),
        (SMALL.replace(b"name: small\n", b""), (1, 1), "missing-key"),
        (SMALL.replace(b"grub: {config: grub.cfg}\n", b""), (1, 1), "missing-key"),
        (SMALL.replace(b"small", b"[a]"), (2, 7), "wrong-type"),
        (SMALL.replace(b"small", b"../small"), (2, 7), "bad-value"),
        (SMALL + b"kernel: x\n", (4, 1), "unknown-key"),
        (SMALL + b"name: again\n", (4, 1), "duplicate-key"),
        (SMALL + b"banks: sha256\n", (4, 8), "wrong-type"),
        (SMALL + b"banks: []\n", (4, 8), "bank"),
        (SMALL + b"banks: [md5]\n", (4, 9), "bank"),
        (SMALL + b"banks: [sha256, sha256]\n", (4, 17), "bank"),
        (SMALL + b"firmware: {recording: x}\n", (4, 11), "missing-key"),
        (SMALL + b"firmware: {}\n", (4, 11), "missing-key"),
        (SMALL + b"firmware: {values: x, loader: y}\n", (4, 31), "unknown-key"),
        (SMALL + b"firmware: {values: x, recording: y}\n", (4, 34), "unknown-key"),
        (UNIFIED.replace(b"recording: log.bin", b"values: x"), (3, 20), "unknown-key"),
        (SMALL + b"hypervisor: {version: 4.17}\n", (4, 23), "not-a-string"),
        (SMALL.replace(b"grub.cfg", b"grub.cfg, disk: (hd0)"), (3, 32), "bad-value"),
        (SMALL.replace(b"grub.cfg", b"grub.cfg, memdisk: x"), (3, 35), "wrong-type"),
        (SMALL.replace(b"grub.cfg", b"grub.cfg, memdisk: [/x]"), (3, 36), "bad-value"),
        (UNIFIED + b"grub: {config: grub.cfg}\n", (5, 7), "unknown-key"),
        (UNIFIED.replace(b"log.bin", b"log.bin, loader: x"), (3, 40), "unknown-key"),
        (UNIFIED.replace(b"firmware: {recording: log.bin}\n", b""), (1, 1), "missing-key"),
        (UNIFIED.replace(b"section", b"sections"), (4, 40), "unknown-key"),
        (SMALL + b"root: &a x\n", (4, 7), "anchor"),
        (SMALL + b"root: !!str x\n", (4, 7), "tag"),
        (SMALL + b"root: 'x\n", (5, 1), "syntax"),
        (SMALL + b"root: \xff\n", (4, 7), "not-utf-8"),
    ],
)
def test_a_broken_profile_is_refused_with_line_and_column(
    data: bytes, place: tuple[int, int], code: str
) -> None:
    with pytest.raises(ProfileError) as caught:
        load(data)
    assert ((caught.value.line, caught.value.column), caught.value.code) == (place, code)
    assert f"profile:{place[0]}:{place[1]}: " in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.integers(0, len(FULL)))
def test_any_bytes_give_a_profile_or_an_input_error(noise: bytes, place: int) -> None:
    for data in (noise, FULL[:place] + noise + FULL[place:]):
        try:
            load(data)
        except AttestInputError:
            continue
