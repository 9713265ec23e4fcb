"""Children that do not outlive us: PR_SET_PDEATHSIG (prctl(2)), with its two traps closed.

The signal comes when the *thread* that forked ends, so one thread, which ends only with the process, forks
for all. And a parent that dies before the child has called prctl is never seen, so the child looks at its
parent afterwards and ends itself if that is another one.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import subprocess
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vtpm.errors import ProcessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Child:
    """What to start: the command, descriptors it inherits under the same numbers, folder, environment."""

    command: Sequence[str]
    pass_fds: Sequence[int] = ()
    cwd: Path | None = None
    env: Mapping[str, str] | None = None
    stdin: int = subprocess.DEVNULL
    stdout: int = subprocess.DEVNULL
    stderr: int = subprocess.DEVNULL


def start(child: Child) -> subprocess.Popen[bytes]:
    """Start ``child``; it is killed when this process ends, however that comes about.

    Raises ``ProcessError`` with code ``start`` if the program is not there or cannot be run.
    """
    try:
        return _nursery().spawn(child)
    except (OSError, subprocess.SubprocessError) as error:
        raise ProcessError(f"{child.command[0]}: cannot be started: {error}", code="start") from error


def end(process: subprocess.Popen[bytes], seconds: float) -> int:
    """Wait ``seconds`` for the process to end by itself, then kill it; return its exit code."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class _Nursery:
    """The thread that forks."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._orders: queue.SimpleQueue[tuple[Child, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="lifeline", daemon=True).start()

    def spawn(self, child: Child) -> subprocess.Popen[bytes]:
        born: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((child, born))
        return born.result()

    def _run(self) -> None:
        while True:
            child, born = self._orders.get()
            try:
                born.set_result(self._fork(child))
            except Exception as error:  # noqa: BLE001 - handed to the thread that asked
                born.set_exception(error)
            del child, born

    def _fork(self, child: Child) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(child.command),
            pass_fds=tuple(child.pass_fds),
            cwd=child.cwd,
            env=child.env,
            stdin=child.stdin,
            stdout=child.stdout,
            stderr=child.stderr,
            preexec_fn=self._tie,  # noqa: PLW1509 - two system calls; takes no lock and imports nothing
        )

    def _tie(self) -> None:
        if _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != self.pid:
            os._exit(127)


_LOCK: Final = threading.Lock()
_NURSERIES: Final[dict[int, _Nursery]] = {}
"""By process: threads do not survive a fork."""


def _nursery() -> _Nursery:
    with _LOCK:
        found = _NURSERIES.get(os.getpid())
        if found is None:
            found = _NURSERIES[os.getpid()] = _Nursery()
        return found
