"""dm-verity: a read-only disk that is known by the root hash of a tree over its blocks.

Source: Linux, Documentation/admin-guide/device-mapper/verity.rst; cryptsetup, "DMVerity" (on-disk format 1).
The image is the data, and directly behind them what ``veritysetup format --hash-offset`` writes; integers are
little-endian::

    superblock  "verity" 00 00 | version u32 = 1 | hash type u32 = 1 | uuid [16] | algorithm [32]
                | data block size u32 | hash block size u32 | data blocks u64 | salt size u16 | zeros [6]
                | salt [256] | zeros up to the size of a hash block
    tree        the level under the root first; each level is a row of hash blocks, filled up with zeros

A digest is SHA-256(salt ‖ block), the root hash that of the one block of the top level. The root does not say
how many levels are below it, so a tree's own blocks could pass for data; the caller's size rules that out.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from hypervisor.errors import ResourceMismatchError

BLOCK_SIZES: Final = (512, 1024, 2048, 4096)
"""Bytes of a block that Linux can use on x86: powers of two up to a page."""
MAX_SALT: Final = 256

_SUPERBLOCK: Final = struct.Struct("<8sII16s32sIIQH6s256s")
_MAGIC: Final = b"verity\0\0"
_SECTOR: Final = 512
"""Bytes that the superblock takes at least."""


@dataclass(frozen=True, slots=True)
class _Format:
    data_block: int
    hash_block: int
    salt: bytes

    def digest(self, block: bytes) -> bytes:
        return hashlib.sha256(self.salt + block).digest()

    def row(self, raw: bytes, size: int) -> bytes:
        """Return the hash blocks over the blocks of ``size`` bytes in ``raw``."""
        digests = b"".join(self.digest(raw[at : at + size]) for at in range(0, len(raw), size))
        return digests + bytes(-len(digests) % self.hash_block)


def data_of(image: bytes, size: int, root: str) -> bytes:
    """Return the ``size`` bytes of data in an image that is all under ``root`` (hex), tree included.

    Raises ResourceMismatchError, code ``disk-content``, for an image of another root, size or form.
    """
    data, rest = image[:size], image[size:]
    made = _format(rest, size)
    row = made.row(data, made.data_block)
    tree = row
    while len(row) > made.hash_block:
        row = made.row(row, made.hash_block)
        tree = row + tree
    if made.digest(row).hex() != root:
        raise _mismatch(f"its root hash is {made.digest(row).hex()}")
    start = max(made.hash_block, _SECTOR)
    if rest[start : start + len(tree)] != tree or any(
        rest[_SUPERBLOCK.size : start] + rest[start + len(tree) :]
    ):
        raise _mismatch("its tree is not that of its data: the kernel would refuse to read it")
    return data


def _format(rest: bytes, size: int) -> _Format:
    if len(rest) < _SUPERBLOCK.size:
        raise _mismatch(f"no dm-verity superblock stands behind {size} bytes of data")
    magic, version, kind, _, name, data_block, hash_block, blocks, salt_size, zeros, salt = (
        _SUPERBLOCK.unpack_from(rest)
    )
    if (magic, version, kind) != (_MAGIC, 1, 1):
        raise _mismatch(f"no dm-verity superblock of version 1 and type 1 stands at byte {size}")
    if name.rstrip(b"\0") != b"sha256" or data_block not in BLOCK_SIZES or hash_block not in BLOCK_SIZES:
        raise _mismatch("dm-verity must use sha256 and blocks of 512 to 4096 bytes")
    if blocks * data_block != size or blocks < 2:  # noqa: PLR2004 - one block alone would have no tree
        raise _mismatch(f"the tree is over {blocks * data_block} bytes, the disk has {size}")
    if salt_size > MAX_SALT or any(salt[salt_size:]) or any(zeros):
        raise _mismatch("the superblock holds more than it says")
    return _Format(data_block, hash_block, salt[:salt_size])


def _mismatch(what: str) -> ResourceMismatchError:
    return ResourceMismatchError("disk-content", f"dm-verity: {what}")
