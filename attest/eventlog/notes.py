"""What a reader of a log should know beside its PCRs: facts about an untrusted log, not a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from attest.eventlog.cel import CONTENT_TYPE
from attest.eventlog.data import Binding, binding
from attest.eventlog.log import BANKS, Event, EventLog, Registers
from attest.eventlog.replay import EXIT_BOOT_SERVICES, EXIT_BOOT_SERVICES_PCR, replay, with_exit_boot_services
from attest.eventlog.types import EventType
from attest.ima.entry import BOOT_AGGREGATE, Entry, entry_of_event
from attest.ima.signature import SIGNATURE, is_malformed
from attest.ima.template import fields_of

SEPARATED_PCRS: Final = range(8)
"""PCRs that firmware must end with an EV_SEPARATOR (PC Client PFP 1.06, 3.3.2)."""

IMA_PCR: Final = 10
"""Where a kernel extends its measurement list, unless its policy says another PCR."""

_EFI_BASE: Final = "EV_EFI_"
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Note:
    """One fact: a stable ``code`` and a ``detail`` of one line."""

    code: str
    detail: str


def notes(log: EventLog, bindings: Sequence[Binding] | None = None) -> tuple[Note, ...]:
    """Return what is unusual about a log; ``bindings`` of its events, if the caller has them already.

    Codes stand in docs/eventlog.md.
    """
    if all(event.untrusted_type == CONTENT_TYPE for event in log.events):
        return ()
    judged = bindings or [binding(event) for event in log.events]
    if log.format.is_ima:
        return tuple(_ima_notes(log, judged))
    return tuple(_tcg_notes(log, judged))


def lacks_exit_boot_services(log: EventLog) -> bool:
    """Tell whether a UEFI log has no ExitBootServices event: read too early, or the events were left out."""
    if log.format.registers is not Registers.PCR:
        return False
    texts = {event.untrusted_data for event in log.events if event.pcr == EXIT_BOOT_SERVICES_PCR}
    efi = any(event.untrusted_type.startswith(_EFI_BASE) for event in log.events)
    return efi and not texts.intersection(EXIT_BOOT_SERVICES)


def _tcg_notes(log: EventLog, bindings: Sequence[Binding]) -> Iterator[Note]:
    if log.padding:
        pad = log.padding
        detail = f"{pad.size} bytes of {pad.fill:02x} from byte {pad.offset}: a memory area of fixed size"
        yield Note("padding", detail)
    if log.startup_locality:
        yield Note("startup-locality", f"PCR 0 starts with locality {log.startup_locality} in its last byte")
    yield from _event_notes(log, bindings)
    if log.format.registers is Registers.PCR:
        yield from _separator_notes(log.events)
    if lacks_exit_boot_services(log):
        values = _exit_boot_services_values(log)
        yield Note("exit-boot-services-events-missing", f"with the two events PCR 5 would be {values}")


def _event_notes(log: EventLog, bindings: Sequence[Binding]) -> Iterator[Note]:
    fewer = [event for event in log.events if event.extends and len(event.digests) < len(log.banks)]
    if fewer:
        yield Note("fewer-digests", f"{_listed(fewer)} lack a digest that the Spec ID event announces")
    claimed = [event for event in log.events if not event.extends and any(map(_is_set, event.digests))]
    if claimed:
        yield Note("no-action-digest", f"{_listed(claimed)} are EV_NO_ACTION with a digest: never extended")
    wrong = [event for event, bound in zip(log.events, bindings, strict=True) if bound.matches is False]
    if wrong:
        yield Note("data-mismatch", f"{_listed(wrong)} have data that their digests do not fit")


def _ima_notes(log: EventLog, bindings: Sequence[Binding]) -> Iterator[Note]:
    tally = ListTally()
    for event, bound in zip(log.events, bindings, strict=True):
        tally.take(event.index, entry_of_event(event), matches=bound.matches)
    yield from tally.notes(log.stray)


@dataclass(slots=True)
class _Some:
    """Events of one kind: all are counted, the first are named."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, index: int) -> None:
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(index)

    def __str__(self) -> str:
        more = f" and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
        return f"event {', '.join(map(str, self.first))}{more}"


@dataclass(slots=True)
class ListTally:
    """The notes on a measurement list, entry by entry in bounded memory."""

    _begins: bool = True
    _wrong: _Some = field(default_factory=_Some)
    _violations: _Some = field(default_factory=_Some)
    _others: _Some = field(default_factory=_Some)
    _malformed: _Some = field(default_factory=_Some)

    def take(self, index: int, entry: Entry, *, matches: bool | None) -> None:
        """Look at an entry; ``matches`` tells whether its data are what its digest is of."""
        if matches is False:
            self._wrong.add(index)
        if entry.is_violation:
            self._violations.add(index)
        if entry.pcr != IMA_PCR:
            self._others.add(index)
        if not index:
            self._begins = entry.path == BOOT_AGGREGATE
        if SIGNATURE in (fields_of(entry.template) or ()) and is_malformed(entry.values()[SIGNATURE]):
            self._malformed.add(index)

    def notes(self, stray: int) -> Iterator[Note]:
        """Return what was unusual; ``stray`` bytes stand behind the last entry."""
        if stray:
            yield Note("stray-bytes", f"{stray} bytes behind the last entry: too few for another one")
        if self._wrong.count:
            yield Note("data-mismatch", f"{self._wrong} have data that their digests do not fit")
        if self._violations.count:
            what = f"{self._violations} are violations: extended as FF..FF, their data are not bound"
            yield Note("ima-violation", what)
        if self._others.count:
            yield Note("ima-other-pcr", f"{self._others} are for another PCR than {IMA_PCR}")
        if not self._begins:
            yield Note("ima-boot-aggregate-missing", "the list does not begin with boot_aggregate")
        if self._malformed.count:
            yield Note("ima-signature-malformed", f"{self._malformed} have a signature that is none")


def _separator_notes(events: Sequence[Event]) -> Iterator[Note]:
    separators = Counter(e.pcr for e in events if e.untrusted_type == EventType.EV_SEPARATOR.name)
    extended = {event.pcr for event in events if event.extends}
    missing = [pcr for pcr in SEPARATED_PCRS if pcr in extended and not separators[pcr]]
    if missing:
        yield Note("separator-missing", f"no EV_SEPARATOR in PCR {', '.join(map(str, missing))}")
    twice = sorted(pcr for pcr, count in separators.items() if count > 1)
    if twice:
        yield Note("separator-twice", f"more than one EV_SEPARATOR in PCR {', '.join(map(str, twice))}")


def _exit_boot_services_values(log: EventLog) -> str:
    supplied = with_exit_boot_services(log)
    values = {alg: replay(supplied, alg).get(EXIT_BOOT_SERVICES_PCR) for alg in log.banks if alg.is_hash}
    return ", ".join(f"{BANKS[alg][0]} {value.hex()}" for alg, value in values.items() if value)


def _is_set(pair: tuple[int, bytes]) -> bool:
    return any(pair[1])


def _listed(events: Sequence[Event]) -> _Some:
    return _Some(len(events), [event.index for event in events[:_SHOWN]])
