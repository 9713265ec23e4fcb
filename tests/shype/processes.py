"""Looking at processes through /proc: who descends from whom, and who still touches a folder."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc")


def read(pid: int, name: str) -> bytes:
    """A file of a process; nothing for one that has ended."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def arguments(pid: int) -> list[str]:
    return read(pid, "cmdline").decode(errors="replace").split("\0")[:-1]


def link(pid: int, name: str) -> str:
    try:
        return str((PROC / str(pid) / name).readlink())
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    found = children(pid)
    return found + [each for child in found for each in descendants(child)]


def born(pid: int) -> int:
    """When a process began, in clock ticks since boot (proc(5), starttime); 0 for one that does not live."""
    state, *fields = read(pid, "stat").decode(errors="replace").rpartition(")")[2].split() or ["Z"]
    return 0 if state in {"Z", "X"} else int(fields[18])


def touching(folder: Path) -> dict[int, str]:
    """Processes that live (a zombie does not) and have the folder in environment, arguments or place."""
    mark = os.fsencode(folder)
    found = {}
    for pid in (int(each.name) for each in PROC.iterdir() if each.name.isdigit()):
        words = read(pid, "cmdline")
        where = os.fsencode(link(pid, "cwd"))
        if pid != os.getpid() and (mark in words or mark in where or mark in read(pid, "environ")):
            found[pid] = words.replace(b"\0", b" ").decode(errors="replace") or "?"
    return found


def alive(family: dict[int, int]) -> dict[int, str]:
    """The processes of a family (pid: born) that live; a pid that was given again is another process."""
    return {pid: "a descendant" for pid, since in family.items() if since and born(pid) == since}


def left_after(
    seconds: float, folder: Path | None = None, family: dict[int, int] | None = None
) -> dict[int, str]:
    """What still touches the folder, or lives of the family, after so many seconds at most."""
    deadline = time.monotonic() + seconds
    while True:
        found = alive(family or {}) | (touching(folder) if folder else {})
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


@dataclass(frozen=True)
class Booted:
    """``shype host boot`` in a process of its own."""

    process: subprocess.Popen[bytes]
    folder: Path
    greeting: str

    @classmethod
    def start(cls, folder: Path, boot: Path) -> Self:
        command = [sys.executable, "-m", "shype.main", "host", "boot", str(folder), "--boot", str(boot)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 30)
        greeting = process.stdout.readline().decode() if ready else ""
        started = cls(process, folder, greeting)
        if not greeting:
            process.kill()
            _, err = process.communicate()
            raise AssertionError(f"the host did not boot: {err.decode()}")
        return started

    @property
    def swtpms(self) -> list[int]:
        return [pid for pid in descendants(self.process.pid) if arguments(pid)[:1] == ["swtpm"]]

    def end(self) -> tuple[int, str]:
        """Ask it to end, and return its exit code and what it said on standard error."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            _, err = self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, err.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
