"""What ``shype eventlog`` says of a measurement list: printed as it is read.

No list is held, so that none is too long. It is read twice: once to see that all of it is well-formed, so
that a broken one gives an error and nothing else, then to print it. Between the two a kernel's list may grow:
what came later is not shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from attest.eventlog.data import Rule
from attest.eventlog.log import BANKS, HASHES, LogFormat
from attest.eventlog.notes import ListTally, Note
from attest.ima.entry import BANK_OF_SIZE, Entry
from attest.ima.extend import extended
from attest.ima.proof import LIST_BANKS, start_value
from attest.ima.source import ListSource
from shype.errors import ListChangedError
from vtpm.tpm2.constants import Alg


@dataclass(frozen=True, slots=True)
class ReadList:
    """A list that was read once, to its end, and is well-formed."""

    source: ListSource
    format: LogFormat
    count: int
    stray: int

    @classmethod
    def of(cls, source: ListSource) -> ReadList:
        """Read a list once; raises EventLogError."""
        entries, count = source.entries(), 0
        while True:
            try:
                next(entries)
            except StopIteration as end:
                return cls(source, source.format, count, end.value)
            count += 1


@dataclass(slots=True)
class ListReplay:
    """What the second reading makes of a list: a register for each bank and PCR, and the notes."""

    listed: ReadList
    values: dict[Alg, dict[int, bytes]] = field(default_factory=dict)
    tally: ListTally = field(default_factory=ListTally)

    def entries(self) -> Iterator[tuple[int, Entry, bool | None]]:
        """Yield each entry and whether its data are what its digest is of; None for a violation.

        Raises EventLogError and ListChangedError where the list is not what it was.
        """
        index = -1
        for index, entry in enumerate(islice(self.listed.source.entries(), self.listed.count)):
            bank = BANK_OF_SIZE[len(entry.digest)]
            if not index:
                self.values = {alg: {} for alg in dict.fromkeys((bank, *LIST_BANKS))}
            matches = None if entry.is_violation else HASHES[bank](entry.data).digest() == entry.digest
            for alg, pcrs in self.values.items():
                before = pcrs.get(entry.pcr) or start_value(alg, entry.pcr)
                measured = extended(bank, entry.digest, entry.data, alg)
                pcrs[entry.pcr] = HASHES[alg](before + measured).digest()
            self.tally.take(index, entry, matches=matches)
            yield index, entry, matches
        if index + 1 != self.listed.count:
            raise ListChangedError("the list was shortened while it was read: give a copy of it")

    def pcrs(self) -> dict[str, Mapping[str, str]]:
        """Return the registers by bank."""
        return {
            BANKS[alg][0]: {str(pcr): value.hex() for pcr, value in sorted(pcrs.items())}
            for alg, pcrs in self.values.items()
        }

    def notes(self) -> Iterator[Note]:
        """Return the notes on the entries that were read."""
        return self.tally.notes(self.listed.stray)


def list_document(listed: ReadList) -> Iterator[str]:
    """Yield the JSON document of a list (configs/schema/eventlog.schema.json) in pieces."""
    replay = ListReplay(listed)
    head = {"format": listed.format.value, "registers": listed.format.registers.value, "startup_locality": 0}
    yield json.dumps(head, indent=2).removesuffix("\n}") + ',\n  "events": ['
    for index, entry, matches in replay.entries():
        yield f"{',' if index else ''}\n{_event(index, entry, matches)}"
    notes = [{"code": note.code, "detail": note.detail} for note in replay.notes()]
    tail = {"pcrs": replay.pcrs(), "pcrs_with_exit_boot_services": None, "notes": notes}
    yield "\n  ],\n" + json.dumps(tail, indent=2).removeprefix("{\n")


def _event(index: int, entry: Entry, matches: bool | None) -> str:  # noqa: FBT001 - a column, as the others
    bank = BANKS[BANK_OF_SIZE[len(entry.digest)]][0]
    return f"""\
    {{
      "index": {index},
      "offset": null,
      "pcr": {entry.pcr},
      "type": {json.dumps(entry.template)},
      "digests": {{
        "{bank}": "{entry.digest.hex()}"
      }},
      "data_matches_digest": {json.dumps(matches)},
      "rule": {json.dumps(Rule.WHOLE.value if matches else None)},
      "data": "{entry.data.hex()}"
    }}"""
