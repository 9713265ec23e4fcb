"""``shype pcrs``: exit codes, documents and messages."""

from __future__ import annotations

import hashlib
import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attest.reference import ReferenceValues
from tests.attest.predict.build import CONFIGS, FILES, write
from tests.schemas import validator

if TYPE_CHECKING:
    from tests.shype.outcome import Outcome, Shype

PROFILE = f"""\
schema: shype.pcr-profile/1
name: rack7
root: disk
firmware:
  recording: {CONFIGS}/recordings/ovmf-2022.11-q35.bin
  loader: EFI/BOOT/BOOTX64.EFI
grub: {{config: grub.cfg}}
"""

DOMAIN = """\
name = "web"
type = "pv"
kernel = "guest/vmlinuz"
ramdisk = "guest/initrd"
memory = 64
disk = ["format=raw,vdev=xvda,access=rw,target=%s"]
access_control = ["policy=datacenter,label=cola-web"]
"""


@pytest.fixture
def shype(shype_command: Shype) -> Shype:
    return partial(shype_command, "pcrs")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    write(tmp_path / "disk")
    (tmp_path / "rack7.yaml").write_text(PROFILE)
    return tmp_path / "rack7.yaml"


def one_line(outcome: Outcome, exit_code: int, *parts: str) -> None:
    assert outcome.exit == exit_code
    assert outcome.err.count("\n") == 1
    assert all(part in outcome.err for part in parts), outcome.err


def test_the_document_fits_its_schema(shype: Shype, profile: Path) -> None:
    found = shype("predict", profile, "--json")
    assert found.exit == 0
    validator("pcrs-predict").validate(found.document)
    assert sorted(found.document["pcrs"]["sha256"]) == [str(pcr) for pcr in range(10)]


def test_the_events_replay_to_the_values(shype: Shype, profile: Path) -> None:
    document = shype("--json", "predict", profile).document
    for pcr, value in document["pcrs"]["sha256"].items():
        state = bytes(32)
        for event in document["events"]:
            if str(event["pcr"]) == pcr:
                state = hashlib.sha256(state + bytes.fromhex(event["digest"])).digest()
        assert state.hex() == value


def test_the_text_has_every_value(shype: Shype, profile: Path) -> None:
    values = shype("predict", profile, "--json").document["pcrs"]["sha256"]
    text = shype("predict", profile).out
    assert all(f"sha256 PCR {pcr} {value}\n" in text for pcr, value in values.items())


def with_values(profile: Path, values: dict[str, str], *, less: int | None = None) -> Path:
    """The same boot, with what a machine had in PCR 0-7 in the place of its recording."""
    lines = [f"    {pcr:<2}: 0x{values[str(pcr)].upper()}" for pcr in range(8) if pcr != less]
    (profile.parent / "rack7.pcrs").write_text("\n".join(["  sha256:", *lines, ""]))
    text = PROFILE.replace(
        PROFILE[PROFILE.index("  recording") : PROFILE.index("grub:")], "  values: rack7.pcrs\n"
    )
    made = profile.with_name("values.yaml")
    made.write_text(text)
    return made


def test_the_firmware_s_part_may_come_as_values(shype: Shype, profile: Path) -> None:
    recorded = shype("predict", profile, "--json").document
    found = shype("predict", with_values(profile, recorded["pcrs"]["sha256"]), "--json").document
    validator("pcrs-predict").validate(found)
    assert found["pcrs"] == recorded["pcrs"]
    assert {event["pcr"] for event in found["events"]} == {8, 9}, "no event is known behind a value"


def test_reference_values_are_made_of_values_too(shype: Shype, profile: Path, tmp_path: Path) -> None:
    made = with_values(profile, shype("predict", profile, "--json").document["pcrs"]["sha256"])
    assert shype("reference", made, "-o", tmp_path / "reference.json").exit == 0
    assert set(ReferenceValues.decode((tmp_path / "reference.json").read_bytes()).pcrs) == set(range(10))


def test_a_register_that_the_values_lack_is_named(shype: Shype, profile: Path) -> None:
    made = with_values(profile, shype("predict", profile, "--json").document["pcrs"]["sha256"], less=3)
    one_line(shype("predict", made), 3, "no sha256 value for PCR 3", "tpm2_pcrread")
    (profile.parent / "rack7.pcrs").write_text("no values")
    one_line(shype("predict", made), 3, "line 1")
    (profile.parent / "rack7.pcrs").unlink()
    one_line(shype("predict", made), 2, "rack7.pcrs")


def test_root_replaces_the_profile_s(shype: Shype, profile: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", {**FILES, "xen.gz": b"other"})
    inside, replaced = (
        shype("predict", profile, "--json", *arguments).document for arguments in ([], ["--root", other])
    )
    assert inside["pcrs"]["sha256"]["8"] == replaced["pcrs"]["sha256"]["8"]
    assert inside["pcrs"]["sha256"]["9"] != replaced["pcrs"]["sha256"]["9"]


def test_the_packed_profile_is_found_by_its_name(shype: Shype, tmp_path: Path) -> None:
    found = shype("predict", "embedded", "--root", write(tmp_path / "disk"), "--json")
    assert (found.exit, found.document["profile"]) == (0, "embedded")
    one_line(shype("predict", "embedded"), 2, "--root DIR")


def test_a_profile_without_firmware_predicts_grub_s_registers(shype: Shype, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "p.yaml").write_text("schema: shype.pcr-profile/1\nname: p\ngrub: {config: grub.cfg}\n")
    document = shype("predict", tmp_path / "p.yaml", "--json").document
    validator("pcrs-predict").validate(document)
    assert sorted(document["pcrs"]["sha256"]) == ["8", "9"]


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_boot_file_is_named(shype: Shype, profile: Path, name: str) -> None:
    (profile.parent / "disk" / name).unlink()
    one_line(shype("predict", profile, "--json"), 2, name, "No such file")


def test_a_missing_file_is_named_with_the_line_that_opens_it(shype: Shype, profile: Path) -> None:
    script = profile.parent / "disk" / "grub.cfg"
    lines = script.read_text().replace("/vmlinuz", "/vmlinuz-6.1").split("\n")
    script.write_text("\n".join(lines))
    number = next(row for row, line in enumerate(lines, 1) if "/vmlinuz-6.1" in line)
    one_line(
        shype("predict", profile),
        2,
        f"vmlinuz-6.1: No such file or directory (grub.cfg: line {number} opens it)",
    )


@pytest.mark.parametrize("name", ["none.yaml", "nobody"])
def test_a_missing_profile_is_named(shype: Shype, name: str) -> None:
    one_line(shype("predict", name), 2, name)


def test_a_missing_recording_is_named(shype: Shype, profile: Path) -> None:
    profile.write_text(PROFILE.replace("ovmf-2022.11-q35.bin", "none.bin"))
    one_line(shype("predict", profile), 2, "none.bin")


def test_a_broken_profile_is_refused_with_its_place(shype: Shype, profile: Path) -> None:
    profile.write_text(PROFILE + "extra: x\n")
    one_line(shype("predict", profile), 3, "profile:8:1:", "extra")


def test_a_script_with_a_branch_is_refused_with_its_line(shype: Shype, profile: Path) -> None:
    (profile.parent / "disk/grub.cfg").write_bytes(b"set a=1\nif [ $a = 1 ]; then boot; fi\n")
    one_line(shype("predict", profile), 3, "grub.cfg: line 2:")


def test_a_broken_loader_is_refused(shype: Shype, profile: Path) -> None:
    (profile.parent / "disk/EFI/BOOT/BOOTX64.EFI").write_bytes(b"MZ")
    one_line(shype("predict", profile), 3, "PE image: byte")


def test_a_link_out_of_the_disk_is_refused(shype: Shype, profile: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (profile.parent / "disk/xen.gz").unlink()
    (profile.parent / "disk/xen.gz").symlink_to(tmp_path / "secret")
    one_line(shype("predict", profile), 2, "out of the boot folder")


def test_a_circle_of_links_a_pipe_and_a_folder_are_refused(shype: Shype, profile: Path) -> None:
    xen = profile.parent / "disk/xen.gz"
    xen.unlink()
    xen.symlink_to("xen.gz")
    one_line(shype("predict", profile), 2, "xen.gz")
    xen.unlink()
    os.mkfifo(xen)
    one_line(shype("predict", profile), 2, "not a regular file")
    xen.unlink()
    xen.mkdir()
    one_line(shype("predict", profile), 2, "xen.gz")


def guest(folder: Path, target: str = "uuid:7d9e3b52-7c3c-4a53-9d0e-000000000001") -> Path:
    write(folder, {"guest/vmlinuz": b"guest kernel", "guest/initrd": b"guest ramdisk"})
    (folder / "web.cfg").write_text(DOMAIN % target)
    return folder / "web.cfg"


def test_reference_values_are_written(shype: Shype, profile: Path, tmp_path: Path) -> None:
    config, output = guest(tmp_path), tmp_path / "reference.json"
    found = shype("reference", profile, "--domain", config, "--issue", 3, "-o", output, "--json")
    assert found.exit == 0
    validator("pcrs-reference").validate(found.document)
    raw = output.read_bytes()
    validator("reference").validate(json.loads(raw))
    values = ReferenceValues.decode(raw)
    web = values.domain("web")
    assert (found.document["sha256"], values.version) == (hashlib.sha256(raw).hexdigest(), 3)
    assert web is not None
    assert web.label == "cola-web"
    assert web.config_digest == hashlib.sha256(config.read_bytes()).hexdigest()
    assert web.kernel == hashlib.sha256(b"guest kernel").hexdigest()
    assert web.ramdisk == hashlib.sha256(b"guest ramdisk").hexdigest()
    assert web.disks == ("xvda rw uuid:7d9e3b52-7c3c-4a53-9d0e-000000000001",)
    assert values.hypervisor.commandline == "placeholder console=com1"
    assert list(tmp_path.glob(".reference.json.*")) == []


def test_the_same_domain_twice_is_refused_and_nothing_written(
    shype: Shype, profile: Path, tmp_path: Path
) -> None:
    config, output = guest(tmp_path), tmp_path / "reference.json"
    one_line(
        shype("reference", profile, "--domain", config, "--domain", config, "-o", output), 3, "same name"
    )
    assert not output.exists()


def test_a_disk_by_path_needs_the_host_description(shype: Shype, profile: Path, tmp_path: Path) -> None:
    config = guest(tmp_path, "/dev/vg0/web")
    output = tmp_path / "reference.json"
    one_line(shype("reference", profile, "--domain", config, "-o", output), 2, "/dev/vg0/web", "--host")


def test_a_missing_guest_kernel_is_named(shype: Shype, profile: Path, tmp_path: Path) -> None:
    config = guest(tmp_path)
    (tmp_path / "guest/vmlinuz").unlink()
    one_line(shype("reference", profile, "--domain", config, "-o", tmp_path / "r"), 2, "vmlinuz")


@pytest.mark.parametrize("issue", ["-1", "x", "9" * 16, "²"])
def test_a_wrong_issue_number_is_wrong_usage(shype: Shype, profile: Path, issue: str) -> None:
    one_line(shype("reference", profile, f"--issue={issue}", "-o", "x"), 2, "--issue")


def test_the_loader_s_script_is_the_packed_profile_s() -> None:
    """What tools/boot-files puts into the loader can be predicted."""
    from attest.predict.grub import run
    from tests.attest.predict.build import reader

    found = run((CONFIGS / "profiles/embedded.grub.cfg").read_bytes(), reader(), ["sha256"])
    assert found.xen.path == "/xen.gz"
    assert [module.path for module in found.modules] == ["/vmlinuz", "/initrd.img"]
