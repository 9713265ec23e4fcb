"""A file that is read from its beginning more than once, and never held in memory.

A regular file stays open and is read again. Anything else can be read once only, so it goes into a temporary
file without a name, which ends with the command.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from attest.eventlog.read import is_list
from attest.ima.log import FIRST, MAX_LIST_SIZE
from attest.ima.source import MAX_SIZE
from shype.files import begin_pipe, open_at_once

_PIECE: Final = 1 << 16
_IN_MEMORY: Final = 8 << 20
"""Bytes of a pipe that are kept without a file: more than a firmware log has."""


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file that was opened once; OSError of reading names its path.

    Of one above ``MAX_SIZE`` one byte more than that is seen, which its parser refuses.
    """

    path: Path
    _file: IO[bytes]

    def chunks(self) -> Iterator[bytes]:
        """Read from the first byte on, in pieces; several readers do not disturb each other."""
        at = 0
        while at <= MAX_SIZE and (piece := self._at(at, min(_PIECE, MAX_SIZE + 1 - at))):
            yield piece
            at += len(piece)

    def read(self, most: int) -> bytes:
        """Return the file; of a larger one ``most`` + 1 bytes."""
        content = bytearray()
        for piece in self.chunks():
            content += piece
            if len(content) > most:
                break
        return bytes(content[: most + 1])

    def _at(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
            return self._file.read(size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


@contextmanager
def holding(path: Path) -> Iterator[HeldFile]:
    """Open a file to be read more than once. OSError, which names ``path``, as ``shype.files.read``."""
    with open(path, "rb", buffering=0, opener=open_at_once) as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISREG(mode):
            yield HeldFile(path, file)
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
            try:
                _copy(file, copy, begin_pipe(file.fileno(), path, _PIECE) if stat.S_ISFIFO(mode) else b"")
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error
            yield HeldFile(path, copy)


def _copy(source: IO[bytes], copy: IO[bytes], begun: bytes) -> None:
    """Copy what ``begun`` begins, up to one byte more than is read of a log of its kind."""
    os.set_blocking(source.fileno(), True)
    while len(begun) < FIRST and (piece := source.read(_PIECE)):
        begun += piece
    copy.write(begun)
    left = (MAX_SIZE if is_list(begun) else MAX_LIST_SIZE) + 1 - len(begun)
    while left > 0 and (piece := source.read(min(left, _PIECE))):
        copy.write(piece)
        left -= len(piece)
