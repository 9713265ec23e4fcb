"""Merkle tree hashing with SHA-256: root, inclusion path, and its check (RFC 6962, section 2.1).

Leaves and inner nodes are hashed with different first bytes, so that a node can never be shown as a leaf:
``leaf = H(00 ‖ data)``, ``node = H(01 ‖ left ‖ right)``; the root of no leaves is ``H("")``.
A tree of n > 1 leaves splits at the largest power of two below n. All functions are pure.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from acm.errors import AcmUsageError, InclusionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_SIZE: Final = 32
"""Bytes of one hash."""

MAX_PATH: Final = 64
"""More siblings than a tree of 2^64 leaves has; a bound for whoever reads paths from outside."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of one leaf's data (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two child hashes (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A whole tree over the data of all leaves, in their order; never changed."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels = levels([leaf_hash(data) for data in leaves])

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        """The Merkle tree hash (RFC 6962, 2.1)."""
        return self._levels[-1][0] if self.size else EMPTY_ROOT

    def path(self, index: int) -> tuple[bytes, ...]:
        """Return the audit path of leaf ``index``: sibling hashes, lowest first (RFC 6962, 2.1.1).

        Raises AcmUsageError (``leaf-index``) where there is no such leaf.
        """
        if not 0 <= index < self.size:
            raise AcmUsageError("leaf-index", f"leaf {index} of a tree of {self.size}: index out of range")
        siblings = ((level, index >> height ^ 1) for height, level in enumerate(self._levels[:-1]))
        return tuple(level[at] for level, at in siblings if at < len(level))


def levels(hashes: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Return every level of the tree over leaf *hashes*, leaves first and the root last."""
    found = [hashes]
    while len(found[-1]) > 1:
        found.append(_next_level(found[-1]))
    return found


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash over the data of all leaves, in their order."""
    return Tree(leaves).root


def verify_inclusion(
    expected_root: bytes, data: bytes, *, index: int, size: int, path: Sequence[bytes]
) -> None:
    """Check that leaf ``index`` of a tree of ``size`` leaves is ``data``; raise InclusionError if not."""
    verify_inclusion_hash(expected_root, leaf_hash(data), index=index, size=size, path=path)


def verify_inclusion_hash(
    expected_root: bytes, leaf: bytes, *, index: int, size: int, path: Sequence[bytes]
) -> None:
    """Like ``verify_inclusion`` for a leaf whose hash is known.

    Raises InclusionError: ``hash-size``, ``leaf-index``, ``path-length`` or ``root-mismatch``.
    """
    if len(expected_root) != HASH_SIZE:
        raise InclusionError("hash-size", f"Merkle path: every hash has {HASH_SIZE} bytes")
    if not hmac.compare_digest(root_from_path(leaf, index=index, size=size, path=path), expected_root):
        raise InclusionError(
            "root-mismatch", f"Merkle path: leaf {index} of {size} does not lead to the root"
        )


def root_from_path(leaf: bytes, *, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root to which ``path`` leads from a leaf *hash* (RFC 9162, 2.1.3.2).

    It proves nothing until it is compared with a root that was signed or measured. Raises InclusionError:
    ``hash-size``, ``leaf-index`` or ``path-length``.
    """
    if any(len(value) != HASH_SIZE for value in (leaf, *path)):
        raise InclusionError("hash-size", f"Merkle path: every hash has {HASH_SIZE} bytes")
    if not 0 <= index < size:
        raise InclusionError("leaf-index", f"Merkle path: leaf {index} is not in a tree of {size}")
    return _climb(leaf, index, size - 1, path)


def _climb(node: bytes, index: int, last: int, path: Sequence[bytes]) -> bytes:
    """Hash from a leaf upwards; ``last`` is the highest index of the current level."""
    steps = iter(path)
    while last:
        if index & 1 or index < last:
            sibling = next(steps, None)
            if sibling is None:
                raise InclusionError("path-length", "Merkle path: too short for this tree")
            node = node_hash(sibling, node) if index & 1 else node_hash(node, sibling)
        index >>= 1
        last >>= 1
    if next(steps, None) is not None:
        raise InclusionError("path-length", "Merkle path: too long for this tree")
    return node


def _next_level(level: Sequence[bytes]) -> list[bytes]:
    """Join pairs; an odd last node moves up as it is, which is RFC 6962's split seen from below."""
    joined = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return joined if len(level) % 2 == 0 else [*joined, level[-1]]
