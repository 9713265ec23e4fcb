"""``shype image``: what is written, what is said of it, and what is refused."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import pytest

from attest.image.append import Part, append
from attest.predict.unified import CLOSED
from tests.attest.image.xenefi import BUILD_ID, OPTIONAL, Sec, XenEfi
from tests.attest.predict.build import CONFIGS, Image, code_view
from tests.schemas import validator
from tests.shype.outcome import Outcome, Shype

RECORDING = CONFIGS / "recordings" / "ovmf-2022.11-q35.bin"
HOST = f"""\
schema: shype.image/1
root: parts
xen: xen.efi
options: console=com1 flask=enforcing
kernel: {{path: vmlinuz, arguments: console=hvc0 ro}}
ramdisk: initrd.img
xsm: xenpolicy
ucode: code.bin
firmware: {{recording: {RECORDING}}}
"""
OWN = f"""\
schema: shype.image/1
root: parts
xen: xen.efi
config: xen.cfg
kernel: {{path: vmlinuz}}
firmware: {{recording: {RECORDING}}}
"""
CONFIG = b"[global]\ndefault=a\n[a]\noptions=console=com1\nkernel=k ro\n[b]\noptions=loglvl=all\nkernel=k\n"
PARTS = {
    "xen.efi": XenEfi().build(),
    "vmlinuz": b"kernel" * 500,
    "initrd.img": b"ramdisk" * 300,
    "xenpolicy": b"policy",
    "code.bin": b"code",
    "xen.cfg": CONFIG,
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir()
    for name, content in PARTS.items():
        (tmp_path / "parts" / name).write_bytes(content)
    (tmp_path / "host.yaml").write_text(HOST)
    return tmp_path / "host.yaml"


@pytest.fixture
def own(host: Path) -> Path:
    host.write_text(OWN)
    return host


@pytest.fixture
def made(host: Path, shype_command: Shype) -> tuple[Path, Any]:
    image = host.with_name("xen-unified.efi")
    outcome = shype_command("image", "build", host, "-o", image, "--json")
    assert (outcome.exit, outcome.err) == (0, "")
    return image, outcome.document


def refused(outcome: Outcome, code: int, *parts: str) -> None:
    assert outcome.exit == code, outcome
    assert all(part in outcome.line for part in parts), outcome.line


def test_what_is_said_of_the_image(made: tuple[Path, Any]) -> None:
    image, document = made
    validator("image-build").validate(document)
    assert document["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert document["size"] == image.stat().st_size
    assert document["xen_commandline"] == "console=com1 flask=enforcing"
    assert document["dom0_commandline"] == "console=hvc0 ro"
    assert document["build_id"] == BUILD_ID.hex()
    assert document["signed"] is False
    names = {"vmlinuz": ".kernel", "initrd.img": ".ramdisk", "xenpolicy": ".xsm", "code.bin": ".ucode"}
    held = {each["name"]: (each["size"], each["sha256"]) for each in document["sections"]}
    for name, section in names.items():
        assert held[section] == (len(PARTS[name]), hashlib.sha256(PARTS[name]).hexdigest())
    assert [each["code"] for each in document["not_covered"]] == ["load-options"]


def test_pcr_4_is_two_firmware_events_and_the_image(made: tuple[Path, Any]) -> None:
    """facts/xen-lab.md, 11; a boot of such an image in QEMU read this value (docs/image.md)."""
    value = bytes(32)
    for content in (b"Calling EFI Application from Boot Option", bytes(4)):
        value = hashlib.sha256(value + hashlib.sha256(content).digest()).digest()
    digest = bytes.fromhex(made[1]["authenticode"]["sha256"])
    assert made[1]["pcrs"] == {"sha256": {"4": hashlib.sha256(value + digest).hexdigest()}}


def test_a_prediction_from_a_profile_says_the_same(made: tuple[Path, Any], shype_command: Shype) -> None:
    image, document = made
    profile = image.with_name("profile.yaml")
    profile.write_text(
        f"schema: shype.pcr-profile/1\nname: lab\nfirmware: {{recording: {RECORDING}}}\n"
        f"unified: {{image: {image.name}}}\n"
    )
    found = shype_command("pcrs", "predict", profile, "--json").document
    assert found["pcrs"]["sha256"]["4"] == document["pcrs"]["sha256"]["4"]
    assert found["xen_commandline"] == document["xen_commandline"]


def test_show_says_what_build_said(made: tuple[Path, Any], shype_command: Shype) -> None:
    image, document = made
    shown = shype_command("image", "show", image, "--recording", RECORDING, "--json")
    validator("image-show").validate(shown.document)
    assert shown.document == document
    without = shype_command("image", "show", image, "--json").document
    assert without == {**document, "pcrs": {}}
    assert "name a recording" in shype_command("image", "show", image).out


def test_show_tells_a_signed_image(made: tuple[Path, Any], shype_command: Shype) -> None:
    image, document = made
    raw = bytearray(image.read_bytes())
    struct.pack_into("<II", raw, OPTIONAL + 144, len(raw), 16)
    image.write_bytes(raw + bytes(16))
    shown = shype_command("image", "show", image, "--json").document
    assert (shown["signed"], shown["authenticode"]) == (True, document["authenticode"])


def test_the_same_parts_give_the_same_image(made: tuple[Path, Any], host: Path, shype_command: Shype) -> None:
    image, _ = made
    assert shype_command("image", "build", host, "-o", host.with_name("again.efi")).exit == 0
    assert host.with_name("again.efi").read_bytes() == image.read_bytes()


def test_the_parts_folder_can_be_named(made: tuple[Path, Any], host: Path, shype_command: Shype) -> None:
    image, _ = made
    (host.parent / "parts").rename(host.parent / "elsewhere")
    again = host.with_name("again.efi")
    assert shype_command("image", "build", host, "--root", host.parent / "elsewhere", "-o", again).exit == 0
    assert again.read_bytes() == image.read_bytes()


def test_without_a_recording_no_pcr_4_is_told(host: Path, shype_command: Shype) -> None:
    host.write_text(HOST.partition("firmware")[0])
    outcome = shype_command("image", "build", host, "-o", host.with_name("made.efi"), "--json")
    assert (outcome.exit, outcome.document["pcrs"]) == (0, {})


def test_a_config_of_ones_own_with_two_sections(own: Path, shype_command: Shype) -> None:
    outcome = shype_command("image", "build", own, "-o", own.with_name("made.efi"), "--json")
    assert outcome.exit == 0
    assert outcome.document["xen_commandline"] == "console=com1"
    assert outcome.document["sections"][0]["sha256"] == hashlib.sha256(CONFIG).hexdigest()


UNMEASURED = {
    "a_ramdisk_beside_the_image": (CONFIG.replace(b"[b]", b"ramdisk=initrd.img\n[b]"), "'ramdisk'"),
    "a_policy_beside_the_image": (CONFIG.replace(b"[b]", b"xsm=xenpolicy\n[b]"), "'xsm'"),
    "microcode_beside_the_image": (CONFIG.replace(b"[a]", b"ucode=code.bin\n[a]"), "'ucode'"),
    "a_ramdisk_for_another_boot_entry": (CONFIG + b"ramdisk=initrd.img\n", "[b]"),
    "a_chain": (b"[global]\nchain=other.cfg\n", "chain"),
    "a_chain_for_a_section_that_is_not_there": (CONFIG.replace(b"[a]", b"chain=other.cfg\n[a]"), "'chain'"),
    "two_headings_in_one": (CONFIG.replace(b"[b]", b"[b]c]"), "like [name]"),
    "many_headings": (CONFIG + b"[x]\n" * 70, "at most 64"),
    "no_newline_at_the_end": (CONFIG.rstrip(), "newline"),
    "not_ascii": (CONFIG + b"\xff\n", "plain text"),
    "too_large": (CONFIG + b"#" * 70_000 + b"\n", "plain text"),
    "nothing": (b"", "its file is empty"),
}


@pytest.mark.parametrize("name", UNMEASURED)
def test_a_config_that_would_read_something_unmeasured(name: str, own: Path, shype_command: Shype) -> None:
    config, words = UNMEASURED[name]
    (own.parent / "parts" / "xen.cfg").write_bytes(config)
    refused(shype_command("image", "build", own, "-o", own.with_name("made.efi")), 3, words)
    assert sorted(path.name for path in own.parent.iterdir()) == ["host.yaml", "parts"]


def test_a_boot_entry_s_section_that_reads_from_the_disk_is_shown(own: Path, shype_command: Shype) -> None:
    """An image of another maker: its default boot is measured, [b] is not."""
    image = own.with_name("other.efi")
    config = CONFIG + b"ramdisk=initrd.img\n"
    image.write_bytes(append(PARTS["xen.efi"], [Part("config", config), Part("kernel", b"k")]))
    found = shype_command("image", "show", image, "--json")
    assert found.exit == 0
    validator("image-show").validate(found.document)
    assert [each["code"] for each in found.document["not_covered"]] == ["load-options", "config-section"]
    assert "[b]" in found.document["not_covered"][1]["detail"]


def test_an_image_that_ignores_the_words_of_a_boot_entry_leaves_none_uncovered(
    host: Path, shype_command: Shype
) -> None:
    closed = XenEfi(extra=(Sec(b".init", 0x800000, CLOSED),)).build()
    (host.parent / "parts" / "xen.efi").write_bytes(closed)
    found = shype_command("image", "build", host, "-o", host.with_name("closed.efi"), "--json")
    assert found.exit == 0, found.err
    assert found.document["not_covered"] == []


@pytest.mark.parametrize(("length", "code"), [(1022, 0), (1023, 3)])
def test_options_that_a_boot_entry_could_be_hidden_behind(
    host: Path, shype_command: Shype, length: int, code: int
) -> None:
    """Xen obeys all of its command line, and reports 1023 characters of it."""
    host.write_text(HOST.replace("console=com1 flask=enforcing", "x" * length))
    assert shype_command("image", "build", host, "-o", host.with_name("made.efi")).exit == code


@pytest.mark.parametrize("name", ["xen.efi", "vmlinuz", "initrd.img", "xenpolicy", "code.bin"])
def test_a_part_that_is_missing(name: str, host: Path, shype_command: Shype) -> None:
    (host.parent / "parts" / name).unlink()
    refused(shype_command("image", "build", host, "-o", host.with_name("made.efi")), 2, name)


@pytest.mark.parametrize("name", ["vmlinuz", "initrd.img", "xenpolicy", "code.bin"])
def test_a_part_that_is_empty(name: str, host: Path, shype_command: Shype) -> None:
    (host.parent / "parts" / name).write_bytes(b"")
    refused(shype_command("image", "build", host, "-o", host.with_name("made.efi")), 3, "its file is empty")


def test_a_part_outside_the_root(host: Path, shype_command: Shype) -> None:
    host.write_text(HOST.replace("initrd.img", "../host.yaml"))
    refused(shype_command("image", "build", host, "-o", host.with_name("made.efi")), 2, "leads out of")


def test_a_flaw_in_the_description(host: Path, shype_command: Shype) -> None:
    host.write_text(HOST.replace("console=com1 flask=enforcing", '"a # b"'))
    refused(shype_command("image", "build", host, "-o", host.with_name("made.efi")), 3, ":4:10:", "'#'")


@pytest.mark.parametrize(
    ("xen", "words"),
    [
        (PARTS["xen.efi"][:-20], "ends inside a section"),
        (b"\x1f\x8b" + bytes(100), "xen-….efi"),
        (append(PARTS["xen.efi"], [Part("config", CONFIG)]), ".config already"),
        (XenEfi(certificates=(2000, 8)).build(), "signed"),
    ],
)
def test_an_image_that_is_not_xen_s_own(xen: bytes, words: str, host: Path, shype_command: Shype) -> None:
    (host.parent / "parts" / "xen.efi").write_bytes(xen)
    refused(shype_command("image", "build", host, "-o", host.with_name("made.efi")), 3, words)


def test_a_refusal_leaves_the_old_image(made: tuple[Path, Any], host: Path, shype_command: Shype) -> None:
    image, _ = made
    before = image.read_bytes()
    (host.parent / "parts" / "vmlinuz").write_bytes(b"")
    assert shype_command("image", "build", host, "-o", image).exit == 3
    assert image.read_bytes() == before
    assert sorted(path.name for path in host.parent.iterdir()) == ["host.yaml", "parts", "xen-unified.efi"]


def test_show_refuses_xen_alone(host: Path, shype_command: Shype) -> None:
    refused(shype_command("image", "show", host.parent / "parts" / "xen.efi"), 3, "no .config")
    refused(shype_command("image", "show", host), 3, "MZ")
    refused(shype_command("image", "show", host.parent / "nowhere"), 2, "nowhere")


def test_show_refuses_an_image_that_lost_its_ramdisk(host: Path, shype_command: Shype) -> None:
    config = b"[global]\ndefault=a\n[a]\nkernel=k\nramdisk=r\n"
    lost = Image(
        sections=(config, b"k", code_view()), names=(b".config", b".kernel", b".buildid"), headers=1024
    )
    host.with_name("lost.efi").write_bytes(lost.build())
    refused(shype_command("image", "show", host.with_name("lost.efi")), 3, "names 'ramdisk'")


def test_a_packed_description_over_debian_s_files(
    boot_files: Path, tmp_path: Path, shype_command: Shype
) -> None:
    if not (boot_files / "xen.efi").is_file():
        pytest.skip(f"{boot_files} has no xen.efi: make boot-files")
    image = tmp_path / "xen-unified.efi"
    outcome = shype_command("image", "build", "debian", "--root", boot_files, "-o", image, "--json")
    assert (outcome.exit, outcome.err) == (0, "")
    assert len(outcome.document["build_id"]) == 32
    assert outcome.document["xen_commandline"].startswith("console=com1")
