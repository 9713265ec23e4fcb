"""The audit trail: every refusal, relabel, policy change and administrator's action; only ever appended to.

A record names who, when, what and why, and the SHA-256 of the record before it, so that an edited, dropped or
reordered line is found by :func:`read_trail`. What guests choose (a path, a list of frames) is shortened and
made printable, so that no guest can spoil the trail or the terminal of whoever reads it.

The chain does not tell whether records at its end are missing: whoever can write the file can cut it.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from hypervisor.errors import HypervisorInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FIRST: Final = "0" * 64
"""``previous`` of the first record."""
MAX_LINE: Final = 64 * 1024
"""Bytes of a record."""
HELD: Final = 65536
"""Newest records that a trail holds in memory; its sink gets all of them."""
_MAX_TEXT: Final = 500
MAX_REASONS: Final = 16
"""Reasons of one record."""


class Outcome(StrEnum):
    """How it ended: refused by policy or privilege, impossible as asked, or done."""

    DENIED = "denied"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One line of the trail. ``time_ns`` is the caller's clock; ``why`` holds (code, detail) pairs."""

    index: int
    time_ns: int
    epoch: int
    who: str
    action: str
    what: str
    outcome: Outcome
    why: tuple[tuple[str, str], ...]
    previous: str

    def encode(self) -> bytes:
        """Return canonical JSON: sorted keys, no blanks, UTF-8, no line end."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def digest(self) -> str:
        """Return the SHA-256 of the encoded record, in hex."""
        return hashlib.sha256(self.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What a record tells, before it has its place in the trail; the fields are those of AuditRecord."""

    time_ns: int
    epoch: int
    who: str
    action: str
    what: str
    outcome: Outcome
    why: tuple[tuple[str, str], ...]


class AuditTrail:
    """An append-only list of records.

    ``sink`` gets each encoded record with its line end before the record counts: if it raises, the action
    that was to be recorded does not happen. ``last`` is the record, of an earlier boot, to go on behind.
    """

    def __init__(
        self, sink: Callable[[bytes], object] | None = None, last: AuditRecord | None = None
    ) -> None:
        self._records: deque[AuditRecord] = deque(maxlen=HELD)
        self._owed: deque[AuditEvent] = deque()
        self._last = last
        self._sink = sink

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[AuditRecord]:
        return iter(tuple(self._records))

    def append(self, event: AuditEvent) -> AuditRecord:
        """Add a record behind the last one, and behind all that is owed, and return it."""
        self._settle()
        return self._add(event)

    def owe(self, event: AuditEvent) -> None:
        """Add a record; where it cannot be written now (OSError), it is written before any other one.

        For what must happen whether it can be recorded or not: that something failed, or is taken back.
        """
        self._owed.append(event)
        with suppress(OSError):
            self._settle()

    def _settle(self) -> None:
        while self._owed:
            self._add(self._owed[0])
            self._owed.popleft()

    def _add(self, event: AuditEvent) -> AuditRecord:
        index, previous = (0, FIRST) if self._last is None else (self._last.index + 1, self._last.digest())
        record = AuditRecord(
            index=index,
            time_ns=event.time_ns,
            epoch=event.epoch,
            who=_shown(event.who),
            action=event.action,
            what=_shown(event.what),
            outcome=event.outcome,
            why=tuple((code, _shown(detail)) for code, detail in event.why[:MAX_REASONS]),
            previous=previous,
        )
        if self._sink is not None:
            self._sink(record.encode() + b"\n")
        self._records.append(record)
        self._last = record
        return record


def read_trail(data: bytes) -> tuple[AuditRecord, ...]:
    """Decode a trail file and check its chain; raises HypervisorInputError naming the line."""
    lines = data.split(b"\n")
    records = tuple(follow(lines[:-1]))
    if lines[-1]:
        raise HypervisorInputError("audit-cut", f"audit line {len(records) + 1}: cut off before its line end")
    return records


def follow(lines: Iterable[bytes]) -> Iterator[AuditRecord]:
    """Decode lines without their ends, from the first of a trail on, and check that each follows the last."""
    previous = FIRST
    for number, line in enumerate(lines, 1):
        record = _decode(line, number)
        if record.previous != previous or record.index != number - 1:
            raise HypervisorInputError(
                "audit-chain", f"audit line {number}: does not follow the line before it"
            )
        yield record
        previous = record.digest()


def without_torn_end(data: bytes) -> tuple[bytes, bytes]:
    """Split a trail file into whole lines and what a crash has left of a last one."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]


def _shown(text: str) -> str:
    text = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}\u2026"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _decode(line: bytes, number: int) -> AuditRecord:
    record = _record(line) if len(line) <= MAX_LINE else None
    if record is None:
        raise HypervisorInputError("audit-line", f"audit line {number}: not a record of this trail")
    return record


def _record(line: bytes) -> AuditRecord | None:
    try:
        fields = json.loads(line)
        why = tuple((str(code), str(detail)) for code, detail in fields.pop("why"))
        record = AuditRecord(**{**fields, "outcome": Outcome(fields["outcome"])}, why=why)
        numbers = (record.index, record.time_ns, record.epoch)
        texts = (record.who, record.action, record.what, record.previous)
        typed = all(type(each) is int for each in numbers) and all(type(each) is str for each in texts)
        return record if typed and record.encode() == line else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
