"""Reads an event log of any format that this package knows, told apart by content."""

from __future__ import annotations

import re
import string
from typing import Final

from attest.eventlog.ccel import is_ccel, parse_ccel
from attest.eventlog.cel_json import is_cel_json, parse_cel_json
from attest.eventlog.log import EventLog, EventLogError
from attest.eventlog.tcg import parse_tcg
from attest.ima.log import parse_ima, recognise

_TEXT: Final = frozenset(string.printable.encode())
_TEXT_HEAD: Final = 32

_POINTS: Final = "an ACPI table, which only points to the log: on Linux read"
_PACKED: Final = "packed: unpack it, and give the log as it is"
_OTHERS: Final = (
    (b"TPM2", f"{_POINTS} /sys/kernel/security/tpm0/binary_bios_measurements"),
    (b"CCEL", f"{_POINTS} /sys/firmware/acpi/tables/data/CCEL"),
    (b"\x1f\x8b", _PACKED),
    (b"\xfd7zXZ\0", _PACKED),
    (b"\x28\xb5\x2f\xfd", _PACKED),
    (b"PK\3\4", _PACKED),
)
"""How files begin that people give for a log, and what to do; as a record's register none of them exists."""
_TLV: Final = re.compile(rb"\0\0\0\0\x08\0{7}.[\1\2]\0\0\0[\1\4]", re.DOTALL)
"""CEL-TLV: recnum (8 bytes, a small number), then pcr or nv_index; integers are big-endian."""
_CBOR: Final = re.compile(rb"(?:[\x81-\x97\x9f]|\x98.|\x99.{2}|\x9a.{4})[\xa3-\xa6\xbf][\0\x66]", re.DOTALL)
"""CEL-CBOR: an array of maps of a few members, the first of them recnum (0, or by its name)."""


def parse(raw: bytes) -> EventLog:
    """Read a whole log: TCG SHA-1, TCG crypto-agile, CCEL, IMA ASCII or binary, CEL-JSON.

    The result is not verified. Raises EventLogError: what, where, what to do.
    """
    if is_cel_json(raw):
        return parse_cel_json(raw)
    if is_list(raw):
        return parse_ima(raw)
    if raw and _TEXT.issuperset(raw[:_TEXT_HEAD]):
        what = "text, not a log: give a binary log as it is, a measurement list of IMA, or a CEL-JSON array"
        raise EventLogError(what, code="text")
    _refuse_others(raw)
    return parse_ccel(raw) if is_ccel(raw) else parse_tcg(raw)


def is_list(head: bytes) -> bool:
    """Tell by its first bytes whether a log is a measurement list."""
    return not is_cel_json(head) and recognise(head) is not None


def _refuse_others(raw: bytes) -> None:
    """Say what to do about a file that is known to be something else."""
    for start, what in _OTHERS:
        if raw.startswith(start):
            raise EventLogError(what, code="format")
    if _TLV.match(raw) or _CBOR.match(raw):
        what = "a Canonical Event Log in TLV or CBOR, which is not read: give it in JSON"
        raise EventLogError(what, code="format")
