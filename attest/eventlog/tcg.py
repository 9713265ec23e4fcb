"""Parser of TCG event logs: SHA-1 records and crypto-agile records, in one pass.

Source: TCG PC Client Platform Firmware Profile 1.06, section 10 "Event Logging". All integers are
little-endian::

    TCG_PCR_EVENT    pcrIndex u32 | eventType u32 | sha1 [20] | eventSize u32 | event
    TCG_PCR_EVENT2   pcrIndex u32 | eventType u32 | count u32 | count * (algorithmId u16 | digest)
                     | eventSize u32 | event
    Spec ID Event03  signature [16] | platformClass u32 | minor u8 | major u8 | errata u8 | uintnSize u8
                     | numberOfAlgorithms u32 | n * (algorithmId u16 | digestSize u16)
                     | vendorInfoSize u8 | vendorInfo

A crypto-agile log begins with a TCG_PCR_EVENT that holds Spec ID Event03; any other log is of SHA-1 records.
Every byte belongs to an event, or to a tail of only 00 or only FF (a memory area of fixed size).
The parser decides what is well-formed, not what is true: see ``attest.eventlog.replay``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from struct import Struct
from typing import Final, NoReturn

from attest.eventlog.log import (
    BANKS,
    MAX_EVENTS,
    MAX_LOG_SIZE,
    Event,
    EventLog,
    EventLogError,
    LogFormat,
    Padding,
)
from attest.eventlog.types import NAMES, NO_ACTION, EventType, type_name
from vtpm.tpm2.constants import PCR_COUNT, Alg

SPEC_ID: Final = b"Spec ID Event0"
SPEC_ID_03: Final = b"Spec ID Event03\0"
STARTUP_LOCALITY: Final = b"StartupLocality\0"
CC_REGISTER: Final = 1
"""Register of the Spec ID event of a confidential computing log."""

_EVENT: Final = Struct("<II20sI")
_EVENT2: Final = Struct("<III")
_U16: Final = Struct("<H")
_U32: Final = Struct("<I")
_SPEC_ID: Final = Struct("<16sIBBBBI")
_ALGORITHM: Final = Struct("<HH")
_SPEC_ID_OLD_SIZE: Final = 25
_LOCALITIES: Final = frozenset({0, 3, 4})
_RESERVED: Final = EventType.EV_PREBOOT_CERT
_EMPTY_TAIL: Final = b"\x00\xff"

_NEW: Final = tuple.__new__
"""Makes an Event in half the time that its class takes."""

_Record = Callable[[bytes, int, int], tuple[Event, int]]
_Sizes = dict[int, tuple[Alg, int]]


def parse_tcg(raw: bytes) -> EventLog:
    """Read a whole SHA-1 or crypto-agile log; raises EventLogError with the offset of what is wrong."""
    log = parse_records(raw, register=0)
    if log.format is LogFormat.TCG_SHA1:
        _check_sha1(log.events)
    return replace(log, startup_locality=startup_locality_of(log.events))


def parse_records(raw: bytes, *, register: int) -> EventLog:
    """Read the records of a log whose Spec ID event, if it has one, stands in ``register``.

    The order of the records is not judged, nor is StartupLocality. Raises EventLogError.
    """
    if len(raw) > MAX_LOG_SIZE:
        raise EventLogError(f"the log is larger than {MAX_LOG_SIZE} bytes", offset=MAX_LOG_SIZE, code="size")
    if not raw:
        raise EventLogError("the log is empty: read it again from its source", code="empty")
    first, offset = _event(raw, 0, 0)
    if first.untrusted_data.startswith(SPEC_ID_03):
        log_format, sizes = LogFormat.TCG_AGILE, _spec_id(first, register)
        banks = tuple(alg for alg, _ in sizes.values())
        events, stop = _records(raw, first, offset, _record_of(sizes))
    else:
        log_format, banks = LogFormat.TCG_SHA1, (Alg.SHA1,)
        events, stop = _records(raw, first, offset, _event)
    padding = Padding(stop, len(raw) - stop, raw[-1]) if stop < len(raw) else None
    return EventLog(log_format, banks, tuple(events), padding=padding)


def _records(raw: bytes, first: Event, offset: int, record: _Record) -> tuple[list[Event], int]:
    """Read records up to the end of the log or up to a tail that is only 00 or only FF."""
    fill = raw[-1:]
    end = len(raw.rstrip(fill)) if fill in _EMPTY_TAIL else len(raw)
    events = [first]
    while offset < end:
        if len(events) >= MAX_EVENTS:
            raise EventLogError(f"more than {MAX_EVENTS} events", offset=offset, code="size")
        event, offset = record(raw, offset, len(events))
        events.append(event)
    return events, offset


def _event(raw: bytes, offset: int, index: int) -> tuple[Event, int]:
    """Read one TCG_PCR_EVENT; return it and the offset behind it."""
    start = offset + _EVENT.size
    if start > len(raw):
        raise EventLogError(f"event {index}: cut inside the header of a record", offset=offset, code="cut")
    pcr, number, digest, size = _EVENT.unpack_from(raw, offset)
    _check(index, pcr, number, offset)
    end = _end(raw, index, start, size)
    return Event(index, pcr, ((Alg.SHA1, digest),), type_name(number), raw[start:end], offset), end


def _record_of(sizes: _Sizes) -> _Record:
    """Return the reader of one TCG_PCR_EVENT2: fast for records with all digests in the announced order."""
    banks = tuple(alg for alg, _ in sizes.values())
    layout = Struct("<III" + "".join(f"H{size}s" for _, size in sizes.values()) + "I")
    unpack, width, count, numbers = layout.unpack_from, layout.size, len(banks), tuple(map(int, banks))

    def record(raw: bytes, offset: int, index: int) -> tuple[Event, int]:
        start = offset + width
        if start <= len(raw):
            pcr, number, found, *rest, size = unpack(raw, offset)
            if found == count and tuple(rest[::2]) == numbers:
                _check(index, pcr, number, offset)
                end = _end(raw, index, start, size)
                digests = tuple(zip(banks, rest[1::2], strict=True))
                name = NAMES.get(number) or type_name(number)
                return _NEW(Event, (index, pcr, digests, name, raw[start:end], offset)), end
        return _event2(sizes, raw, offset, index)

    return record


def _event2(sizes: _Sizes, raw: bytes, offset: int, index: int) -> tuple[Event, int]:
    """Read one TCG_PCR_EVENT2; return it and the offset behind it."""
    at = offset + _EVENT2.size
    if at > len(raw):
        raise EventLogError(f"event {index}: cut inside the header of a record", offset=offset, code="cut")
    pcr, number, count = _EVENT2.unpack_from(raw, offset)
    _check(index, pcr, number, offset)
    if count > len(sizes):
        what = f"event {index}: {count} digests, but the Spec ID event announces {len(sizes)} algorithms"
        raise EventLogError(what, offset=offset + 8, code="digest-count")
    digests: tuple[tuple[Alg, bytes], ...] = ()
    for _ in range(count):
        pair, at = _digest(sizes, raw, at, index)
        if any(pair[0] == alg for alg, _ in digests):
            what = f"event {index}: two digests of {BANKS[pair[0]][0]}"
            raise EventLogError(what, offset=at, code="digest-twice")
        digests += (pair,)
    if at + 4 > len(raw):
        raise EventLogError(f"event {index}: cut before the size of its data", offset=at, code="cut")
    start = at + 4
    end = _end(raw, index, start, _U32.unpack_from(raw, at)[0])
    return Event(index, pcr, digests, type_name(number), raw[start:end], offset), end


def _digest(sizes: _Sizes, raw: bytes, at: int, index: int) -> tuple[tuple[Alg, bytes], int]:
    """Read one TPMT_HA of an announced algorithm; return it and the offset behind it."""
    if at + 2 > len(raw):
        raise EventLogError(f"event {index}: cut before a digest", offset=at, code="cut")
    number = _U16.unpack_from(raw, at)[0]
    if number not in sizes:
        what = f"event {index}: algorithm 0x{number:04x} is not announced by the Spec ID event"
        raise EventLogError(what, offset=at, code="algorithm")
    alg, size = sizes[number]
    end = at + 2 + size
    if end > len(raw):
        raise EventLogError(f"event {index}: cut inside a digest", offset=at, code="cut")
    return (alg, raw[at + 2 : end]), end


def _end(raw: bytes, index: int, start: int, size: int) -> int:
    end = start + size
    if end > len(raw):
        what = f"event {index}: {size} bytes of data, but only {len(raw) - start} are left"
        raise EventLogError(what, offset=start - 4, code="cut")
    return end


def _check(index: int, pcr: int, number: int, offset: int) -> None:
    if pcr >= PCR_COUNT and number != EventType.EV_NO_ACTION:
        what = f"event {index}: PCR {pcr} does not exist; the registers are 0 to {PCR_COUNT - 1}"
        what += "" if index else ": is this an event log?"
        raise EventLogError(what, offset=offset, code="pcr")
    if number == _RESERVED:
        raise EventLogError(f"event {index}: type 0 is reserved", offset=offset + 4, code="type")


def _spec_id(first: Event, register: int) -> _Sizes:
    """Read the Spec ID event of a crypto-agile log: the algorithms it announces and their digest sizes."""
    data, base = first.untrusted_data, _EVENT.size
    if first.pcr == CC_REGISTER != register and first.untrusted_type == NO_ACTION:
        what = "a confidential computing log (Spec ID event in register 1) where one of a TPM is asked for"
        raise EventLogError(what, code="ccel")
    if first.pcr != register or first.untrusted_type != NO_ACTION or any(first.digests[0][1]):
        what = f"the Spec ID event must be EV_NO_ACTION in register {register} with a digest of zeros"
        raise EventLogError(what, code="spec-id")
    if len(data) < _SPEC_ID.size:
        raise EventLogError("the Spec ID event is cut", offset=base + len(data), code="spec-id")
    count = _SPEC_ID.unpack_from(data)[-1]
    end = _SPEC_ID.size + count * _ALGORITHM.size
    if not 0 < count <= len(BANKS) or end >= len(data):
        what = f"the Spec ID event announces {count} algorithms in {len(data)} bytes"
        raise EventLogError(what, offset=base + _SPEC_ID.size - 4, code="spec-id")
    if end + 1 + data[end] != len(data):
        what = f"the Spec ID event's vendor data has {len(data) - end - 1} bytes, not {data[end]} as it says"
        raise EventLogError(what, offset=base + end, code="spec-id")
    sizes: _Sizes = {}
    for at in range(_SPEC_ID.size, end, _ALGORITHM.size):
        number, stated = _ALGORITHM.unpack_from(data, at)
        alg, size = _algorithm(number, stated, base + at)
        if alg in sizes:
            what = f"algorithm {BANKS[alg][0]} is announced twice"
            raise EventLogError(what, offset=base + at, code="spec-id")
        sizes[alg] = (alg, size)
    return sizes


def _algorithm(number: int, size: int, offset: int) -> tuple[Alg, int]:
    known = next((alg for alg in BANKS if alg == number), None)
    if known is None:
        what = f"the Spec ID event announces the unknown algorithm 0x{number:04x}"
        raise EventLogError(what, offset=offset, code="algorithm")
    if BANKS[known][1] != size:
        what = f"a digest of {BANKS[known][0]} has {BANKS[known][1]} bytes, the Spec ID event says {size}"
        raise EventLogError(what, offset=offset + 2, code="algorithm")
    return known, size


def _check_sha1(events: Sequence[Event]) -> None:
    """Check what shows that records without a Spec ID Event03 are a log at all."""
    data = events[0].untrusted_data
    if data.startswith(SPEC_ID) and not _is_old_spec_id(data):
        what = "the Spec ID event does not have the size that it states"
        raise EventLogError(what, offset=_EVENT.size, code="spec-id")
    if not any(event.extends for event in events):
        raise EventLogError("no event extends a PCR: this is not an event log", code="no-events")


def _is_old_spec_id(data: bytes) -> bool:
    """Tell whether this is Spec ID Event00 or Event02 (TPM 1.2): 24 bytes, vendorInfoSize, vendorInfo."""
    size = _SPEC_ID_OLD_SIZE
    return len(data) >= size and len(data) == size + data[size - 1]


def startup_locality_of(events: Sequence[Event]) -> int:
    """Return the locality of TPM2_Startup as the events state it (PFP 10.4.5.3), 0 where none does.

    Raises EventLogError for a second one, one behind an extend of PCR 0, and a second Spec ID event.
    """
    stated: int | None = None
    extended = False
    for event in events:
        if event.extends:
            extended = extended or event.pcr == 0
        elif event.untrusted_data.startswith(STARTUP_LOCALITY):
            if stated is not None or extended or event.pcr != 0:
                _refuse(
                    event, "StartupLocality must stand once, in PCR 0, before its first extend", "locality"
                )
            stated = _locality(event)
        elif event.index and event.untrusted_data.startswith(SPEC_ID):
            _refuse(event, "a second Spec ID event", "spec-id")
    return stated or 0


def _locality(event: Event) -> int:
    value = event.untrusted_data[len(STARTUP_LOCALITY) :]
    if len(value) != 1 or value[0] not in _LOCALITIES:
        _refuse(event, "StartupLocality must be one byte: 0, 3 or 4", "locality")
    return value[0]


def _refuse(event: Event, what: str, code: str) -> NoReturn:
    raise EventLogError(f"event {event.index}: {what}", offset=event.offset, code=code)
