"""Commands in dom0, over the machine's second serial line (``dom0/labd.py`` answers)."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.errors import LabError

SECONDS: Final = 300
GREETING_SECONDS: Final = 120
_HEAD: Final = re.compile(rb"RC (\d+) (\d+)\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in dom0 said, standard error included, and its exit code."""

    code: int
    output: str


class Shell:
    """The lab's door into a dom0 that is up."""

    def __init__(self, path: Path, said: Callable[[], str]) -> None:
        """Connect; ``said`` gives what the console has said, for the end of it to be shown with a failure."""
        self._said = said
        self._line = socket.socket(socket.AF_UNIX)
        self._line.settimeout(SECONDS)
        self._line.connect(str(path))
        self._buffer = b""
        self._greet()

    def _greet(self) -> None:
        """Wait until somebody listens: what is sent before that is lost or echoed."""
        deadline = time.monotonic() + GREETING_SECONDS
        self._line.settimeout(0.5)
        while b"LABD\n" not in self._buffer:
            if time.monotonic() > deadline:
                raise LabError("dom0", f"nobody listens in dom0 within {GREETING_SECONDS} s", self._said())
            with contextlib.suppress(TimeoutError):
                self._line.sendall(b"\n")
                self._buffer += self._line.recv(65536)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.close()

    def run(self, command: str, seconds: float = SECONDS) -> Answer:
        """Run a command by dom0's ``sh``."""
        self._line.sendall(base64.b64encode(command.encode()) + b"\n")
        deadline = time.monotonic() + seconds
        while (head := _HEAD.search(self._buffer)) is None:
            self._read(deadline, command)
        size = int(head[2])
        while len(self._buffer) < head.end() + size + 1:
            self._read(deadline, command)
        body = self._buffer[head.end() : head.end() + size]
        self._buffer = self._buffer[head.end() + size + 1 :]
        return Answer(int(head[1]), base64.b64decode(body).decode(errors="replace"))

    def tell(self, command: str) -> None:
        """Send a command that nobody can answer, such as one that ends dom0."""
        self._line.sendall(base64.b64encode(command.encode()) + b"\n")

    def check(self, command: str, seconds: float = SECONDS) -> str:
        """Run a command that must succeed; return its output."""
        answer = self.run(command, seconds)
        if answer.code != 0:
            raise LabError("dom0", f"{command!r} ended with {answer.code}", answer.output)
        return answer.output

    def _read(self, deadline: float, command: str) -> None:
        self._line.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            part = self._line.recv(65536)
        except TimeoutError:
            raise LabError("dom0", f"{command!r} did not end in time", self._said()) from None
        if not part:
            raise LabError("dom0", f"the machine went away during {command!r}", self._said())
        self._buffer += part
