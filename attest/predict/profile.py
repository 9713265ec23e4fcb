"""PCR profiles: which files a host boots from, as a YAML file that anyone can write.

The format is described in docs/profiles.md and ``configs/schema/pcr-profile.schema.json``::

    schema: shype.pcr-profile/1
    name: embedded
    banks: [sha256]                    # default; the first one is the main one
    root: ../boot                      # the boot disk's folder, default: where the profile is
    firmware:                          # without it only PCR 8 and 9 are predicted
      recording: ../recordings/ovmf-2022.11-q35.bin
      loader: EFI/BOOT/BOOTX64.EFI     # or instead of both: values: rack7.pcrs, as tpm2_pcrread prints them
    grub: {config: grub.cfg, disk: hd0, memdisk: [boot/grub/grub.cfg]}    # or: unified: {image: xen.efi}
    hypervisor: {version: "4.17.7", xsm_module: none, xsm_mode: none}
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from acm import fields, yamltree
from acm.errors import PolicyFileError
from acm.yamltree import Mark, Node, flaw
from attest.errors import PositionedInputError
from attest.predict.grub import Loader

SCHEMA: Final = "shype.pcr-profile/1"
BANKS: Final = ("sha1", "sha256", "sha384", "sha512")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PATH: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1024}")
_DISK: Final = re.compile(r"[a-z0-9][a-z0-9,-]{0,63}")
_WORD: Final = re.compile(r"[\x21-\x7e]{1,128}")


class ProfileError(PositionedInputError):
    """A profile that is not well-formed."""


@dataclass(frozen=True, slots=True)
class FirmwareSource:
    """The firmware's part: ``recording`` is relative to the profile, ``loader`` to the root.

    ``loader`` is None for a unified image, which the firmware starts itself.
    """

    recording: str
    loader: str | None


@dataclass(frozen=True, slots=True)
class FirmwareValues:
    """PCR 0-7 as the machine had them, loader included: a file of values, relative to the profile."""

    values: str


@dataclass(frozen=True, slots=True)
class GrubSource:
    """Xen started by GRUB: ``config`` is a copy of the grub.cfg inside the loader, relative to the root."""

    config: str
    loader: Loader


@dataclass(frozen=True, slots=True)
class UnifiedSource:
    """Xen started by the firmware, with all its parts in one ``image``, relative to the root.

    ``section`` is the part of its config that boots: the second word of the boot
    entry's options, if any; the first one stands for the program.
    """

    image: str
    section: str | None = None


@dataclass(frozen=True, slots=True)
class HypervisorSource:
    """What the hypervisor will report beside its command line; ``version`` None where any will do."""

    version: str | None = None
    xsm_module: str = "none"
    xsm_mode: str = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """A PCR profile as it was read; no path in it has been looked at.

    ``root`` is the boot disk's folder, relative to the profile.
    """

    name: str
    banks: tuple[str, ...]
    root: str
    firmware: FirmwareSource | FirmwareValues | None
    boot: GrubSource | UnifiedSource
    hypervisor: HypervisorSource


def load(data: bytes) -> Profile:
    """Read a profile of at most 4 MiB; raises ``ProfileError`` with code, line and column."""
    try:
        return _profile(yamltree.read(data, "profile"))
    except PolicyFileError as error:
        raise ProfileError(error.code, str(error), line=error.line, column=error.column) from None


def _profile(root: Node) -> Profile:
    keys = ("schema", "name", "banks", "root", "firmware", "grub", "unified", "hypervisor")
    top = fields.fields(root, keys)
    if fields.text(fields.required(top, "schema", root.at)) != SCHEMA:
        raise flaw("schema", f"schema must be {SCHEMA}", top["schema"].at)
    boot = _unified(top, root.at) if "unified" in top else _grub(fields.required(top, "grub", root.at))
    return Profile(
        name=_matching(top, "name", _NAME, root.at),
        banks=_banks(top["banks"]) if "banks" in top else ("sha256",),
        root=_matching(top, "root", _PATH, root.at, default="."),
        firmware=_firmware(top["firmware"], boot) if "firmware" in top else None,
        boot=boot,
        hypervisor=_hypervisor(top["hypervisor"]) if "hypervisor" in top else HypervisorSource(),
    )


def _grub(node: Node) -> GrubSource:
    found = fields.fields(node, ("config", "disk", "memdisk"))
    disk = _matching(found, "disk", _DISK, node.at) if "disk" in found else None
    memdisk = frozenset(_memdisk(found["memdisk"])) if "memdisk" in found else None
    return GrubSource(_matching(found, "config", _PATH, node.at), Loader(disk, memdisk))


def _memdisk(node: Node) -> Iterator[str]:
    for each in fields.items(node):
        path = fields.text(each)
        if not _PATH.fullmatch(path) or path.startswith("/"):
            raise flaw("bad-value", "a file of the memdisk is named without a leading '/'", each.at)
        yield path


def _unified(top: Mapping[str, Node], at: Mark) -> UnifiedSource:
    if "grub" in top:
        raise flaw("unknown-key", "'grub' and 'unified' exclude each other", top["grub"].at)
    if "firmware" not in top:
        raise flaw("missing-key", "'unified' needs 'firmware': the image is measured in PCR 4", at)
    found = fields.fields(top["unified"], ("image", "section"))
    section = _matching(found, "section", _WORD, at) if "section" in found else None
    return UnifiedSource(_matching(found, "image", _PATH, top["unified"].at), section)


def _firmware(node: Node, boot: GrubSource | UnifiedSource) -> FirmwareSource | FirmwareValues:
    found = fields.fields(node, ("recording", "loader", "values"))
    if "values" in found:
        if others := [each for name, each in found.items() if name != "values"]:
            raise flaw("unknown-key", "'values' stands alone: the loader is in them", others[0].at)
        if isinstance(boot, UnifiedSource):
            raise flaw("unknown-key", "PCR 4 follows from the image: name a recording", found["values"].at)
        return FirmwareValues(_matching(found, "values", _PATH, node.at))
    recording = _matching(found, "recording", _PATH, node.at)
    if isinstance(boot, GrubSource):
        return FirmwareSource(recording, _matching(found, "loader", _PATH, node.at))
    if "loader" in found:
        raise flaw("unknown-key", "a unified image has no loader: leave it out", found["loader"].at)
    return FirmwareSource(recording, None)


def _hypervisor(node: Node) -> HypervisorSource:
    found = fields.fields(node, ("version", "xsm_module", "xsm_mode"))
    return HypervisorSource(
        _matching(found, "version", _WORD, node.at) if "version" in found else None,
        _matching(found, "xsm_module", _WORD, node.at, default="none"),
        _matching(found, "xsm_mode", _WORD, node.at, default="none"),
    )


def _banks(node: Node) -> tuple[str, ...]:
    found: list[str] = []
    for each in fields.items(node):
        name = fields.text(each)
        if name not in BANKS or name in found:
            raise flaw("bank", f"a bank is one of {', '.join(BANKS)}, named once", each.at)
        found.append(name)
    if not found:
        raise flaw("bank", "name at least one bank, the main one first", node.at)
    return tuple(found)


def _matching(
    entries: Mapping[str, Node], key: str, pattern: re.Pattern[str], at: Mark, *, default: str | None = None
) -> str:
    if key not in entries and default is not None:
        return default
    node = fields.required(entries, key, at)
    value = fields.text(node)
    if not pattern.fullmatch(value):
        raise flaw("bad-value", f"'{key}' must match {pattern.pattern}", node.at)
    return value
