r"""What one reader has of a log: all of it, or a tenant's part with its proof. File ``usage.log``.

The whole log::

    "shype.usage-log/1\n" | leaf (324 bytes) for every leaf

A tenant's part::

    "shype.usage-view/1\n" | u64 size | u32 leaves | u32 hashes
    for each leaf, in ascending order: u64 index, 324 bytes | the cover: 32 bytes for each hash

Integers are big-endian. A part has the tenant's domain records, every record of the meter that is not a TICK,
and the last TICK before each GENESIS and at the end: they show how far the meter came.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from acm.merkle import HASH_SIZE, leaf_hash, levels
from metering import merkle
from metering.errors import MeteringInputError, MeteringUsageError
from metering.record import LEAF_BYTES, SALT_BYTES, Kind, MeterRecord, Record, decode, tenant_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOG_MAGIC: Final = b"shype.usage-log/1\n"
VIEW_MAGIC: Final = b"shype.usage-view/1\n"
MAX_BYTES: Final = 2 << 30

_HEAD: Final = struct.Struct(">QII")
_INDEX: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class View:
    """Leaves with their indexes in a tree of ``size``, and the cover of the rest; no root is checked yet."""

    size: int
    indexes: Sequence[int]
    leaves: Sequence[bytes]
    cover: tuple[bytes, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the reader has every leaf."""
        return len(self.indexes) == self.size

    @classmethod
    def of(cls, leaves: Sequence[bytes]) -> View:
        """Return the view of a reader who has the whole log."""
        return cls(len(leaves), range(len(leaves)), leaves)

    @classmethod
    def of_tenant(cls, leaves: Sequence[bytes], tenant: str) -> View:
        """Return the part of the whole log that ``tenant`` may see, with its cover.

        Raises MeteringUsageError if the log is empty, RecordError if a leaf is no record.
        """
        tenant_bytes(tenant)
        if not leaves:
            raise MeteringUsageError("an empty log has nothing to show")
        indexes = list(_visible([decode(leaf[SALT_BYTES:]) for leaf in leaves], tenant))
        tree = levels([leaf_hash(leaf) for leaf in leaves])
        return cls(len(leaves), indexes, [leaves[index] for index in indexes], merkle.cover(tree, indexes))

    @classmethod
    def decode(cls, raw: bytes) -> View:
        """Read either form strictly; raises MeteringInputError (``MALFORMED``)."""
        if len(raw) > MAX_BYTES:
            raise MeteringInputError(f"usage log: {len(raw)} bytes are more than {MAX_BYTES}")
        if raw.startswith(LOG_MAGIC):
            return _decode_log(raw)
        if raw.startswith(VIEW_MAGIC):
            return _decode_part(raw)
        raise MeteringInputError(f"usage log: begins neither with {LOG_MAGIC!r} nor with {VIEW_MAGIC!r}")

    def encode(self) -> bytes:
        """Return the file."""
        if self.whole:
            return LOG_MAGIC + b"".join(self.leaves)
        pairs = zip(self.indexes, self.leaves, strict=True)
        body = b"".join(_INDEX.pack(index) + leaf for index, leaf in pairs)
        head = _HEAD.pack(self.size, len(self.leaves), len(self.cover))
        return VIEW_MAGIC + head + body + b"".join(self.cover)


def _visible(records: Sequence[Record], tenant: str) -> Iterator[int]:
    """Yield the indexes that a tenant may see."""
    last = _last_ticks(records)
    for index, record in enumerate(records):
        if isinstance(record, MeterRecord):
            if record.kind is not Kind.TICK or index in last:
                yield index
        elif record.tenant == tenant:
            yield index


def _last_ticks(records: Sequence[Record]) -> frozenset[int]:
    """Return the indexes of TICKs that the meter's next record is a GENESIS after, or none."""
    own = [(index, record.kind) for index, record in enumerate(records) if isinstance(record, MeterRecord)]
    ends = [
        index
        for (index, kind), (_, following) in itertools.zip_longest(own, own[1:], fillvalue=(0, Kind.GENESIS))
        if kind is Kind.TICK and following is Kind.GENESIS
    ]
    return frozenset(ends)


def _decode_log(raw: bytes) -> View:
    count, rest = divmod(len(raw) - len(LOG_MAGIC), LEAF_BYTES)
    if rest:
        raise MeteringInputError(f"usage log: {rest} bytes after {count} leaves are no whole leaf")
    start = len(LOG_MAGIC)
    return View.of([raw[at : at + LEAF_BYTES] for at in range(start, len(raw), LEAF_BYTES)])


def _decode_part(raw: bytes) -> View:
    start, entry = len(VIEW_MAGIC) + _HEAD.size, _INDEX.size + LEAF_BYTES
    if len(raw) < start:
        raise MeteringInputError(f"usage view: {len(raw)} bytes hold no header")
    size, leaves, hashes = _HEAD.unpack_from(raw, len(VIEW_MAGIC))
    end = start + leaves * entry
    if end + hashes * HASH_SIZE != len(raw) or not 0 < leaves < size <= merkle.MAX_SIZE:
        raise MeteringInputError(
            f"usage view: {leaves} leaves of {size} and {hashes} hashes do not fit the file"
        )
    indexes = [_INDEX.unpack_from(raw, at)[0] for at in range(start, end, entry)]
    if any(one >= two for one, two in itertools.pairwise(indexes)) or indexes[-1] >= size:
        raise MeteringInputError("usage view: indexes do not ascend below the size of the tree")
    return View(
        size,
        indexes,
        [raw[at + _INDEX.size : at + entry] for at in range(start, end, entry)],
        tuple(raw[at : at + HASH_SIZE] for at in range(end, len(raw), HASH_SIZE)),
    )
