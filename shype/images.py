"""Unified Xen images: made of a host's parts, and looked at: what they boot, what their digest leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attest.image.append import Part, append
from attest.image.description import CommandLines, ImageDescription, load
from attest.image.xencfg import xencfg
from attest.predict import authenticode, unified, xen_image
from attest.predict.pe import layout
from attest.predict.prediction import predict_unified
from attest.predict.unified import UnifiedImage, UnifiedImageError
from shype import packaged
from shype.bootfiles import MAX_FILE, MAX_PROFILE, BootDisk
from shype.files import read_regular

BANK: Final = "sha256"
_LOADER_PCR: Final = 4
_PATH: Final = "EFI/BOOT/BOOTX64.EFI"


@dataclass(frozen=True, slots=True)
class Uncovered:
    """Something that changes the boot and not the digest; ``code`` is a stable word."""

    code: str
    detail: str


LOAD_OPTIONS: Final = Uncovered(
    "load-options",
    "the boot entry's words: the second picks a section of the config, a name that is not there leaves Xen "
    "and dom0 without the image's words; what follows '--' joins Xen's command line; through BootNext no "
    "register of PCR 0-7 moves: the report in PCR 12 has them, but for those that act before it; build Xen "
    "so that it ignores them (docs/image.md)",
)


@dataclass(frozen=True, slots=True)
class Look:
    """An image and what can be said of its boot.

    ``config`` are the bytes of its ``.config``, ``pcr4`` the register after the boot, None where no recording
    of the firmware was given.
    """

    image: bytes = field(repr=False)
    config: bytes = field(repr=False)
    boots: UnifiedImage
    authenticode: bytes
    pcr4: bytes | None
    build_id: str | None
    signed: bool
    not_covered: tuple[Uncovered, ...]


def build(given: str, root: Path | None) -> Look:
    """Make the image of a description: a file, or the name of a packed one; ``root`` replaces its own.

    The finished image is read back by the rules that a prediction has, which share no code with the making:
    one that would read anything from the disk, or boots something else than was put in, is refused. Raises
    ``OSError`` or ``ShypeUsageError`` for a file that is missing, ``AttestInputError`` for what is broken or
    refused.
    """
    file = packaged.find(given, "images")
    description = load(read_regular(file, MAX_PROFILE))
    disk = BootDisk(root if root is not None else file.parent / description.root)
    recording = None
    if description.recording is not None:
        recording = read_regular(file.parent / description.recording, MAX_FILE)
    parts = [Part(name, disk.read(path)) for name, path in description.parts]
    config = _config(description, disk)
    found = look(append(disk.read(description.xen), [Part("config", config), *parts]), recording)
    _check(found, description, parts)
    return found


def look(image: bytes, recording: bytes | None) -> Look:
    """Read an image; raises ``AttestInputError`` for one that does not hold all that it boots."""
    boots = unified.read(image)
    about = layout(image)
    config = next(each for each in about.sections if each.name == b".config")
    pcr4 = None
    if recording is not None:
        pcr4 = predict_unified(image, _PATH, (BANK,), recording).pcrs[BANK][_LOADER_PCR]
    others = tuple(Uncovered("config-section", each) for each in unified.other_entries(image))
    words = () if unified.ignores_load_options(image) else (LOAD_OPTIONS,)
    return Look(
        image=image,
        config=image[config.span.start : config.span.start + config.memory],
        boots=boots,
        authenticode=authenticode.digests(image, (BANK,))[BANK],
        pcr4=pcr4,
        build_id=xen_image.build_id(image),
        signed=about.certificates is not None,
        not_covered=(*words, *others),
    )


def _config(description: ImageDescription, disk: BootDisk) -> bytes:
    if isinstance(description.boot, CommandLines):
        return xencfg(description.boot, [name for name, _ in description.parts])
    return disk.read(description.boot)


def _check(found: Look, description: ImageDescription, parts: Sequence[Part]) -> None:
    for each in found.not_covered:
        if each is not LOAD_OPTIONS:
            raise UnifiedImageError(f"config: {each.detail}", code="unified-part")
    given = {f".{part.name}": part.content for part in parts}
    same = dict(found.boots.parts) == given
    if isinstance(description.boot, CommandLines):
        read = CommandLines(found.boots.xen_arguments, found.boots.dom0_arguments)
        same = same and read == description.boot
    if not same:
        raise UnifiedImageError(
            "unified image: it does not boot what the description says; nothing is written"
        )
