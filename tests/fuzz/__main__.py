"""``python -m tests.fuzz [TARGET...] --seconds N``: fuzz each target for N seconds, in a process of its own.

Exit 0 when nothing was found. What is found lies in build/fuzz/found; keep it in tests/fuzz/found under a
name that says what it is, and mend the cause.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
FOUND: Final = REPOSITORY / "build" / "fuzz" / "found"
NAMES: Final = ("log", "ima", "cel", "tpm", "quote", "certificate", "evidence")
_TAIL: Final = 25
_SPARE: Final = 120
"""Seconds to start, to end, and to share a machine."""


def fuzz(name: str, seconds: int, found: Path = FOUND) -> tuple[bool, str]:
    """Fuzz one target; return whether nothing was found, and what there is to say."""
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sh-fuzz-") as corpus:
        command = [sys.executable, "-m", "tests.fuzz.run", name, corpus, str(found), str(seconds)]
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds + _SPARE, check=False
        )
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    if done.returncode == 0 and runs:
        peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", done.stderr)
        return True, f"{name}: {runs[1]} inputs, {peak[1] if peak else '?'} MiB, nothing found"
    return False, "\n".join([f"{name}: exit {done.returncode}", *done.stderr.splitlines()[-_TAIL:]])


def main() -> int:
    """Fuzz the targets that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(NAMES)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; one of {', '.join(NAMES)}")
    good = True
    for name in arguments.targets or NAMES:
        passed, words = fuzz(name, arguments.seconds)
        print(words, flush=True)
        good = good and passed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
