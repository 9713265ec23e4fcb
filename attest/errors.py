"""Errors of the attest package.

::

    Exception
    ├── AttestInputError      the other side is wrong: bad bytes, bad evidence (CLI exit 3)
    │   ├── PositionedInputError  at a line and column of a file that people write
    │   └── leaf classes stand in the module that raises them
    └── AttestUsageError      the caller is wrong: bad argument, missing setup (CLI exit 2)

Every message is one line: what, where (byte offset, field), what to do. It may quote what came from outside,
so it is made printable here.
"""

from __future__ import annotations

from typing import Final

MAX_MESSAGE: Final = 1000
"""Characters of a message; a person reads no more, and a log keeps what an attacker sends."""


def one_line(message: str) -> str:
    """Return a message that a terminal shows as it is: control characters and the like are escaped."""
    shown = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
    if shown.isprintable():
        return shown
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


class AttestInputError(Exception):
    """Bytes, evidence or a log from outside that is not well-formed or not authentic.

    ``code`` is a stable word that tests and users may branch on.
    """

    code: str = "input"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(one_line(message))
        if code is not None:
            self.code = code


class PositionedInputError(AttestInputError):
    """A file that people write is not well-formed; ``line`` and ``column`` count from 1."""

    def __init__(self, code: str, message: str, *, line: int, column: int) -> None:
        super().__init__(message, code=code)
        self.line = line
        self.column = column


class AttestUsageError(Exception):
    """A call that can never succeed as it was made; ``code`` as in AttestInputError."""

    code: str = "usage"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(one_line(message))
        if code is not None:
            self.code = code
