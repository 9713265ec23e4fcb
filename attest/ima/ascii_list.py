"""Reader of ASCII measurement lists (``ascii_runtime_measurements``), one line at a time.

A line, by Linux, security/integrity/ima/ima_fs.c (``ima_ascii_measurements_show``)::

    PCR (two characters wide) | template digest, hex | template name | each field, a blank before it

A field without a value is empty; blanks at the end of a line that were stripped are forgiven. The kernel
replaces blanks in names and does not escape line feeds in them, so a hostile name can break its own line:
the lines that result do not fit their digests. The binary list has no such weakness.
"""

from __future__ import annotations

import re
from binascii import Error as HexError
from binascii import unhexlify
from collections.abc import Callable, Generator, Iterable, Iterator
from struct import Struct
from typing import Final

from attest.eventlog.log import EventLogError
from attest.ima.entry import BANK_OF_SIZE, Entry, entry_of
from attest.ima.template import (
    FIELDS,
    IMA,
    MAX_DATA,
    NAME_SPACE,
    SIZES,
    Kind,
    check,
    fields_of,
    malformed,
)
from vtpm.tpm2.constants import PCR_COUNT

MAX_LINE: Final = 2 * MAX_DATA + 4096
"""Bytes of a line: template data in hex and what stands before them."""

LINE: Final = re.compile(rb" ?[0-9]{1,2} (?:[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}) \S+ ")
"""How a list begins."""

_PCRS: Final = {str(pcr).encode(): pcr for pcr in range(PCR_COUNT)}
_U16, _U32 = Struct("<H"), Struct("<I")
_LENGTHS: Final = {size: _U32.pack(size + 1) for size in range(1, 2048)}
"""Length of a name -> that of the field, which ends with 00."""
_TOKENS: Final = {
    len(name) + 1 + 2 * SIZES[name]: (
        f"{name}:".encode(),
        len(name) + 1,
        _U32.pack(len(name) + 2 + SIZES[name]) + f"{name}:\0".encode(),
    )
    for name in ("sha1", "sha256", "sha384", "sha512")
}
"""Length of a usual digest -> how it begins, where the hex begins, and the bytes before it in the data."""
_USUAL_MORE: Final = {b"ima-sig": "ima-sig", b"ima-buf": "ima-buf"}
"""Templates with a field behind the name that are read the quick way, as ima-ng is; others by _any_entry."""
_MORE: Final = 6
_NEW: Final = tuple.__new__
"""Makes an Entry in half the time that its class takes."""
_NUMBER: Final = re.compile(rb"[0-9]{1,10}")
_LEAST: Final = 4


def ascii_entries(chunks: Iterable[bytes]) -> Generator[Entry, None, int]:
    """Read a list entry by entry in bounded memory; raises EventLogError that names the line.

    Returns 0: no byte stands behind the last entry.
    """
    size, number, join = 0, 0, b"".join
    register, of_register = 0, b""  # most lines have that of the line before
    for lines in _lines(chunks):
        for line in lines:
            number += 1
            parts = line.split(b" ")
            try:  # each further call would cost 5 % of the whole check here
                if len(parts) == _MORE:
                    pcr, digest, template, token, path, more = parts
                    name, last = _USUAL_MORE[template], _last(more)
                else:
                    pcr, digest, template, token, path = parts
                    name, last = "ima-ng", b"\0"
                    if template != b"ima-ng":
                        raise KeyError  # noqa: TRY301  # the other reader knows them all
                algorithm, cut, head = _TOKENS[len(token)]
                if token[:cut] != algorithm:
                    raise KeyError  # noqa: TRY301
                if pcr != of_register:
                    register, of_register = _PCRS[pcr], pcr
                data = join((head, unhexlify(token[cut:]), _LENGTHS[len(path)], path, last))
                entry = _NEW(Entry, (register, unhexlify(digest), name, data, token, path, "little"))
            except (KeyError, IndexError, ValueError):
                entry = _any_entry(line, number)
            if len(entry[1]) != size:
                size = _size(entry, size, number)
            yield entry
    return 0


def _lines(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut a list into its lines, many at a time; the last one may lack its line feed."""
    rest = b""
    for chunk in chunks:
        if b"\0" in chunk:
            raise EventLogError("a byte 00 stands in the list", offset=None, code="line")
        *whole, rest = (rest + chunk).split(b"\n")
        yield whole
        if len(rest) > MAX_LINE:
            raise EventLogError(f"a line is longer than {MAX_LINE} bytes", offset=None, code="size")
    if rest:
        yield [rest]


def line_offset(chunks: Iterable[bytes], index: int) -> int:
    """Return the byte where line ``index`` begins, counted from 0, in a list that has so many lines."""
    base = 0
    for chunk in chunks:
        lines = chunk.count(b"\n")
        if index <= lines:
            at = 0
            for _ in range(index):
                at = chunk.index(b"\n", at) + 1
            return base + at
        index -= lines
        base += len(chunk)
    return base


def _size(entry: Entry, size: int, number: int) -> int:
    """Return the size of the list's digests, which the first entry sets."""
    found = len(entry.digest)
    if size or found not in BANK_OF_SIZE:
        what = f"line {number}: a template digest of {found} bytes, not {size or 'of a bank'}"
        raise EventLogError(what, offset=None, code="digest")
    return found


def _any_entry(line: bytes, number: int) -> Entry:
    """Read a line that is not usual, or say what is wrong with it."""
    try:
        parts = line.removeprefix(b" ").split(b" ")
        if len(parts) < _LEAST:
            raise malformed("not the line of a measurement list: PCR, digest, template, fields", "line")
        pcr = _PCRS.get(parts[0])
        if pcr is None:
            text = parts[0][:8].decode("latin-1")
            what = f"PCR {text!a} does not exist; the registers are 0 to {PCR_COUNT - 1}"
            raise malformed(what, "pcr")
        return _any_template(pcr, _unhex(parts[1], "template digest"), parts)
    except EventLogError as error:
        what = str(error).removeprefix("event log: ")
        raise EventLogError(f"line {number}: {what}", offset=None, code=error.code) from None


def _last(text: bytes) -> bytes:
    """Return the end of the name and the field behind it; ValueError where that is not as usual."""
    raw = unhexlify(text)
    if len(raw) > MAX_DATA:
        raise ValueError
    return b"\0" + _U32.pack(len(raw)) + raw


def _any_template(pcr: int, digest: bytes, parts: list[bytes]) -> Entry:
    """Build the data of any template, and check them as those of a binary list are."""
    template = parts[2].decode("latin-1")
    fields = fields_of(template)
    if fields is None:
        raise malformed(f"the template {template[:40]!a} is unknown")
    values = parts[3:] + [b""] * (len(fields) - len(parts) + 3)
    last = len(fields) - 1
    if FIELDS[fields[last]] is Kind.TEXT:  # nothing follows a name: its blanks are its own
        values = [*values[:last], b" ".join(values[last:])]
    if len(values) != len(fields):
        raise malformed(f"{len(values)} fields, but {template} has {len(fields)}")
    raw = [_VALUES[FIELDS[field]](field, value) for field, value in zip(fields, values, strict=True)]
    for field, value in zip(fields, raw, strict=True):
        check(field, value)
    if sum(map(len, raw)) > MAX_DATA:
        raise malformed(f"more than {MAX_DATA} bytes of data", "size")
    if template == IMA:
        data = raw[0] + raw[1].ljust(NAME_SPACE, b"\0")
    else:
        data = b"".join(_U32.pack(len(value)) + value for value in raw)
    return entry_of(pcr, digest, template, data)


def _unhex(text: bytes, what: str) -> bytes:
    try:
        return unhexlify(text)
    except HexError:
        raise malformed(f"the {what} is not hex", "hex") from None


def _digest(field: str, text: bytes) -> bytes:
    if not text:
        return b""
    head, colon, value = text.rpartition(b":")
    if not colon:
        raise malformed(f"{field} names no algorithm", "algorithm")
    return head + b":\0" + _unhex(value, field)


def _text(_: str, text: bytes) -> bytes:
    return text + b"\0" if text else b""


def _number(pack: Struct) -> Callable[[str, bytes], bytes]:
    most = 1 << 8 * pack.size

    def value(field: str, text: bytes) -> bytes:
        if not text:
            return b""
        if not _NUMBER.fullmatch(text) or int(text) >= most:
            raise malformed(f"{field} is not a number below {most}")
        return pack.pack(int(text))

    return value


_VALUES: Final[dict[Kind, Callable[[str, bytes], bytes]]] = {
    Kind.BARE_DIGEST: lambda field, text: _unhex(text, field),
    Kind.DIGEST: _digest,
    Kind.TYPED_DIGEST: _digest,
    Kind.TEXT: _text,
    Kind.BYTES: lambda field, text: _unhex(text, field),
    Kind.U16: _number(_U16),
    Kind.U32: _number(_U32),
}
