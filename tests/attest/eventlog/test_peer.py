"""Our replay beside ``tpm2_eventlog`` of tpm2-tools, an independent parser, over good and mutated logs.

Where both accept, PCRs must be equal. Its known errors are excepted: it extends EV_NO_ACTION, starts PCR 0 at
locality 0 whatever the log says, starts PCR 17-22 at 0, and reads no CCEL.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from attest.errors import AttestInputError
from attest.eventlog.log import HASHES, EventLog, LogFormat
from attest.eventlog.read import parse
from attest.eventlog.replay import DRTM_PCRS, replay, startup_locality
from tests.attest.eventlog.build import (
    ACTION,
    IPL,
    SEPARATION,
    SEPARATOR,
    SHA1,
    SHA256,
    Record,
    agile,
    sha1_log,
)
from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(shutil.which("tpm2_eventlog") is None, reason="tpm2-tools is not installed"),
]

RECORDING = REPOSITORY / "configs/recordings/ovmf-2022.11-q35.bin"
MUTANTS = 60
BANK = re.compile(r"^  (sha1|sha256|sha384|sha512):$")
VALUE = re.compile(r"^    (\d+) *: 0x([0-9a-fA-F]+)$")


def theirs(raw: bytes, path: Path) -> dict[str, dict[int, bytes]] | None:
    """The PCRs of the other side; None where it refuses, or dies."""
    path.write_bytes(raw)
    done = subprocess.run(["tpm2_eventlog", str(path)], capture_output=True, check=False, timeout=20)
    if done.returncode:
        return None
    pcrs: dict[str, dict[int, bytes]] = {}
    bank = ""
    for line in done.stdout.decode("latin-1").rpartition("\npcrs:\n")[2].splitlines():
        if found := BANK.match(line):
            bank = found[1]
            pcrs[bank] = {}
        elif found := VALUE.match(line):
            pcrs[bank][int(found[1])] = bytes.fromhex(found[2])
    return pcrs


def ours(raw: bytes) -> EventLog | None:
    try:
        return parse(raw)
    except AttestInputError:
        return None


def known_errors(log: EventLog) -> set[int]:
    """PCRs of which the other side is known to be wrong."""
    wrong = {event.pcr for event in log.events[1:] if not event.extends}
    return {*wrong, *DRTM_PCRS, *([0] if startup_locality(log) else [])}


def agree(raw: bytes, path: Path) -> bool | None:
    """Whether both sides agree; None where one of them does not accept."""
    log, peer = ours(raw), theirs(raw, path)
    if log is None or peer is None or log.format not in {LogFormat.TCG_SHA1, LogFormat.TCG_AGILE}:
        return None
    skip = known_errors(log)
    for bank in (alg for alg in log.banks if alg in HASHES):
        values = replay(log, bank)
        stated = {pcr: value for pcr, value in peer.get(bank.hash_name, {}).items() if pcr not in skip}
        assert all(values.get(pcr) == value for pcr, value in stated.items() if pcr in values), bank
    return True


def mutated(raw: bytes, count: int) -> Iterator[bytes]:
    chance = random.Random(7)
    for _ in range(count):
        changed = bytearray(raw)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            changed[at] ^= 1 << chance.randrange(8)
        yield bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


LOGS = {
    "recording": RECORDING.read_bytes(),
    "agile": agile(Record(0, ACTION, b"a"), Record(4, IPL, b"grub_cmd: b"), Record(7, SEPARATOR, SEPARATION)),
    "three banks": agile(Record(0, ACTION, b"a"), Record(9, IPL, b"x" * 99), banks=(SHA1, SHA256, 0xC)),
    "sha1": sha1_log(Record(0, SEPARATOR, SEPARATION), Record(4, IPL, b"grub_cmd: b")),
}


@pytest.mark.parametrize("name", LOGS)
def test_good_logs(name: str, tmp_path: Path) -> None:
    assert agree(LOGS[name], tmp_path / "log") is True


@pytest.mark.heavy
@pytest.mark.parametrize("name", LOGS)
def test_mutated_logs(name: str, tmp_path: Path) -> None:
    outcomes = [agree(raw, tmp_path / "log") for raw in mutated(LOGS[name], MUTANTS)]
    assert outcomes.count(True) > MUTANTS // 10
