"""Canonical Event Logs in JSON that others write: one array of records, or systemd's JSON text sequence.

Source: TCG Canonical Event Log Format 1.0, "JSON encoding"; systemd, ``systemd-pcrlock cel`` and
``/run/log/systemd/tpm2-measure.log`` (RFC 7464: each record stands behind one byte 1E). A record::

    {"recnum": N, "pcr": N, "digests": [{"hashAlg": NAME, "digest": HEX}, ...],
     "content_type": "pcclient_std" | "ima_template" | "ima_tlv" | "cel" | "systemd", "content": ...}

``recnum`` counts from 0 or 1 without a gap, over the whole log or for each PCR; a sequence has none. A log
whose first record has the content type ``shype`` is our runtime log, and ``attest.eventlog.cel`` reads it.
A record of an NV index (``nv_index``) is refused: no PCR quote speaks about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from attest import canonical_json
from attest.canonical_json import JsonError
from attest.eventlog.cel import CONTENT_TYPE, parse_cel
from attest.eventlog.cel_content import content_of, refuse, unhex
from attest.eventlog.log import BANKS, MAX_EVENTS, MAX_LOG_SIZE, Event, EventLog, EventLogError, LogFormat
from attest.eventlog.tcg import startup_locality_of
from vtpm.tpm2.constants import PCR_COUNT, Alg

_SEPARATOR: Final = b"\x1e"
_BLANK: Final = b" \t\r\n"
_FIELDS: Final = frozenset({"recnum", "pcr", "digests", "content_type", "content"})
_NEEDED: Final = frozenset({"pcr", "digests"})
_NAMES: Final = {
    **{name: alg for alg, (name, _) in BANKS.items()},
    **{name.replace("_", "-"): alg for alg, (name, _) in BANKS.items()},
    **{f"0x{alg:04x}": alg for alg in BANKS},
}
_FIRST: Final = (0, 1)


def is_cel_json(raw: bytes) -> bool:
    """Tell whether this begins as a log in JSON does."""
    return raw.startswith(_SEPARATOR) or raw.lstrip(_BLANK).startswith(b"[")


def parse_cel_json(raw: bytes) -> EventLog:
    """Read a whole log strictly; raises EventLogError that names record and field."""
    if len(raw) > MAX_LOG_SIZE:
        raise EventLogError(f"the log is larger than {MAX_LOG_SIZE} bytes", offset=None, code="size")
    in_sequence = raw.startswith(_SEPARATOR)
    records = _sequence(raw) if in_sequence else _array(raw)
    if len(records) > MAX_EVENTS:
        raise EventLogError(f"more than {MAX_EVENTS} records", offset=None, code="size")
    if not in_sequence and (not records or _content_type(records[0]) == CONTENT_TYPE):
        return parse_cel(raw)
    events = tuple(_record(record, number, in_sequence=in_sequence) for number, record in enumerate(records))
    if not in_sequence:
        _check_numbers(records)
    banks = dict.fromkeys(alg for event in events for alg, _ in event.digests) or {Alg.SHA256: None}
    log = EventLog(LogFormat.CEL_JSON, tuple(banks), events)
    return replace(log, startup_locality=startup_locality_of(events))


def _array(raw: bytes) -> list[object]:
    records = _decoded(raw, "")
    if not isinstance(records, list):
        raise EventLogError("not a JSON array of records", offset=None, code="cel")
    return records


def _sequence(raw: bytes) -> list[object]:
    texts = raw.split(_SEPARATOR)[1:]
    if len(texts) > MAX_EVENTS:
        raise EventLogError(f"more than {MAX_EVENTS} records", offset=None, code="size")
    return [_decoded(text, f"record {number}: ") for number, text in enumerate(texts)]


def _decoded(raw: bytes, where: str) -> object:
    try:
        return canonical_json.decode(raw, "event log", MAX_LOG_SIZE)
    except JsonError as error:
        what = where + str(error).removeprefix("event log: ")
        raise EventLogError(what, offset=None, code=error.code) from None


def _content_type(record: object) -> object:
    return record.get("content_type") if isinstance(record, dict) else None


def _record(record: object, number: int, *, in_sequence: bool) -> Event:
    if not isinstance(record, dict) or not record.keys() >= _NEEDED:
        refuse(
            number, "record", f"must be an object with {', '.join(sorted(_NEEDED))}; NV indexes are not read"
        )
    if record.keys() - _FIELDS or ("recnum" in record) is in_sequence:
        refuse(number, "record", f"may have {', '.join(sorted(_FIELDS))} only; recnum, unless in a sequence")
    pcr = record["pcr"]
    if not _is_number(pcr) or not 0 <= pcr < PCR_COUNT:
        refuse(number, "pcr", f"must be 0 to {PCR_COUNT - 1}")
    content = content_of(record, number)
    return Event(number, pcr, _digests(record["digests"], number), content.type, content.data)


def _digests(value: object, number: int) -> tuple[tuple[Alg, bytes], ...]:
    if not isinstance(value, list) or len(value) > len(BANKS):
        refuse(number, "digests", "must be a list of digests")
    digests = tuple(_digest(each, number) for each in value)
    if len({alg for alg, _ in digests}) != len(digests):
        refuse(number, "digests", "holds an algorithm twice")
    return digests


def _digest(value: object, number: int) -> tuple[Alg, bytes]:
    if not isinstance(value, dict) or value.keys() != {"hashAlg", "digest"}:
        refuse(number, "digests", 'must hold {"hashAlg": NAME, "digest": HEX}')
    name = value["hashAlg"]
    alg = _NAMES.get(name.lower()) if isinstance(name, str) else next((a for a in BANKS if a == name), None)
    if alg is None:
        refuse(number, "digests.hashAlg", f"must be one of {', '.join(name for name, _ in BANKS.values())}")
    digest = unhex(value["digest"], number, "digests.digest")
    if len(digest) != BANKS[alg][1]:
        refuse(number, "digests.digest", f"of {BANKS[alg][0]} must have {BANKS[alg][1]} bytes")
    return alg, digest


def _check_numbers(records: Sequence[object]) -> None:
    """Check that no record is left out: numbers count on over the log, or over the records of each PCR."""
    pairs = [(each["pcr"], each["recnum"]) for each in records if isinstance(each, dict)]
    if not any(_counts(pairs, first, by) for first in _FIRST for by in (lambda _: 0, lambda pcr: pcr)):
        refuse(0, "recnum", "does not count from 0 or 1 without a gap, over the log or for each PCR")


def _counts(pairs: Sequence[tuple[int, object]], first: int, by: Callable[[int], int]) -> bool:
    expected: defaultdict[int, int] = defaultdict(lambda: first)
    for pcr, number in pairs:
        if not _is_number(number) or number != expected[by(pcr)]:
            return False
        expected[by(pcr)] += 1
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
