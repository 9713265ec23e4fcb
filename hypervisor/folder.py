"""Files of one folder as private copies: kernels, ramdisks, disks of domains, and what a host boots from."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath

from hypervisor.errors import HypervisorInputError

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FolderSource:
    """Reads files below ``root`` by relative paths.

    Each step of a path is opened from the one before and never through a symbolic link, so nothing that
    changes in the folder meanwhile leads out of it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str, limit: int) -> bytes:
        """Return the whole file as it is now.

        Raises HypervisorInputError for a path that leads out of the folder, for a symbolic link, for what is
        no regular file and above ``limit`` bytes; OSError for a file that cannot be read.
        """
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path:
            raise HypervisorInputError(
                "outside", f"{path[:200]!r} is no file of the boot folder {self._root}"
            )
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                descriptor = _step(descriptor, part, path)
            return _whole(descriptor, path, limit)
        finally:
            os.close(descriptor)


def _step(folder: int, name: str, path: str) -> int:
    """Open ``name`` in a folder and close the folder; on failure the folder stays open for the caller."""
    try:
        descriptor = os.open(name, _OPEN, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise HypervisorInputError("link", f"{path[:200]!r} has a symbolic link at {name!r}") from None
        error.filename = path
        raise
    os.close(folder)
    return descriptor


def _whole(descriptor: int, path: str, limit: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise HypervisorInputError("not-a-file", f"{path[:200]!r} is no regular file")
    with open(descriptor, "rb", closefd=False) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise HypervisorInputError("too-big", f"{path[:200]!r} is larger than {limit} bytes")
    return data
