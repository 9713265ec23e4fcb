"""SIGKILL at any moment: nothing that the demo started lives on, and the next run starts clean.

Twelve kills up to the launch of guests by default; ``SHYPE_KILLS=50`` spreads so many over the whole run.
A moment is so many lines of the story and then a part of a second, so that it is the same on any machine.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.shype.processes import arguments, born, descendants, left_after, touching

pytestmark = [pytest.mark.host, pytest.mark.tools, pytest.mark.heavy]

FEW, FEW_LINES = 12, 50
ALL_LINES = 150
PAUSE = 0.7
"""Seconds, at most, after a line."""
KILLS = int(os.environ.get("SHYPE_KILLS", str(FEW)))
SEED = 2005
AT_ONCE = 3
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Moment:
    lines: int
    seconds: float


def moments() -> list[Moment]:
    """Random moments, spread evenly: one in each of so many equal parts."""
    dice = random.Random(SEED)
    part = (FEW_LINES if KILLS <= FEW else ALL_LINES) / KILLS
    return [Moment(int((place + dice.random()) * part), dice.random() * PAUSE) for place in range(KILLS)]


SHYPE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import shype.main as m; m.run()"
)
"""``shype`` that Ctrl-C reaches also where a shell runs the tests in the background."""


def start(temporary: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SHYPE, *words],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@dataclass(frozen=True)
class Killed:
    moment: Moment
    exit: int
    said: bytes
    had: int
    left: dict[int, str]


def kill_at(moment: Moment, temporary: Path, boot: Path) -> Killed:
    temporary.mkdir()
    with start(temporary, "demo", "--boot", str(boot)) as demo:
        assert demo.stdout is not None
        for _ in range(moment.lines):
            demo.stdout.readline()
        time.sleep(moment.seconds)
        family = {pid: born(pid) for pid in descendants(demo.pid)}
        demo.kill()
        _, said = demo.communicate()
    left = left_after(GRACE_SECONDS, temporary, family)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return Killed(moment, demo.returncode, said, len(family), left)


def test_a_killed_demo_leaves_no_process_and_the_next_run_starts_clean(
    short_tmp: Path, boot_files: Path
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [
            pool.submit(kill_at, moment, short_tmp / f"{place}", boot_files)
            for place, moment in enumerate(moments())
        ]
        killed = [run.result() for run in runs]
    assert [each for each in killed if each.left] == []
    assert [each for each in killed if each.exit != -signal.SIGKILL] == [], "ended before it was killed"
    assert max(each.had for each in killed) > 1, "no kill hit a run with a host"

    stale, last = list(short_tmp.glob("*/shype-demo-*")), short_tmp / "last"
    last.mkdir()
    for folder in stale:
        shutil.move(folder, last)
    assert any(last.iterdir()), "no kill left a folder behind"
    with start(last, "demo", "--json", "--boot", str(boot_files)) as again:
        assert again.communicate(timeout=240)
        assert again.returncode == 0
    assert list(last.iterdir()) == []


@pytest.mark.parametrize("program", ["swtpm_setup", "swtpm", "swtpm_localca", "certtool"])
def test_killed_while_its_tpm_is_made(short_tmp: Path, program: str) -> None:
    """swtpm_setup's own children know nothing of us: killed one by one, they would live on."""
    with start(short_tmp, "host", "init", str(short_tmp / "host")) as init:
        seen = _wait_for(program, short_tmp)
        init.kill()
        init.wait()
    assert seen, f"{program} was never seen: is it still part of swtpm_setup?"
    left = left_after(GRACE_SECONDS, short_tmp)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


def _wait_for(program: str, folder: Path) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if program in {Path(word).name for pid in touching(folder) for word in arguments(pid)[:1]}:
            return True
    return False


def test_an_interrupted_init_removes_the_half_made_host(short_tmp: Path) -> None:
    with start(short_tmp, "host", "init", str(short_tmp / "host")) as init:
        assert _wait_for("swtpm", short_tmp)
        init.send_signal(signal.SIGINT)
        assert init.wait(GRACE_SECONDS) != 0
    assert left_after(GRACE_SECONDS, short_tmp) == {}
    assert not (short_tmp / "host").exists()
