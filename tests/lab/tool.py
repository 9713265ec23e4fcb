"""Programs that the lab runs to their end, and progress that it shows."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.lab.errors import LabError

SECONDS: Final = 600
"""A bound, no expectation: on an idle machine none of these programs takes ten seconds."""
ADMINISTRATION: Final = ("/usr/sbin", "/sbin")
"""Where mkfs and depmod are, for users whose PATH leaves it out."""
WORDS_SHOWN: Final = 100
"""Characters of a command that failed: what was asked for stands at its end."""
LAST_BYTES: Final = 1 << 16
PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None)
BEGAN: Final = time.monotonic()


def run(
    *command: str | Path,
    cwd: Path | None = None,
    log: Path | None = None,
    seconds: float = SECONDS,
    alone: bool = False,
) -> str:
    """Run a program to its end and return what it printed; raises LabError with its last words.

    ``log`` takes the output instead, for programs that print much. ``alone`` keeps our environment from it,
    such as the variables of a ``make`` that we were started by. The program dies with this process.
    """
    words = [str(word) for word in command]
    own = {} if alone else os.environ
    env = {
        **own,
        "LC_ALL": "C",
        "PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), *ADMINISTRATION)),
    }
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
            preexec_fn=die_with_parent,
        )
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and error.filename == words[0]
        what = "is not installed" if missing else f"cannot be run: {error}"
        raise LabError(words[0], what) from None
    except subprocess.TimeoutExpired:
        raise LabError(words[0], f"did not end within {seconds:.0f} s", _tail(log)) from None
    finally:
        if not isinstance(output, int):
            output.close()
    if done.returncode != 0:
        last = (done.stderr or "").strip() or (done.stdout or "").strip() if log is None else _tail(log)
        raise LabError(words[0], f"exit code {done.returncode}: {' '.join(words[1:])[-WORDS_SHOWN:]}", last)
    return done.stdout or ""


def _tail(log: Path | None) -> str:
    return "" if log is None else log.read_bytes()[-LAST_BYTES:].decode(errors="replace")


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends, however that ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def say(text: str) -> None:
    """Show progress with the time since the start."""
    print(f"lab {time.monotonic() - BEGAN:6.1f} s  {text}", file=sys.stderr, flush=True)
