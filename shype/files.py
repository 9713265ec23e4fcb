"""Writing files so that nothing is lost: write, fsync, rename."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PUBLIC = 0o644
SECRET = 0o600


def write(path: Path, content: bytes, mode: int = PUBLIC) -> None:
    """Put ``content`` in place of ``path`` in one step; a crash leaves the old file or the new one."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_secret(path: Path, content: bytes) -> None:
    """Like ``write``; only the owner may read it, from the first byte on."""
    write(path, content, SECRET)
