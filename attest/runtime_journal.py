"""The runtime log as it lies on disk: a write-ahead journal, one canonical JSON object a line.

::

    {"intent": RECORD}    an event is about to be extended; RECORD is a CEL record (attest.eventlog.cel)
    {"confirm": recnum}   the PCR was extended with it
    {"drop": recnum}      the PCR was not extended; the number is used again

At most one intent is open. Bytes behind the last line feed are a line that a crash tore: they are accepted
only where they begin one of the lines that could have been written there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest import canonical_json
from attest.canonical_json import JsonError
from attest.errors import AttestInputError
from attest.eventlog.cel import parse_record, record_document
from attest.eventlog.log import MAX_LOG_SIZE, Event, EventLog, EventLogError, LogFormat
from vtpm.tpm2.constants import Alg

MAX_JOURNAL: Final = MAX_LOG_SIZE
"""Bytes on disk; the CEL-JSON made from it is smaller."""

_MAX_LINE: Final = 64 << 10
_INTENT_HEAD: Final = b'{"intent":{"content":{"data":"'


class JournalError(AttestInputError):
    """A journal that no crash explains: it was altered, or something else wrote into it or into the PCR."""

    code = "journal"


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal says: confirmed events, the intent left open, and the bytes of its whole lines."""

    events: tuple[Event, ...]
    pending: Event | None
    size: int
    torn: bool


def intent(event: Event) -> bytes:
    """Return the line that announces an event."""
    return canonical_json.encode({"intent": record_document(event)}) + b"\n"


def confirm(event: Event) -> bytes:
    """Return the line that says that the PCR was extended."""
    return canonical_json.encode({"confirm": event.index}) + b"\n"


def drop(event: Event) -> bytes:
    """Return the line that says that the PCR was not extended."""
    return canonical_json.encode({"drop": event.index}) + b"\n"


def parse_journal(raw: bytes) -> Journal:
    """Read a journal strictly; raises JournalError with the line that is wrong."""
    if len(raw) > MAX_JOURNAL:
        raise JournalError(f"runtime log: more than {MAX_JOURNAL} bytes", code="size")
    *lines, tail = raw.split(b"\n")
    events: list[Event] = []
    pending: Event | None = None
    for number, line in enumerate(lines, 1):
        if pending is None:
            pending = _read_intent(line, len(events), number)
            continue
        if line + b"\n" == confirm(pending):
            events.append(pending)
        elif line + b"\n" != drop(pending):
            what = f"must confirm or drop record {pending.index}"
            raise JournalError(f"runtime log: line {number}: {what}")
        pending = None
    if tail and not _is_torn(tail, pending):
        raise JournalError(f"runtime log: line {len(lines) + 1}: not a line that a crash tore")
    return Journal(tuple(events), pending, len(raw) - len(tail), bool(tail))


def event_log(events: Sequence[Event], banks: Sequence[Alg] = (Alg.SHA256,)) -> EventLog:
    """Return these events as a log to replay."""
    return EventLog(LogFormat.CEL_JSON, tuple(banks), tuple(events))


def _read_intent(line: bytes, recnum: int, number: int) -> Event:
    try:
        value = canonical_json.decode_canonical(line, "record", _MAX_LINE)
        if not isinstance(value, dict) or value.keys() != {"intent"}:
            raise JournalError(f"runtime log: line {number}: must be an intent")
        return parse_record(value["intent"], recnum)
    except (JsonError, EventLogError) as error:
        raise JournalError(f"runtime log: line {number}: {error}") from None


def _is_torn(tail: bytes, pending: Event | None) -> bool:
    if pending is not None:
        return confirm(pending).startswith(tail) or drop(pending).startswith(tail)
    size = min(len(tail), len(_INTENT_HEAD))
    return len(tail) <= _MAX_LINE and tail[:size] == _INTENT_HEAD[:size]
