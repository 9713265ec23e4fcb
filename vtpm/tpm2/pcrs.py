"""Platform Configuration Registers: selections, extend, the digest of a quote (Part 1, 17; Part 2, 10.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vtpm.errors import VtpmUsageError
from vtpm.tpm2.constants import PCR_COUNT, Alg
from vtpm.tpm2.fields import hash_algorithm
from vtpm.tpm2.wire import Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SELECT_SIZE: Final = PCR_COUNT // 8
_MAX_BANKS: Final = 16


@dataclass(frozen=True, slots=True)
class PcrSelection:
    """TPML_PCR_SELECTION: banks in their order, each with its PCR numbers (0..23).

    Layout: UINT32 count; for each bank UINT16 hash, UINT8 size (3), 3 bytes: PCR n is bit n % 8 of
    byte n // 8.
    The order matters: it is the order in which the TPM hashes the values. A bank stands at most once.
    """

    banks: tuple[tuple[Alg, frozenset[int]], ...]

    def __post_init__(self) -> None:
        algorithms = [alg for alg, _ in self.banks]
        if len(set(algorithms)) != len(algorithms) or len(algorithms) > _MAX_BANKS:
            raise VtpmUsageError("a PCR selection has each bank at most once")
        for alg, numbers in self.banks:
            if not alg.is_hash or not all(0 <= pcr < PCR_COUNT for pcr in numbers):
                raise VtpmUsageError(
                    f"PCR selection of {alg.name}: a hash and PCRs 0..{PCR_COUNT - 1} are needed"
                )

    @classmethod
    def of(cls, alg: Alg, numbers: Iterable[int]) -> PcrSelection:
        """Return the selection of these PCRs of one bank."""
        return cls(((alg, frozenset(numbers)),))

    @classmethod
    def decode(cls, raw: bytes) -> PcrSelection:
        """Read a TPML_PCR_SELECTION, every byte; raises ``StructureError``."""
        reader = Reader(raw, "TPML_PCR_SELECTION")
        selection = cls.read(reader)
        reader.end()
        return selection

    @classmethod
    def read(cls, reader: Reader) -> PcrSelection:
        """Read a TPML_PCR_SELECTION from the middle of a structure."""
        count = reader.u32("pcrSelect.count")
        if count > _MAX_BANKS:
            raise reader.fail("pcrSelect.count", f"{count} is more than {_MAX_BANKS}", code="size", back=4)
        banks: dict[Alg, frozenset[int]] = {}
        for _ in range(count):
            alg = hash_algorithm(reader, "pcrSelect.hash")
            if alg in banks:
                raise reader.fail(
                    "pcrSelect.hash", f"bank {alg.hash_name} stands twice", code="duplicate", back=2
                )
            banks[alg] = _read_bits(reader)
        return cls(tuple(banks.items()))

    def encode(self) -> bytes:
        """Return the TPML_PCR_SELECTION."""
        writer = Writer().u32(len(self.banks))
        for alg, numbers in self.banks:
            bits = sum(1 << pcr for pcr in numbers)
            writer.u16(alg).u8(_SELECT_SIZE).raw(bits.to_bytes(_SELECT_SIZE, "little"))
        return writer.done()

    def pairs(self) -> tuple[tuple[Alg, int], ...]:
        """Return (bank, PCR) in the order in which the TPM hashes the values (Part 3, 18.4)."""
        return tuple((alg, pcr) for alg, numbers in self.banks for pcr in sorted(numbers))


def _read_bits(reader: Reader) -> frozenset[int]:
    size = reader.u8("pcrSelect.sizeofSelect")
    if size != _SELECT_SIZE:
        raise reader.fail("pcrSelect.sizeofSelect", f"{size} is not {_SELECT_SIZE}", code="size", back=1)
    bits = int.from_bytes(reader.take(size, "pcrSelect.pcrSelect"), "little")
    return frozenset(pcr for pcr in range(PCR_COUNT) if bits >> pcr & 1)


def extend(alg: Alg, old: bytes, digest: bytes) -> bytes:
    """Return H(old ‖ digest) (Part 1, 17.2); raises ``VtpmUsageError`` if a length is not that of ``alg``."""
    if len(old) != alg.digest_size or len(digest) != alg.digest_size:
        raise VtpmUsageError(f"{alg.hash_name}: PCR and digest have {alg.digest_size} bytes")
    return alg.digest(old + digest)


def digest_of(alg: Alg, values: Sequence[bytes]) -> bytes:
    """Return the digest that a quote has for these PCR values, in the order of ``PcrSelection.pairs``."""
    return alg.digest(b"".join(values))
