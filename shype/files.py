"""Files, read with a bound and written so that nothing is lost: write, fsync, rename."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shype.errors import ShypeUsageError

PUBLIC: Final = 0o644
SECRET: Final = 0o600
_NAME_KEPT: Final = 64
"""Characters of the file's name in that of the temporary one: names end at 255 bytes."""
_WRITER_WITHIN: Final = 1.0
"""Seconds in which a named pipe must be opened by who writes to it."""


def read(path: Path, most: int) -> bytes:
    """Return the file; of a larger one ``most`` + 1 bytes, which its parser refuses.

    A pipe is read to its end. OSError, which names ``path``, also for a pipe that nobody writes to.
    """
    with open(path, "rb", opener=open_at_once) as file:
        handle = file.fileno()
        begun = begin_pipe(handle, path, most + 1) if stat.S_ISFIFO(os.fstat(handle).st_mode) else b""
        os.set_blocking(handle, True)
        try:
            return begun + file.read(most + 1 - len(begun))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error


def check_unshared(path: Path, what: str) -> None:
    """Raise ShypeUsageError for a file of secrets, ``what``, that others can read; OSError if missing."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ShypeUsageError(f"{path}: others can read {what}: chmod 600")


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file whole; raises ``OSError`` for anything else and above ``limit`` bytes."""
    with open(path, "rb", opener=open_at_once) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(limit + 1) if about.st_size <= limit else b""
    if max(about.st_size, len(content)) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return content


@contextmanager
def replacing(path: Path, mode: int = PUBLIC) -> Iterator[Callable[[bytes], None]]:
    """Give a function that puts bytes in place of ``path`` in one step.

    A crash leaves the old file or the new one. A folder that cannot be written fails before the caller
    begins, so that nothing is answered or used up in vain; then OSError names ``path``. A symbolic link
    stays, and the file that it leads to is replaced; a device, pipe or folder is refused.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    handle, name = _temporary(path, target)
    temporary = Path(name)

    def commit(content: bytes) -> None:
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(content)
        os.fchmod(handle, mode)
        os.fsync(handle)
        temporary.replace(target)
        sync(target.parent)

    try:
        yield commit
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int = PUBLIC) -> None:
    """Put ``content`` in place of ``path`` in one step; a crash leaves the old file or the new one."""
    with replacing(path, mode) as commit:
        commit(content)


def write_secret(path: Path, content: bytes) -> None:
    """Like ``write``; only the owner may read it, from the first byte on."""
    write(path, content, SECRET)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that is there: whoever reads, decides and replaces takes turns."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """Make the names in a folder last: a file that was put there, or taken away."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def begin_pipe(handle: int, path: Path, most: int) -> bytes:
    """Read what a pipe has; somebody must write to it soon, for a folder of others may hold one."""
    until = time.monotonic() + _WRITER_WITHIN
    while time.monotonic() < until:
        try:
            begun = os.read(handle, most)
        except BlockingIOError:  # there is a writer, and it takes its time
            return b""
        if begun:
            return begun
        time.sleep(_WRITER_WITHIN / 50)
    raise OSError(errno.EAGAIN, "a pipe that nobody writes to", str(path))


def _temporary(path: Path, target: Path) -> tuple[int, str]:
    try:
        return tempfile.mkstemp(prefix=f".{target.name[:_NAME_KEPT]}.", dir=target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
