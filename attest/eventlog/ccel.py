"""Parser of confidential computing event logs: the memory area that the ACPI table CCEL points to.

Source: UEFI 2.10, 38.4 "Confidential Computing"; Intel TDX Virtual Firmware Design Guide, "Measurement". The
records are those of a crypto-agile TCG log. Their register index is 0 for MRTD, which no event extends, and
RTMR n + 1 for RTMR n. ``Event.pcr`` holds n; an EV_NO_ACTION event of index 0 has FFFFFFFF, as firmware
writes where it means no register.

Which PCR of a TPM firmware would have used (38.4.1): RTMR 0 takes PCR 1 and 7, RTMR 1 takes PCR 2 to 6,
RTMR 2 takes PCR 8 to 15; PCR 0 is MRTD.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from attest.eventlog.log import RTMR_COUNT, Event, EventLog, EventLogError, LogFormat
from attest.eventlog.tcg import CC_REGISTER, SPEC_ID, SPEC_ID_03, STARTUP_LOCALITY, parse_records

NO_REGISTER: Final = 0xFFFFFFFF

_DATA: Final = 32


def is_ccel(raw: bytes) -> bool:
    """Tell whether a log begins as one of a confidential guest does."""
    return raw[:4] == CC_REGISTER.to_bytes(4, "little") and raw[_DATA:].startswith(SPEC_ID_03)


def parse_ccel(raw: bytes) -> EventLog:
    """Read a whole CCEL area; raises EventLogError with the offset of what is wrong."""
    log = parse_records(raw, register=CC_REGISTER)
    if log.format is not LogFormat.TCG_AGILE:
        raise EventLogError("a confidential computing log must begin with a Spec ID event", code="spec-id")
    return replace(log, format=LogFormat.CCEL, events=tuple(map(_of_rtmr, log.events)))


def _of_rtmr(event: Event) -> Event:
    number = event.pcr - CC_REGISTER
    if event.extends and not 0 <= number < RTMR_COUNT:
        what = f"event {event.index}: register {event.pcr} does not exist; RTMRs are 1 to {RTMR_COUNT}"
        raise EventLogError(what, offset=event.offset or 0, code="pcr")
    if not event.extends and event.index and event.untrusted_data.startswith((SPEC_ID, STARTUP_LOCALITY)):
        what = f"event {event.index}: a confidential guest has one Spec ID event and no StartupLocality"
        raise EventLogError(what, offset=event.offset or 0, code="spec-id")
    return event._replace(pcr=number & NO_REGISTER)
