"""The firmware's part of the reference values: one boot of plain Linux on the lab's machine, recorded.

A Xen host has no firmware log (facts/xen-lab.md, 4), so it comes from a boot without Xen, before any boot
that is judged. It is made anew when OVMF, QEMU or the machine changes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attest.errors import AttestInputError
from tests.lab.cache import Cache
from tests.lab.errors import LabError
from tests.lab.machine import DEVICES, PLAIN_BOARD, VARIABLES, Board, Machine, Tpm
from tests.lab.tool import run, say
from tests.recordings import record_firmware_log as recorder

SECONDS: Final = 300
SECOND_DISK: Final = 1 << 20
"""Bytes: what is on dom0's disk does not matter to the firmware, that it is there does."""


def recording(
    cache: Cache,
    kernel: Path,
    busybox: Path,
    *,
    board: Board = PLAIN_BOARD,
    variables: Path = VARIABLES,
    sign: Callable[[Path], None] | None = None,
) -> Path:
    """Return the event log of the lab's machine, checked against the TPM's registers.

    On a ``board`` with Secure Boot ``sign`` signs, in place, what the firmware is to start.
    """
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (board.code, variables)]
    parts += [run("qemu-system-x86_64", "--version"), *board.hardware, *DEVICES]

    def make(new: Path) -> None:
        say("record the firmware's event log (one boot of plain Linux)")
        try:
            log = _record(new, recorder.boot_disk(new, kernel, busybox, sign), variables, board)
        except (recorder.RecordingError, AttestInputError) as error:
            raise LabError("firmware", str(error), _console(new)) from None
        for path in new.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (new / "firmware.bin").write_bytes(log)

    return cache.made("firmware", "\n".join(parts), make) / "firmware.bin"


def _record(new: Path, disk: Path, variables: Path, board: Board) -> bytes:
    """Boot plain Linux once, and return the log that its firmware left."""
    second = new / "second.img"
    with second.open("wb") as file:
        file.truncate(SECOND_DISK)
    tpm = Tpm.manufacture(new / "tpm", banks=recorder.BANKS)
    with Machine(new / "machine", (disk, second), tpm, variables, board=board) as running:
        running.wait_for(recorder.END, SECONDS)
        found = recorder.read_console(running.said())
    recorder.check(found, (new / "BOOTX64.EFI").read_bytes())
    return found.log


def _console(new: Path) -> str:
    console = new / "machine" / "console.log"
    return console.read_text(errors="replace") if console.exists() else ""
