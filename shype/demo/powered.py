"""A host that is switched on beside the demo, as a person does it in a second terminal."""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from shype.demo.commands import run, shype
from shype.demo.narrator import Narrator
from shype.errors import ShypeInputError
from vtpm import lifeline
from vtpm.lifeline import Child

READY_SECONDS: Final = 30.0


class PoweredHost(AbstractContextManager["PoweredHost"]):
    """``shype host boot`` in the background; switched off at the end, and with the demo if that is killed."""

    def __init__(self, narrator: Narrator, folder: Path, boot: Path) -> None:
        """Start it and wait until it is up; raises ShypeInputError with its last words when it does not."""
        self._narrator = narrator
        self._folder = folder
        words = ("host", "boot", str(folder), "--boot", str(boot))
        narrator.command(["shype", *words, "&"])
        self._process = lifeline.start(Child(shype(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        try:
            self._wait_until_up()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _wait_until_up(self) -> None:
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        line = _first_line(process.stdout.fileno(), READY_SECONDS)
        if not line.endswith(b"\n"):
            process.kill()
            process.wait()
            last_words = process.stderr.read().decode(errors="replace").strip()
            raise ShypeInputError(
                f"the host did not boot: {last_words or f'not up after {READY_SECONDS:.0f} s'}"
            )
        self._narrator.output(line.decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            run(shype("host", "poweroff", str(self._folder)))
        lifeline.end(self._process, READY_SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _first_line(descriptor: int, seconds: float) -> bytes:
    """Read a line, or what there is of it when the other end closes or ``seconds`` are over."""
    line, deadline = bytearray(), time.monotonic() + seconds
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        byte = os.read(descriptor, 1) if ready else b""
        if not byte:
            break
        line += byte
    return bytes(line)
