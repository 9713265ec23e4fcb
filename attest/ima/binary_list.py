"""Reader of binary measurement lists (``binary_runtime_measurements``), one entry at a time.

An entry, by Linux, security/integrity/ima/ima_fs.c (``ima_measurements_show``); integers in the byte order of
the kernel that wrote it, or little-endian with ``ima_canonical_fmt``::

    pcr u32 | template digest [20, or that of the bank] | name length u32 | template name
    any template but ima:  data length u32 | template data
    template ima:          digest [20] | length u32 | name, not filled up
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from attest.eventlog.log import EventLogError
from attest.ima.entry import BANK_OF_SIZE, Entry, entry_of
from attest.ima.template import (
    DIGEST_SIZE,
    IMA,
    MAX_DATA,
    MAX_NAME,
    NAME_SPACE,
    fields_of,
)
from vtpm.tpm2.constants import PCR_COUNT

HEAD: Final = 8 + max(BANK_OF_SIZE) + MAX_NAME
"""Bytes that tell a binary list from anything else: up to the end of the first template name."""

_U32: Final = {"little": Struct("<I"), "big": Struct(">I")}


@dataclass(frozen=True, slots=True)
class Layout:
    """How the integers and template digests of a list are laid out."""

    order: str
    size: int


def layout(head: bytes) -> Layout | None:
    """Tell from its first bytes how a binary list is laid out; None if this is none."""
    for size in BANK_OF_SIZE:
        for order, u32 in _U32.items():
            if len(head) >= 8 + size and u32.unpack_from(head, 0)[0] < PCR_COUNT:
                length = u32.unpack_from(head, 4 + size)[0]
                name = head[8 + size : 8 + size + length] if length <= MAX_NAME else b""
                if name and fields_of(name.decode("latin-1")) is not None:
                    return Layout(order, size)
    return None


def binary_entries(chunks: Iterable[bytes]) -> Generator[Entry, None, int]:
    """Read a list entry by entry in bounded memory; raises EventLogError with the offset of what is wrong.

    Returns how many stray bytes stand behind the last entry: fewer than the head of an entry has.
    """
    located = _located(chunks)
    while True:
        try:
            _, entry = next(located)
        except StopIteration as end:
            stray: int = end.value
            return stray
        yield entry


def entry_offset(chunks: Iterable[bytes], index: int) -> int:
    """Return the byte where entry ``index`` begins, counted from 0, in a list that has so many entries."""
    return next(offset for number, (offset, _) in enumerate(_located(chunks)) if number == index)


def _located(chunks: Iterable[bytes]) -> Generator[tuple[int, Entry], None, int]:
    """Read a list; each entry stands behind the byte where it begins."""
    source = iter(chunks)
    buffer, base, at = b"", 0, 0
    while len(buffer) < HEAD and (chunk := next(source, None)) is not None:
        buffer += chunk
    how = layout(buffer)
    if how is None:
        raise EventLogError("not a binary measurement list", code="ima")
    read = _Reader(how)
    while True:
        found = read(buffer, at, base)
        if found is not None:
            begin = base + at
            entry, at = found
            yield begin, entry
            continue
        chunk = next(source, None)
        if chunk is None:
            return read.stray(buffer, at, base)
        buffer, base, at = buffer[at:] + chunk, base + at, 0


class _Reader:
    """Reads the entry at an offset of a buffer that holds the list from byte ``base`` on."""

    def __init__(self, how: Layout) -> None:
        self.u32 = _U32[how.order]
        self.order = how.order
        self.size = how.size
        self.head = Struct(("<" if how.order == "little" else ">") + f"I{how.size}sI")

    def __call__(self, raw: bytes, at: int, base: int) -> tuple[Entry, int] | None:
        """Return the entry and the offset behind it; None if the buffer does not hold all of it."""
        start = at + self.head.size
        if start > len(raw):
            return None
        pcr, digest, length = self.head.unpack_from(raw, at)
        if pcr >= PCR_COUNT:
            what = f"PCR {pcr} does not exist; the registers are 0 to {PCR_COUNT - 1}"
            raise EventLogError(what, offset=base + at, code="pcr")
        if not 0 < length <= MAX_NAME:
            raise EventLogError(
                f"a template name of {length} bytes", offset=base + start - 4, code="template"
            )
        name = raw[start : start + length]
        if len(name) < length:
            return None
        found = self._data(raw, start + length, name, base)
        if found is None:
            return None
        data, end = found
        try:
            return entry_of(pcr, digest, name.decode("latin-1"), data, self.order), end
        except EventLogError as error:
            what = str(error).removeprefix("event log: ")
            raise EventLogError(what, offset=base + at, code=error.code) from None

    def _data(self, raw: bytes, at: int, name: bytes, base: int) -> tuple[bytes, int] | None:
        is_ima = name == IMA.encode()
        start = at + (DIGEST_SIZE if is_ima else 0) + 4
        if start > len(raw):
            return None
        length = self.u32.unpack_from(raw, start - 4)[0]
        most = NAME_SPACE - 1 if is_ima else MAX_DATA
        if length > most:
            what = f"{length} bytes of data are more than the {most} that are read"
            raise EventLogError(what, offset=base + start - 4, code="size")
        end = start + length
        if end > len(raw):
            return None
        if is_ima:
            return raw[at : at + DIGEST_SIZE] + raw[start:end].ljust(NAME_SPACE, b"\0"), end
        return raw[start:end], end

    def stray(self, raw: bytes, at: int, base: int) -> int:
        """Return the number of bytes behind the last entry; raises EventLogError if an entry was cut."""
        left = len(raw) - at
        if left >= self.head.size:
            raise EventLogError("the last entry is cut", offset=base + at, code="cut")
        return left
