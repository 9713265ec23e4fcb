"""``shype eventlog``: read and replay an event log."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from attest.eventlog.ccel import NO_REGISTER
from attest.eventlog.data import Binding, binding
from attest.eventlog.log import BANKS, HASHES, Event, EventLog, LogFormat
from attest.eventlog.notes import Note, lacks_exit_boot_services, notes
from attest.eventlog.read import is_list, parse
from attest.eventlog.replay import EXIT_BOOT_SERVICES_PCR, replay, startup_locality, with_exit_boot_services
from attest.ima.entry import entry_of_event
from attest.ima.log import FIRST, MAX_LIST_SIZE
from attest.ima.source import ListSource
from attest.ima.template import fields_of
from shype.heldfile import holding
from shype.listreport import ListReplay, ReadList, list_document
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
    with ExitStack() as opened:
        held = opened.enter_context(holding(args.file))
        if not is_list(held.read(FIRST)):
            log = parse(held.read(MAX_LIST_SIZE))
            if args.json:
                return Report(Exit.OK, describe(log), "")
            return Report(Exit.OK, None, "\n".join(_lines(log)))
        listed = ReadList.of(ListSource(held.chunks))
        pieces = list_document(listed) if args.json else _list_text(listed)
        return Report(Exit.OK, None, "", pieces=_closing(opened.pop_all(), pieces))


def _closing(opened: ExitStack, pieces: Iterator[str]) -> Iterator[str]:
    with opened:
        yield from pieces


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
    """Return registers by bank, but for a bank whose hash nothing here computes and a PCR with a gap."""
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
    yield _title(log.format, len(log.events))
    extended = {event.pcr for event in log.events if event.extends}
    bindings = [binding(event) for event in log.events]
    for event, bound in zip(log.events, bindings, strict=True):
        place = (event.index, event.pcr)
        yield _line(log.format, place, bound.matches, event.untrusted_type, _shown(event))
    pcrs = {
        bank: {pcr: value for pcr, value in values.items() if int(pcr) in extended}
        for bank, values in _pcrs(log).items()
    }
    yield from _last_lines(log.format, pcrs, notes(log, bindings))


def _list_text(listed: ReadList) -> Iterator[str]:
    """Yield the table of a measurement list, of each entry the name."""
    replayed = ListReplay(listed)
    yield _title(listed.format, listed.count)
    for index, entry, matches in replayed.entries():
        shown = _text(entry.path)
        yield "\n" + _line(listed.format, (index, entry.pcr), matches, entry.template, shown)
    yield from (f"\n{line}" for line in _last_lines(listed.format, replayed.pcrs(), replayed.notes()))


def _title(form: LogFormat, count: int) -> str:
    register = form.registers.upper()
    return f"{form}: {count} events; not verified: compare the {register}s with a quote"


def _line(form: LogFormat, place: tuple[int, int], matches: bool | None, kind: str, shown: str) -> str:  # noqa: FBT001 - a column
    index, pcr = place
    where = "-" if pcr == NO_REGISTER else str(pcr)
    return f"{index:5} {form.registers.upper()} {where:3} {_MARKS[matches]} {kind:33} {shown}"


def _last_lines(
    form: LogFormat, pcrs: Mapping[str, Mapping[str, str]], found: Iterable[Note]
) -> Iterator[str]:
    for bank, values in pcrs.items():
        yield from (f"{bank} {form.registers.upper()} {pcr:>2} {value}" for pcr, value in values.items())
    yield from (f"note: {note.code}: {note.detail}" for note in found)


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
