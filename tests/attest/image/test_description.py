"""Image descriptions: what is read, and every flaw with its line and column."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from attest.image.description import CommandLines, ImageDescription, ImageDescriptionError, load
from attest.image.xencfg import xencfg
from attest.predict import unified
from tests.attest.predict.build import CONFIGS
from tests.attest.predict.build import unified as built
from tests.schemas import validator

GOOD = """\
schema: shype.image/1
root: boot
xen: xen.efi
options: console=com1 flask=enforcing
kernel: {path: vmlinuz, arguments: console=hvc0 ro}
ramdisk: initrd.img
xsm: xenpolicy
ucode: code.bin
firmware: {recording: ovmf.bin}
"""
OWN = "schema: shype.image/1\nxen: xen.efi\nconfig: xen.cfg\nkernel: {path: vmlinuz}\n"


def test_a_description() -> None:
    parts = (("kernel", "vmlinuz"), ("ramdisk", "initrd.img"), ("xsm", "xenpolicy"), ("ucode", "code.bin"))
    lines = CommandLines("console=com1 flask=enforcing", "console=hvc0 ro")
    assert load(GOOD.encode()) == ImageDescription("boot", "xen.efi", lines, parts, "ovmf.bin")
    validator("image").validate(yaml.safe_load(GOOD))


def test_a_config_of_ones_own() -> None:
    assert load(OWN.encode()) == ImageDescription(".", "xen.efi", "xen.cfg", (("kernel", "vmlinuz"),), None)
    validator("image").validate(yaml.safe_load(OWN))


def test_no_words_for_either() -> None:
    text = 'schema: shype.image/1\nxen: x\noptions: ""\nkernel: {path: k}\n'
    assert load(text.encode()).boot == CommandLines("", "")
    validator("image").validate(yaml.safe_load(text))


def test_the_packed_descriptions() -> None:
    for path in (CONFIGS / "images").glob("*.yaml"):
        load(path.read_bytes())
        validator("image").validate(yaml.safe_load(path.read_text()))


FLAWS = {
    "other_schema": (GOOD.replace("image/1", "image/2"), "schema", 1, 9),
    "no_schema": (GOOD.replace("schema: shype.image/1\n", ""), "missing-key", 1, 1),
    "unknown_key": (GOOD + "dtb: x\n", "unknown-key", 10, 1),
    "key_twice": (GOOD + "xsm: other\n", "duplicate-key", 10, 1),
    "no_xen": (GOOD.replace("xen: xen.efi\n", ""), "missing-key", 1, 1),
    "no_kernel": ("schema: shype.image/1\nxen: xen.efi\noptions: x\n", "missing-key", 1, 1),
    "kernel_is_a_path": (OWN.replace("{path: vmlinuz}", "vmlinuz"), "wrong-type", 4, 9),
    "kernel_without_path": (GOOD.replace("path: vmlinuz, ", ""), "missing-key", 5, 9),
    "no_options": (GOOD.replace("options: console=com1 flask=enforcing\n", ""), "missing-key", 1, 1),
    "options_and_config": (OWN + "options: x\n", "unknown-key", 5, 10),
    "arguments_and_config": (OWN.replace("vmlinuz}", "vmlinuz, arguments: ro}"), "unknown-key", 4, 36),
    "newline_in_options": (GOOD.replace("console=com1 flask=enforcing", r'"a\nb"'), "bad-value", 4, 10),
    "tab_in_options": (GOOD.replace("console=com1 flask=enforcing", '"a\\tb"'), "bad-value", 4, 10),
    "escape_in_options": (GOOD.replace("console=com1 flask=enforcing", '"a\\eb"'), "bad-value", 4, 10),
    "zero_in_options": (GOOD.replace("console=com1 flask=enforcing", '"a\\0"'), "bad-value", 4, 10),
    "not_ascii_in_options": (GOOD.replace("console=com1", "console=é"), "bad-value", 4, 10),
    "comment_in_options": (GOOD.replace("console=com1", "a#b"), "bad-value", 4, 10),
    "blank_before_options": (GOOD.replace("console=com1 flask=enforcing", '" a"'), "bad-value", 4, 10),
    "blank_after_options": (GOOD.replace("console=com1 flask=enforcing", '"a "'), "bad-value", 4, 10),
    "options_too_long": (GOOD.replace("console=com1", "a" * 1010), "bad-value", 4, 10),
    "options_are_a_number": (GOOD.replace("console=com1 flask=enforcing", "1"), "not-a-string", 4, 10),
    "options_are_a_list": (GOOD.replace("console=com1 flask=enforcing", "[a]"), "wrong-type", 4, 10),
    "newline_in_arguments": (GOOD.replace("console=hvc0 ro", '"a\\nb"'), "bad-value", 5, 36),
    "comment_in_arguments": (GOOD.replace("console=hvc0 ro", "a#b"), "bad-value", 5, 36),
    "control_in_a_path": (GOOD.replace("initrd.img", '"a\\nb"'), "bad-value", 6, 10),
    "empty_path": (GOOD.replace("initrd.img", '""'), "bad-value", 6, 10),
    "no_path": (GOOD.replace("initrd.img", ""), "not-a-string", 6, 9),
    "path_too_long": (GOOD.replace("initrd.img", "a" * 1025), "bad-value", 6, 10),
    "firmware_without_recording": (GOOD.replace("{recording: ovmf.bin}", "{}"), "missing-key", 9, 11),
    "firmware_has_a_loader": (GOOD.replace("ovmf.bin}", "ovmf.bin, loader: x}"), "unknown-key", 9, 33),
    "a_list": ("- a\n", "wrong-type", 1, 1),
    "empty": ("", "empty", 1, 1),
    "not_yaml": ("{", "syntax", 2, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_has_its_place(name: str) -> None:
    text, code, line, column = FLAWS[name]
    with pytest.raises(ImageDescriptionError) as caught:
        load(text.encode())
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)
    assert f":{line}:{column}: " in str(caught.value)
    assert str(caught.value).isprintable()


words = st.text(st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="#"))


@given(words.map(str.strip), words.map(str.strip))
def test_xen_reads_the_command_lines_as_they_were_written(options: str, arguments: str) -> None:
    config = xencfg(CommandLines(options, arguments), ["kernel", "ramdisk"])
    found = unified.read(built(config, kernel=b"k", ramdisk=b"r"))
    assert (found.xen_arguments, found.dom0_arguments) == (options, arguments)


@pytest.mark.parametrize("lost", ["kernel", "ramdisk", "xsm", "ucode"])
def test_a_written_config_names_every_part(lost: str) -> None:
    """An image that lost a section afterwards would read it from the disk: a reader can tell."""
    names = ["kernel", "ramdisk", "xsm", "ucode"]
    config = xencfg(CommandLines("", ""), names)
    with pytest.raises(unified.UnifiedImageError, match=f"names '{lost}'"):
        unified.read(built(config, **{name: b"x" for name in names if name != lost}))
