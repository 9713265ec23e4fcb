"""Reads an event log of any format that this package knows, told apart by content."""

from __future__ import annotations

import string
from typing import Final

from attest.eventlog.cel import parse_cel
from attest.eventlog.log import EventLog, EventLogError
from attest.eventlog.tcg import parse_tcg

_BLANK: Final = b" \t\r\n"
_TEXT: Final = frozenset(string.printable.encode())
_TEXT_HEAD: Final = 32


def parse(raw: bytes) -> EventLog:
    """Read a whole log: TCG SHA-1, TCG crypto-agile, or the CEL-JSON of our runtime log.

    The result is not verified. Raises EventLogError: what, where, what to do.
    """
    if raw.lstrip(_BLANK)[:1] == b"[":
        return parse_cel(raw)
    if raw and _TEXT.issuperset(raw[:_TEXT_HEAD]):
        what = "text, not a log: give binary_bios_measurements as it is, or a CEL-JSON array"
        raise EventLogError(what, code="text")
    return parse_tcg(raw)
