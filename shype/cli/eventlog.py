"""``shype eventlog``: read and replay an event log."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attest.eventlog.ccel import NO_REGISTER
from attest.eventlog.data import Binding, binding
from attest.eventlog.log import BANKS, HASHES, Event, EventLog
from attest.eventlog.notes import lacks_exit_boot_services, notes
from attest.eventlog.read import parse
from attest.eventlog.replay import EXIT_BOOT_SERVICES_PCR, replay, startup_locality, with_exit_boot_services
from attest.ima.entry import entry_of_event
from attest.ima.log import MAX_LIST_SIZE
from attest.ima.template import fields_of
from shype.files import read
from shype.report import Exit, Json, Report

_HELP: Final = """\
Formats, told apart by content: TCG SHA-1, TCG crypto-agile (on Linux in
/sys/kernel/security/tpm0/binary_bios_measurements), CCEL (of a confidential guest:
/sys/firmware/acpi/tables/data/CCEL), measurement lists of IMA, ASCII and binary
(/sys/kernel/security/ima), and CEL-JSON, that of the runtime log too.

The log is a claim. PCRs are what its digests replay to; compare them with a quote
(shype quote verify --eventlog). data_matches_digest tells whether an event's data are
what was hashed: null where the data only describe it (docs/eventlog.md has the table).

Exit: 0 well-formed, 2 no such file, 3 not a well-formed log.

Example:
  shype eventlog configs/recordings/ovmf-2022.11-q35.bin --json
"""

_MARKS: Final = {True: "data ok ", False: "MISMATCH", None: "-       "}
_TEXT_WIDTH: Final = 60


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the group; it has no verbs."""
    parser.epilog = _HELP
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="event log, as the firmware or shype wrote it"
    )
    parser.set_defaults(handler=_show)


def _show(args: argparse.Namespace) -> Report:
    log = parse(read(args.file, MAX_LIST_SIZE))
    if args.json:
        return Report(Exit.OK, describe(log), "")
    return Report(Exit.OK, None, "\n".join(_lines(log)))


def describe(log: EventLog) -> dict[str, Json]:
    """Return the JSON document of a log (configs/schema/eventlog.schema.json)."""
    bindings = [binding(event) for event in log.events]
    supplied: Json = None
    if lacks_exit_boot_services(log):
        supplied = _pcrs(with_exit_boot_services(log), (EXIT_BOOT_SERVICES_PCR,))
    return {
        "format": log.format.value,
        "registers": log.format.registers.value,
        "startup_locality": startup_locality(log),
        "events": [_event(event, bound) for event, bound in zip(log.events, bindings, strict=True)],
        "pcrs": _pcrs(log),
        "pcrs_with_exit_boot_services": supplied,
        "notes": [{"code": note.code, "detail": note.detail} for note in notes(log, bindings)],
    }


def _event(event: Event, bound: Binding) -> dict[str, Json]:
    return {
        "index": event.index,
        "offset": event.offset,
        "pcr": event.pcr,
        "type": event.untrusted_type,
        "digests": {BANKS[alg][0]: digest.hex() for alg, digest in event.digests},
        "data_matches_digest": bound.matches,
        "rule": bound.rule.value if bound.rule else None,
        "data": event.untrusted_data.hex(),
    }


def _pcrs(log: EventLog, only: tuple[int, ...] = ()) -> dict[str, Mapping[str, str]]:
    """Return registers by bank, but for a bank whose hash nothing here computes and a PCR with a gap.

    A measurement list says nothing about a PCR that it does not extend.
    """
    if log.format.is_ima:
        only = tuple({event.pcr for event in log.events})
    return {
        BANKS[alg][0]: {
            str(pcr): value.hex()
            for pcr, value in sorted(replay(log, alg, registers=log.format.registers).items())
            if not only or pcr in only
        }
        for alg in log.banks
        if alg in HASHES
    }


def _lines(log: EventLog) -> Iterator[str]:
    register = log.format.registers.upper()
    yield f"{log.format}: {len(log.events)} events; not verified: compare the {register}s with a quote"
    extended = {event.pcr for event in log.events if event.extends}
    bindings = [binding(event) for event in log.events]
    for event, bound in zip(log.events, bindings, strict=True):
        mark = _MARKS[bound.matches]
        where = "-" if event.pcr == NO_REGISTER else str(event.pcr)
        yield f"{event.index:5} {register} {where:3} {mark} {event.untrusted_type:33} {_shown(event)}"
    for bank, values in _pcrs(log).items():
        shown = {pcr: value for pcr, value in values.items() if int(pcr) in extended}
        yield from (f"{bank} {register} {pcr:>2} {value}" for pcr, value in shown.items())
    yield from (f"note: {note.code}: {note.detail}" for note in notes(log, bindings))


def _shown(event: Event) -> str:
    """Return the data as text if they are text, of a measurement list's entry the name."""
    if fields_of(event.untrusted_type):
        return _text(entry_of_event(event).path)
    return _text(event.untrusted_data.rstrip(b"\0")) or f"{len(event.untrusted_data)} bytes"


def _text(data: bytes) -> str:
    """Return data as text, or nothing if they are none; control characters never reach the terminal."""
    text = data.decode("ascii", "replace")
    if not text.isprintable() or not data.isascii():
        return ""
    return text if len(text) <= _TEXT_WIDTH else f"{text[: _TEXT_WIDTH - 3]}..."
