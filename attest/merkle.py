"""Merkle tree hash and inclusion proofs of RFC 6962, section 2.1 (SHA-256, any number of leaves).

Leaves and inner nodes are hashed under different prefixes (0x00, 0x01), so that no inner node can be shown as
a leaf. The root of no leaves is the hash of the empty string.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from attest.errors import AttestInputError, AttestUsageError

HASH_BYTES: Final = hashlib.sha256().digest_size
MAX_PROOF: Final = 64
"""More siblings than a tree of 2^64 leaves has."""


class InclusionError(AttestInputError):
    """A proof that does not lead from its leaf to the root; code ``inclusion-invalid``."""

    code = "inclusion-invalid"


def leaf_hash(data: bytes) -> bytes:
    """Return H(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return H(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the tree hash (MTH) over the leaf *data* in ``leaves``, 32 bytes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    return _root_of_hashes([leaf_hash(leaf) for leaf in leaves])


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the audit path (PATH) of leaf ``index``: sibling hashes, the leaf's own sibling first.

    Raises AttestUsageError when there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise AttestUsageError(f"no leaf {index} in a tree of {len(leaves)}", code="no-such-leaf")
    return _path([leaf_hash(leaf) for leaf in leaves], index)


def root_from_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that ``proof`` gives for a leaf *hash* at ``index`` in a tree of ``size`` leaves.

    The walk is RFC 9162, 2.1.3.2. The result proves nothing until it is compared with a root that was signed.
    Raises InclusionError when index, size and the number of siblings cannot belong together.
    """
    if not 0 <= index < size:
        raise InclusionError(f"leaf index {index} is outside a tree of {size} leaves")
    if len(proof) > MAX_PROOF or any(len(sibling) != HASH_BYTES for sibling in (leaf, *proof)):
        raise InclusionError(f"a proof is at most {MAX_PROOF} hashes of {HASH_BYTES} bytes")
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise InclusionError("the proof is longer than the tree is deep")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise InclusionError("the proof is shorter than the tree is deep")
    return result


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Raise InclusionError unless ``proof`` leads from the leaf *hash* to the ``expected`` root."""
    if root_from_proof(leaf, index, size, proof) != expected:
        raise InclusionError(f"the proof of leaf {index} leads to another root")


def _root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """Fold level by level; an odd last node moves up unchanged, which gives the tree of RFC 6962."""
    level = list(hashes)
    while len(level) > 1:
        pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0]


def _path(hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Collect the sibling on every level; a last node without one adds nothing."""
    level, path = list(hashes), []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        pairs = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
        index >>= 1
    return tuple(path)
