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
from typing import Final, NamedTuple, Protocol, Self

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


class Hash(Protocol):
    """What a hash function returns: all that is used of it."""

    def update(self, data: bytes, /) -> None:
        """Hash more."""

    def copy(self) -> Self:
        """Return another that goes on from here."""

    def digest(self) -> bytes:
        """Return the digest."""


HASHES: Final[dict[int, Callable[[bytes], Hash]]] = {
    Alg.SHA1: partial(hashlib.sha1, usedforsecurity=False),
    Alg.SHA256: hashlib.sha256,
    Alg.SHA384: hashlib.sha384,
    Alg.SHA512: hashlib.sha512,
    Alg.SHA3_256: hashlib.sha3_256,
    Alg.SHA3_384: hashlib.sha3_384,
    Alg.SHA3_512: hashlib.sha3_512,
}
"""What the algorithms of BANKS compute; a direct call is three times as fast as ``hashlib.new``."""

RTMR_COUNT: Final = 4
"""Run-time measurement registers of a confidential guest."""


class EventLogError(AttestInputError):
    """An event log that is not well-formed.

    ``offset`` is the byte of the file where that shows; None where the log is JSON.
    """

    code = "eventlog"

    def __init__(self, message: str, *, offset: int | None = 0, code: str | None = None) -> None:
        where = "event log" if offset is None else f"event log, byte {offset}"
        super().__init__(f"{where}: {message}", code=code)
        self.offset = offset


class Registers(StrEnum):
    """What a log's events are extended into."""

    PCR = "pcr"
    """Platform Configuration Registers of a TPM, 0 to 23."""
    RTMR = "rtmr"
    """Run-time measurement registers of a confidential guest, 0 to 3."""


class LogFormat(StrEnum):
    """Formats that are recognised by content."""

    TCG_SHA1 = "tcg-sha1"
    """TCG_PCR_EVENT records, TPM 1.2 style (PC Client PFP, 10.2.1)."""
    TCG_AGILE = "tcg-agile"
    """Spec ID Event03, then TCG_PCR_EVENT2 records (PC Client PFP, 10.2.2)."""
    CCEL = "ccel"
    """A crypto-agile log of a confidential guest: ACPI table CCEL (UEFI 2.10, 38.4)."""
    CEL_JSON = "cel-json"
    """Canonical Event Log in JSON: our runtime log, or another's."""
    IMA_ASCII = "ima-ascii"
    """Measurement list of Linux, as text."""
    IMA_BINARY = "ima-binary"
    """Measurement list of Linux, binary."""

    @property
    def registers(self) -> Registers:
        """What a log of this format speaks of."""
        return Registers.RTMR if self is LogFormat.CCEL else Registers.PCR

    @property
    def is_ima(self) -> bool:
        """Whether the list is one of IMA: its events are extended in other ways, and it grows while read."""
        return self in {LogFormat.IMA_ASCII, LogFormat.IMA_BINARY}


class Event(NamedTuple):
    """One record of a log. ``offset`` is its first byte in the file; None where the log is JSON or IMA's.

    ``pcr`` is the number of the register that is extended: a PCR, or the RTMR of a confidential guest.
    A named tuple, since a log has hundreds and making one costs a fifth of a frozen dataclass.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, for which an event has no use
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
    TPM2_Startup as the log states it: PCR 0 starts with it in its last byte. ``stray`` is how many bytes of a
    binary measurement list stand behind its last entry: too few for another one.
    """

    format: LogFormat
    banks: tuple[Alg, ...]
    events: tuple[Event, ...] = field(repr=False)
    startup_locality: int = 0
    padding: Padding | None = None
    stray: int = 0
