"""The runtime log's writer: extends a PCR and appends the event so that a crash between them is repaired.

Order of one append: write the intent, flush it to disk, extend the PCR, write the confirmation, flush it.
At start, and before the next append after an error, the file is read again and each PCR is compared with the
replay of the confirmed events. If an intent is open, the PCR itself says whether its extend happened: the
intent is then confirmed or dropped. Any other difference is an error, since a log that does not explain its
PCR can never be repaired.

A log of an earlier boot is known by its PCRs: they are all at their start value again, which no software can
do without a reset of the TPM. It is moved to ``NAME.previous``.

Trust: this writer is measured with the host; the verifier trusts only the replay. One writer at a time holds
``NAME.lock``. This module touches files; the verifier must not import it.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attest import runtime_journal
from attest.errors import AttestUsageError
from attest.eventlog.cel import MAX_DATA, encode_cel, new_event
from attest.eventlog.log import MAX_EVENTS, Event
from attest.eventlog.replay import replay
from attest.runtime_journal import MAX_JOURNAL, JournalError, event_log, parse_journal
from vtpm.tpm2.constants import Alg

Extend = Callable[[int, Mapping[Alg, bytes]], None]
"""Extends one PCR of several banks: PCR number, digest of each bank."""

Read = Callable[[int], bytes]
"""Reads one PCR of the SHA-256 bank."""

RUNTIME_PCRS: Final = (12, 13)
"""Where the usual profile keeps hypervisor and policies, and domains."""

_RESERVE: Final = 256
"""Bytes kept free so that a confirmation always fits."""

_CHUNK: Final = 1 << 20
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class RuntimeLogBusyError(AttestUsageError):
    """Another process writes this log."""

    code = "busy"


class RuntimeLogFullError(AttestUsageError):
    """The log has reached its bounded size: nothing more is measured before the next boot."""

    code = "full"


class RuntimeLog:
    """The one writer of a runtime log on disk and of the PCRs ``pcrs`` that it explains.

    ``extend`` and ``read`` are the TPM. Raises RuntimeLogBusyError if another process holds the log,
    JournalError if file and PCRs do not fit, OSError.
    """

    def __init__(
        self,
        path: Path,
        extend: Extend,
        read: Read,
        *,
        pcrs: Sequence[int] = RUNTIME_PCRS,
        banks: Sequence[Alg] = (Alg.SHA256,),
    ) -> None:
        if Alg.SHA256 not in banks or not pcrs:
            raise AttestUsageError("a runtime log needs a PCR and the SHA-256 bank", code="bank")
        self._path = path
        self._extend = extend
        self._read = read
        self._pcrs = tuple(pcrs)
        self._banks = tuple(banks)
        self._events: list[Event] = []
        self._size = 0
        self._settled = False
        self._turn = threading.Lock()
        self._file: int | None = None
        self._lock: int | None = _lock(path.with_name(path.name + ".lock"))
        try:
            self._settle()
        except BaseException:
            self.close()
            raise

    def append(self, pcr: int, data: bytes) -> Event:
        """Measure the bytes of one event (attest.runtime_events) into ``pcr`` and log it.

        After an error the event may or may not have been measured; the next call finds out and keeps the log
        true either way. Raises RuntimeLogFullError before anything is measured.
        """
        if pcr not in self._pcrs:
            raise AttestUsageError(f"PCR {pcr} does not belong to this log", code="pcr")
        if not 0 < len(data) <= MAX_DATA:
            raise AttestUsageError(f"an event has 1 to {MAX_DATA} bytes", code="size")
        with self._turn:
            self._settle()
            event = new_event(len(self._events), pcr, data, self._banks)
            line = runtime_journal.intent(event)
            if self._size + len(line) + _RESERVE > MAX_JOURNAL or len(self._events) >= MAX_EVENTS:
                raise RuntimeLogFullError(f"{self._path}: the runtime log is full; move domains and reboot")
            self._settled = False
            self._write(line)
            self._extend(pcr, dict(event.digests))
            self._write(runtime_journal.confirm(event))
            self._events.append(event)
            self._settled = True
            return event

    def events(self) -> tuple[Event, ...]:
        """Return the confirmed events."""
        with self._turn:
            self._settle()
            return tuple(self._events)

    def cel(self) -> bytes:
        """Return the log as CEL-JSON; a quote taken before this call covers a prefix of it at most."""
        return encode_cel(self.events())

    def close(self) -> None:
        """Release the log; it can be opened again. May be called twice."""
        for descriptor in (self._file, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _settle(self) -> None:
        """Bring memory, file and PCRs together, unless they are already."""
        if self._settled:
            return
        if self._lock is None:
            raise AttestUsageError(f"{self._path}: the runtime log is closed", code="closed")
        journal = parse_journal(self._load())
        if journal.torn:
            self._cut(journal.size)
        self._size = journal.size
        self._events = list(journal.events)
        if journal.events and self._is_reset():
            self._start_again()
        elif journal.pending:
            self._decide(journal.pending)
        self._compare(self._pcrs)
        self._settled = True

    def _decide(self, pending: Event) -> None:
        """Finish or drop the open intent, as its PCR says."""
        self._compare([pcr for pcr in self._pcrs if pcr != pending.pcr])
        value = self._read(pending.pcr)
        if value == self._replayed([*self._events, pending])[pending.pcr]:
            self._write(runtime_journal.confirm(pending))
            self._events.append(pending)
        elif value == self._replayed(self._events).get(pending.pcr):
            self._write(runtime_journal.drop(pending))

    def _compare(self, pcrs: Sequence[int]) -> None:
        values = self._replayed(self._events)
        for pcr in pcrs:
            if self._read(pcr) != values[pcr]:
                what = f"PCR {pcr} is not what the log's {len(self._events)} events make it"
                raise JournalError(f"{self._path}: {what}: reboot, and attest again", code="pcr")

    def _replayed(self, events: Sequence[Event]) -> Mapping[int, bytes]:
        return replay(event_log(events), Alg.SHA256)

    def _is_reset(self) -> bool:
        start = self._replayed(())
        return all(self._read(pcr) == start[pcr] for pcr in self._pcrs)

    def _start_again(self) -> None:
        """Put the log of an earlier boot aside."""
        self._path.replace(self._path.with_name(self._path.name + ".previous"))
        self._load()
        self._size = 0
        self._events = []

    def _load(self) -> bytes:
        """Open the file anew, made if it is missing, and return its bytes."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._file = os.open(self._path, _FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise AttestUsageError(f"{self._path}: the runtime log must be a regular file", code="file")
        _flush_folder(self._path.parent)
        raw = bytearray()
        while len(raw) <= MAX_JOURNAL and (chunk := os.read(self._file, _CHUNK)):
            raw += chunk
        return bytes(raw)

    def _write(self, line: bytes) -> None:
        written = 0
        while written < len(line):
            written += os.pwrite(self._descriptor(), line[written:], self._size + written)
        os.fsync(self._descriptor())
        self._size += len(line)

    def _cut(self, size: int) -> None:
        os.ftruncate(self._descriptor(), size)
        os.fsync(self._descriptor())

    def _descriptor(self) -> int:
        if self._file is None:
            raise AttestUsageError(f"{self._path}: the runtime log is closed", code="closed")
        return self._file


def _lock(path: Path) -> int:
    """Take the lock of the one writer; it is released when the process ends."""
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RuntimeLogBusyError(f"{path}: another process writes this log; end it first") from None
    return descriptor


def _flush_folder(path: Path) -> None:
    """Flush a folder, so that a file made in it is still there after a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
