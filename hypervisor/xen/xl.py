"""Runs Xen's toolstack, ``xl``, one bounded command at a time."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from hypervisor.errors import XenError
from hypervisor.xen.xllist import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS: Final = 300.0
"""A guest with a compressed kernel takes ten seconds to build where the processor is emulated."""
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_SHOWN: Final = 300


class Xl(Protocol):
    """What runs ``xl WORDS`` with some descriptors inherited, and returns its standard output."""

    def __call__(self, words: Sequence[str], descriptors: Sequence[int] = ()) -> bytes:
        """Raise XenError with its last line where the command fails."""
        ...


class XlProgram:
    """``xl`` of a certain folder."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "bin" / "xl"

    def __call__(self, words: Sequence[str], descriptors: Sequence[int] = ()) -> bytes:
        """Run it; raises XenError when it is not there, fails, takes too long, or says too much."""
        what = f"xl {words[0]}"
        try:
            done = subprocess.run(
                [self._program, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                pass_fds=tuple(descriptors),
                env=_ENVIRONMENT,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise XenError("xen-tool", f"{what} did not end within {SECONDS:.0f} s") from None
        except OSError as error:
            raise XenError("xen-tool", f"{self._program}: {error.strerror}; install xen-utils") from None
        if done.returncode != 0:
            raise XenError("xen-tool", f"{what} failed ({done.returncode}): {_last_line(done.stderr)}")
        if len(done.stdout) > MAX_BYTES:
            raise XenError("xen-tool", f"{what} wrote more than {MAX_BYTES} bytes")
        return done.stdout


def _last_line(said: bytes) -> str:
    lines = said.decode("ascii", "replace").split("\n")
    text = next((line for line in reversed(lines) if line.strip()), "it says nothing")
    return "".join(each if each.isprintable() else " " for each in text)[:_SHOWN]
