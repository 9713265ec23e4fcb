"""Errors of the attest package.

::

    Exception
    ├── AttestInputError      the other side is wrong: bad bytes, bad evidence (CLI exit 3)
    │   └── leaf classes stand in the module that raises them
    └── AttestUsageError      the caller is wrong: bad argument, missing setup (CLI exit 2)

Every message is one line: what, where (byte offset, field), what to do.
"""

from __future__ import annotations


class AttestInputError(Exception):
    """Bytes, evidence or a log from outside that is not well-formed or not authentic.

    ``code`` is a stable word that tests and users may branch on.
    """

    code: str = "input"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class AttestUsageError(Exception):
    """A call that can never succeed as it was made; ``code`` as in AttestInputError."""

    code: str = "usage"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
