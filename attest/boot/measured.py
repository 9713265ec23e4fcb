"""A measurement, and the TCG event log that tells of it.

Log layout (TCG PC Client Platform Firmware Profile, 10.2; little-endian)::

    first record  pcr u32 | type u32 | zeros [20] | size u32 | Spec ID Event03
    others        pcr u32 | type u32 | count u32 | (algorithm u16 | digest) * count | size u32 | data
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Final

EV_NO_ACTION: Final = 0x03
EV_IPL: Final = 0x0D
EV_EFI_BOOT_SERVICES_APPLICATION: Final = 0x80000003
EV_EFI_ACTION: Final = 0x80000007

TPM_ALG: Final[Mapping[str, int]] = {"sha1": 0x04, "sha256": 0x0B, "sha384": 0x0C, "sha512": 0x0D}
"""hashlib name -> TPM_ALG_ID (TCG Algorithm Registry)."""

_SPEC_ID: Final = b"Spec ID Event03\0" + pack("<IBBBB", 0, 0, 2, 106, 2)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement: what is extended into ``pcr`` in every bank, and the event that the log keeps.

    ``type`` is the event type (TCG PFP, 10.4.1); ``digests`` has one digest for each bank by hashlib name.
    """

    pcr: int
    type: int
    digests: Mapping[str, bytes]
    data: bytes = field(repr=False)


def measure(pcr: int, kind: int, content: bytes, data: bytes, banks: Sequence[str]) -> Measured:
    """Hash ``content`` for every bank."""
    return Measured(pcr, kind, {bank: hashlib.new(bank, content).digest() for bank in banks}, data)


def event_log(measurements: Iterable[Measured], banks: Sequence[str]) -> bytes:
    """Write the crypto-agile log of these measurements."""
    sizes = b"".join(pack("<HH", TPM_ALG[bank], hashlib.new(bank).digest_size) for bank in banks)
    header = _SPEC_ID + pack("<I", len(banks)) + sizes + b"\0"
    log = bytearray(pack("<II20sI", 0, EV_NO_ACTION, b"", len(header)) + header)
    for event in measurements:
        log += pack("<III", event.pcr, event.type, len(banks))
        for bank in banks:
            log += pack("<H", TPM_ALG[bank]) + event.digests[bank]
        log += pack("<I", len(event.data)) + event.data
    return bytes(log)
