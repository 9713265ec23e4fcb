"""Errors of the ``acm`` package.

::

    Exception
    ├── AcmInputError          the other side is wrong (CLI exit 3)
    │   ├── PolicyFileError    a policy file that cannot be read as exactly one policy
    │   ├── StateFileError     a state file that cannot be read as exactly one state of a host
    │   ├── SectionFileError   a file that cannot be read as exactly one section of a policy
    │   ├── HistoryError       bytes that are no Chinese Wall history
    │   └── InclusionError     a part and its path that do not lead to the Merkle root
    └── AcmUsageError          you called me wrong (CLI exit 2)
        ├── LabelError         a label that is unknown, ambiguous or of the wrong kind
        ├── RequestError       a request that cannot be decided: no object, an impossible running set
        ├── UpdateError        an update that cannot be judged: two files that do not belong together
        ├── ExportError        a policy that another format cannot say
        └── RelabelError       a label is not what the caller took it to be

Every message is one line. Every error has a stable ``code``.
"""

from __future__ import annotations


class AcmInputError(Exception):
    """The other side is wrong: a broken file, a proof that proves nothing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PolicyFileError(AcmInputError):
    """A policy file was refused; no part of it was loaded.

    ``line`` and ``column`` count from 1, in characters; ``source`` names the file in the message.
    """

    def __init__(self, code: str, message: str, *, line: int, column: int, source: str = "policy") -> None:
        super().__init__(code, f"{source}:{line}:{column}: {message} [{code}]")
        self.line = line
        self.column = column


class HistoryError(AcmInputError):
    """A Chinese Wall history was refused; no part of it was taken."""


class StateFileError(AcmInputError):
    """A state file was refused; no part of it was taken. The message names the JSON path of the flaw."""


class SectionFileError(AcmInputError):
    """A section of a policy was refused; no part of it was taken."""


class InclusionError(AcmInputError):
    """A leaf, an index and a path do not lead to the expected Merkle root."""


class AcmUsageError(Exception):
    """The caller asked for something that has no answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LabelError(AcmUsageError):
    """A label is not in the policy, stands for two things, or cannot stand here."""


class RequestError(AcmUsageError):
    """A request that cannot be decided as it stands."""


class UpdateError(AcmUsageError):
    """A policy, a state and what is asked of them do not belong together."""


class ExportError(AcmUsageError):
    """The policy says something for which the format that was asked for has no words."""


class RelabelError(AcmUsageError):
    """Compare-and-swap: the label to be replaced is another one by now."""
