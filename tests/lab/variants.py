"""The ways in which the lab's host boots, each from one description in ``configs/lab``.

From a description the boot disk is made, and, by a process of its own that never sees a run, the reference
values are predicted before QEMU starts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import bootdisk
from tests.lab.parts import CONFIGS, SHYPE, Parts
from tests.lab.tool import run

LOADER: Final = "EFI/BOOT/BOOTX64.EFI"
LAB: Final = CONFIGS / "lab"
PCRS: Final = range(10)
GUESTS: Final = ("g1.cfg", "g2.cfg")
"""The guests that may run; the configs of those that may not are in ``configs/lab`` too."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to boot; ``unified`` without GRUB, ``flask`` with the policy module.

    ``closed`` is the unified image that takes no words of a boot entry.
    """

    name: str
    unified: bool = False
    flask: bool = True
    closed: bool = True

    @property
    def profile(self) -> Path:
        """The PCR profile: what the prediction is made from."""
        return LAB / ("unified.yaml" if self.unified else f"{self.name}.yaml")


PLAIN: Final = Variant("plain", flask=False)
FLASK: Final = Variant("flask")
MENU: Final = Variant("menu")
UNIFIED: Final = Variant("unified", unified=True)
OPEN: Final = Variant("unified-open", unified=True, closed=False)
"""The unified image of a Xen without our patch."""
VARIANTS: Final = (PLAIN, FLASK, MENU, UNIFIED, OPEN)


def files(variant: Variant, parts: Parts) -> dict[str, Path | bytes]:
    """Return what lies on the boot disk beside loader and kernel, by its name there."""
    xen = parts.hypervisor if variant.flask else parts.plain
    found: dict[str, Path | bytes] = {"vmlinuz": parts.kernel, "initrd.img": parts.ramdisk}
    efi = xen.closed if variant.closed and xen.closed is not None else xen.efi
    found["xen.efi" if variant.unified else "xen.gz"] = efi if variant.unified else xen.gz
    if variant.flask and xen.policy is not None:
        found["xenpolicy"] = xen.policy
    return found


def boot_folder(
    variant: Variant,
    parts: Parts,
    folder: Path,
    *,
    config: str | None = None,
    changed: Mapping[str, Path | bytes] | None = None,
) -> Path:
    """Make the boot disk's folder; a story gives another ``config`` of GRUB, or ``changed`` files."""
    content = {**files(variant, parts), **(changed or {})}
    if variant.unified:
        folder.mkdir(parents=True)
        build = folder.parent / f"{folder.name}-parts"
        bootdisk.lay(build, content)
        build_image(LAB / "unified.image.yaml", build, parts, folder / LOADER)
        return folder
    script = folder.parent / f"{folder.name}.grub.cfg"
    folder.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(config if config is not None else (LAB / f"{variant.name}.grub.cfg").read_text())
    bootdisk.grub_folder(script, folder)
    for name in ("xen.gz", "xen.efi", "boot-files.json"):
        (folder / name).unlink(missing_ok=True)
    bootdisk.lay(folder, content)
    return folder


def build_image(description: Path, build: Path, parts: Parts, image: Path) -> str:
    """Make the unified image by ``shype image build``; return the PCR 4 that it says."""
    shutil.copy(description, build / "image.yaml")
    shutil.copy(parts.firmware, build / "firmware.bin")
    image.parent.mkdir(parents=True, exist_ok=True)
    said = run(SHYPE, "image", "build", build / "image.yaml", "--json", "-o", image)
    pcr: str = json.loads(said)["pcrs"]["sha256"]["4"]
    return pcr


@dataclass(frozen=True, slots=True)
class Reference:
    """Reference values in a file, and the registers that they predict."""

    path: Path
    pcrs: Mapping[int, str]


def predict(
    variant: Variant, parts: Parts, folder: Path, work: Path, firmware: Path | None = None
) -> Reference:
    """Predict a boot from ``folder``; ``work`` takes the profile, the recording and the result.

    ``firmware`` is the log of another machine than the usual one.
    """
    work.mkdir(parents=True, exist_ok=True)
    profile = work / "profile.yaml"
    shutil.copy(variant.profile, profile)
    shutil.copy(firmware or parts.firmware, work / "firmware.bin")
    ramdisk = work / "initrd.img"
    ramdisk.write_bytes(parts.ramdisk)
    domains = [word for name in GUESTS for word in ("--domain", LAB / name)]
    run(
        *(SHYPE, "pcrs", "reference", profile, "--root", folder, "--images", parts.guest),
        *("--host", LAB / "host.yaml", *domains, "--ima-root", parts.userland.tree),
        *("--ima-ramdisk", ramdisk, "-o", work / "reference.json"),
        seconds=300,
    )
    said = json.loads(run(SHYPE, "pcrs", "predict", profile, "--root", folder, "--json"))
    values = said["pcrs"]["sha256"]
    return Reference(work / "reference.json", {pcr: values[str(pcr)] for pcr in PCRS})
