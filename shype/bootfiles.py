"""The files that a PCR profile names: found, read whole, and never outside the boot folder."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from attest.predict.profile import Profile, load

MAX_FILE: Final = 1 << 30
"""Bytes of a boot file; a kernel has 10 MB, a rich initial ramdisk some 100 MB."""
MAX_PROFILE: Final = 1 << 20
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class BootDisk:
    """A folder that stands for the boot disk."""

    root: Path

    def read(self, path: str) -> bytes:
        """Return a file of the disk; raises ``OSError`` for one that is missing, outside or too large."""
        found = Path(os.path.realpath(self.root / path, strict=True))
        if not found.is_relative_to(os.path.realpath(self.root)):
            raise PermissionError(errno.EACCES, "leads out of the boot folder", str(self.root / path))
        return read_file(found, MAX_FILE)


@dataclass(frozen=True, slots=True)
class BootFiles:
    """A profile with what it names: the firmware's recording (None without one), grub.cfg and the disk."""

    profile: Profile
    recording: bytes | None = field(repr=False)
    config: bytes = field(repr=False)
    disk: BootDisk


def open_profile(name: str, root: Path | None) -> BootFiles:
    """Read a profile by its path, or by the name of one that comes with the program.

    ``root`` replaces the boot folder that the profile names. Raises ``OSError`` for a file that is missing,
    ``ProfileError`` for a profile that is broken.
    """
    file = _profile_file(name)
    profile = load(read_file(file, MAX_PROFILE))
    disk = BootDisk(root if root is not None else file.parent / profile.root)
    firmware = profile.firmware
    recording = None if firmware is None else read_file(file.parent / firmware.recording, MAX_FILE)
    return BootFiles(profile, recording, disk.read(profile.config), disk)


def configs() -> Path:
    """Return the folder of the configs that come with the program, installed or in the source tree."""
    package = Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def read_file(path: Path, limit: int) -> bytes:
    """Read a regular file whole; raises ``OSError`` for anything else and above ``limit`` bytes."""
    with open(path, "rb", opener=_open_at_once) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(limit + 1) if about.st_size <= limit else b""
    if max(about.st_size, len(content)) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _profile_file(name: str) -> Path:
    packaged = configs() / "profiles" / f"{name}.yaml"
    if not Path(name).exists() and _NAME.fullmatch(name) and packaged.is_file():
        return packaged
    return Path(name)
