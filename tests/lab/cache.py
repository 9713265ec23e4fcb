"""What the lab makes once and keeps outside the repository, under a digest of all that it is made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.lab.errors import LabError
from tests.lab.tool import say

LOCK_SECONDS: Final = 1800
KEPT: Final = 3
"""Older makes of one thing stay this long: a branch and back costs no rebuild."""


def default_folder() -> Path:
    """``SHYPE_LAB_CACHE``, else shype/lab in the user's cache folder."""
    if named := os.environ.get("SHYPE_LAB_CACHE"):
        return Path(named).absolute()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "shype" / "lab"
    except RuntimeError:
        raise LabError("cache", "this user has no home folder: name a folder by SHYPE_LAB_CACHE") from None


class Cache:
    """A folder of finished things. One user at a time; another waits, for half an hour at most."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LabError("cache", f"{error}; name another folder by SHYPE_LAB_CACHE") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder."""
        deadline = time.monotonic() + LOCK_SECONDS
        with (self.folder / "lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LabError(
                            "cache", f"{self.folder}: another lab builds, and does not end"
                        ) from None
                    time.sleep(0.2)
            self._sweep()
            yield

    def made(self, name: str, made_from: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of ``name`` as ``make`` fills it for ``made_from``; made only if it is missing.

        It appears whole or not at all.
        """
        target = self.folder / f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
        if target.is_dir():
            os.utime(target)
            return target
        say(f"make {name}")
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=f".{name}-") as work:
            new = Path(work) / "new"
            new.mkdir()
            with plain_modes():
                make(new)
            new.rename(target)
        self._forget(name)
        return target

    def _sweep(self) -> None:
        """Remove what runs that were killed left half made; nobody else is at work."""
        for left in self.folder.glob(".*-*"):
            say(f"remove {left.name}, which a run left half made")
            shutil.rmtree(left)

    def _forget(self, name: str) -> None:
        digits = 16
        found = [
            each
            for each in self.folder.iterdir()
            if each.name.startswith(f"{name}-") and len(each.name) == len(name) + 1 + digits
        ]
        for old in sorted(found, key=lambda each: each.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(old)


@contextmanager
def plain_modes() -> Iterator[None]:
    """Make files as Debian's modes are, whatever the caller's umask: dom0's other users have to read them."""
    kept = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(kept)
