"""Programs that the lab runs to their end, and progress that it shows."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.lab.errors import LabError

SECONDS: Final = 120
BEGAN: Final = time.monotonic()


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    seconds: float = SECONDS,
    path: Sequence[str] = ("/usr/sbin", "/sbin"),
) -> str:
    """Run a program to its end and return what it printed; raises LabError with its last words.

    ``log`` takes the output instead, for programs that print much.
    """
    words = [str(word) for word in command]
    found = os.pathsep.join((os.environ.get("PATH", os.defpath), *path))
    env = {**os.environ, "LC_ALL": "C", "PATH": found, **(environment or {})}
    output = subprocess.PIPE if log is None else log.open("w", errors="replace")
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE if log is None else subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(words[0], "is not installed") from None
    except subprocess.TimeoutExpired:
        raise LabError(words[0], f"did not end within {seconds:.0f} s") from None
    finally:
        if not isinstance(output, int):
            output.close()
    if done.returncode != 0:
        last = (done.stderr or "").strip() or (done.stdout or "").strip() if log is None else log.read_text()
        raise LabError(words[0], f"exit code {done.returncode}: {' '.join(words[1:4])}", last)
    return done.stdout or ""


def say(text: str) -> None:
    """Show progress with the time since the start."""
    print(f"lab {time.monotonic() - BEGAN:6.1f} s  {text}", file=sys.stderr, flush=True)
