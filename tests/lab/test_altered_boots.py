"""Boots that are not what the reference values say, each with the reasons that name what is other."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab import bootdisk, variants
from tests.lab.bench import Bench, refused
from tests.lab.conftest import Shelf
from tests.lab.machine import Tpm
from tests.lab.parts import SHYPE, Parts
from tests.lab.test_a_good_host import NONCE
from tests.lab.variants import FLASK, LAB, LOADER, PCRS, UNIFIED

pytestmark = [pytest.mark.lab, pytest.mark.heavy]
SCRIPT = (LAB / "flask.grub.cfg").read_text()


@pytest.fixture(scope="module")
def bench(parts: Parts, work: Path, tpm: Tpm, prepared: Shelf) -> Bench:
    prepared["flask"]  # skips where the lab has no FLASK: all of these boots need it
    return Bench(parts, work, tpm, prepared)


@pytest.mark.smoke
def test_flask_permissive_on_the_command_line(bench: Bench) -> None:
    config = SCRIPT.replace("flask=enforcing", "flask=permissive")
    folder = variants.boot_folder(FLASK, bench.parts, bench.work / "permissive-boot", config=config)
    judged, read, _ = bench.judge("flask-permissive", "flask", folder)
    refused(judged)
    assert "boot-commands-not-in-reference" in judged.codes
    assert "hypervisor-report-unlike-reference" in judged.reasons["xen"]
    predicted = bench.prepared["flask"].reference.pcrs
    assert {pcr for pcr in PCRS if read[pcr] != predicted[pcr]} == {4, 8}  # the script is inside the loader


@pytest.mark.parametrize("what", ["xenpolicy", "vmlinuz"])
def test_another_policy_module_or_kernel(bench: Bench, what: str) -> None:
    other = bench.parts.hypervisor.other_policy if what == "xenpolicy" else bench.parts.kernel
    assert other is not None
    content = other.read_bytes() + (b"\0" * 512 if what == "vmlinuz" else b"")
    folder = variants.boot_folder(FLASK, bench.parts, bench.work / f"{what}-boot", changed={what: content})
    judged, read, _ = bench.judge(f"another-{what}", "flask", folder)
    refused(judged)
    assert "boot-files-not-in-reference" in judged.codes
    predicted = bench.prepared["flask"].reference.pcrs
    assert {pcr for pcr in PCRS if read[pcr] != predicted[pcr]} == {9}


def test_a_ramdisk_with_one_more_file_and_a_quote_of_before_the_reboot(bench: Bench) -> None:
    changed = {"initrd.img": bench.parts.other_ramdisk()}
    folder = variants.boot_folder(FLASK, bench.parts, bench.work / "ramdisk-boot", changed=changed)
    judged, _, host = bench.judge("one-more-file", "flask", folder)
    refused(judged)
    assert "boot-files-not-in-reference" in judged.codes
    old = bench.work / "old-evidence.json"
    if not old.is_file():
        pytest.skip("the boot that leaves old evidence was not run")
    again = host.verify_file(old, NONCE, bench.prepared["flask"].reference)
    assert again.exit == 3, again.details
    assert "clock-back" in again.codes


def test_an_image_without_its_policy_reads_another_file_from_the_disk(bench: Bench) -> None:
    """Such an image is refused by builder and prediction; booted all the same, its PCR 4 is another one."""
    build, folder = bench.work / "bare-parts", bench.work / "bare-boot"
    bootdisk.lay(build, variants.files(UNIFIED, bench.parts))
    text = (LAB / "unified.image.yaml").read_text()
    lacking = build / "lacking.yaml"
    lacking.write_text(text.replace("xsm: xenpolicy\n", ""))
    folder.mkdir()
    variants.build_image(lacking, build, bench.parts, folder / LOADER)
    image = (folder / LOADER).read_bytes()
    other = bench.parts.hypervisor.other_policy
    assert other is not None
    (folder / LOADER).write_bytes(naming_a_policy(image))
    (folder / "EFI" / "BOOT" / "xenpolicy").write_bytes(other.read_bytes())
    shown = subprocess.run(
        [SHYPE, "image", "show", folder / LOADER], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 3, shown.stdout + shown.stderr
    assert "xsm" in shown.stderr
    judged, read, _ = bench.judge("policy-from-the-disk", "unified", folder)
    refused(judged)
    assert "loader-not-in-reference" in judged.codes
    assert read[4] != bench.prepared["unified"].reference.pcrs[4]


def naming_a_policy(image: bytes) -> bytes:
    """Have the config inside an image name a policy that no section holds: the length stays the same."""
    old, new = b"ucode=no-scan noreboot flask=enforcing\n", b"flask=enforcing\nxsm=xenpolicy\n"
    assert image.count(old) == 1
    return image.replace(old, new + b"#" * (len(old) - len(new) - 1) + b"\n")
