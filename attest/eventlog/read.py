"""Reads an event log of any format that this package knows, told apart by content."""

from __future__ import annotations

import string
from typing import Final

from attest.eventlog.ccel import is_ccel, parse_ccel
from attest.eventlog.cel_json import is_cel_json, parse_cel_json
from attest.eventlog.log import EventLog, EventLogError
from attest.eventlog.tcg import parse_tcg
from attest.ima.log import parse_ima, recognise

_TEXT: Final = frozenset(string.printable.encode())
_TEXT_HEAD: Final = 32


def parse(raw: bytes) -> EventLog:
    """Read a whole log: TCG SHA-1, TCG crypto-agile, CCEL, IMA ASCII or binary, CEL-JSON.

    The result is not verified. Raises EventLogError: what, where, what to do.
    """
    if is_cel_json(raw):
        return parse_cel_json(raw)
    if recognise(raw):
        return parse_ima(raw)
    if raw and _TEXT.issuperset(raw[:_TEXT_HEAD]):
        what = "text, not a log: give a binary log as it is, a measurement list of IMA, or a CEL-JSON array"
        raise EventLogError(what, code="text")
    return parse_ccel(raw) if is_ccel(raw) else parse_tcg(raw)
