"""Replay: compute PCRs from a log's digests, and turn a log into verified events by the quoted PCRs.

Sources: TPM 2.0 Library, Part 1, "PCR operations" (extend, start values); PC Client Platform TPM Profile,
"PCR attributes" (PCR 17-22 start at FF..FF); PC Client PFP 1.06, 10.4.5.3 (StartupLocality) and the H-CRTM
rule that PCR 0 then starts at locality 4; Linux, security/integrity/ima (measurement lists).

What a replay establishes: the events of a quoted PCR were extended in this order with these digests, and no
other. What it does not: an event's type, and its data where the digest is not of the data. A measurement list
grows between quote and copy, so a beginning of it is proved: what stands behind is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from attest.errors import AttestInputError, AttestUsageError
from attest.eventlog.data import Rule, binding
from attest.eventlog.log import BANKS, HASHES, RTMR_COUNT, Event, EventLog, Hash, Registers
from attest.eventlog.types import NO_ACTION, EventType
from attest.ima.extend import event_digest, padded_digest
from vtpm.tpm2.constants import PCR_COUNT, Alg

DRTM_PCRS: Final = range(17, 23)
"""Start at FF..FF; only a dynamic launch resets them to 0."""

EXIT_BOOT_SERVICES_PCR: Final = 5
EXIT_BOOT_SERVICES: Final = (b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")
"""What firmware measures when a kernel takes over (PFP, EV_EFI_ACTION), often after the log was read."""

_HCRTM_LOCALITY: Final = 4
_SEAL: Final = object()


class ReplayError(AttestInputError):
    """A log that does not explain the quoted PCRs.

    ``pcrs`` are the registers concerned. ``code``: ``bank`` (the log cannot speak about this bank),
    ``digest-missing`` (an event lacks the bank's digest) or ``replay-mismatch``.
    """

    code = "replay-mismatch"

    def __init__(self, message: str, *, pcrs: tuple[int, ...] = (), code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.pcrs = pcrs


class VerifiedEvent(NamedTuple):
    """An event whose digest and place are proved by a quote; the type and ``untrusted_data`` are not.

    Whether its data are bound, by the digests of ``banks`` or of all, is computed when it is asked for: few
    events are ever read.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, for which an event has no use
    pcr: int
    digest: bytes
    untrusted_type: str
    untrusted_data: bytes
    event: Event
    banks: tuple[Alg, ...] | None

    @property
    def measured(self) -> bytes | None:
        """The exact bytes that were hashed; None where the digest is of something that the log has not."""
        return binding(self.event, self.banks).measured

    @property
    def rule(self) -> Rule | None:
        """How ``measured`` follows from the data."""
        return binding(self.event, self.banks).rule


@dataclass(frozen=True, slots=True)
class VerifiedEvents:
    """The events of the PCRs ``pcrs`` of one bank, proved by quoted values; made only by ``verify_replay``.

    Events of other PCRs and EV_NO_ACTION events prove nothing and are left out. So are the ``beyond`` entries
    of a measurement list that were added after the quote.
    """

    alg: Alg
    pcrs: Mapping[int, bytes]
    _events: tuple[Event, ...] = field(repr=False)
    _seal: object = field(repr=False, compare=False)
    _is_list: bool = False
    beyond: int = 0
    _made: list[VerifiedEvent] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._seal is not _SEAL:
            raise AttestUsageError("VerifiedEvents are made by verify_replay only", code="seal")

    def of(self, pcr: int) -> tuple[VerifiedEvent, ...]:
        """Return the events of one PCR in the order of their extends; usage error if it was not verified."""
        if pcr not in self.pcrs:
            what = f"PCR {pcr} was not verified; verified are {_numbers(self.pcrs)}"
            raise AttestUsageError(what, code="pcr")
        return tuple(event for event in self.events if event.pcr == pcr)

    @property
    def events(self) -> tuple[VerifiedEvent, ...]:
        """The events of all PCRs, in the order of the log; made when they are first asked for."""
        if not self._made:
            self._made.extend(map(self._verified, self._events))
        return tuple(self._made)

    def _verified(self, event: Event) -> VerifiedEvent:
        """Return a proved event; the data of a violation in a list are not bound to its digest."""
        digest = event_digest(event, self.alg) if self._is_list else event.digest(self.alg)
        banks = None if self._is_list else (self.alg,)
        data = event.untrusted_data
        return VerifiedEvent(event.index, event.pcr, digest or b"", event.untrusted_type, data, event, banks)


def replay(log: EventLog, alg: int, *, registers: Registers = Registers.PCR) -> Mapping[int, bytes]:
    """Return the value of every register of one bank after the log's events: PCR 0-23, or RTMR 0-3.

    A register that the log never extends has its start value. One with an event that lacks the bank's digest
    is left out. Raises ReplayError if the log is of other registers, does not announce the bank, or nothing
    here computes its hash.
    """
    hash_ = _hash_for(log, alg, registers)
    digest_of = event_digest if log.format.is_ima else Event.digest
    values: dict[int, bytes | None] = {**_start_values(log, BANKS[Alg(alg)][1])}
    for event in log.events:
        if event.untrusted_type == NO_ACTION:
            continue
        value, digest = values[event.pcr], digest_of(event, alg)
        values[event.pcr] = hash_(value + digest).digest() if value and digest else None
    return MappingProxyType({pcr: value for pcr, value in values.items() if value})


def verify_replay(
    log: EventLog, quoted: Mapping[int, bytes], alg: int, *, registers: Registers = Registers.PCR
) -> VerifiedEvents:
    """Prove the events of the quoted registers of one bank: each must replay to exactly its quoted value.

    ``quoted`` must come from a verified quote, and hold only the registers that this log answers for: one
    that the log never extends must be quoted with its start value. Of a measurement list the entries up to
    the one that gives all quoted values are proved. Raises ReplayError.
    """
    if not quoted or any(not 0 <= pcr < PCR_COUNT for pcr in quoted):
        raise AttestUsageError(f"quoted PCRs must be some of 0 to {PCR_COUNT - 1}", code="pcr")
    if log.format.is_ima:
        return _verify_list(log, quoted, alg, registers)
    values = replay(log, alg, registers=registers)
    gaps = tuple(sorted(quoted.keys() - values.keys()))
    if gaps:
        what = f"event log: an event lacks the {_bank(alg)} digest in {registers.upper()} {_numbers(gaps)}"
        raise ReplayError(what, pcrs=gaps, code="digest-missing")
    differ = tuple(sorted(pcr for pcr, value in quoted.items() if values[pcr] != bytes(value)))
    if differ:
        raise _differs(alg, registers, differ, late=_is_early(log, quoted, alg, differ))
    bank = Alg(alg)
    events = tuple(event for event in log.events if event.pcr in quoted and event.untrusted_type != NO_ACTION)
    return VerifiedEvents(bank, MappingProxyType({pcr: values[pcr] for pcr in quoted}), events, _SEAL)


def _verify_list(
    log: EventLog, quoted: Mapping[int, bytes], alg: int, registers: Registers
) -> VerifiedEvents:
    """Prove the beginning of a measurement list that gives the quoted values."""
    hash_ = _hash_for(log, alg, registers)
    count = _matching(log, quoted, alg, hash_, event_digest)
    if count is None:
        if _matching(log, quoted, alg, hash_, padded_digest) is not None:
            what = f"event log: the kernel fills its SHA-1 digests up to {_bank(alg)}; use Linux 5.8 or later"
            raise ReplayError(what, pcrs=tuple(sorted(quoted)), code="ima-padded")
        raise _differs(alg, registers, tuple(sorted(quoted)))
    events = tuple(event for event in log.events[:count] if event.pcr in quoted)
    altered = next((event for event in events if binding(event).matches is False), None)
    if altered:
        what = f"event log: entry {altered.index} was altered: its data do not fit its digest"
        raise ReplayError(what, pcrs=(altered.pcr,), code="data-mismatch")
    values = MappingProxyType({pcr: bytes(value) for pcr, value in quoted.items()})
    return VerifiedEvents(Alg(alg), values, events, _SEAL, _is_list=True, beyond=len(log.events) - count)


def _matching(
    log: EventLog,
    quoted: Mapping[int, bytes],
    alg: int,
    hash_: Callable[[bytes], Hash],
    digest_of: Callable[[Event, int], bytes | None],
) -> int | None:
    """Return after how many entries, at least one, all quoted PCRs have their values; None if never."""
    start = _start_values(log, BANKS[Alg(alg)][1])
    values = {pcr: start[pcr] for pcr in quoted}
    for event in log.events:
        if event.pcr not in quoted:
            continue
        digest = digest_of(event, alg)
        if digest is None:
            return None
        values[event.pcr] = hash_(values[event.pcr] + digest).digest()
        if values[event.pcr] == quoted[event.pcr] and values == quoted:
            return event.index + 1
    return None


def _hash_for(log: EventLog, alg: int, registers: Registers) -> Callable[[bytes], Hash]:
    if log.format.registers is not registers:
        what = f"event log: a log of {log.format.registers.upper()}s says nothing about {registers.upper()}s"
        raise ReplayError(what, code="registers")
    hash_ = HASHES.get(alg)
    if alg not in log.banks or hash_ is None:
        have = ", ".join(BANKS[bank][0] for bank in log.banks)
        raise ReplayError(f"event log: no {_bank(alg)} bank; the log has {have}", code="bank")
    return hash_


def _differs(alg: int, registers: Registers, differ: tuple[int, ...], *, late: bool = False) -> ReplayError:
    where = f"{registers.upper()} {_numbers(differ)}"
    what = f"event log: replay of {_bank(alg)} differs from the quoted value in {where}"
    if late:
        what += "; its two Exit Boot Services events are missing: read the log when the OS has started"
    return ReplayError(what, pcrs=differ)


def _is_early(log: EventLog, quoted: Mapping[int, bytes], alg: int, differ: tuple[int, ...]) -> bool:
    """Tell whether all that differs are the two events that firmware adds when an OS takes over."""
    if differ != (EXIT_BOOT_SERVICES_PCR,) or log.format.registers is Registers.RTMR:
        return False
    later = replay(with_exit_boot_services(log), alg)
    return later.get(EXIT_BOOT_SERVICES_PCR) == quoted[EXIT_BOOT_SERVICES_PCR]


def with_exit_boot_services(log: EventLog) -> EventLog:
    """Return the log with the two well-known ExitBootServices events added behind its last event.

    Firmware extends them into PCR 5 after many systems have read the log. Whether to admit a log by this is
    for the appraisal to say: the events are not in the log.
    """
    added = []
    for index, text in enumerate(EXIT_BOOT_SERVICES, len(log.events)):
        digests = tuple((alg, HASHES[alg](text).digest()) for alg in log.banks if alg in HASHES)
        added.append(Event(index, EXIT_BOOT_SERVICES_PCR, digests, EventType.EV_EFI_ACTION.name, text))
    return replace(log, events=(*log.events, *added))


def _start_values(log: EventLog, size: int) -> dict[int, bytes]:
    if log.format.registers is Registers.RTMR:
        return dict.fromkeys(range(RTMR_COUNT), bytes(size))
    values = {pcr: (b"\xff" if pcr in DRTM_PCRS else b"\0") * size for pcr in range(PCR_COUNT)}
    values[0] = bytes(size - 1) + bytes([startup_locality(log)])
    return values


def startup_locality(log: EventLog) -> int:
    """Return the last byte of PCR 0's start value: as the log states it, or 4 where an H-CRTM came first."""
    if log.format.registers is Registers.RTMR:
        return 0
    first = next((event for event in log.events if event.extends and event.pcr == 0), None)
    if not log.startup_locality and first and first.untrusted_type == EventType.EV_EFI_HCRTM_EVENT.name:
        return _HCRTM_LOCALITY
    return log.startup_locality


def _bank(alg: int) -> str:
    return next((name for known, (name, _) in BANKS.items() if known == alg), f"0x{alg:04x}")


def _numbers(pcrs: Mapping[int, bytes] | tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(pcrs)))
