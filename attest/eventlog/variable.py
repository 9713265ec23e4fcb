"""UEFI variables as firmware measures them.

Source: TCG PC Client PFP 1.06, "UEFI_VARIABLE_DATA"; UEFI 2.10, 8.2 (names are UTF-16), 32.4 (Secure Boot).
Layout: vendor GUID [16] | name length in characters u64 | value length u64 | name | value; little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final
from uuid import UUID

GLOBAL: Final = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
"""Vendor of SecureBoot, PK, KEK and the modes."""
IMAGE_SECURITY: Final = UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
"""Vendor of db, dbx, dbt, dbr."""

_HEAD: Final = Struct("<16sQQ")


@dataclass(frozen=True, slots=True)
class UefiVariable:
    """A variable: who defines it, its name, its value."""

    vendor: UUID
    name: str
    value: bytes


def decode_variable(data: bytes) -> UefiVariable | None:
    """Read a UEFI_VARIABLE_DATA, every byte; None if this is none."""
    if len(data) < _HEAD.size:
        return None
    vendor, length, size = _HEAD.unpack_from(data)
    end = _HEAD.size + 2 * length
    if end + size != len(data):
        return None
    try:
        name = data[_HEAD.size : end].decode("utf-16-le")
    except UnicodeDecodeError:
        return None
    return UefiVariable(UUID(bytes_le=vendor), name, data[end:])


def encode_variable(vendor: UUID, name: str, value: bytes) -> bytes:
    """Return a UEFI_VARIABLE_DATA, as firmware measures it."""
    return _HEAD.pack(vendor.bytes_le, len(name), len(value)) + name.encode("utf-16-le") + value
