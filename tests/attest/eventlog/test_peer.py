"""Our reading of logs beside that of ``tpm2_eventlog``, an independent parser, over good and mutated logs.

Where both accept, every event and every PCR must be equal, its known errors computed rather than skipped
(``tests.attest.eventlog.tpm2_eventlog``). Where one refuses, the reason must be one of those that
``docs/eventlog.md`` explains. ``SHYPE_MUTANTS=2000`` tries as many mutants of each log.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from attest.errors import AttestInputError
from attest.eventlog.log import EventLog, LogFormat
from attest.eventlog.read import parse
from tests.attest.eventlog.build import (
    ACTION,
    IPL,
    LOCALITY,
    NO_ACTION,
    SEPARATION,
    SEPARATOR,
    SHA1,
    SHA256,
    Record,
    agile,
    sha1_log,
)
from tests.attest.eventlog.tpm2_eventlog import expected, theirs
from tests.conftest import REPOSITORY, Vector, vector_params

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(shutil.which("tpm2_eventlog") is None, reason="tpm2-tools is not installed"),
]

RECORDING = REPOSITORY / "configs/recordings/ovmf-2022.11-q35.bin"
MUTANTS = int(os.environ.get("SHYPE_MUTANTS", "0")) or 60
TCG = {LogFormat.TCG_SHA1, LogFormat.TCG_AGILE}
STRICTER = frozenset({"algorithm", "cut", "pcr", "spec-id", "type", "locality", "no-events"})
"""Codes of logs that we refuse and the other side reads on, or half: docs/eventlog.md says why."""

LOGS = {
    "recording": RECORDING.read_bytes(),
    "agile": agile(Record(0, ACTION, b"a"), Record(4, IPL, b"grub_cmd: b"), Record(7, SEPARATOR, SEPARATION)),
    "locality": agile(
        Record(0, NO_ACTION, LOCALITY + b"\3"), Record(0, ACTION, b"a"), Record(17, ACTION, b"b")
    ),
    "three banks": agile(Record(0, ACTION, b"a"), Record(9, IPL, b"x" * 99), banks=(SHA1, SHA256, 0xC)),
    "sha1": sha1_log(
        Record(0, SEPARATOR, SEPARATION), Record(4, IPL, b"grub_cmd: b"), Record(5, ACTION, b"c")
    ),
}


def ours(raw: bytes) -> EventLog | AttestInputError:
    try:
        return parse(raw)
    except AttestInputError as error:
        return error


def compare(raw: bytes, path: Path) -> str:
    """Compare the two sides; return ``agree``, or who refused; a difference fails."""
    peer, log = theirs(raw, path), ours(raw)
    if isinstance(log, AttestInputError):
        assert peer is None or log.code in STRICTER, f"we refuse by {log}; the other side reads it"
        return "we refuse" if peer else "both refuse"
    if log.format not in TCG:
        return "another format"
    if peer is None:
        return "they refuse"
    reading = expected(log)
    assert peer.pcrs == reading.pcrs, "PCRs differ"
    assert peer.events == reading.events, "events differ"
    return "agree"


def flipped(raw: bytes, chance: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(changed))
        changed[at] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(raw: bytes, chance: random.Random) -> bytes:
    return raw[: chance.randrange(len(raw))]


def records(raw: bytes) -> list[bytes]:
    """A good log in its records, the header first."""
    offsets = [event.offset or 0 for event in parse(raw).events]
    return [raw[start:end] for start, end in zip(offsets, [*offsets[1:], len(raw)], strict=True)]


def rearranged(raw: bytes, chance: random.Random) -> bytes:
    """Records left out, doubled or exchanged."""
    head, *rest = records(raw)
    at, other = chance.randrange(len(rest)), chance.randrange(len(rest))
    match chance.randrange(3):
        case 0:
            del rest[at]
        case 1:
            rest.insert(other, rest[at])
        case _:
            rest[at], rest[other] = rest[other], rest[at]
    return head + b"".join(rest)


def retold(raw: bytes, chance: random.Random) -> bytes:
    """One record with another PCR, type, count or algorithm."""
    head, *rest = records(raw)
    at = chance.randrange(len(rest))
    place, values = chance.choice(
        [
            (0, [*range(25), 0xFFFFFFFF]),
            (4, [*range(20), 0x80000001, 0x80000003, 0x80000007, 0x80000010, 0x800000E0, 0xABCD]),
            (8, [0, 1, 2, 3, 4, 17, 0xFFFFFFFF]),
        ]
    )
    number = chance.choice(values).to_bytes(4, "little")
    rest[at] = rest[at][:place] + number + rest[at][place + 4 :]
    return head + b"".join(rest)


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, rearranged, retold, flipped, cut)


def mutants(raw: bytes, count: int) -> Iterator[bytes]:
    chance = random.Random(7)
    for number in range(count):
        yield MUTATIONS[number % len(MUTATIONS)](raw, chance)


@pytest.mark.parametrize("name", LOGS)
def test_good_logs(name: str, tmp_path: Path) -> None:
    assert compare(LOGS[name], tmp_path / "log") == "agree"


@pytest.mark.heavy
@pytest.mark.parametrize("name", LOGS)
def test_mutated_logs(name: str, tmp_path: Path) -> None:
    outcomes = Counter(compare(raw, tmp_path / "log") for raw in mutants(LOGS[name], MUTANTS))
    print(name, dict(outcomes))
    assert outcomes["agree"] > MUTANTS // 10


@pytest.mark.heavy
@pytest.mark.parametrize("vector", vector_params("eventlog/sha1", "eventlog/agile"))
def test_logs_of_real_machines(vector: Vector, tmp_path: Path) -> None:
    """Each as it is, and a few mutants of it."""
    raw = vector.read()
    outcome = compare(raw, tmp_path / "log")
    assert outcome != "we refuse" or vector.verdict in {"reject", "parse-error"}
    if outcome not in {"agree", "they refuse"}:
        return
    for mutant in mutants(raw, 4):
        compare(mutant, tmp_path / "log")
