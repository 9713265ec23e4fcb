"""``python -m tests.fuzz.run TARGET CORPUS FOUND SECONDS``: fuzz one target with atheris until time is up."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["attest", "vtpm"]):
    from tests.fuzz.targets import TARGETS, eat

SLOW: Final = 1.0
"""Seconds of this process that no input may take, although instrumented code takes several times as long."""
ROOM: Final = 256
"""MiB that fuzzing may take beside what the process has at its start."""
LONGEST: Final = 1 << 16
"""Bytes of an input."""
HANG: Final = 20
"""Seconds after which libFuzzer ends a run; other processes may share the machine."""


def main(name: str, corpus: str, found: str, seconds: str) -> None:
    """Fuzz until an input is found, or time is up; the input is written to the folder ``found``."""
    for number, seed in enumerate(TARGETS[name].seeds()):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    warm(name)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={found}/{name}-",
        f"-rss_limit_mb={base + ROOM}",
        f"-max_len={LONGEST}",
        f"-timeout={HANG}",
        "-print_final_stats=1",
        "-verbosity=0",
    ]

    def one(raw: bytes) -> None:
        started = time.process_time()
        eat(name, raw)
        spent = time.process_time() - started
        if spent > SLOW:
            raise TimeoutError(f"{len(raw)} bytes took {spent:.1f} s")

    atheris.Setup([sys.argv[0], *options, corpus], one)
    atheris.Fuzz()


def warm(name: str) -> None:
    """Eat the seeds once: what is imported late and cached counts as the start."""
    for seed in TARGETS[name].seeds():
        eat(name, seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
