"""Errors of the metering package.

::

    MeteringInputError         the other side is wrong: bytes, signatures, a log on disk (exit 3)
    ├── RecordError            a leaf is not the usage record it should be
    ├── ProofError             a proof has another shape than its tree, or leads nowhere
    ├── CheckpointError        a checkpoint is not a signed note, or no trusted key signed it
    ├── MeterKeyError          a meter key bundle is malformed, not certified, or not bound to the platform
    └── StoreError             a log folder was altered, cut or rolled back
    MeteringUsageError         you called with values that cannot be meant (exit 2)
    └── LockedError            another process writes this log

Every message is one line: what, where, what to do. ``code`` is stable; for input errors it is a word of
``metering.verdict.Code`` (``MALFORMED``, ``TAMPERED``, ``PLATFORM``, ``ROLLBACK``).
"""

from __future__ import annotations


class MeteringInputError(Exception):
    """The other side is wrong: bytes, a signature or a stored log."""

    def __init__(self, message: str, *, code: str = "MALFORMED") -> None:
        super().__init__(message)
        self.code = code


class RecordError(MeteringInputError):
    """A leaf is not the usage record it should be; ``code`` is ``MALFORMED``."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field


class ProofError(MeteringInputError):
    """A proof has another shape than its tree; ``code`` is ``MALFORMED``."""


class CheckpointError(MeteringInputError):
    """A checkpoint that is no signed note (``MALFORMED``), or that no trusted key signed (``TAMPERED``)."""


class MeterKeyError(MeteringInputError):
    """A meter key bundle that is ``MALFORMED``, not certified (``TAMPERED``) or not bound (``PLATFORM``)."""


class StoreError(MeteringInputError):
    """A log folder whose bytes changed (``TAMPERED``) or that is older than its signature (``ROLLBACK``)."""


class MeteringUsageError(Exception):
    """You called with values that cannot be meant; ``code`` defaults to ``usage``."""

    def __init__(self, message: str, *, code: str = "usage") -> None:
        super().__init__(message)
        self.code = code


class LockedError(MeteringUsageError):
    """Another process writes this log; ``code`` is ``locked``."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="locked")
