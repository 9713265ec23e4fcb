"""The audit trail of a host as a file: one record a line, appended to over all its boots.

Its folder is the host's alone, and one process at a time has it (``shype.host`` holds a lock).
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hypervisor.audit import MAX_LINE, AuditEvent, AuditRecord, AuditTrail, Outcome, follow
from hypervisor.errors import HypervisorInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType


class AuditFile:
    """An open trail file, whose chain has been checked. Use it in a ``with`` block.

    A last line without its end is what a crash has left of a record, and so of an action that did not happen:
    it is taken away, and :meth:`trail` begins with a record that says so. Raises HypervisorInputError where
    the chain is broken: nothing may go on behind a trail that somebody has changed. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: AuditRecord | None = None
        self._torn = b""
        self._broken = False
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)
        try:
            self._size = self._check()
            os.ftruncate(self._file, self._size)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def trail(self, time_ns: int) -> AuditTrail:
        """Return the trail that goes on behind the last record; ``time_ns`` is the time now."""
        trail = AuditTrail(self.append, self._last)
        if self._torn:
            digest = hashlib.sha256(self._torn).hexdigest()
            trail.append(
                AuditEvent(
                    time_ns=time_ns,
                    epoch=1 if self._last is None else self._last.epoch,
                    who="host",
                    action="audit",
                    what=f"{len(self._torn)} bytes of a last record that was cut off were taken away",
                    outcome=Outcome.FAILED,
                    why=(("audit-torn", f"SHA-256 {digest}"),),
                )
            )
        return trail

    def append(self, line: bytes) -> None:
        """Make a line last; raises OSError, and then nothing of it stays."""
        if self._broken:
            raise OSError(errno.EIO, "the audit trail cannot be written any more", str(self._path))
        try:
            self._write(line)
        except OSError:
            self._broken = True
            os.ftruncate(self._file, self._size)
            self._broken = False
            raise
        self._size += len(line)

    def _write(self, line: bytes) -> None:
        if os.write(self._file, line) != len(line):
            raise OSError(errno.ENOSPC, "no room for a record of the audit trail", str(self._path))
        os.fdatasync(self._file)

    def _check(self) -> int:
        """Follow the chain to its end; return the size of all whole lines."""
        size = 0
        for record in follow(self._lines()):
            self._last = record
            size += len(record.encode()) + 1
        return size

    def _lines(self) -> Iterator[bytes]:
        with os.fdopen(os.dup(self._file), "rb") as file:
            while line := file.readline(MAX_LINE + 1):
                if line.endswith(b"\n"):
                    yield line[:-1]
                elif len(line) <= MAX_LINE:
                    self._torn = line
                else:
                    raise HypervisorInputError("audit-line", f"{self._path}: a line is no record of a trail")
