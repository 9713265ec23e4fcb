"""A lab that is killed leaves no process behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.userland import REPOSITORY

pytestmark = [pytest.mark.lab, pytest.mark.heavy]
SECONDS = 180


def children(parent: int) -> Iterator[tuple[int, str]]:
    """Yield number and name of a process's children."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = entry.read_text().partition(" (")
        except OSError:
            continue
        name, _, fields = rest.rpartition(") ")
        if int(fields.split()[1]) == parent:
            yield int(number), name


def lives(number: int) -> bool:
    """Whether a process is there and no zombie that nobody has waited for."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_machine_outlives_a_lab_that_is_killed(number: signal.Signals) -> None:
    lab = subprocess.Popen([sys.executable, "-m", "tests.lab", "shell", "true"], cwd=REPOSITORY)
    try:
        deadline = time.monotonic() + SECONDS
        while len(started := dict(children(lab.pid))) < 2 or "qemu" not in "".join(started.values()):
            assert lab.poll() is None
            assert time.monotonic() < deadline, started
            time.sleep(0.2)
        lab.send_signal(number)
        lab.wait(timeout=30)
    finally:
        lab.kill()
        lab.wait()
    time.sleep(1)
    assert [each for each in started if lives(each)] == []
