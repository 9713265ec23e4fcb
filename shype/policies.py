"""Policy files and histories from disk, and decisions as reports."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from acm import history, policyfile
from acm.history import Anchor, History
from acm.yamltree import MAX_SIZE
from shype.files import read
from shype.report import Exit, Json, Report

if TYPE_CHECKING:
    from acm.decision import Decision
    from acm.policy import Policy

_ANCHOR: Final = re.compile(r"(0|[1-9][0-9]{0,17}):([0-9a-f]{64})")


def load(path: Path) -> Policy:
    """Return the policy in a file. Raises OSError, PolicyFileError with the file's name and the place."""
    return policyfile.load(read(path, MAX_SIZE), source=str(path))


def load_history(path: Path | None) -> History | None:
    """Return the history in a file, None without one. Raises OSError, HistoryError."""
    return None if path is None else history.decode(read(path, history.MAX_SIZE))


def anchor(text: str) -> Anchor:
    """Return ``SEQUENCE:DIGEST`` of the newest history; raises argparse.ArgumentTypeError."""
    found = _ANCHOR.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError("SEQUENCE:DIGEST is a number, a colon and 64 lower-case hex digits")
    return Anchor(int(found[1]), found[2])


def answer(decision: Decision) -> Report:
    """Return a decision as a report: permit is exit 0, deny is exit 1."""
    document: Json = {
        "verdict": str(decision.verdict),
        "reasons": [{"code": str(reason.code), "detail": reason.detail} for reason in decision.reasons],
    }
    lines = [str(decision.verdict), *(f"  {reason.code}: {reason.detail}" for reason in decision.reasons)]
    return Report(Exit.OK if decision.permitted else Exit.REFUSED, document, "\n".join(lines))
