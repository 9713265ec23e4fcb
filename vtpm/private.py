"""Folders that nobody else may enter."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from vtpm.errors import VtpmUsageError

if TYPE_CHECKING:
    from pathlib import Path


def private_folder(folder: Path) -> None:
    """Make ``folder`` with mode 0700 if it is missing, and check that it is ours alone.

    Raises ``VtpmUsageError`` with code ``open-folder`` for a link, another owner or another mode;
    ``OSError`` if it cannot be made.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        detail = f"must be a folder of uid {os.geteuid()} with mode 0700: chown and chmod it"
        raise VtpmUsageError(f"{folder}: {detail}", code="open-folder")
