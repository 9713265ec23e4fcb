"""What stops the lab: one line that names the part which failed, and the end of the console, if any."""

from __future__ import annotations

from typing import Final

SHOWN: Final = 25
"""Lines of a console that are worth reading."""


class LabError(Exception):
    """The lab cannot go on. ``part`` is the part that failed: a tool, a build, a machine."""

    def __init__(self, part: str, message: str, console: str = "") -> None:
        tail = "\n".join(f"  | {line}" for line in console.replace("\r", "").splitlines()[-SHOWN:])
        super().__init__(f"{part}: {message}" + (f"\n{tail}" if tail else ""))
        self.part = part
