"""What the package metering reads from outside."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from acm.merkle import levels
from metering import checkpoint, export, log, merkle, record
from metering.audit import audit
from metering.case import Terms, Trust
from metering.checkpoint import Checkpoint, Note
from metering.key import MeterKeyBundle
from metering.meter import Meter
from metering.record import SALT_BYTES
from metering.view import View
from tests.metering.world import GOOD_STATE, ORIGIN, ManualClock, Source
from tests.parsers.parser import Parser, chunks, copied, good
from tests.simulators.desk import PLATFORM

_TRUST: Final = Trust(PLATFORM.ak.public, (GOOD_STATE,))
_HASHES: Final = [bytes([at]) * 32 for at in range(9)]
_USAGE: Final = ("usage/leaves", "usage/checkpoint")


def _audited(**changed: bytes) -> object:
    files = {"log": "usage.log", "checkpoint": "checkpoint", "meter_key": "meter-key.json"}
    shown = {name: good(f"export/{file}") for name, file in files.items()} | changed
    return audit(**shown, trust=_TRUST, terms=Terms())  # type: ignore[arg-type]


def _leaves() -> list[bytes]:
    return list(View.decode(good("export/usage.log")).leaves)


@cache
def _part() -> bytes:
    return View.of_tenant(_leaves(), "acme").encode()


def _spki() -> bytes:
    return MeterKeyBundle.decode(good("export/meter-key.json")).spki()


def _exported(name: str, raw: bytes) -> None:
    with copied(name, raw) as folder, tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as out:
        export.export(folder, Path(out) / "out", tenant="acme")


def _shown(name: str, raw: bytes) -> None:
    with copied(name, raw) as folder:
        export.show(folder)
        list(log.read_leaves(folder))


def _published(name: str, raw: bytes) -> None:
    with copied(name, raw) as folder:
        log.read_published(folder)


def _opened(name: str, raw: bytes) -> None:
    with copied(name, raw) as folder:
        log.Log.open(folder, ORIGIN).close()


def _resumed(name: str, raw: bytes) -> None:
    with copied(name, raw) as folder:
        Meter.resume(folder, ORIGIN, PLATFORM.setup(8), Source(), ManualClock()).abandon()


def _folder(name: str, call: object, *files: str) -> tuple[Parser, ...]:
    """The same call with each file of the log folder broken."""
    return tuple(
        Parser(
            name,
            lambda file=file: [good(file)],  # type: ignore[misc]
            lambda raw, file=file: call(file, raw),  # type: ignore[misc,operator]
            Path(file).name,
            files=True,
        )
        for file in files
    )


PARSERS: Final = (
    Parser(
        "metering.audit:audit",
        lambda: [good("export/usage.log"), _part()],
        lambda raw: _audited(log=raw),
        "log",
    ),
    Parser(
        "metering.audit:audit",
        lambda: [good("export/checkpoint")],
        lambda raw: _audited(checkpoint=raw),
        "checkpoint",
    ),
    Parser(
        "metering.audit:audit",
        lambda: [good("export/meter-key.json")],
        lambda raw: _audited(meter_key=raw),
        "meter-key",
    ),
    Parser(
        "metering.checkpoint:Checkpoint.of_text",
        lambda: [Note.decode(good("export/checkpoint")).text],
        Checkpoint.of_text,
    ),
    Parser("metering.checkpoint:Note.decode", lambda: [good("export/checkpoint")], Note.decode),
    Parser(
        "metering.checkpoint:verify",
        lambda: [good("export/checkpoint")],
        lambda raw: checkpoint.verify(raw, _spki()),
        "note",
    ),
    Parser(
        "metering.checkpoint:verify",
        lambda: [_spki()],
        lambda raw: checkpoint.verify(good("export/checkpoint"), raw),
        "key",
    ),
    *_folder("metering.export:export", _exported, *_USAGE, "usage/meter-key.json"),
    *_folder("metering.export:show", _shown, *_USAGE),
    Parser(
        "metering.key:MeterKeyBundle.decode",
        lambda: [good("export/meter-key.json")],
        lambda raw: _use(MeterKeyBundle.decode(raw)),
    ),
    *_folder("metering.log:Log.open", _opened, *_USAGE, "usage/intent"),
    *_folder("metering.log:read_leaves", _shown, "usage/leaves"),
    *_folder("metering.log:read_published", _published, *_USAGE),
    Parser(
        "metering.merkle:root_from_cover",
        lambda: [b"".join(merkle.cover(levels(_HASHES), [4, 7]))],
        lambda raw: merkle.root_from_cover(9, [4, 7], [_HASHES[4], _HASHES[7]], chunks(raw)),
    ),
    *_folder("metering.meter:Meter.resume", _resumed, *_USAGE, "usage/intent"),
    Parser("metering.record:decode", lambda: [leaf[SALT_BYTES:] for leaf in _leaves()[:4]], record.decode),
    Parser("metering.view:View.decode", lambda: [good("export/usage.log"), _part()], View.decode),
)


def _use(bundle: MeterKeyBundle) -> None:
    """A bundle that was accepted can be judged."""
    bundle.spki()
    bundle.verify_origin(_TRUST.ak)  # type: ignore[arg-type]
    bundle.verify_platform([GOOD_STATE])


NOT_PARSERS: Final = {
    "metering.case:*": "leaves that metering.view:View.decode has cut",
    "metering.chain:*": "leaves that were decoded",
    "metering.checkpoint:*": "writes a note",
    "metering.history:*": "leaves that were decoded",
    "metering.key:*": "calculates with digests and public keys",
    "metering.log:Log.__init__": "descriptors that Log.open has opened",
    "metering.log:Log.append": "writes leaves",
    "metering.merkle:*": "calculates with hashes",
    "metering.platform_key:*": "values for a TPM",
    "metering.register:*": "records that were decoded",
    "metering.view:View.of*": "leaves that were decoded",
}
