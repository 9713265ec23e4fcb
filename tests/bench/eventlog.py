"""A boot log of 100 events: parse and replay, beside tpm2_eventlog."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attest.eventlog.read import parse
from attest.eventlog.replay import replay
from tests.attest.eventlog.build import IPL, SHA1, SHA256, Log, Record
from tests.bench.measure import Pair, Side, Size
from vtpm.tpm2.constants import Alg

EVENTS = 100
DATA = b"grub_cmd: multiboot2 /xen.gz placeholder console=com1 dom0_mem=768M"


def boot_log() -> bytes:
    """A crypto-agile log with SHA-1 and SHA-256, spread over PCR 0-9 as a firmware's is."""
    records = tuple(Record(place % 10, IPL, DATA + b" %d\0" % place) for place in range(EVENTS))
    return Log(records, (SHA1, SHA256)).encode()


@contextmanager
def library(folder: Path, size: Size) -> Iterator[Pair]:
    """In a process that runs already, as a verifier's does."""
    del size
    raw, path = boot_log(), folder / "log"
    path.write_bytes(raw)

    def ours() -> None:
        log = parse(raw)
        assert len(log.events) >= EVENTS
        assert len(replay(log, Alg.SHA256)) >= 10

    yield Pair(
        Side("attest.eventlog: parse, replay SHA-256", ours),
        Side(
            "tpm2_eventlog process: parse, replay both banks, print", lambda: _run("tpm2_eventlog", str(path))
        ),
    )


@contextmanager
def process(folder: Path, size: Size) -> Iterator[Pair]:
    """Both as processes."""
    del size
    path = folder / "log"
    path.write_bytes(boot_log())
    command = (sys.executable, "-m", "shype.main", "eventlog", str(path), "--json")
    yield Pair(
        Side("shype eventlog --json process", lambda: _run(*command)),
        Side("tpm2_eventlog process", lambda: _run("tpm2_eventlog", str(path))),
    )


def _run(*command: str) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
