"""The files that a PCR profile names: found, read whole, and never outside the boot folder."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attest.predict import pcrread, unified
from attest.predict.flask import loaded_policy
from attest.predict.prediction import Prediction, predict, predict_unified, with_firmware_values
from attest.predict.profile import FirmwareSource, FirmwareValues, Profile, UnifiedSource, load
from shype import packaged
from shype.errors import ShypeUsageError
from shype.files import read_regular

MAX_FILE: Final = 1 << 30
"""Bytes of a boot file; a kernel has 10 MB, a rich initial ramdisk some 100 MB."""
MAX_PROFILE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class BootDisk:
    """A folder that stands for the boot disk."""

    root: Path

    def read(self, path: str) -> bytes:
        """Return a file of the disk; raises ``OSError`` for one that is missing, outside or too large."""
        found = Path(os.path.realpath(self.root / path, strict=True))
        if not found.is_relative_to(os.path.realpath(self.root)):
            raise PermissionError(errno.EACCES, "leads out of the boot folder", str(self.root / path))
        return read_regular(found, MAX_FILE)


@dataclass(frozen=True, slots=True)
class BootFiles:
    """A profile with what it names: the firmware's recording or values (None without one) and the disk.

    ``start`` is what the profile begins with: the loader's grub.cfg, or the unified image.
    """

    profile: Profile
    recording: bytes | None = field(repr=False)
    start: bytes = field(repr=False)
    disk: BootDisk

    def predict(self) -> Prediction:
        """Predict the boot; raises ``AttestInputError``, and ``OSError`` for a file that is missing."""
        profile, boot = self.profile, self.profile.boot
        if isinstance(boot, UnifiedSource):
            recording = self.recording or b""  # a profile with an image names a recording
            return predict_unified(self.start, boot.image, profile.banks, recording, section=boot.section)
        if isinstance(profile.firmware, FirmwareValues):
            found = predict(self.start, self.disk.read, profile.banks, inside=boot.loader)
            return with_firmware_values(found, pcrread.decode(self.recording or b""), profile.banks)
        loader = profile.firmware.loader if profile.firmware else None
        return predict(
            self.start,
            self.disk.read,
            profile.banks,
            recording=self.recording,
            loader=loader,
            inside=boot.loader,
        )

    def xen(self, prediction: Prediction) -> bytes:
        """Return the file that becomes Xen."""
        if isinstance(self.profile.boot, UnifiedSource):
            return self.start
        return self.disk.read(prediction.xen.path.lstrip("/"))

    def flask_policy(self, prediction: Prediction) -> str | None:
        """Return the SHA-256 (hex) of the FLASK policy that is loaded with Xen; None where there is none."""
        boot = self.profile.boot
        if isinstance(boot, UnifiedSource):
            return loaded_policy(content for _, content in unified.read(self.start, boot.section).parts[1:])
        return loaded_policy(self.disk.read(module.path.lstrip("/")) for module in prediction.modules[1:])


def open_profile(name: str, root: Path | None) -> BootFiles:
    """Read a profile by its path, or by the name of one that comes with the program.

    ``root`` replaces the boot folder that the profile names. Raises ``OSError`` or ``ShypeUsageError`` for a
    file that is missing, ``ProfileError`` for a profile that is broken.
    """
    file = packaged.find(name, "profiles")
    profile = load(read_regular(file, MAX_PROFILE))
    if root is None and file.is_relative_to(packaged.ROOT):
        raise ShypeUsageError(f"{name}: name the folder of its boot files (--root DIR)")
    disk = BootDisk(root if root is not None else file.parent / profile.root)
    firmware, boot = profile.firmware, profile.boot
    recording = None if firmware is None else read_regular(file.parent / _named(firmware), MAX_FILE)
    start = disk.read(boot.image if isinstance(boot, UnifiedSource) else boot.config)
    return BootFiles(profile, recording, start, disk)


def _named(firmware: FirmwareSource | FirmwareValues) -> str:
    return firmware.values if isinstance(firmware, FirmwareValues) else firmware.recording
