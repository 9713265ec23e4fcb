"""Canonical Event Log in JSON (TCG Canonical Event Log Format 1.0, "JSON encoding"): our runtime log.

One array; a record is::

    {"recnum": 0, "pcr": 12, "digests": [{"hashAlg": "sha256", "digest": HEX}],
     "content_type": "shype", "content": {"data": BASE64}}

``recnum`` counts from 0 without a gap. ``data`` are the exact bytes of the event
(``attest.runtime_events``); every digest is their hash, and a log where one is not is refused here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final, NoReturn

from attest import canonical_json
from attest.canonical_json import Json, JsonError
from attest.eventlog.log import (
    BANKS,
    HASHES,
    MAX_EVENTS,
    MAX_LOG_SIZE,
    Event,
    EventLog,
    EventLogError,
    LogFormat,
)
from vtpm.tpm2.constants import PCR_COUNT, Alg

CONTENT_TYPE: Final = "shype"
MAX_DATA: Final = 16384
"""Bytes of one event; the longest that we write is a hypervisor report with its command line."""

_FIELDS: Final = frozenset({"recnum", "pcr", "digests", "content_type", "content"})
_NAMES: Final = {name: alg for alg, (name, _) in BANKS.items() if alg in HASHES}


def new_event(recnum: int, pcr: int, data: bytes, banks: Sequence[Alg] = (Alg.SHA256,)) -> Event:
    """Return the event that measures ``data`` into ``pcr``, with a digest for every bank."""
    digests = tuple((alg, HASHES[alg](data).digest()) for alg in banks)
    return Event(recnum, pcr, digests, CONTENT_TYPE, data)


def encode_cel(events: Sequence[Event]) -> bytes:
    """Return the CEL-JSON array of these events, canonical and ended by a line feed."""
    return canonical_json.encode([record_document(event) for event in events]) + b"\n"


def record_document(event: Event) -> dict[str, Json]:
    """Return the JSON object of one record."""
    digests = [{"hashAlg": BANKS[alg][0], "digest": digest.hex()} for alg, digest in event.digests]
    return {
        "recnum": event.index,
        "pcr": event.pcr,
        "digests": digests,
        "content_type": CONTENT_TYPE,
        "content": {"data": base64.b64encode(event.untrusted_data).decode()},
    }


def parse_cel(raw: bytes) -> EventLog:
    """Read a whole log strictly; raises EventLogError that names record and field."""
    try:
        records = canonical_json.decode(raw, "event log", MAX_LOG_SIZE)
    except JsonError as error:
        raise EventLogError(str(error).removeprefix("event log: "), offset=None, code=error.code) from None
    if not isinstance(records, list):
        raise EventLogError("not a JSON array of records", offset=None, code="cel")
    if len(records) > MAX_EVENTS:
        raise EventLogError(f"more than {MAX_EVENTS} records", offset=None, code="size")
    events = tuple(parse_record(record, recnum) for recnum, record in enumerate(records))
    banks = dict.fromkeys((Alg.SHA256, *(alg for event in events for alg, _ in event.digests)))
    return EventLog(LogFormat.CEL_JSON, tuple(banks), events)


def parse_record(record: object, recnum: int) -> Event:
    """Read one record, which must be number ``recnum``; raises EventLogError."""
    if not isinstance(record, dict) or record.keys() != _FIELDS:
        _refuse(recnum, "record", f"must have exactly the fields {', '.join(sorted(_FIELDS))}")
    if not _is_number(record["recnum"], recnum, recnum):
        _refuse(recnum, "recnum", f"must be {recnum}: no record is left out")
    pcr = record["pcr"]
    if not _is_number(pcr, 0, PCR_COUNT - 1):
        _refuse(recnum, "pcr", f"must be 0 to {PCR_COUNT - 1}")
    if record["content_type"] != CONTENT_TYPE:
        _refuse(recnum, "content_type", f"must be {CONTENT_TYPE!r}: no other is known")
    data = _data(record["content"], recnum)
    return Event(recnum, pcr, _digests(record["digests"], data, recnum), CONTENT_TYPE, data)


def _data(content: object, recnum: int) -> bytes:
    text = content.get("data") if isinstance(content, dict) and content.keys() == {"data"} else None
    if not isinstance(text, str):
        _refuse(recnum, "content", 'must be {"data": BASE64}')
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        _refuse(recnum, "content.data", "is not base64")
    if base64.b64encode(data).decode() != text:
        _refuse(recnum, "content.data", "is not base64 as RFC 4648 writes it")
    if len(data) > MAX_DATA:
        _refuse(recnum, "content.data", f"has more than {MAX_DATA} bytes")
    return data


def _digests(value: object, data: bytes, recnum: int) -> tuple[tuple[Alg, bytes], ...]:
    if not isinstance(value, list) or not 0 < len(value) <= len(_NAMES):
        _refuse(recnum, "digests", "must be a list of digests")
    digests = tuple(_digest(each, data, recnum) for each in value)
    algs = {alg for alg, _ in digests}
    if len(algs) != len(digests) or Alg.SHA256 not in algs:
        _refuse(recnum, "digests", "must hold sha256, and no algorithm twice")
    return digests


def _digest(value: object, data: bytes, recnum: int) -> tuple[Alg, bytes]:
    if not isinstance(value, dict) or value.keys() != {"hashAlg", "digest"}:
        _refuse(recnum, "digests", 'must hold {"hashAlg": NAME, "digest": HEX}')
    name = value["hashAlg"]
    alg = _NAMES.get(name) if isinstance(name, str) else None
    if alg is None:
        _refuse(recnum, "digests.hashAlg", f"must be one of {', '.join(_NAMES)}")
    digest = HASHES[alg](data).digest()
    if value["digest"] != digest.hex():
        _refuse(recnum, "digests.digest", f"is not the {name} of the content: the record was altered")
    return alg, digest


def _is_number(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _refuse(recnum: int, field: str, what: str) -> NoReturn:
    raise EventLogError(f"record {recnum}: {field} {what}", offset=None, code="cel")
