"""Fields that many structures share: algorithms, digests and Names."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeVar

from vtpm.tpm2.constants import Alg

if TYPE_CHECKING:
    from collections.abc import Collection

    from vtpm.tpm2.wire import Reader

MAX_DIGEST: Final = 64
"""Longest digest: SHA-512."""

MAX_NAME: Final = 2 + MAX_DIGEST
"""Longest Name: algorithm and digest (Part 1, 16)."""

_HANDLE_SIZE: Final = 4

Number = TypeVar("Number", bound=IntEnum)


def number(reader: Reader, kind: type[Number], field: str) -> Number:
    """Read a UINT16 that must be a member of ``kind``."""
    value = reader.u16(field)
    try:
        return kind(value)
    except ValueError:
        raise reader.fail(
            field, f"{value:#06x} is no known {kind.__name__}", code="algorithm", back=2
        ) from None


def algorithm(reader: Reader, field: str, allowed: Collection[Alg]) -> Alg:
    """Read a TPM_ALG_ID that must be one of ``allowed``."""
    alg = number(reader, Alg, field)
    if alg not in allowed:
        names = ", ".join(sorted(member.name for member in allowed))
        raise reader.fail(field, f"{alg.name} is not one of {names}", code="algorithm", back=2)
    return alg


def hash_algorithm(reader: Reader, field: str) -> Alg:
    """Read a TPMI_ALG_HASH that this package can compute."""
    alg = number(reader, Alg, field)
    if not alg.is_hash:
        raise reader.fail(field, f"{alg.name} is no hash that can be computed here", code="algorithm", back=2)
    return alg


def digest(reader: Reader, field: str, *, empty: bool) -> bytes:
    """Read a TPM2B_DIGEST with the length of some hash, or of none where ``empty`` allows it."""
    value = reader.sized(field, MAX_DIGEST)
    if len(value) in {20, 32, 48, 64} or (empty and not value):
        return value
    raise reader.fail(field, f"{len(value)} bytes are no digest", code="size", back=len(value))


def name(reader: Reader, field: str) -> bytes:
    """Read a TPM2B_NAME: empty, a handle, or nameAlg with a digest of its length (Part 1, 16)."""
    value = reader.sized(field, MAX_NAME)
    if len(value) in {0, _HANDLE_SIZE}:
        return value
    problem = name_problem(value)
    if problem:
        raise reader.fail(field, problem, code="size", back=len(value))
    return value


def name_problem(value: bytes) -> str | None:
    """Say why ``value`` is not the Name of an object: nameAlg (2 bytes) and digest; None if it is."""
    try:
        alg = Alg(int.from_bytes(value[:2], "big"))
        size = alg.digest_size
    except ValueError:
        return f"a Name begins with a hash algorithm, not with {value[:2].hex() or 'nothing'}"
    if len(value) != 2 + size:
        return f"a Name with {alg.name} has {2 + size} bytes, not {len(value)}"
    return None
