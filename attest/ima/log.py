"""A measurement list as an event log: for lists that are small enough to be shown whole."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from attest.eventlog.log import Event, EventLog, EventLogError, LogFormat
from attest.ima.ascii_list import LINE, ascii_entries
from attest.ima.binary_list import HEAD, binary_entries, layout
from attest.ima.entry import BANK_OF_SIZE, Entry
from vtpm.tpm2.constants import Alg

MAX_LIST_SIZE: Final = 32 << 20
MAX_LIST_ENTRIES: Final = 1 << 17
"""Of a list that is held whole; ``attest.ima.source`` streams larger ones."""

FIRST: Final = 512
"""Bytes that tell a list from anything else."""


def recognise(raw: bytes) -> LogFormat | None:
    """Tell by its first bytes whether this is a measurement list, and which; None if it is none."""
    if LINE.match(raw[:FIRST]):
        return LogFormat.IMA_ASCII
    return LogFormat.IMA_BINARY if layout(raw[:HEAD]) else None


def parse_ima(raw: bytes) -> EventLog:
    """Read a whole list; raises EventLogError.

    An event's type is the name of its template, its data are the bytes that the digest is of. ``banks`` begin
    with the one that the list states; the others are computed from the data.
    """
    if len(raw) > MAX_LIST_SIZE:
        raise EventLogError(f"the list is larger than {MAX_LIST_SIZE} bytes", offset=None, code="size")
    log_format = recognise(raw)
    if log_format is None:
        raise EventLogError("not a measurement list", offset=None, code="ima")
    read = ascii_entries if log_format is LogFormat.IMA_ASCII else binary_entries
    events, stray = _events(read((raw,)))
    banks = dict.fromkeys((events[0].digests[0][0], *BANK_OF_SIZE.values()))
    return EventLog(log_format, tuple(banks), events, stray=stray)


def _events(entries: Generator[Entry, None, int]) -> tuple[tuple[Event, ...], int]:
    """Return the events, and how many bytes stand behind the last one."""
    events: list[Event] = []
    while True:
        try:
            entry = next(entries)
        except StopIteration as end:
            return tuple(events), end.value
        if len(events) >= MAX_LIST_ENTRIES:
            raise EventLogError(f"more than {MAX_LIST_ENTRIES} entries", offset=None, code="size")
        events.append(_event(len(events), entry))


def _event(index: int, entry: Entry) -> Event:
    listed: Alg = BANK_OF_SIZE[len(entry.digest)]
    return Event(index, entry.pcr, ((listed, entry.digest),), entry.template, entry.data)
