"""The key derivation functions of the TPM (Part 1, 11.4.10)."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vtpm.tpm2.constants import Alg


def kdf_a(alg: Alg, key: bytes, label: bytes, *, u: bytes, v: bytes, bits: int) -> bytes:
    """KDFa: NIST SP 800-108 in counter mode with HMAC (11.4.10.2).

    Each block is HMAC(key, UINT32 counter ‖ label ‖ 00 ‖ u ‖ v ‖ UINT32 bits), where ``u`` and ``v`` are the
    contexts; ``bits`` is a multiple of 8.
    """
    fixed = label + b"\0" + u + v + bits.to_bytes(4, "big")
    stream = b"".join(
        hmac.digest(key, counter.to_bytes(4, "big") + fixed, alg.hash_name) for counter in _blocks(alg, bits)
    )
    return stream[: bits // 8]


def kdf_e(alg: Alg, z: bytes, label: bytes, *, u: bytes, v: bytes, bits: int) -> bytes:
    """KDFe: NIST SP 800-56A concatenation over the x coordinate ``z`` of the shared point (11.4.10.3).

    Each block is H(UINT32 counter ‖ z ‖ label ‖ 00 ‖ u ‖ v), where ``u`` and ``v`` name the parties;
    ``bits`` is a multiple of 8.
    """
    fixed = z + label + b"\0" + u + v
    stream = b"".join(
        hashlib.new(alg.hash_name, counter.to_bytes(4, "big") + fixed).digest()
        for counter in _blocks(alg, bits)
    )
    return stream[: bits // 8]


def _blocks(alg: Alg, bits: int) -> range:
    size = alg.digest_size * 8
    return range(1, -(-bits // size) + 1)
