"""Runs public commands as a person would, in processes that die with the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shype.errors import ShypeInputError
from shype.report import Json
from vtpm import lifeline
from vtpm.lifeline import Child

SECONDS: Final = 60.0
ISOLATED: Final = ("unshare", "--net")


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended: what was typed, its exit code, and what it printed."""

    argv: tuple[str, ...]
    exit: int
    out: str
    err: str

    def document(self) -> Mapping[str, Json]:
        """Return the JSON document that it printed; raises ShypeInputError when that is none."""
        try:
            found = json.loads(self.out)
        except ValueError as error:
            raise ShypeInputError(f"{' '.join(self.argv)}: printed no JSON: {self.err.strip()}") from error
        if not isinstance(found, dict):
            raise ShypeInputError(f"{' '.join(self.argv)}: printed no JSON object")
        return found


def shype(*arguments: str) -> tuple[str, ...]:
    """Return the command line of ``shype ARGUMENTS`` under this very interpreter.

    ``-P``: the folder that it runs in holds what others wrote, and is no place for modules.
    """
    return (sys.executable, "-P", "-m", "shype.main", *arguments)


def run(argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
    """Run a command to its end, at most SECONDS; raises ShypeInputError when it does not end."""
    child = lifeline.start(
        Child(tuple(argv), cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    )
    with child:
        try:
            out, err = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise ShypeInputError(f"{' '.join(argv)}: no end after {SECONDS:.0f} s") from error
    return Done(tuple(argv), child.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def run_isolated(argv: Sequence[str], folder: Path) -> Done:
    """Run a command in ``folder`` without network and with an empty environment.

    An ordinary user needs a user namespace of its own to give up the network (user_namespaces(7)).
    """
    isolation = ISOLATED if os.getuid() == 0 else (*ISOLATED, "--map-root-user")
    return run((*isolation, *argv), cwd=folder, env={})
