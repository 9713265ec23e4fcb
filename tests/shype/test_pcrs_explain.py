"""``shype pcrs explain``: two boot folders, a profile and a TPM's values, reference values, evidence."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.attest.predict.build import CONFIG, FILES, unified, write
from tests.schemas import validator
from tests.shype.test_pcrs_cli import PROFILE
from tests.simulators.host import GOOD_BOOT, Host

if TYPE_CHECKING:
    from tests.shype.outcome import Shype

UNIFIED = PROFILE.replace("  loader: EFI/BOOT/BOOTX64.EFI\n", "").replace(
    "grub: {config: grub.cfg}", "unified: {image: EFI/BOOT/BOOTX64.EFI}"
)


@pytest.fixture
def shype(shype_command: Shype) -> Shype:
    return partial(shype_command, "pcrs")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write(tmp_path / "disk")
    (tmp_path / "rack7.yaml").write_text(PROFILE)
    return tmp_path / "rack7.yaml"


@pytest.fixture
def update(tmp_path: Path) -> Path:
    """The boot folder after an update of kernel and grub.cfg."""
    new = {"vmlinuz": b"new kernel", "grub.cfg": CONFIG.replace(b"ro quiet", b"ro quiet splash")}
    return write(tmp_path / "update", {**FILES, **new})


def test_an_update_is_explained_before_the_reboot(shype: Shype, profile: Path, update: Path) -> None:
    found = shype("explain", profile, profile, "--root-b", update, "--json")
    assert found.exit == 1
    validator("pcrs-explain").validate(found.document)
    assert found.document["equal"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert found.document["summary"] == (
        "this update changes PCR 8 and 9 because in the command 'module2 /vmlinuz placeholder ro quiet' "
        "'splash' is new; in the arguments 'placeholder ro quiet' 'splash' is new; /vmlinuz differs"
    )
    text = shype("explain", profile, profile, "--root-b", update).out
    assert "PCR 9 (files that GRUB opens):\n  /vmlinuz differs [dom0]\n" in text
    assert "equal: PCR 0-7 (sha256)\n" in text


def test_two_equal_boots_exit_0(shype: Shype, profile: Path) -> None:
    found = shype("explain", profile, profile, "--json")
    assert (found.exit, found.document["differences"]) == (0, [])
    validator("pcrs-explain").validate(found.document)
    assert shype("explain", profile, profile).out == "nothing changes: PCR 0-9 equal\n"


def test_a_saved_prediction_is_compared_with_the_profile(shype: Shype, profile: Path, update: Path) -> None:
    saved = profile.with_name("before.json")
    saved.write_text(shype("predict", profile, "--json").out)
    assert shype("explain", saved, profile).exit == 0
    found = shype("explain", saved, profile, "--root-b", update, "--json").document
    assert found["a"] == {"name": "rack7", "origin": "prediction"}
    assert [each["pcr"] for each in found["differences"]] == [8, 9]


def test_reference_values_are_compared_with_what_tpm2_pcrread_prints(
    shype: Shype, profile: Path, update: Path, tmp_path: Path
) -> None:
    shype("reference", profile, "-o", tmp_path / "reference.json")
    values = shype("predict", profile, "--root", update, "--json").document["pcrs"]["sha256"]
    lines = [f"    {pcr:<2}: 0x{value.upper()}" for pcr, value in values.items() if pcr in {"0", "9"}]
    (tmp_path / "read").write_text("\n".join(["  sha256:", *lines, ""]))
    found = shype("explain", tmp_path / "reference.json", tmp_path / "read", "--json")
    validator("pcrs-explain").validate(found.document)
    assert (found.exit, found.document["b"]) == (1, {"name": "read", "origin": "pcrread"})
    (difference,) = found.document["differences"]
    assert difference["pcr"] == 9
    assert difference["changes"][0]["kind"] == "unknown"
    assert "/vmlinuz" in difference["changes"][0]["detail"]
    assert [each["pcr"] for each in found.document["not_compared"]] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_grub_and_a_unified_image_are_told_apart(shype: Shype, profile: Path) -> None:
    image = profile.with_name("one.yaml")
    image.write_text(UNIFIED)
    (profile.parent / "one").mkdir()
    disk = write(profile.parent / "one", {"EFI/BOOT/BOOTX64.EFI": unified()})
    found = shype("explain", profile, image, "--root-b", disk, "--json").document
    details = {each["pcr"]: each["changes"][0]["detail"] for each in found["differences"]}
    assert details == {
        4: "EFI/BOOT/BOOTX64.EFI differs",
        8: "PCR 8 was never extended in B",
        9: "PCR 9 was never extended in B",
    }


def test_a_unified_image_is_predicted_and_referenced(shype: Shype, profile: Path, tmp_path: Path) -> None:
    profile.write_text(UNIFIED)
    write(profile.parent / "disk", {"EFI/BOOT/BOOTX64.EFI": unified()})
    found = shype("predict", profile, "--json").document
    validator("pcrs-predict").validate(found)
    assert (found["pcrs"]["sha256"]["8"], found["xen_commandline"]) == (
        "00" * 32,
        "console=com1 flask=enforcing",
    )
    assert shype("reference", profile, "-o", tmp_path / "reference.json").exit == 0
    reference = json.loads((tmp_path / "reference.json").read_text())
    assert reference["hypervisor"]["build_id"] == bytes(range(16)).hex()
    assert reference["hypervisor"]["commandline"] == "console=com1 flask=enforcing"


def test_an_image_with_a_part_outside_is_refused(shype: Shype, profile: Path) -> None:
    profile.write_text(UNIFIED)
    write(profile.parent / "disk", {"EFI/BOOT/BOOTX64.EFI": unified(kernel=b"kernel")})
    found = shype("predict", profile)
    assert (found.exit, found.err.count("\n")) == (3, 1)
    assert "names 'ramdisk'" in found.err


def test_evidence_with_a_log_names_the_file(shype: Shype, tmp_path: Path) -> None:
    host = Host.serving(boot=GOOD_BOOT.replaced(b"initrd", b"other"))
    (tmp_path / "evidence.json").write_bytes(host.evidence().encode())
    (tmp_path / "reference.json").write_bytes(host.reference().encode())
    found = shype("explain", tmp_path / "reference.json", tmp_path / "evidence.json", "--json")
    validator("pcrs-explain").validate(found.document)
    assert (found.exit, found.document["b"]) == (1, {"name": host.name, "origin": "evidence"})
    (difference,) = found.document["differences"]
    (change,) = difference["changes"]
    assert (difference["pcr"], change["kind"], change["a"], change["component"]) == (
        9,
        "changed",
        "file initrd.img",
        "dom0",
    )


def test_evidence_without_a_log_names_the_candidates(shype: Shype, tmp_path: Path) -> None:
    host = Host.serving(boot=GOOD_BOOT.replaced(b"initrd", b"other"), show_firmware_log=False)
    (tmp_path / "evidence.json").write_bytes(host.evidence().encode())
    (tmp_path / "reference.json").write_bytes(host.reference().encode())
    found = shype("explain", tmp_path / "reference.json", tmp_path / "evidence.json")
    assert found.exit == 1
    assert "which one is not known: xen.gz, vmlinuz, initrd.img" in found.out


@pytest.mark.parametrize(
    ("content", "exit_code", "part"),
    [
        (b"", 3, "PCR values"),
        (b"{", 3, "PCR values"),
        (b"{}", 3, "prediction"),
        (b'{"schema":"shype.evidence/1"}', 3, "evidence"),
        (b'{"schema":"shype.reference/1"}', 3, "reference values"),
        (b"schema: shype.pcr-profile/1\n", 3, "profile:1:1"),
        (b"  sha1:\n    0 : 0x" + b"00" * 20, 2, "nothing to compare"),
        (b"\xff\xfe", 3, "PCR values"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    shype: Shype, profile: Path, content: bytes, exit_code: int, part: str
) -> None:
    (profile.parent / "other").write_bytes(content)
    for arguments in ((profile, profile.parent / "other"), (profile.parent / "other", profile)):
        found = shype("explain", *arguments, "--json")
        assert (found.exit, found.err.count("\n")) == (exit_code, 1)
        assert part in found.err
        validator("error").validate(found.document)


def test_a_missing_side_is_named(shype: Shype, profile: Path) -> None:
    found = shype("explain", profile, "nobody")
    assert (found.exit, "nobody" in found.err) == (2, True)
