"""Exports: the folder that an auditor is handed, and what a log folder shows of itself.

::

    usage.log        the whole log, or one tenant's part with its proof (``metering.view``)
    checkpoint       C2SP signed note over the tree
    meter-key.json   ``shype.meter-key/1``

Only what a published checkpoint signs is exported. The meter goes on meanwhile.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from metering.checkpoint import Checkpoint, Note, verify
from metering.errors import MeteringUsageError, StoreError
from metering.key import MAX_BUNDLE, MeterKeyBundle
from metering.log import CHECKPOINT, read_leaves, read_published
from metering.record import SALT_BYTES, MeterRecord, decode
from metering.view import View

if TYPE_CHECKING:
    from pathlib import Path

USAGE: Final = "usage.log"
METER_KEY: Final = "meter-key.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: how many leaves of how many, and the size of the proof in hashes."""

    leaves: int
    size: int
    hashes: int


@dataclass(frozen=True, slots=True)
class Shown:
    """The state of a log folder: leaves on disk, the published head, and where the records have come to."""

    leaves: int
    head: Checkpoint | None
    epoch: int | None
    tick: int | None
    wall_ms: int | None
    tenants: tuple[str, ...]
    domains: int


def export(folder: Path, out: Path, tenant: str | None = None, key: Path | None = None) -> Exported:
    """Write the export of a log folder to ``out``; ``key`` is the bundle, if it is not in the folder.

    Raises OSError (also if a file is there already), MeteringInputError, MeteringUsageError.
    """
    leaves, note = read_published(folder)
    with (key or folder / METER_KEY).open("rb") as file:
        bundle = file.read(MAX_BUNDLE + 1)
    verify(note, MeterKeyBundle.decode(bundle).spki())
    view = View.of(leaves) if tenant is None else View.of_tenant(leaves, tenant)
    if tenant is not None and not _has(view, tenant):
        raise MeteringUsageError(f"tenant {tenant!a} has no records in {folder}")
    out.mkdir(mode=0o700, exist_ok=True)
    for name, content in ((USAGE, view.encode()), (CHECKPOINT, note), (METER_KEY, bundle)):
        _write_new(out / name, content)
    return Exported(len(view.leaves), view.size, len(view.cover))


def show(folder: Path) -> Shown:
    """Return the state of a log folder; raises OSError, MeteringInputError (``ROLLBACK`` if it was cut)."""
    records = [decode(leaf[SALT_BYTES:]) for leaf in read_leaves(folder)]
    domains = [record for record in records if not isinstance(record, MeterRecord)]
    note = folder / CHECKPOINT
    last = records[-1] if records else None
    head = Checkpoint.of_text(Note.decode(note.read_bytes()).text) if note.exists() else None
    if head is not None and head.size > len(records):
        lost = f"{folder}: {len(records)} records, but the checkpoint signs {head.size}: it was cut"
        raise StoreError(lost, code="ROLLBACK")
    return Shown(
        leaves=len(records),
        head=head,
        epoch=last.epoch if last else None,
        tick=last.tick if last else None,
        wall_ms=last.wall_ms if last else None,
        tenants=tuple(sorted({record.tenant for record in domains})),
        domains=len({record.domain for record in domains}),
    )


def _has(view: View, tenant: str) -> bool:
    records = (decode(leaf[SALT_BYTES:]) for leaf in view.leaves)
    return any(not isinstance(record, MeterRecord) and record.tenant == tenant for record in records)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, for its owner only: usage is nobody else's business."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
