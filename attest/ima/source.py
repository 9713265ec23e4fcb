"""A measurement list that is read from its beginning as often as it is needed, and never held.

Hosts that measure every file that root opens (``ima_policy=tcb``) have a million entries after months.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from attest.eventlog.log import EventLogError, LogFormat
from attest.ima.ascii_list import ascii_entries, line_offset
from attest.ima.binary_list import binary_entries, entry_offset
from attest.ima.entry import Entry
from attest.ima.log import FIRST, recognise

MAX_ENTRIES: Final = 1 << 21
MAX_SIZE: Final = 1 << 30
"""Bytes; 2,097,152 entries with the usual names have half of it."""


@dataclass(frozen=True, slots=True)
class ListSource:
    """A list as bytes in pieces of any size; each call of ``chunks`` begins at its first byte."""

    chunks: Callable[[], Iterable[bytes]]

    @property
    def format(self) -> LogFormat:
        """Which form the list has; raises EventLogError if this is none."""
        return self._begun()[0]

    def entries(self) -> Generator[Entry, None, int]:
        """Read the list entry by entry in bounded memory, and return how many stray bytes stand behind it.

        Raises EventLogError for a list that is not well-formed, and above ``MAX_ENTRIES`` or ``MAX_SIZE``.
        """
        log_format, chunks = self._begun()
        entries = (ascii_entries if log_format is LogFormat.IMA_ASCII else binary_entries)(chunks)
        count = 0
        while True:
            try:
                entry = next(entries)
            except StopIteration as end:
                stray: int = end.value
                return stray
            count += 1
            if count > MAX_ENTRIES:
                raise EventLogError(f"more than {MAX_ENTRIES} entries", offset=None, code="size")
            yield entry

    def offset_of(self, index: int) -> int:
        """Return the byte of the list where an entry begins that ``entries`` gave as number ``index``."""
        log_format, chunks = self._begun()
        return (line_offset if log_format is LogFormat.IMA_ASCII else entry_offset)(chunks, index)

    def _begun(self) -> tuple[LogFormat, Iterator[bytes]]:
        chunks = self._bounded()
        head = b""
        while len(head) < FIRST and (chunk := next(chunks, None)) is not None:
            head += chunk
        log_format = recognise(head)
        if log_format is None:
            raise EventLogError("not a measurement list", offset=None, code="ima")
        return log_format, chain((head,), chunks)

    def _bounded(self) -> Iterator[bytes]:
        size = 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > MAX_SIZE:
                raise EventLogError(f"the list is larger than {MAX_SIZE} bytes", offset=None, code="size")
            yield chunk
