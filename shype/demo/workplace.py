"""The demo's folder: private, removed at the end; what a killed run left is removed by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "shype-demo-"
LOCK: Final = ".lock"


@contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Yield a fresh folder of mode 0700: ``keep`` (which must not exist) or a temporary one.

    Raises FileExistsError.
    """
    if keep is not None:
        keep.mkdir(mode=0o700, parents=True)
        yield keep.resolve()
        return
    _sweep(Path(tempfile.gettempdir()))
    work = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(work / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield work
    finally:
        os.close(lock)
        shutil.rmtree(work, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove our own folders whose run has ended: nobody holds their lock."""
    for left in folder.glob(f"{PREFIX}*"):
        if left.is_symlink() or left.stat().st_uid != os.getuid():
            continue
        try:
            lock = os.open(left / LOCK, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
