"""Tells what happens: titles, commands, a few lines of their output; keeps quiet under ``--json``."""

from __future__ import annotations

import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

WIDTH: Final = 100
_BOLD, _DIM, _GREEN, _RED, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


class Narrator:
    """Writes the story of a demo run to ``out``, in colour where that is a terminal."""

    def __init__(self, out: TextIO | None, work: Path) -> None:
        self._out = out
        self._work = str(work)
        self._here = f"{Path.cwd()}/"
        self._colour = out is not None and out.isatty() and "NO_COLOR" not in os.environ
        self._number = 0

    def title(self, text: str) -> None:
        """Begin a numbered chapter."""
        self._number += 1
        self._say("")
        self._say(self._paint(f"{self._number}. {text}", _BOLD))

    def tell(self, text: str) -> None:
        """Explain in a sentence or two."""
        self._say(textwrap.fill(" ".join(text.split()), WIDTH, initial_indent="   ", subsequent_indent="   "))

    def command(self, argv: Sequence[str]) -> None:
        """Show a command as a person would type it; the work folder is shown as ``$W``."""
        self._say(self._paint("   $ " + self.shown(argv), _DIM))

    def shown(self, argv: Sequence[str]) -> str:
        """Return a command line with short paths."""
        words = [word.replace(self._work, "$W").replace(self._here, "") for word in argv]
        return " ".join(word if word.startswith(("$W", "&")) else shlex.quote(word) for word in words)

    def output(self, text: str, limit: int = 12) -> None:
        """Show the first ``limit`` lines of a command's output; 0 shows nothing."""
        if not limit:
            return
        lines = text.rstrip().replace(self._work, "$W").splitlines()
        for line in lines[:limit]:
            self._say("     " + line[: WIDTH + 20])
        if len(lines) > limit:
            self._say(self._paint(f"     … {len(lines) - limit} lines more", _DIM))

    def check(self, text: str, *, good: bool) -> None:
        """Show one checked expectation."""
        mark = self._paint("✓", _GREEN) if good else self._paint("✗", _RED)
        self._say(f"   {mark} {text}")

    def table(self, heading: str, rows: Sequence[tuple[str, str, bool]]) -> None:
        """Show rows of (what, how it came out, as expected)."""
        self._say("")
        self._say(self._paint(heading, _BOLD))
        width = max(len(row[0]) for row in rows)
        for what, outcome, good in rows:
            self.check(f"{what:<{width}}  {outcome}", good=good)

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text

    def _say(self, line: str) -> None:
        if self._out is not None:
            print(line, file=self._out, flush=True)


def terminal(*, quiet: bool) -> TextIO | None:
    """Return where the story goes: standard output, or nowhere."""
    return None if quiet else sys.stdout
