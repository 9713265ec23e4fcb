"""The demo's folder: private, removed at the end; what a killed run left is removed by the next."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shype.errors import ShypeUsageError

PREFIX: Final = "shype-demo-"
MAX_PATH: Final = 64
"""Bytes of the folder's path: sockets lie up to 43 bytes below it, and their paths end at 107 (unix(7))."""


@contextlib.contextmanager
def workplace(keep: Path | None) -> Iterator[Path]:
    """Yield a fresh folder of mode 0700: ``keep`` (which must not exist) or one in ``TMPDIR``.

    Raises ShypeUsageError for a path that is too long, FileExistsError, OSError where none can be made.
    """
    if keep is not None:
        with _kept(keep) as work:
            yield work
        return
    parent = Path(os.environ.get("TMPDIR") or tempfile.gettempdir()).resolve()
    _check_length(parent / f"{PREFIX}12345678")
    _sweep(parent)
    work, lock = _fresh(parent)
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def _kept(keep: Path) -> Iterator[Path]:
    """Make ``keep``; a run that ended before it wrote anything leaves nothing."""
    work = keep.absolute()
    _check_length(work)
    work.mkdir(mode=0o700, parents=True)
    try:
        yield work
    except BaseException:
        with contextlib.suppress(OSError):
            work.rmdir()
        raise


def _check_length(work: Path) -> None:
    if len(os.fsencode(work)) > MAX_PATH:
        raise ShypeUsageError(
            f"{work}: too long for the sockets below it, {MAX_PATH} bytes at most; set TMPDIR or --keep"
        )


def _fresh(parent: Path) -> tuple[Path, int]:
    """Return a new folder and its lock; the run beside us may sweep it away before we hold that."""
    while True:
        work = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = _lock(work)
        if lock is not None and work.exists():
            return work, lock
        if lock is not None:
            os.close(lock)


def _sweep(parent: Path) -> None:
    """Remove our own folders whose run has ended: nobody holds their lock."""
    for left in parent.glob(f"{PREFIX}*"):
        lock = _lock(left)
        if lock is None:
            continue
        try:
            if os.fstat(lock).st_uid == os.getuid():
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder, which ends with the process that holds it; None if it is held, gone or not a folder."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
            raise
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held
