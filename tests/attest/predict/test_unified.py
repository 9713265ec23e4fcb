"""The unified xen.efi: what it boots, PCR 4, and images that would read something from the disk."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.errors import AttestInputError
from attest.predict import unified
from attest.predict.authenticode import digests
from attest.predict.pe import ImageError
from attest.predict.prediction import predict_unified
from attest.predict.unified import UnifiedImage, UnifiedImageError
from attest.reference import Component
from tests.attest.predict.build import RECORDING, XEN_CFG, Image
from tests.attest.predict.build import unified as build

PATH = "EFI/BOOT/BOOTX64.EFI"


def test_what_an_image_boots() -> None:
    found = unified.read(build())
    parts = ((".kernel", b"kernel"), (".ramdisk", b"ramdisk"))
    assert found == UnifiedImage("console=com1 flask=enforcing", "console=hvc0 ro", parts)


def test_pcr_4_is_two_firmware_events_and_the_image() -> None:
    """Facts 11; booted with Debian's xen-4.17-amd64.efi on 2026-11-23: PCR 0-9 were as predicted."""
    found = predict_unified(build(), PATH, ["sha256"], RECORDING)
    value = bytes(32)
    for content in (b"Calling EFI Application from Boot Option", bytes(4)):
        value = hashlib.sha256(value + hashlib.sha256(content).digest()).digest()
    image = digests(build(), ["sha256"])["sha256"]
    assert found.pcrs["sha256"][4] == hashlib.sha256(value + image).digest()
    assert found.pcrs["sha256"][8] == found.pcrs["sha256"][9] == bytes(32)
    assert [event.what for event in found.events if event.component is Component.XEN] == [
        f"application {PATH} (Authenticode)"
    ]


def test_what_is_started_is_named() -> None:
    found = predict_unified(build(), PATH, ["sha256"], RECORDING)
    assert (found.xen.path, found.xen.arguments) == (PATH, "console=com1 flask=enforcing")
    assert [(each.path, each.arguments) for each in found.modules] == [
        (".kernel", "console=hvc0 ro"),
        (".ramdisk", ""),
    ]


@pytest.mark.parametrize(
    "other",
    [
        build(kernel=b"kernel", ramdisk=b"other"),
        build(kernel=b"other", ramdisk=b"ramdisk"),
        build(XEN_CFG.replace(b"enforcing", b"permissive")),
        build(kernel=b"kernel", ramdisk=b"ramdisk", xsm=b"policy"),
    ],
)
def test_every_part_moves_pcr_4(other: bytes) -> None:
    good, bad = (
        predict_unified(image, PATH, ["sha256"], RECORDING).pcrs["sha256"] for image in (build(), other)
    )
    assert {pcr for pcr in good if good[pcr] != bad[pcr]} == {4}


@pytest.mark.parametrize("part", ["kernel", "ramdisk", "xsm", "ucode"])
def test_a_part_that_the_config_names_must_be_inside(part: str) -> None:
    """Xen would read it from the disk, and PCR 0-7 would not tell (facts/xen-lab.md, 11)."""
    config = XEN_CFG + b"xsm=policy\nucode=code\n"
    everything = {"kernel": b"k", "ramdisk": b"r", "xsm": b"x", "ucode": b"u"}
    assert len(unified.read(build(config, **everything)).parts) == 4
    del everything[part]
    with pytest.raises(UnifiedImageError, match=f"names '{part}'") as caught:
        unified.read(build(config, **everything))
    assert caught.value.code == "unified-part"


def test_microcode_that_the_global_section_names_must_be_inside() -> None:
    with pytest.raises(UnifiedImageError, match="names 'ucode'"):
        unified.read(build(XEN_CFG.replace(b"[lab]", b"ucode=code\n[lab]")))


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (Image(sections=(b"k",), names=(b".kernel",)).build(), "no .config"),
        (build(XEN_CFG, ramdisk=b"r"), "names 'kernel'"),
        (build(b"[global]\ndefault=lab\n[lab]\noptions=x\n", ramdisk=b"r"), "no .kernel"),
        (build(b"[global]\nchain=other.cfg\n"), "chains"),
        (build(XEN_CFG.rstrip()), "newline"),
        (build(XEN_CFG + b"# \xc3\xa9\n"), "plain text"),
        (build(XEN_CFG + b"\x00\n"), "plain text"),
        (build(b"# " + b"x" * 70_000 + b"\n"), "plain text"),
        (Image(sections=(XEN_CFG, b"k", b"k"), names=(b".config", b".kernel", b".kernel")).build(), "two"),
    ],
)
def test_an_image_whose_boot_cannot_be_told_is_refused(image: bytes, match: str) -> None:
    with pytest.raises(UnifiedImageError, match=match):
        unified.read(image)


def test_a_section_that_is_longer_in_memory_is_refused() -> None:
    raw = bytearray(build())
    place = raw.index(b".kernel\0") + 8
    raw[place : place + 4] = (4096).to_bytes(4, "little")
    with pytest.raises(UnifiedImageError, match="fewer bytes"):
        unified.read(bytes(raw))


def test_a_broken_image_is_refused() -> None:
    with pytest.raises(ImageError, match="byte"):
        unified.read(b"MZ")


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (b"[global]\ndefault=b\n[a]\noptions=1\nkernel=k\n[b]\noptions=2\nkernel=k\n", "2"),
        (b"[b]\noptions=1\nkernel=k\n[global]\ndefault=b\n[b]\noptions=2\n", "1"),
        (b"options=1\nkernel=k\n", "1"),
        (b"[x]\noptions=1\nkernel=k\n", "1"),
        (b"[global]\ndefault=none\n[x]\noptions=1\n", ""),
        (b"  options=  1 2  # three\nkernel=k\n", "1 2  "),
        (b"; options=0\n#options=0\n\toptions=1\tkernel=k\r\noptions=2\n", "1"),
        (b"optionsx=0\noptions =0\noptions=a=b\nkernel=k\n", "a=b"),
    ],
)
def test_the_command_line_is_the_one_that_xen_takes(config: bytes, options: str) -> None:
    assert unified.read(build(config)).xen_arguments == options


def test_a_boot_entry_can_name_another_part_of_the_config() -> None:
    config = XEN_CFG + b"[debug]\noptions=loglvl=all\nkernel=vmlinuz\n"
    assert unified.read(build(config), "debug").xen_arguments == "loglvl=all"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 1500), st.integers(0, 60))
def test_an_altered_image_is_read_or_refused(noise: bytes, place: int, skip: int) -> None:
    raw = build()
    with contextlib.suppress(AttestInputError):
        unified.read(raw[:place] + noise + raw[place + skip :])


def test_an_image_that_ignores_load_options_has_the_words_for_it_in_its_own_code() -> None:
    words = b"code" + unified.CLOSED
    assert unified.ignores_load_options(build(kernel=b"kernel", text=words))
    assert not unified.ignores_load_options(build())
    for part in ("ramdisk", "xsm", "ucode"):  # these can say anything
        assert not unified.ignores_load_options(build(kernel=words, **{part: words}))


def test_an_image_that_ignores_load_options_has_no_other_section_that_boots() -> None:
    config = XEN_CFG + b"[debug]\nkernel=vmlinuz\noptions=loglvl=all\n"
    words = {"kernel": b"kernel", "ramdisk": b"ramdisk", "text": unified.CLOSED}
    assert unified.read(build(config, **words)).xen_arguments == "console=com1 flask=enforcing"
    with pytest.raises(UnifiedImageError, match="ignores"):
        unified.read(build(config, **words), "debug")
