"""The untrusted event log: what a parser returns, before any replay.

Nothing here is verified. Only the digests and their order become facts, by replay against quoted PCRs
(``attest.eventlog.replay``); an event's type and data stay claims, hence their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

from attest.errors import AttestInputError
from attest.eventlog.types import NO_ACTION
from vtpm.tpm2.constants import Alg

MAX_LOG_SIZE: Final = 8 << 20
"""Bytes; firmware logs have 10-300 kB, their memory areas at most a few hundred kB."""

MAX_EVENTS: Final = 1 << 14
"""Events; firmware logs have 20-300, a runtime log some per domain."""


BANKS: Final[dict[Alg, tuple[str, int]]] = {
    Alg.SHA1: ("sha1", 20),
    Alg.SHA256: ("sha256", 32),
    Alg.SHA384: ("sha384", 48),
    Alg.SHA512: ("sha512", 64),
    Alg.SM3_256: ("sm3_256", 32),
    Alg.SHA3_256: ("sha3_256", 32),
    Alg.SHA3_384: ("sha3_384", 48),
    Alg.SHA3_512: ("sha3_512", 64),
}
"""Hash algorithms of PCR banks: name, digest bytes (TCG Algorithm Registry). SM3 is read, not computed."""


class _Hash(Protocol):
    def digest(self) -> bytes: ...


HASHES: Final[dict[int, Callable[[bytes], _Hash]]] = {
    Alg.SHA1: partial(hashlib.sha1, usedforsecurity=False),
    Alg.SHA256: hashlib.sha256,
    Alg.SHA384: hashlib.sha384,
    Alg.SHA512: hashlib.sha512,
    Alg.SHA3_256: hashlib.sha3_256,
    Alg.SHA3_384: hashlib.sha3_384,
    Alg.SHA3_512: hashlib.sha3_512,
}
"""What the algorithms of BANKS compute; a direct call is three times as fast as ``hashlib.new``."""


class EventLogError(AttestInputError):
    """An event log that is not well-formed.

    ``offset`` is the byte of the file where that shows; None where the log is JSON.
    """

    code = "eventlog"

    def __init__(self, message: str, *, offset: int | None = 0, code: str | None = None) -> None:
        where = "event log" if offset is None else f"event log, byte {offset}"
        super().__init__(f"{where}: {message}", code=code)
        self.offset = offset


class LogFormat(StrEnum):
    """Formats that are recognised by content."""

    TCG_SHA1 = "tcg-sha1"
    """TCG_PCR_EVENT records, TPM 1.2 style (PC Client PFP, 10.2.1)."""
    TCG_AGILE = "tcg-agile"
    """Spec ID Event03, then TCG_PCR_EVENT2 records (PC Client PFP, 10.2.2)."""
    CEL_JSON = "cel-json"
    """Canonical Event Log in JSON with content type ``shype``: our runtime log."""


@dataclass(frozen=True, slots=True)
class Event:
    """One record of a log. ``offset`` is its first byte in the file; None where the log is JSON."""

    index: int
    pcr: int
    digests: tuple[tuple[Alg, bytes], ...]
    untrusted_type: str
    untrusted_data: bytes
    offset: int | None = None

    @property
    def extends(self) -> bool:
        """Whether the event is extended into its PCR: all but EV_NO_ACTION are."""
        return self.untrusted_type != NO_ACTION

    def digest(self, alg: int) -> bytes | None:
        """Return the digest for one bank; None where the event has none."""
        for each, digest in self.digests:
            if each == alg:
                return digest
        return None


@dataclass(frozen=True, slots=True)
class Padding:
    """The tail of a fixed-size memory area behind the last event: ``size`` bytes of ``fill`` (00 or FF)."""

    offset: int
    size: int
    fill: int


@dataclass(frozen=True, slots=True)
class EventLog:
    """A log as it was read: every byte of it is an event or named padding, and nothing is verified.

    ``banks`` are the algorithms that the log announces. ``startup_locality`` is the locality of
    TPM2_Startup as the log states it: PCR 0 starts with it in its last byte.
    """

    format: LogFormat
    banks: tuple[Alg, ...]
    events: tuple[Event, ...] = field(repr=False)
    startup_locality: int = 0
    padding: Padding | None = None
