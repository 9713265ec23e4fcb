"""``shype audit``: what usage records prove, to a customer or an auditor who does not trust the operator."""

from __future__ import annotations

import argparse
import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shype.exits import VERDICTS
from shype.files import read
from shype.report import Json, Report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from attest.result import Verdict
    from metering.case import Terms, Trust
    from metering.checkpoint import Checkpoint
    from metering.verdict import AuditResult, Finding, Total

_EPILOG = """\
LOG is a folder as shype meter export writes it: usage.log, checkpoint and
meter-key.json; or a usage.log with the other two beside it or named by options.
Of several LOGs each is audited, and their checkpoints must agree.

Without --enrolment nothing says whose key signed, without --reference nothing says
on which platform, without --until a cut tail is not seen: not_proved names it.

Exit: 0 everything holds (explained, bounded gaps included), 1 a violation, 2 wrong
usage, 3 bytes are not those that were signed or not well-formed, 4 inconclusive.

Example:
  shype audit cola-october --tenant cola --enrolment host1.json \\
    --reference host1.reference.json --until 2026-11-01T00:00:00Z
"""
_SENTENCES = {
    "unsigned": "there is no checkpoint: nothing says that these are the meter's records",
    "key-missing": "there is no meter key to check the checkpoint with",
    "key-uncertified": "no enrolment was given: the meter key may be anybody's",
    "platform": "no SHA-256 reference values of PCR 0 to 9: it may have been any platform that signed",
    "unread": "records could not be read, so nothing else was judged",
    "unwitnessed": "no witness countersigned: others may have been shown other records",
    "currency": "no --until was given: a cut tail would not be seen",
    "wall-clock": "the host's wall clock was not synchronised: dates are only labels",
    "other-domains": "a tenant's part cannot show that there are no further domains",
    "seen": "no proof that this continues the checkpoint seen before",
}
_MAX_LOG = 2 << 30
_MAX_SMALL = 1 << 20
_MAX_REFERENCE = 16 << 20
_PCRS = range(10)
_PAGE = 4096
_HEADINGS = ("domain", "tenant", "CPU s", "GiB h", "net in", "net out", "disk read", "written", "vTPM ops")
_TEXT_COLUMNS = 2
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the group, which has no verbs."""
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("logs", nargs="+", type=Path, metavar="LOG", help="folder of an export, or its usage.log")
    add("--tenant", metavar="T", help="audit for this tenant: no other's records may be shown")
    add("--checkpoint", type=Path, metavar="FILE", help="default: checkpoint beside usage.log")
    add("--meter-key", "--key", type=Path, metavar="FILE", help="default: meter-key.json beside usage.log")
    add("--enrolment", type=Path, metavar="FILE", help="enrolment of the host, from its registrar")
    add("--anchors", type=Path, metavar="DIR", help="TPM makers' roots: judge the enrolled TPM by them too")
    add("--reference", type=Path, action="append", metavar="FILE", help="reference values; may be repeated")
    add(
        "--until",
        type=_time,
        metavar="TIME",
        help="the records must reach this time, as 2026-11-01T00:00:00Z",
    )
    add("--reset-count", type=_count, metavar="N", help="the host's boot, from its last verified quote")
    add("--seen", type=Path, action="append", metavar="FILE", help="checkpoint of this log seen before")
    add("--max-gap", type=_count, metavar="S", default=3600, help="longest explained gap in seconds (3600)")
    add("--require-witness", action="store_true", help="inconclusive without a witness")
    parser.set_defaults(handler=_audit)


def _audit(arguments: argparse.Namespace) -> Report:
    from metering.audit import audit

    if len(arguments.logs) > 1 and (arguments.checkpoint or arguments.meter_key):
        from metering.errors import MeteringUsageError

        raise MeteringUsageError("--checkpoint and --meter-key are of one LOG; several were given")
    trust, shown = _trust(arguments), [_files(log, arguments) for log in arguments.logs]
    heads = [_head(checkpoint) for _, checkpoint, _ in shown]
    results = [
        audit(*files, trust, _terms(arguments, _peers(heads, place))) for place, files in enumerate(shown)
    ]
    return _report(arguments.logs, results)


def _files(log: Path, arguments: argparse.Namespace) -> tuple[bytes, bytes | None, bytes | None]:
    """Read a LOG; what was not named and is not there is None."""
    path = log / "usage.log" if log.is_dir() else log
    return (
        read(path, _MAX_LOG),
        _beside(path, "checkpoint", arguments.checkpoint),
        _beside(path, "meter-key.json", arguments.meter_key),
    )


def _beside(log: Path, name: str, given: Path | None) -> bytes | None:
    path = given or log.with_name(name)
    return read(path, _MAX_SMALL) if given or path.exists() else None


def _trust(arguments: argparse.Namespace) -> Trust:
    from metering.case import Trust

    states = [_state(path) for path in arguments.reference or ()]
    known = tuple(state for state in states if state is not None)
    ak = None
    if arguments.enrolment:
        from attest.enrolment import Enrolment
        from vtpm.tpm2.public import Public

        enrolment = Enrolment.decode(read(arguments.enrolment, _MAX_SMALL))
        if arguments.anchors:
            from attest.endorsement import verify_endorsement
            from shype.anchors import read_anchors

            anchors = read_anchors(arguments.anchors)
            verify_endorsement(enrolment.ek_certificate, anchors, now=enrolment.time)
        ak = Public.decode(enrolment.ak)
    return Trust(ak, known or None)


def _state(path: Path) -> tuple[bytes, ...] | None:
    """Return the SHA-256 values of PCR 0-9 of reference values; None if they have not all of them."""
    from attest.reference import ReferenceValues

    values = ReferenceValues.decode(read(path, _MAX_REFERENCE))
    if values.bank != "sha256" or any(pcr not in values.pcrs for pcr in _PCRS):
        return None
    return tuple(values.pcrs[pcr] for pcr in _PCRS)


def _terms(arguments: argparse.Namespace, peers: tuple[Checkpoint, ...]) -> Terms:
    from metering.case import NS, Terms
    from metering.checkpoint import Checkpoint, Note

    seen = [Note.decode(read(path, _MAX_SMALL)) for path in arguments.seen or ()]
    return Terms(
        tenant=arguments.tenant,
        until_ms=arguments.until,
        reset_count=arguments.reset_count,
        max_gap_ns=arguments.max_gap * NS,
        witness=arguments.require_witness,
        seen=tuple(Checkpoint.of_text(note.text) for note in seen),
        peers=peers,
    )


def _head(checkpoint: bytes | None) -> Checkpoint | None:
    """Return what a checkpoint says; a broken one is for the audit of its own log to report."""
    from metering.checkpoint import Checkpoint, Note
    from metering.errors import CheckpointError

    try:
        return Checkpoint.of_text(Note.decode(checkpoint).text) if checkpoint is not None else None
    except CheckpointError:
        return None


def _peers(heads: Sequence[Checkpoint | None], place: int) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that the other LOGs show of the same log."""
    own = heads[place]
    others = (head for at, head in enumerate(heads) if at != place and head is not None)
    return tuple(head for head in others if own is not None and head.origin == own.origin)


def _report(logs: Sequence[Path], results: Sequence[AuditResult]) -> Report:
    from attest.result import Verdict, worst

    verdict = worst([result.verdict for result in results])
    line = ""
    if verdict is Verdict.NONE:
        first = next(one for result in results for one in result.violations if one.code.verdict is verdict)
        line = f"{first.code}: {first.detail}"
    return Report(VERDICTS[verdict], _document(verdict, logs, results), _text(verdict, logs, results), line)


def _document(verdict: Verdict, logs: Sequence[Path], results: Sequence[AuditResult]) -> Json:
    pairs = list(zip(logs, results, strict=True))
    return {
        "verdict": verdict.ear,
        "records": sum(result.records for result in results),
        "violations": [_finding(log, one) for log, result in pairs for one in result.violations],
        "gaps": [_finding(log, one) for log, result in pairs for one in result.gaps],
        "not_proved": _unproved(results),
        "checked": list(dict.fromkeys(name for result in results for name in result.checked)),
        "totals": [_total(log, total) for log, result in pairs for total in result.totals],
    }


def _unproved(results: Sequence[AuditResult]) -> list[str]:
    return sorted({word.value for result in results for word in result.not_proved})


def _finding(log: Path, one: Finding) -> Json:
    interval = list(one.interval) if one.interval else None
    return {
        "code": one.code.value,
        "detail": one.detail,
        "domain": one.domain,
        "interval": interval,
        "log": str(log),
    }


def _total(log: Path, total: Total) -> Json:
    """Counters as decimal text: they grow beyond what every JSON reader keeps exactly (RFC 8259, 6)."""
    small = ("domain", "tenant", "incarnations", "records")
    values = dataclasses.asdict(total)
    return {
        "log": str(log),
        **{name: value if name in small else str(value) for name, value in values.items()},
    }


def _text(verdict: Verdict, logs: Sequence[Path], results: Sequence[AuditResult]) -> str:
    lines = [*_table([total for result in results for total in result.totals])]
    for log, result in zip(logs, results, strict=True):
        where = f" in {log}" if len(logs) > 1 else ""
        lines += [
            f"{one.code}{where}: {one.detail}{_ticks(one)}" for one in (*result.violations, *result.gaps)
        ]
    lines += [f"not proved: {word}: {_SENTENCES[word]}" for word in _unproved(results)]
    records = sum(result.records for result in results)
    checks = max(len(result.checked) for result in results)
    return "\n".join([*lines, f"{verdict}: {records} records, {checks} checks"])


def _ticks(one: Finding) -> str:
    if one.interval is None:
        return ""
    first, last = one.interval
    return f" (tick {first})" if first == last else f" (ticks {first} to {last})"


def _table(totals: Sequence[Total]) -> Iterator[str]:
    if not totals:
        return
    rows = [_HEADINGS, *(_row(total) for total in totals)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        cells = (
            cell.ljust(width) if column < _TEXT_COLUMNS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
    yield ""


def _row(total: Total) -> tuple[str, ...]:
    gib_hours = total.mem_page_ns * _PAGE / 2**30 / 3600e9
    amounts = (total.net_rx, total.net_tx, total.blk_rd_bytes, total.blk_wr_bytes)
    return (
        total.domain,
        total.tenant,
        f"{total.cpu_ns / 1e9:.1f}",
        f"{gib_hours:.2f}",
        *map(_bytes, amounts),
        str(total.vtpm_ops),
    )


def _bytes(amount: int) -> str:
    value, power = float(amount), 0
    while value >= 1024 and power < len(_UNITS) - 1:  # noqa: PLR2004 - binary units
        value, power = value / 1024, power + 1
    return f"{value:.1f} {_UNITS[power]}" if power else f"{amount} B"


def _time(text: str) -> int:
    """Return milliseconds since 1970."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text[:30]!a} is not a time as 2026-11-01T00:00:00Z") from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:  # noqa: PLR2004 - 32 bits
        raise argparse.ArgumentTypeError(f"{text[:20]!a} is not a whole number")
    return int(text)
