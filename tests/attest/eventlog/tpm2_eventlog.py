"""``tpm2_eventlog`` of tpm2-tools as a second opinion: what it reads, and what it should read by its rules.

Its known errors are not skipped but computed: it extends EV_NO_ACTION events but for the first of a
crypto-agile log, starts PCR 0 at 0 whatever the log says, and starts PCR 17-22 at 0.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attest.eventlog.log import BANKS, HASHES, EventLog, LogFormat
from vtpm.tpm2.constants import Alg

_BANK: Final = re.compile(r"^  (\w+):$")
_VALUE: Final = re.compile(r"^    (\d+) *: 0x([0-9a-fA-F]+)$")
_PCR: Final = re.compile(r"^  PCRIndex: (\d+)$")
_ALGORITHM: Final = re.compile(r"^  - AlgorithmId: (\S+)$")
_DIGEST: Final = re.compile(r'^ *Digest: "([0-9a-fA-F]*)"$')

Seen = tuple[int, tuple[tuple[str, str], ...]]
"""PCR, and digests by name of the bank."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one side reads in a log: events behind the header, and the PCRs that have events."""

    events: tuple[Seen, ...]
    pcrs: dict[str, dict[int, bytes]]


def theirs(raw: bytes, path: Path) -> Reading | None:
    """What the tool prints; None where it refuses, or dies."""
    path.write_bytes(raw)
    done = subprocess.run(["tpm2_eventlog", str(path)], capture_output=True, check=False, timeout=20)
    if done.returncode:
        return None
    text = done.stdout.decode("latin-1")
    events, _, registers = text.rpartition("\npcrs:\n")
    return Reading(tuple(_events(events or text)), _pcrs(registers))


def _events(text: str) -> list[Seen]:
    events: list[tuple[int, list[tuple[str, str]]]] = []
    bank = "sha1"
    for line in text.split("\n"):
        if found := _PCR.match(line):
            events.append((int(found[1]), []))
            bank = "sha1"
        elif events and (found := _ALGORITHM.match(line)):
            bank = found[1]
        elif events and (found := _DIGEST.match(line)):
            events[-1][1].append((bank, found[1].lower()))
    return [(pcr, tuple(digests)) for pcr, digests in events]


def _pcrs(text: str) -> dict[str, dict[int, bytes]]:
    pcrs: dict[str, dict[int, bytes]] = {}
    bank = ""
    for line in text.splitlines():
        if found := _BANK.match(line):
            bank = found[1]
            pcrs[bank] = {}
        elif found := _VALUE.match(line):
            pcrs[bank][int(found[1])] = bytes.fromhex(found[2])
    return pcrs


def expected(log: EventLog) -> Reading:
    """What the tool must read in a log that we read so, by its own rules."""
    header = log.format is LogFormat.TCG_AGILE
    events = log.events[1:] if header else log.events
    shown: list[Seen] = [(log.events[0].pcr, (("sha1", "00" * 20),))] if header else []
    pcrs: dict[str, dict[int, bytes]] = {BANKS[alg][0]: {} for alg in log.banks if alg in HASHES}
    for event in events:
        shown.append((event.pcr, tuple((BANKS[alg][0], digest.hex()) for alg, digest in event.digests)))
        for alg, digest in event.digests:
            bank = pcrs.get(BANKS[Alg(alg)][0])
            if bank is not None:
                before = bank.get(event.pcr, bytes(len(digest)))
                bank[event.pcr] = HASHES[alg](before + digest).digest()
    return Reading(tuple(shown), {name: bank for name, bank in pcrs.items() if bank})
