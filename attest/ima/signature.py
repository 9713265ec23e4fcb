"""File signatures in measurement lists: the value of the field ``sig``.

Source: Linux, security/integrity/integrity.h (``struct signature_v2_hdr``); ima-evm-utils. Big-endian::

    type u8 (3 IMA, 6 fs-verity) | version u8 (2, 3) | hash u8 | key id [4] | size u16 | signature

``attest.ima.file_key`` checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from attest.errors import AttestInputError

SIGNATURE: Final = "sig"
"""The field that holds one."""

IMA: Final = 3
VERITY: Final = 6
VERSION_2: Final = 2
VERSION_3: Final = 3

_HEADER: Final = Struct(">BBB4sH")
_KNOWN: Final = frozenset({(IMA, VERSION_2), (IMA, VERSION_3), (VERITY, VERSION_3)})


class FileSignatureError(AttestInputError):
    """A file signature that is not believed.

    ``code``: ``ima-signature-malformed``, ``ima-signature-key-unknown``, ``ima-signature-algorithm`` or
    ``ima-signature-invalid``.
    """

    code = "ima-signature-malformed"


@dataclass(frozen=True, slots=True)
class FileSignature:
    """A decoded signature; ``hash_number`` is Linux's of the hash (include/uapi/linux/hash_info.h)."""

    kind: int
    version: int
    hash_number: int
    key_id: bytes
    value: bytes

    @classmethod
    def decode(cls, raw: bytes) -> FileSignature:
        """Read the field, every byte; raises FileSignatureError."""
        size = len(raw) - _HEADER.size
        if size <= 0:
            raise FileSignatureError(f"file signature: {len(raw)} bytes have no room for a signature")
        kind, version, number, key_id, stated = _HEADER.unpack_from(raw)
        if (kind, version) not in _KNOWN:
            raise FileSignatureError(f"file signature: type {kind}, version {version} is not known")
        if stated != size:
            raise FileSignatureError(f"file signature: {size} bytes, but the header says {stated}")
        return cls(kind, version, number, key_id, raw[_HEADER.size :])


def is_malformed(raw: bytes) -> bool:
    """Tell whether a value of the field is no signature; no value at all is not malformed."""
    try:
        return bool(raw) and not FileSignature.decode(raw)
    except FileSignatureError:
        return True
