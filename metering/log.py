"""The log on disk: one folder, one writer, append only.

::

    leaves       328 bytes each: leaf (324) and its CRC-32, big-endian; then zeros, space that is reserved
    intent       id of the key (8 digits), newline, note text of the tree head that it is about to sign
    checkpoint   the last signed note; what is here is published
    lock         held by the writer

Write order: leaves, fdatasync; ``intent``, fsync; sign; ``checkpoint``, fsync. Small files are replaced
whole. A crash may leave a torn tail behind the last signed head: nobody was told of it, and it is cut.
Anything missing or changed below a signed head is not repaired but refused. An intent of the same key
without its checkpoint is signed first, with the same text: what was perhaps signed and lost is published
as it was. A key of a later boot signs the tree as it is, which continues that of the intent. Source:
facts/metering.md 2.10.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from acm.merkle import EMPTY_ROOT, leaf_hash
from metering.checkpoint import Checkpoint, Note, check_origin, key_id, signed
from metering.errors import LockedError, MeteringInputError, MeteringUsageError, StoreError
from metering.merkle import Frontier
from metering.record import LEAF_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from attest.signer import Signer

STRIDE: Final = LEAF_BYTES + 4
"""Bytes of a leaf on disk."""

LEAVES: Final = "leaves"
INTENT: Final = "intent"
CHECKPOINT: Final = "checkpoint"
LOCK: Final = "lock"

Visit = Callable[[bytes, bytes], None]
"""Called with each leaf and its hash."""

_CHUNK: Final = 4096
"""Leaves read at a time."""
_RESERVE: Final = 1 << 20
"""Bytes of space reserved at a time. Syncing what is written into it changes no file size: half the time."""


class Log:
    """The writer of one log; make it with ``open``."""

    def __init__(self, folder: Path, origin: str, lock: int, leaves: int) -> None:
        """Take over open descriptors."""
        self._folder = folder
        self._origin = origin
        self._open: tuple[int, ...] = (leaves, lock)
        self._leaves = leaves
        self._frontier = Frontier()
        self._broken = False
        self._reserved = os.fstat(leaves).st_size
        self.cut = 0
        """Bytes of a torn tail that ``open`` removed."""

    @classmethod
    def open(cls, folder: Path, origin: str, visit: Visit | None = None) -> Log:
        """Open or make the log in ``folder``, read it through, and cut a torn tail.

        Raises LockedError, StoreError (``TAMPERED``, ``ROLLBACK``), OSError.
        """
        check_origin(origin)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            log = cls(folder, origin, lock, os.open(folder / LEAVES, flags, 0o600))
        except BlockingIOError:
            os.close(lock)
            raise LockedError(f"{folder}: another process writes this log") from None
        try:
            log._recover(visit)
        except BaseException:
            log.close()
            raise
        return log

    @property
    def size(self) -> int:
        """How many leaves are on disk."""
        return self._frontier.size

    def root(self) -> bytes:
        """Return the root over them."""
        return self._frontier.root()

    def append(self, leaves: Sequence[bytes]) -> None:
        """Write leaves and wait until they are on disk.

        If the disk is full the log stays as it was; after any other failure of the disk it must be opened
        again. Raises OSError, MeteringUsageError.
        """
        self._usable()
        if any(len(leaf) != LEAF_BYTES for leaf in leaves):
            raise MeteringUsageError(f"a leaf has {LEAF_BYTES} bytes")
        content = b"".join(leaf + zlib.crc32(leaf).to_bytes(4, "big") for leaf in leaves)
        start = self.size * STRIDE
        self._reserve(start + len(content))
        self._broken = True
        _write_all(self._leaves, content, start)
        os.fdatasync(self._leaves)
        self._broken = False
        for leaf in leaves:
            self._frontier.append(leaf_hash(leaf))

    def _reserve(self, end: int) -> None:
        """Write zeros so that the file reaches at least to ``end``; without room it stays as it was."""
        if end <= self._reserved:
            return
        size = end - self._reserved + _RESERVE
        try:
            _write_all(self._leaves, bytes(size), self._reserved)
            os.fsync(self._leaves)
        except OSError:
            os.ftruncate(self._leaves, self._reserved)
            raise
        self._reserved += size

    def sign(self, signer: Signer) -> bytes:
        """Sign the tree as it is, publish the checkpoint, and return it.

        A head that was about to be signed before a crash comes first. A tree that is signed already is
        not signed again. Raises OSError, and whatever the signer raises.
        """
        self._usable()
        published, intent = self._published(), self._intent()
        by = key_id(signer.spki()).hex()
        if intent is not None and intent[0] == by and (published is None or intent[1].size > published.size):
            self._publish(intent[1], signer)
            published = intent[1]
        if published is None or published.size < self.size:
            head = Checkpoint(self._origin, self.size, self.root())
            _replace(self._folder / INTENT, f"{by}\n".encode() + head.text())
            self._publish(head, signer)
        return (self._folder / CHECKPOINT).read_bytes()

    def close(self) -> None:
        """Let go of the log; harmless when repeated."""
        descriptors, self._open = self._open, ()
        self._broken = True
        for descriptor in descriptors:
            os.close(descriptor)

    def _publish(self, head: Checkpoint, signer: Signer) -> None:
        note = signed(head, signer.spki(), signer.sign(digest(head)))
        _replace(self._folder / CHECKPOINT, note)

    def _usable(self) -> None:
        if self._broken:
            raise MeteringUsageError(f"{self._folder}: this log is closed or its disk failed; open it again")

    def _published(self) -> Checkpoint | None:
        path = self._folder / CHECKPOINT
        return self._head(path, lambda raw: Note.decode(raw).text) if path.exists() else None

    def _intent(self) -> tuple[str, Checkpoint] | None:
        path = self._folder / INTENT
        if not path.exists():
            return None
        by = path.read_bytes().partition(b"\n")[0].decode("ascii", errors="replace")
        return by, self._head(path, lambda raw: raw.partition(b"\n")[2])

    def _head(self, path: Path, text: Callable[[bytes], bytes]) -> Checkpoint:
        try:
            head = Checkpoint.of_text(text(path.read_bytes()))
        except MeteringInputError as error:
            raise StoreError(f"{path}: {error}", code="TAMPERED") from None
        if head.origin != self._origin:
            raise StoreError(f"{path}: is of the log {head.origin!a}", code="TAMPERED")
        return head

    def _recover(self, visit: Visit | None) -> None:
        intent = self._intent()
        claimed = (self._published(), intent[1] if intent else None)
        heads = [head for head in claimed if head is not None]
        roots: dict[int, bytes] = {0: EMPTY_ROOT}
        for leaf in read_leaves(self._folder):
            hashed = leaf_hash(leaf)
            self._frontier.append(hashed)
            if any(head.size == self.size for head in heads):
                roots[self.size] = self.root()
            if visit is not None:
                visit(leaf, hashed)
        for head in heads:
            self._compare(head, roots)
        end = self.size * STRIDE
        self.cut = _written(self._leaves, end) - end
        if self.cut:
            os.ftruncate(self._leaves, end)
            os.fsync(self._leaves)
            self._reserved = end

    def _compare(self, head: Checkpoint, roots: dict[int, bytes]) -> None:
        where = self._folder / LEAVES
        if head.size > self.size:
            whole = -(-_written(self._leaves, self.size * STRIDE) // STRIDE)
            if head.size > whole:
                raise StoreError(f"{where}: {whole} leaves, but {head.size} were signed", code="ROLLBACK")
            raise StoreError(f"{where}: leaf {self.size} of {head.size} signed is damaged", code="TAMPERED")
        if roots[head.size] != head.root:
            raise StoreError(f"{where}: the first {head.size} leaves are not those signed", code="TAMPERED")


def digest(head: Checkpoint) -> bytes:
    """Return what a Signer signs for a checkpoint: SHA-256 of its text."""
    return hashlib.sha256(head.text()).digest()


def read_leaves(folder: Path) -> Iterator[bytes]:
    """Yield the leaves of a log, up to the first that is torn or damaged; raises OSError."""
    with (folder / LEAVES).open("rb") as file:
        while chunk := file.read(STRIDE * _CHUNK):
            for at in range(0, len(chunk), STRIDE):
                leaf, check = chunk[at : at + LEAF_BYTES], chunk[at + LEAF_BYTES : at + STRIDE]
                if len(check) != STRIDE - LEAF_BYTES or zlib.crc32(leaf).to_bytes(4, "big") != check:
                    return
                yield leaf


def read_published(folder: Path) -> tuple[list[bytes], bytes]:
    """Return the leaves under the published checkpoint of a log, and the checkpoint; needs no lock.

    Raises OSError, CheckpointError, StoreError (``ROLLBACK``) if leaves are missing or damaged.
    """
    note = (folder / CHECKPOINT).read_bytes()
    size = Checkpoint.of_text(Note.decode(note).text).size
    leaves = list(itertools.islice(read_leaves(folder), size))
    if len(leaves) != size:
        raise StoreError(f"{folder}: {len(leaves)} good leaves, but {size} were signed", code="ROLLBACK")
    return leaves, note


def _replace(path: Path, content: bytes) -> None:
    """Put a file in place so that a crash leaves the old one or the new one."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, content, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_all(descriptor: int, content: bytes, start: int) -> None:
    view = memoryview(content)
    while view:
        done = os.pwrite(descriptor, view, start)
        view, start = view[done:], start + done


def _written(descriptor: int, start: int) -> int:
    """Return where the zeros at the end of a file begin, not before ``start``."""
    end = os.fstat(descriptor).st_size
    while end > start:
        size = min(end - start, STRIDE * _CHUNK)
        rest = os.pread(descriptor, size, end - size).rstrip(b"\0")
        if rest:
            return end - size + len(rest)
        end -= size
    return end
