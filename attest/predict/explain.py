"""Why the PCR values of two boots differ: the file, line or event behind each register.

Both sides are values by bank and PCR; a side may have the events behind them (a prediction, reference values,
a log). Where both have, the events are aligned by digest; where one has, it is tried which small change of
its events gives the other side's value. Nothing here is verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Final

from attest.errors import AttestUsageError
from attest.predict.wording import candidates, changed, one_sided
from attest.reference import LOCALITIES

_ALIGNED: Final = 1 << 18
"""Product of two lengths up to which event lists are aligned; longer ones are compared place by place."""
_TRIED: Final = 300
"""Events of a register up to which small changes are tried: their number squared is hashed."""


class Kind(StrEnum):
    """How an event differs."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    REPEATED = "repeated"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RegisterEvent:
    """One extend; ``digests`` by bank, ``component`` None where it is not known."""

    pcr: int
    digests: Mapping[str, bytes]
    component: str | None
    what: str


@dataclass(frozen=True, slots=True)
class Registers:
    """One side: PCR values by bank and number, and the events behind them, as far as they are known."""

    pcrs: Mapping[str, Mapping[int, bytes]]
    events: tuple[RegisterEvent, ...] = ()

    def of(self, pcr: int, bank: str) -> tuple[RegisterEvent, ...] | None:
        """Return the events of a register; None where those that are known do not replay to its value."""
        found = tuple(event for event in self.events if event.pcr == pcr)
        if any(bank not in event.digests for event in found):
            return None
        value, digests = self.pcrs[bank][pcr], [event.digests[bank] for event in found]
        starts = LOCALITIES if pcr == 0 else LOCALITIES[:1]
        begun = (start.to_bytes(len(value), "big") for start in starts)
        return found if any(_replay(bank, start, digests) == value for start in begun) else None


@dataclass(frozen=True, slots=True)
class Change:
    """One event that is other on side B; ``a`` and ``b`` are what it is there, None where it is not."""

    kind: Kind
    component: str | None
    a: str | None
    b: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A register with different values, and why."""

    pcr: int
    a: bytes
    b: bytes
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The outcome for one bank; ``only_a`` and ``only_b`` are registers that one side alone has."""

    bank: str
    equal: tuple[int, ...]
    differences: tuple[Difference, ...]
    only_a: tuple[int, ...]
    only_b: tuple[int, ...]


def explain(a: Registers, b: Registers) -> Explanation:
    """Compare in the first bank that both sides have; raises ``AttestUsageError`` without a common PCR."""
    bank = next((bank for bank in a.pcrs if a.pcrs[bank].keys() & b.pcrs.get(bank, {}).keys()), None)
    if bank is None:
        raise AttestUsageError("the two have no PCR of one bank in common: nothing to compare", code="bank")
    left, right = a.pcrs[bank], b.pcrs[bank]
    common = sorted(left.keys() & right.keys())
    return Explanation(
        bank,
        tuple(pcr for pcr in common if left[pcr] == right[pcr]),
        tuple(
            Difference(pcr, left[pcr], right[pcr], tuple(dict.fromkeys(_changes(a, b, pcr, bank))))
            for pcr in common
            if left[pcr] != right[pcr]
        ),
        tuple(sorted(left.keys() - right.keys())),
        tuple(sorted(right.keys() - left.keys())),
    )


def _changes(a: Registers, b: Registers, pcr: int, bank: str) -> Iterator[Change]:
    left, right = a.of(pcr, bank), b.of(pcr, bank)
    idle = next((name for name, side in (("A", a), ("B", b)) if not any(side.pcrs[bank][pcr])), None)
    if idle:
        yield Change(Kind.STOPPED, None, None, None, f"PCR {pcr} was never extended in {idle}")
    elif left is not None and right is not None:
        yield from _aligned(left, right, bank)
    elif left:
        yield _tried(left, b.pcrs[bank][pcr], bank, forwards=True)
    elif right:
        yield _tried(right, a.pcrs[bank][pcr], bank, forwards=False)
    else:
        yield Change(Kind.UNKNOWN, None, None, None, "no events are known for it")


def _aligned(a: Sequence[RegisterEvent], b: Sequence[RegisterEvent], bank: str) -> Iterator[Change]:
    left, right = ([event.digests[bank] for event in side] for side in (a, b))
    gone: list[RegisterEvent] = []
    new: list[RegisterEvent] = []
    found: list[Change] = []
    for i, j, k, m in _unlike(left, right):
        both = min(j - i, m - k)
        found += [
            Change(Kind.CHANGED, one.component, one.what, other.what, changed(one.what, other.what))
            for one, other in zip(a[i : i + both], b[k : k + both], strict=True)
        ]
        gone += a[i + both : j]
        new += b[k + both : m]
    moved = {event.digests[bank] for event in gone} & {event.digests[bank] for event in new}
    for kind, events in ((Kind.REMOVED, gone), (Kind.ADDED, new)):
        for event in events:
            if event.digests[bank] not in moved:
                found.append(_single(kind, event))
            elif kind is Kind.REMOVED:
                found.append(_single(Kind.MOVED, event))
    yield from found or [Change(Kind.UNKNOWN, None, None, None, "the same events, from another start value")]


def _unlike(a: Sequence[bytes], b: Sequence[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the ranges that differ: start and end in ``a``, start and end in ``b``."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    left, right = a[start : len(a) - end], b[start : len(b) - end]
    if len(left) * len(right) > _ALIGNED:
        yield start, start + len(left), start, start + len(right)
        return
    for tag, i, j, k, m in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            yield start + i, start + j, start + k, start + m


def _tried(events: Sequence[RegisterEvent], value: bytes, bank: str, *, forwards: bool) -> Change:
    """Find the small change of ``events`` that gives ``value``; ``forwards`` when ``value`` is on side B."""
    if len(events) <= _TRIED and (found := _small_change(events, value, bank)):
        kind, event = found
        if not forwards:
            kind = {Kind.REMOVED: Kind.ADDED, Kind.REPEATED: Kind.REMOVED}.get(kind, kind)
        return _single(kind, event)
    components = sorted({event.component for event in events if event.component})
    component = components[0] if len(components) == 1 else None
    return Change(Kind.UNKNOWN, component, None, None, candidates([event.what for event in events]))


def _small_change(
    events: Sequence[RegisterEvent], value: bytes, bank: str
) -> tuple[Kind, RegisterEvent] | None:
    digests = [event.digests[bank] for event in events]
    state = bytes(len(value))
    for place, digest in enumerate(digests):
        after = _extend(bank, state, digest)
        rest = digests[place + 1 :]
        if after == value and rest:
            return Kind.STOPPED, events[place]
        if _replay(bank, state, rest) == value:
            return Kind.REMOVED, events[place]
        if _replay(bank, after, [digest, *rest]) == value:
            return Kind.REPEATED, events[place]
        if rest and _replay(bank, state, [rest[0], digest, *rest[1:]]) == value:
            return Kind.MOVED, events[place]
        state = after
    return None


def _replay(bank: str, state: bytes, digests: Sequence[bytes]) -> bytes:
    for digest in digests:
        state = _extend(bank, state, digest)
    return state


def _extend(bank: str, state: bytes, digest: bytes) -> bytes:
    """TPM 2.0 Part 1, 17.2."""
    return hashlib.new(bank, state + digest).digest()


def _single(kind: Kind, event: RegisterEvent) -> Change:
    a = None if kind is Kind.ADDED else event.what
    b = None if kind is Kind.REMOVED else event.what
    return Change(kind, event.component, a, b, one_sided(kind.value, event.what))
