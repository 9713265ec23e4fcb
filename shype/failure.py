"""How a command that could not report says so: one line for a person, one document for a program."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final, Self

from attest.errors import one_line
from shype.exits import exit_for
from shype.report import Exit, Json

VERDICT_GROUPS: Final = frozenset({"quote", "verify", "result", "audit"})
"""Groups whose document always has a verdict: ``none`` when what they were given is not well-formed."""


class WrongUsageError(Exception):
    """The command line itself is wrong."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command ended without a report; ``detail`` is one line, ``code`` a stable word."""

    exit: Exit
    code: str
    detail: str

    @classmethod
    def of(cls, error: Exception) -> Self | None:
        """Return what is to be said of an error; None for one that is a defect of ours."""
        if isinstance(error, WrongUsageError):
            return cls(Exit.USAGE, "usage", _line(str(error)))
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            code = errno.errorcode.get(error.errno or 0, "os-error")
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            return cls(Exit.USAGE, code, _line(f"{where}{error.strerror or error}{notes}"))
        exit_code = exit_for(error)
        if exit_code is None:
            return None
        code = str(getattr(error, "code", "error"))
        return cls(exit_code, code, _line(str(error)) or code)

    def document(self, group: str) -> Json:
        """Return the JSON document (configs/schema/error.schema.json)."""
        reason: dict[str, Json] = {"code": self.code, "detail": self.detail}
        error: dict[str, Json] = {"error": {**reason, "exit": int(self.exit)}}
        if group in VERDICT_GROUPS and self.exit is Exit.BROKEN:
            return {"verdict": "none", "reasons": [reason], **error}
        return error


def _line(text: str) -> str:
    return one_line(" ".join(text.split()))
