"""PCR files of tpm2-tools: what ``tpm2_quote -o`` and ``tpm2_pcrread -o`` write. Not trusted, only decoded.

``-F values``: the digests one after the other in the order of the selection, nothing else.

``-F serialized`` (the default of tpm2_quote): C structures of tpm2-tss as they lie in memory, little endian::

    0     UINT32 banks                      1 to 16
    4     16 x { UINT16 hash, UINT8 sizeofSelect, UINT8 pcrSelect[4], UINT8 0 }
    132   UINT32 lists                      how many of these follow:
    136   { UINT32 digests, 8 x { UINT16 size, UINT8 buffer[64] } }, 532 bytes each

Unused entries and the ends of buffers are zero in the files that the tools write (seen with 5.4), so every
other byte there is an error: no bit of the file can change without being noticed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from attest.errors import AttestInputError
from vtpm.tpm2.constants import PCR_COUNT, Alg
from vtpm.tpm2.pcrs import PcrSelection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_BANKS: Final = 16
_BANK: Final = struct.Struct("<HB3sBB")
_COUNT: Final = struct.Struct("<I")
_LISTS_AT: Final = _COUNT.size + _BANKS * _BANK.size
_DIGESTS: Final = 8
_BUFFER: Final = 64
_DIGEST: Final = struct.Struct(f"<H{_BUFFER}s")
_LIST_SIZE: Final = _COUNT.size + _DIGESTS * _DIGEST.size
_SELECT_SIZE: Final = PCR_COUNT // 8
_MAX_LISTS: Final = _BANKS * PCR_COUNT


class PcrFileError(AttestInputError):
    """A PCR file is not what tpm2-tools write for this quote; ``offset`` is in bytes."""

    code = "pcr-file-malformed"

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(f"PCR file at byte {offset}: {message}", code=self.code)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class PcrFile:
    """The values of a PCR file. ``selection`` is None for the ``values`` form, which does not say it."""

    selection: PcrSelection | None
    values: Mapping[tuple[Alg, int], bytes]


def decode_pcr_file(raw: bytes, quoted: PcrSelection) -> PcrFile:
    """Read a PCR file of either form; ``quoted`` is the selection of the quote that it came with.

    The selection of a serialized file is returned for the caller to compare. Raises PcrFileError.
    """
    if _has_serialized_length(raw):
        try:
            return _decode_serialized(raw)
        except PcrFileError:
            if len(raw) != _values_length(quoted):
                raise
    return _decode_values(raw, quoted)


def _has_serialized_length(raw: bytes) -> bool:
    lists, rest = divmod(len(raw) - _LISTS_AT - _COUNT.size, _LIST_SIZE)
    return rest == 0 and 1 <= lists <= _MAX_LISTS


def _values_length(quoted: PcrSelection) -> int:
    return sum(alg.digest_size for alg, _ in quoted.pairs())


def _decode_values(raw: bytes, quoted: PcrSelection) -> PcrFile:
    expected = _values_length(quoted)
    if len(raw) != expected:
        what = f"{expected} bytes of values for the quoted PCRs, or the serialized form, are expected"
        raise PcrFileError(len(raw), f"{what}; the file has {len(raw)}")
    values, at = {}, 0
    for alg, pcr in quoted.pairs():
        values[alg, pcr] = raw[at : at + alg.digest_size]
        at += alg.digest_size
    return PcrFile(None, MappingProxyType(values))


def _decode_serialized(raw: bytes) -> PcrFile:
    selection = _decode_selection(raw)
    (lists,) = _COUNT.unpack_from(raw, _LISTS_AT)
    start = _LISTS_AT + _COUNT.size
    if len(raw) != start + lists * _LIST_SIZE:
        raise PcrFileError(_LISTS_AT, f"{lists} digest lists do not fill the {len(raw)} bytes of the file")
    digests = [found for at in range(start, len(raw), _LIST_SIZE) for found in _decode_list(raw, at)]
    return PcrFile(selection, MappingProxyType(_assign(selection, digests, start)))


def _decode_selection(raw: bytes) -> PcrSelection:
    (count,) = _COUNT.unpack_from(raw)
    if not 1 <= count <= _BANKS:
        raise PcrFileError(0, f"{count} banks; 1 to {_BANKS} are possible")
    used = _COUNT.size + count * _BANK.size
    _check_zero(raw, used, _LISTS_AT)
    banks: dict[Alg, frozenset[int]] = {}
    for at in range(_COUNT.size, used, _BANK.size):
        alg, pcrs = _decode_bank(raw, at)
        if alg in banks:
            raise PcrFileError(at, f"bank {alg.hash_name} stands twice")
        banks[alg] = pcrs
    return PcrSelection(tuple(banks.items()))


def _decode_bank(raw: bytes, at: int) -> tuple[Alg, frozenset[int]]:
    number, size, select, beyond, padding = _BANK.unpack_from(raw, at)
    alg = Alg(number) if number in Alg.__members__.values() else Alg.NULL
    if not alg.is_hash:
        raise PcrFileError(at, f"{number:#06x} is no hash algorithm")
    if size != _SELECT_SIZE or beyond or padding:
        raise PcrFileError(at + 2, f"a selection has {_SELECT_SIZE} bytes, and zero after them")
    bits = int.from_bytes(select, "little")
    return alg, frozenset(pcr for pcr in range(PCR_COUNT) if bits >> pcr & 1)


def _decode_list(raw: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, digest) for one TPML_DIGEST."""
    (count,) = _COUNT.unpack_from(raw, at)
    if not 1 <= count <= _DIGESTS:
        raise PcrFileError(at, f"{count} digests; a list has 1 to {_DIGESTS}")
    used = at + _COUNT.size + count * _DIGEST.size
    _check_zero(raw, used, at + _LIST_SIZE)
    for entry in range(at + _COUNT.size, used, _DIGEST.size):
        size, buffer = _DIGEST.unpack_from(raw, entry)
        if size > _BUFFER:
            raise PcrFileError(entry, f"a digest of {size} bytes; at most {_BUFFER} are possible")
        end = entry + _DIGEST.size
        _check_zero(raw, end - _BUFFER + size, end)
        yield entry, buffer[:size]


def _assign(
    selection: PcrSelection, digests: Sequence[tuple[int, bytes]], start: int
) -> dict[tuple[Alg, int], bytes]:
    pairs = selection.pairs()
    if len(pairs) != len(digests):
        raise PcrFileError(start, f"{len(digests)} digests for {len(pairs)} selected PCRs")
    for (alg, pcr), (at, digest) in zip(pairs, digests, strict=True):
        if len(digest) != alg.digest_size:
            raise PcrFileError(at, f"PCR {pcr} of {alg.hash_name} has {len(digest)} bytes")
    return {pair: digest for pair, (_, digest) in zip(pairs, digests, strict=True)}


def _check_zero(raw: bytes, start: int, end: int) -> None:
    rest = raw[start:end].lstrip(b"\0")
    if rest:
        raise PcrFileError(end - len(rest), "tpm2-tools leave this byte zero")
