"""What a command says, and with which exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    """Permit; affirming: all that was asked for was checked and holds."""
    REFUSED = 1
    """Deny; contraindicated or warning: authentic, and against policy."""
    USAGE = 2
    """Wrong usage; a file that is missing or unreadable."""
    BROKEN = 3
    """Not authentic or not well-formed."""
    INCONCLUSIVE = 4
    """Something needed is missing, stale or not evaluated."""


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one command.

    ``document`` is printed as the only JSON document under ``--json``; ``text`` is what a person reads.
    ``line``, if not empty, goes to standard error: why something was refused or is not well-formed.
    """

    exit: Exit
    document: Json
    text: str
    line: str = ""
    pieces: Iterator[str] | None = None
    """What is printed instead of ``document`` or ``text`` where that is too long to hold: it, in pieces."""
