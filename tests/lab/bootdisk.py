"""Boot disks: an unpartitioned FAT file system with what the firmware and GRUB read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.lab.tool import run
from tests.lab.userland import REPOSITORY

MIB: Final = 1 << 20
SPARE: Final = 24 * MIB
SERIAL: Final = "5e1f1ab0"


def grub_folder(config: Path, folder: Path) -> None:
    """Make a boot folder with GRUB as the loader, ``config`` inside it, and Debian's kernel."""
    run(REPOSITORY / "tools" / "boot-files", folder, "--config", config, seconds=900)


def lay(folder: Path, files: Mapping[str, Path | bytes]) -> None:
    """Put files into a boot folder, over those that are there."""
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            shutil.copy(content, target)


def make(folder: Path, image: Path) -> Path:
    """Make a disk image of all files in ``folder``."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    size = sum(path.stat().st_size for path in files) + SPARE
    image.unlink(missing_ok=True)
    with image.open("wb") as disk:
        disk.truncate(-(-size // MIB) * MIB)
    run("mkfs.vfat", "-F", "32", "-i", SERIAL, image)
    for path in (each for each in sorted(folder.rglob("*")) if each.is_dir()):
        run("mmd", "-i", image, f"::/{path.relative_to(folder)}")
    for path in files:
        run("mcopy", "-i", image, path, f"::/{path.relative_to(folder)}")
    return image
